"""Pure parts: configuration, verification, the probe's judgement, the agent's log, /proc."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from marshmallow import ValidationError

from holdfast.errors import InvalidError, SystemCommandError, UnavailableError
from holdfast.hooks.base import CONTRACT
from holdfast.hooks.replication import ReplicaShare
from holdfast.system import processes
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.fakes import Answer, ScriptedCommands, make_host
from holdfast.values import Secret
from holdfast_rep_rsync import configuration, listening, verification
from holdfast_rep_rsync.agent import log_reasons
from holdfast_rep_rsync.plugin import Plugin
from holdfast_rep_rsync.probe import judge, judge_tunnel, probe
from holdfast_rep_rsync.settings import Settings, SettingsSchema

SHARE = ReplicaShare("docs", "/srv/docs", "copier", Secret("pass word"), ("10.0.0.1", "10.0.0.2"))


def render(*shares: ReplicaShare) -> str:
    return configuration.render(
        shares,
        log_file=Path("/run/x/log"),
        secrets_directory=Path("/run/x/secrets"),
        lock_directory=Path("/run/x/locks"),
        notes=configuration.NotePlaces(
            Path("/var/x/my notes"), Path("/run/x/nothing"), Path("/var/x/untouched"), Path("/run/x/facts")
        ),
        agent_io_timeout_s=600,
    )


def test_a_replica_share_becomes_a_module_with_secrets_of_its_own() -> None:
    assert render(SHARE).partition("\n\n")[2] == (
        "[docs]\n"
        "path = /srv/docs\n"
        "comment = Holdfast replica share\n"
        """pre-xfer exec = { /usr/bin/expr "$RSYNC_ARG2" : '-[^e]*n' >/dev/null"""
        " || /usr/bin/rm -f /var/x/untouched/docs; }"
        " && /usr/bin/rm -f /run/x/facts/docs/ended && /usr/bin/sync /var/x/untouched"
        ' && /usr/bin/sync -f "$RSYNC_MODULE_PATH"\n'
        'post-xfer exec = umask 077; echo "$RSYNC_EXIT_STATUS" >/run/x/facts/docs/.ended'
        " && /usr/bin/mv /run/x/facts/docs/.ended /run/x/facts/docs/ended\n"
        "auth users = copier\n"
        "secrets file = /run/x/secrets/docs\n"
        "lock file = /run/x/locks/docs\n"
        "hosts allow = 10.0.0.1 10.0.0.2\n"
        "hosts deny = *\n"
        "\n"
        "[docs+note]\n"
        "path = /run/x/nothing\n"
        "list = no\n"
        "read only = yes\n"
        "write only = no\n"
        "refuse options = * !dirs !timeout !ignore-missing-args\n"
        'pre-xfer exec = umask 077; printf %s "$RSYNC_REQUEST" | /usr/bin/head -c 512 '
        ">'/var/x/my notes/docs.new' && /usr/bin/mv '/var/x/my notes/docs.new' '/var/x/my notes/docs'"
        " && : >/var/x/untouched/docs\n"
        "auth users = copier\n"
        "secrets file = /run/x/secrets/docs\n"
        "lock file = /run/x/locks/docs+note\n"
        "hosts allow = 10.0.0.1 10.0.0.2\n"
        "hosts deny = *\n"
        "\n"
        "[docs+facts]\n"
        "path = /run/x/facts/docs\n"
        "list = no\n"
        "read only = yes\n"
        "write only = no\n"
        "refuse options = * !timeout\n"
        "pre-xfer exec = umask 077; { /usr/bin/df --block-size=1 --output=size,avail /srv/docs"
        " && /usr/bin/date --utc --iso-8601=ns && { /usr/bin/cat /run/x/facts/docs/ended 2>/dev/null || :; }"
        " && { [ ! -e /var/x/untouched/docs ] || { echo note && /usr/bin/cat '/var/x/my notes/docs'; }; }; }"
        " >/run/x/facts/docs/.new"
        " && /usr/bin/mv /run/x/facts/docs/.new /run/x/facts/docs/facts\n"
        "auth users = copier\n"
        "secrets file = /run/x/secrets/docs\n"
        "lock file = /run/x/locks/docs+facts\n"
        "hosts allow = 10.0.0.1 10.0.0.2\n"
        "hosts deny = *\n"
    )


def test_no_secret_is_in_the_configuration() -> None:
    assert "pass word" not in render(SHARE)
    assert configuration.modules(SHARE) == {"docs": b"copier:pass word\n"}
    rotated = replace(SHARE, former_password=Secret("old"))
    assert configuration.modules(rotated) == {"docs": b"copier:pass word\n", "docs+former": b"copier:old\n"}


def test_a_share_without_allowed_sources_lets_nobody_in() -> None:
    text = render(ReplicaShare("docs", "/srv/docs", "copier", Secret("p"), ()))
    assert "hosts allow" not in text
    assert "hosts deny = *" in text


@pytest.mark.parametrize(
    "line",
    [
        "use chroot = true",
        "write only = yes",
        "auth digest = sha256",
        "numeric ids = yes",
        "munge symlinks = no",
        "reverse lookup = no",
        "forward lookup = no",
        "max connections = 1",
        "timeout = 600",
        "fake super = no",
    ],
)
def test_the_configuration_says(line: str) -> None:
    assert line in render(SHARE).splitlines()


def test_the_order_of_replicas_changes_nothing() -> None:
    other = ReplicaShare("a", "/srv/a", "u", Secret("p"), ())
    assert render(SHARE, other) == render(other, SHARE)


@pytest.mark.parametrize(
    ("sample", "wanted"),
    [
        ((), b""),
        (("a", "b/c"), b"./a\0./b/c\0"),
        (("a/./b", "./a//c", "d/"), b"./a/b\0./a/c\0./d\0"),
        (("-rf", "# no comment", "new\nline", "\udcff"), b"./-rf\0./# no comment\0./new\nline\0./\xff\0"),
        (("..dots", "a/../b", "."), b"./..dots\0./b\0./.\0"),
    ],
)
def test_a_sample_is_written_for_rsync(sample: tuple[str, ...], wanted: bytes) -> None:
    assert verification.encode_sample(sample) == wanted


@pytest.mark.parametrize("path", ["", "/etc/passwd", "..", "../x", "a/../../x", "a\0b"])
def test_a_sampled_path_outside_the_source_is_refused(path: str) -> None:
    with pytest.raises(InvalidError):
        verification.encode_sample((path,))


def test_both_passes_tell_a_path_once_in_order() -> None:
    contents = ["<fc........ b", ".d..t...... ./"]
    metadata = ["*deleting   c", ".d..t...... ./", "<f+++++++++ a"]
    assert verification.describe(contents, metadata) == (
        ". differs in modification time",
        "a is not in the replica",
        "b differs in content",
        "c is only in the replica",
    )


def test_a_verification_may_be_silent_as_long_as_its_largest_file_takes_to_read(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(10_000)
    assert verification.lull_s(str(tmp_path), ("small", "large", "absent"), 100) == 100


REPORT: dict[str, Any] = {
    "version": "3.5.0",
    "capabilities": {
        "ACLs": True,
        "xattrs": True,
        "hardlinks": True,
        "hardlink_specials": True,
        "hardlink_symlinks": True,
    },
    "daemon_auth_list": ["sha512", "sha256", "sha1", "md5", "md4"],
}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, None),
        ({"version": "3.10.0"}, None),
        ({"version": "4.0.1"}, None),
        ({"version": "3.4.1"}, "rsync 3.5.0 or later (this is 3.4.1)"),
        ({"version": "3.5.0pre1"}, "rsync of a known version"),
        ({"capabilities": {**REPORT["capabilities"], "ACLs": False}}, "rsync with support for ACLs"),
        ({"daemon_auth_list": ["md5"]}, "rsync with the sha256 digest"),
        ({"daemon_auth_list": None}, "rsync of a known version"),
        ({"version": None}, "rsync of a known version"),
    ],
)
def test_the_probe_says_what_a_program_lacks(change: dict[str, Any], wanted: str | None) -> None:
    missing = judge(json.dumps({**REPORT, **change}))
    assert [item.what for item in missing] == ([wanted] if wanted else [])
    assert all(item.remedy for item in missing)


def test_a_program_that_reports_no_json_is_too_old() -> None:
    assert [item.what for item in judge("rsync  version 3.2.3  protocol version 31\n")] == ["rsync of a known version"]


@pytest.mark.parametrize("failure", [UnavailableError("not installed"), SystemCommandError(["rsync"], 1, "broken")])
async def test_the_probe_never_raises(tmp_path: Path, failure: Exception) -> None:
    def script(argv: tuple[str, ...], secret_input: bytes | None) -> Answer | None:
        raise failure

    host = make_host(tmp_path, commands=ScriptedCommands(script))
    assert len(await probe(Settings(), host)) == 1


async def test_the_probe_asks_for_stunnel_too(tmp_path: Path) -> None:
    def script(argv: tuple[str, ...], secret_input: bytes | None) -> Answer | None:
        if argv[0] != "rsync":
            raise UnavailableError("not installed")
        return Answer(json.dumps(REPORT))

    missing = await probe(Settings(), make_host(tmp_path, commands=ScriptedCommands(script)))
    assert [item.what for item in missing] == ["the program stunnel"]


@pytest.mark.parametrize(
    ("report", "is_enough"),
    [
        ("Initializing inetd mode configuration\nstunnel 5.68 on x86_64-pc-linux-gnu platform\n", True),
        ("stunnel 6.0 on x", True),
        ("stunnel 5.50 on x", False),
        ("usage: stunnel", False),
        ("", False),
    ],
)
def test_an_old_stunnel_is_not_enough(report: str, is_enough: bool) -> None:
    assert judge_tunnel(report) is is_enough


def test_the_settings_have_defaults_and_refuse_the_unknown() -> None:
    assert SettingsSchema().load({}) == Settings()
    for wrong in ({"progam": "rsync"}, {"io_timeout_s": 0}, {"program": ""}, {"busy_wait_s": -1}):
        with pytest.raises(ValidationError):
            SettingsSchema().load(wrong)
    assert all(field.metadata["description"] for field in SettingsSchema().fields.values())


def test_the_offer_is_for_this_contract() -> None:
    offer = Plugin().copy_driver()
    assert offer.name == "rsync"
    assert (offer.api.major, offer.api.minor <= CONTRACT.minor) == (CONTRACT.major, True)


def test_the_reason_of_an_agent_that_did_not_start_is_taken_from_its_log() -> None:
    text = (
        "2026/11/23 03:32:46 [3021] rsyncd version 3.5.0 starting, listening on port 18730\n"
        "2026/11/23 03:32:46 [3021] bind() failed: Address already in use (address-family 2)\n"
    )
    assert log_reasons(text) == "bind() failed: Address already in use (address-family 2)"
    assert log_reasons("") == "it gave no reason"


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4929 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:4929 0100007F:D9F0 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
"""


def test_a_listening_socket_is_found_in_the_kernel_s_table() -> None:
    assert list(listening.listening_sockets(TCP, 0x4929)) == ["socket:[4711]"]
    assert list(listening.listening_sockets(TCP, 23)) == []


def test_a_process_is_found_by_its_command_line(tmp_path: Path) -> None:
    for pid, argv, group in ((7, ("rsync", "--daemon", "--config=/r/c"), 7), (8, ("rsync", "--daemon"), 8), (9, (), 9)):
        (tmp_path / f"proc/{pid}").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/cmdline").write_text("".join(f"{word}\0" for word in argv))
        (tmp_path / f"proc/{pid}/stat").write_text(f"{pid} (a) b (c) S 1 {group} {group} 0\n")
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/10").mkdir()
    found = processes.find(KernelFs(tmp_path), lambda argv: "--config=/r/c" in argv)
    assert [(process.pid, process.is_leader) for process in found] == [(7, True)]
