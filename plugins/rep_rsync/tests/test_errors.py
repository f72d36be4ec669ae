"""Exit codes and messages of rsync become the error that says what the caller can do. Captured from rsync 3.5.0."""

from __future__ import annotations

import pytest

from holdfast.errors import (
    BusyError,
    DeniedError,
    HoldfastError,
    NoSpaceError,
    NotFoundError,
    SystemCommandError,
    UnavailableError,
    VerificationError,
)
from holdfast_rep_rsync.errors import translate

START = "rsync error: error starting client-server protocol (code 5) at main.c(1954) [sender=3.5.0]\n"
PARTIAL = "rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c\n"
CASES: dict[str, tuple[int, str, type[HoldfastError], str]] = {
    "wrong password": (5, "@ERROR: auth failed on module rep\n" + START, DeniedError, "ID and password"),
    "wrong source": (5, "@ERROR: access denied to rep from UNDETERMINED (127.0.0.1)\n", DeniedError, "127.0.0.1"),
    "no such replica": (5, "@ERROR: Unknown module 'nope'\n" + START, NotFoundError, "no such replica share"),
    "in use": (5, "@ERROR: max connections (1) reached -- try again later\n" + START, BusyError, "another copy"),
    "replica's directory absent": (5, "@ERROR: chroot failed\n" + START, UnavailableError, "not there"),
    "another refusal": (5, "@ERROR: pre-xfer exec returned failure (256)\n", UnavailableError, "pre-xfer exec"),
    "not rsync": (
        5,
        'rsync: server sent "HTTP/1.1 400 Bad Request" rather than greeting\n' + START,
        UnavailableError,
        "no agent",
    ),
    "nothing listens": (
        10,
        "rsync: [sender] failed to connect to 127.0.0.1 (127.0.0.1): Connection refused (111)\n"
        "rsync error: error in socket IO (code 10) at clientserver.c(165) [sender=3.5.0]\n",
        UnavailableError,
        "Connection refused",
    ),
    "no such host": (
        10,
        "rsync: getaddrinfo: no.such.host.invalid 18731: Name or service not known\n",
        UnavailableError,
        "Name or service not known",
    ),
    "cut": (
        12,
        "rsync: [sender] safe_read failed to read 1 bytes: Connection reset by peer (104)\n"
        "rsync error: error in rsync protocol data stream (code 12) at io.c(340) [sender=3.5.0]\n",
        UnavailableError,
        "reset by peer",
    ),
    "the agent is stopped": (
        20,
        "rsync: [sender] write error: Broken pipe (32)\n"
        "rsync error: received SIGINT, SIGTERM, or SIGHUP (code 20) at io.c(586) [generator=3.5.0]\n",
        UnavailableError,
        "Broken pipe",
    ),
    "silent": (30, "rsync error: timeout in data send/receive (code 30)\n", UnavailableError, "cannot be reached"),
    "silent at first": (35, "rsync error: timeout waiting for daemon connection (code 35)\n", UnavailableError, ""),
    "full": (
        11,
        'rsync: [receiver] write failed on "/big" (in small): No space left on device (28)\n'
        "rsync error: error in file IO (code 11) at receiver.c(657) [receiver=3.5.0]\n"
        "rsync: [sender] read error: Connection reset by peer (104)\n",
        NoSpaceError,
        "/big",
    ),
    "full of inodes": (
        23,
        'rsync: [generator] recv_generator: mkdir "/d700" (in small) failed: No space left on device (28)\n' + PARTIAL,
        NoSpaceError,
        "/d700",
    ),
    "full, and the connection broke first": (
        12,
        'rsync: [receiver] write failed on "/big" (in small): No space left on device (28)\n',
        NoSpaceError,
        "/big",
    ),
    "over quota": (
        11,
        'rsync: [receiver] write failed on "/x" (in rep): Disk quota exceeded (122)\n',
        NoSpaceError,
        "quota",
    ),
    "a name that speaks of space": (
        23,
        'rsync: [sender] send_files failed to open "/x/No space left on device (28)": Permission denied (13)\n'
        + PARTIAL,
        VerificationError,
        "source could not be read",
    ),
    "a name with a line break that speaks of space": (
        23,
        r'rsync: [sender] send_files failed to open "/x/\#012rsync: x: No space left on device (28)": '
        "Permission denied (13)\n" + PARTIAL,
        VerificationError,
        "source could not be read",
    ),
    "unreadable": (
        23,
        'rsync: [sender] send_files failed to open "/s/é": Permission denied (13)\n' + PARTIAL,
        VerificationError,
        "/s/é",
    ),
    "no source": (
        23,
        'rsync: [sender] change_dir "/nosrc" failed: No such file or directory (2)\n' + PARTIAL,
        VerificationError,
        "source could not be read whole",
    ),
    "vanished": (
        24,
        'file has vanished: "/s/z"\n'
        "rsync warning: some files vanished before they could be transferred (code 24) at main.c\n",
        VerificationError,
        "/s/z",
    ),
    "read-only destination": (
        23,
        'rsync: [receiver] mkstemp "/.x.KEKlxn" (in small) failed: Read-only file system (30)\n' + PARTIAL,
        VerificationError,
        "replica could not be written",
    ),
    "destination's disk broke": (
        11,
        'rsync: [receiver] write failed on "/big" (in small): Input/output error (5)\n',
        UnavailableError,
        "Input/output error",
    ),
    "unknown": (14, "rsync: fork failed\n", SystemCommandError, "fork failed"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_failure_is_translated(case: str) -> None:
    returncode, stderr, kind, words = CASES[case]
    error = translate(["rsync"], returncode, stderr)
    assert type(error) is kind
    assert words in error.message


def test_many_messages_are_shown_in_part_and_counted() -> None:
    stderr = "".join(f'rsync: [sender] send_files failed to open "/s/{i}": Permission denied (13)\n' for i in range(50))
    error = translate(["rsync"], 23, stderr)
    assert '"/s/2"' in error.message
    assert '"/s/3"' not in error.message
    assert "47 more" in error.message


def test_every_refusal_of_an_agent_says_what_to_do() -> None:
    for case in ("wrong password", "wrong source", "no such replica", "in use", "full", "unreadable"):
        returncode, stderr, _, _ = CASES[case]
        assert all(reason.remedy for reason in translate(["rsync"], returncode, stderr).reasons) is True
        assert translate(["rsync"], returncode, stderr).reasons
