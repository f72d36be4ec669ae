"""What rsync's exit codes and messages mean in Holdfast's terms. Seen with rsync 3.5.0.

Messages are matched where no file name can stand: names are quoted by rsync, in the middle of a line, with line breaks
escaped; so the beginning and the end of a line are its own words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from holdfast.errors import (
    BusyError,
    DeniedError,
    HoldfastError,
    NoSpaceError,
    NotFoundError,
    Reason,
    SystemCommandError,
    UnavailableError,
    VerificationError,
)
from holdfast.system.command import STDERR_TAIL_CHARS
from holdfast_rep_rsync.reports import unescape

_FULL = re.compile(r"^rsync: .*: (No space left on device \(28\)|Disk quota exceeded \(122\))$", re.MULTILINE)
_SOURCE_LINE = re.compile(r"^(rsync: \[sender\] |file has vanished: |directory has vanished: )")
_SHOWN_LINES = 3
WRONG_CREDENTIALS = "wrong-credentials"
_SUMMARIES = ("rsync error: ", "rsync warning: ")
# rsync(1), EXIT VALUES: errors of socket and stream, the agent ended by a signal, timeouts of I/O and connection:
# the peer or the path to it failed. Ours is ended by SIGKILL only, which gives no code of its own.
_CONNECTION_CODES = (10, 12, 19, 20, 30, 35)


def _own_lines(stderr: str) -> list[str]:
    """The messages without rsync's closing summary, which repeats the exit code."""
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith(_SUMMARIES)]
    return [unescape(line) for line in lines]


def _quote(lines: Sequence[str]) -> str:
    if not lines:
        return "rsync gave no reason"
    more = len(lines) - _SHOWN_LINES
    return "; ".join(lines[:_SHOWN_LINES]) + (f"; and {more} more messages" if more > 0 else "")


def _of_server_message(message: str) -> HoldfastError:
    """Translate the `@ERROR` line with which an agent ends the greeting (clientserver.c, rsync_module)."""
    if message.startswith("auth failed on module"):
        text = "the agent does not accept this ID and password for the replica share"
        return DeniedError(
            text, reasons=[Reason(WRONG_CREDENTIALS, text, "give the replica share's own ID and password")]
        )
    if message.startswith("access denied to"):
        text = f"the agent does not accept copies from this address ({message})"
        remedy = "add this node's address to the replica share's allowed sources"
        return DeniedError(text, reasons=[Reason("source-not-allowed", text, remedy)])
    if message.startswith("Unknown module"):
        text = "the agent has no such replica share"
        return NotFoundError(text, reasons=[Reason("no-such-replica", text, "browse the agent, or open it there")])
    if message.startswith("max connections"):
        text = "another copy into this replica share is under way"
        return BusyError(text, reasons=[Reason("replica-in-use", text, "wait for it, or stop it on its source")])
    if message.startswith(("chroot failed", "chdir failed")):
        text = "the directory of the replica share is not there on the destination"
        return UnavailableError(text, reasons=[Reason("replica-absent", text, "mount its volume on the destination")])
    return UnavailableError(f"the agent refused: {message}")


def _of_partial_transfer(lines: Sequence[str]) -> HoldfastError:
    unread = [line for line in lines if _SOURCE_LINE.match(line)]
    if unread:
        text = f"the source could not be read whole: {_quote(unread)}"
        return VerificationError(
            text, reasons=[Reason("source-unreadable", text, "check the source's volume and snapshot")]
        )
    text = f"the replica could not be written whole: {_quote(lines)}"
    return VerificationError(text, reasons=[Reason("replica-unwritable", text, "check the destination's file system")])


def translate(argv: Sequence[str], returncode: int, stderr: str) -> HoldfastError:
    """Say what a failed client run means for its caller. What is not known stays a SystemCommandError."""
    lines = _own_lines(stderr)
    full = _FULL.search(stderr)
    if full is not None:
        text = f"the destination is full: {unescape(full[0])}"
        return NoSpaceError(text, reasons=[Reason("destination-full", text, "free or add space on the destination")])
    for line in lines:
        if line.startswith("@ERROR: "):
            return _of_server_message(line.removeprefix("@ERROR: "))
    if returncode in _CONNECTION_CODES:
        return UnavailableError(f"the agent cannot be reached: {_quote(lines)}")
    if returncode == 5:
        return UnavailableError(f"what answers there is no agent: {_quote(lines)}")
    if returncode == 11:
        return UnavailableError(f"the destination cannot write: {_quote(lines)}")
    if returncode in (23, 24):
        return _of_partial_transfer(lines)
    return SystemCommandError(argv, returncode, stderr[-STDERR_TAIL_CHARS:])
