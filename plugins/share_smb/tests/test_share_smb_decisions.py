"""What is decided without a Samba: rights, sections of the registry, accounts that are refused, what smbstatus said."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from marshmallow import ValidationError

from holdfast.errors import InvalidError, UnavailableError
from holdfast.hooks.base import CONTRACT
from holdfast.hooks.share import OpenFile, ShareGroup, ShareSession, ShareUser, ShownSnapshot, SmbExposure
from holdfast.testing.fakes import Answer, ScriptedCommands, make_host
from holdfast.values import Secret
from holdfast_share_smb import configuration
from holdfast_share_smb.access import Right, may_less, right_of
from holdfast_share_smb.accounts import Note, Present, conflicts, read_group, read_passwd
from holdfast_share_smb.former_versions import label
from holdfast_share_smb.plugin import Plugin
from holdfast_share_smb.probe import probe
from holdfast_share_smb.samba import Samba
from holdfast_share_smb.server import start_reasons
from holdfast_share_smb.settings import Settings, SettingsSchema
from holdfast_share_smb.status import read_status, sessions_of

DOCS = SmbExposure("docs", "/srv/docs", read_users=("bert",), read_groups=("team",), write_users=("anna",))
TEAM = (ShareGroup("team", 20_000, ("carl",)), ShareGroup("staff", 20_001, ("carl", "dora")))


@pytest.mark.parametrize(
    ("user", "groups", "right"),
    [
        ("anna", (), Right.WRITE),
        ("bert", (), Right.READ),
        ("carl", ("team",), Right.READ),
        ("carl", ("staff",), Right.NOTHING),
        ("zoe", (), Right.NOTHING),
    ],
)
def test_a_user_may_what_the_lists_say(user: str, groups: tuple[str, ...], right: Right) -> None:
    assert right_of(user, frozenset(groups), DOCS) is right
    assert right_of(user, frozenset(groups), replace(DOCS, is_read_only=True)) is min(right, Right.READ)
    assert right_of(user, frozenset(groups), None) is Right.NOTHING


@pytest.mark.parametrize(
    ("after", "losers"),
    [
        (DOCS, set()),
        (replace(DOCS, is_hidden=True, write_groups=("staff",)), set()),
        (replace(DOCS, is_read_only=True), {"anna"}),
        (replace(DOCS, read_groups=()), {"carl"}),
        (replace(DOCS, write_users=(), read_users=("anna", "bert")), {"anna"}),
        (None, {"anna", "bert", "carl"}),
    ],
)
def test_a_change_takes_something_from_some(after: SmbExposure | None, losers: set[str]) -> None:
    assert {user for user in ("anna", "bert", "carl", "dora") if may_less(user, TEAM, DOCS, after)} == losers


@pytest.mark.parametrize(
    "exposure",
    [
        DOCS,
        replace(DOCS, is_read_only=True),
        replace(DOCS, is_hidden=True),
        replace(DOCS, snapshots=()),
        replace(DOCS, read_users=("anna", "bert")),
        SmbExposure("docs", "/srv/docs"),
        SmbExposure("docs", "/srv/docs", write_groups=("staff", "team"), is_read_only=True),
        SmbExposure("docs", "/srv/with a space/docs", read_users=("bert",), is_read_only=True),
    ],
)
def test_a_section_is_read_back_as_it_was_written(exposure: SmbExposure) -> None:
    section = configuration.render_share(exposure, Settings())
    listing = configuration.render_import("docs", section) + "\n[theirs]\n\tpath = /x\n"
    found = configuration.read_sections(listing)
    assert configuration.read_share("docs", found["docs"]) == exposure
    assert configuration.is_ours(found["docs"])
    assert not configuration.is_ours(found["theirs"])


def test_snapshots_are_looked_for_where_they_are_bound_and_the_share_is_the_whole_of_each() -> None:
    shown = ShownSnapshot("monday", datetime(2026, 3, 2, 18, 0, 5, tzinfo=timezone(timedelta(hours=1))), "/x")
    section = configuration.render_share(replace(DOCS, snapshots=(shown,)), Settings(snapshot_dir="/run/s"))
    assert section["vfs objects"] == "shadow_copy2"
    assert (section["shadow:snapdir"], section["shadow:basedir"]) == ("/run/s/docs", DOCS.path)
    # Which they are is not told by the section, so that a new one is no change of it.
    assert configuration.render_share(replace(DOCS, snapshots=()), Settings(snapshot_dir="/run/s")) == section
    assert "vfs objects" not in configuration.render_share(DOCS, Settings())
    assert label(shown.taken_at) == "@GMT-2026.03.02-17.00.05"


def test_an_empty_list_lets_nobody_in() -> None:
    assert configuration.render_share(SmbExposure("docs", "/srv/docs"), Settings())["valid users"] == "+-"


def test_what_was_changed_in_the_registry_is_told_by_what_samba_acts_by() -> None:
    section = configuration.render_share(replace(DOCS, is_read_only=True), Settings())
    opened = {**section, "write list": "anna", "valid users": "anna, zoe"}
    found = configuration.read_share("docs", opened)
    assert (found.is_read_only, found.write_users, found.read_users) == (False, ("anna",), ("zoe",))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(DOCS, share="global"),
        replace(DOCS, share="homes"),
        replace(DOCS, share="a]\n[b"),
        replace(DOCS, path="srv"),
        replace(DOCS, path="/srv/%u"),
        replace(DOCS, path="/srv/a\nguest ok = yes"),
        replace(DOCS, write_users=("anna, root",)),
        replace(DOCS, read_groups=("@team",)),
    ],
)
def test_what_samba_would_take_for_something_else_is_refused(wrong: SmbExposure) -> None:
    with pytest.raises(InvalidError) as refused:
        configuration.render_share(wrong, Settings())
    assert refused.value.reasons[0].remedy


PRESENT = Present(
    read_passwd("root:x:0:0:root:/root:/bin/sh\nanna:x:20000:19999::/nonexistent:/usr/sbin/nologin\n"),
    read_group("root:x:0:\nteam:x:20000:bert,anna\n"),
)
OURS = Note({"anna": (20_000, "1")}, {"team": 20_000})


def user(name: str, uid: int) -> ShareUser:
    return ShareUser(name, uid, Secret("x"), "1")


@pytest.mark.parametrize(
    ("users", "groups", "note", "codes"),
    [
        ((user("anna", 20_000),), (ShareGroup("team", 20_000, ()),), OURS, ()),
        ((user("zoe", 20_001),), (), OURS, ()),
        ((user("root", 20_001),), (), OURS, ("name-taken",)),
        ((user("zoe", 0),), (), OURS, ("number-taken",)),
        ((user("anna", 20_000),), (), Note(), ("name-taken",)),
        ((user("anna", 20_007),), (), OURS, ("name-taken",)),
        ((), (ShareGroup("root", 20_001, ()), ShareGroup("x", 0, ())), OURS, ("name-taken", "number-taken")),
    ],
)
def test_an_account_of_somebody_else_is_refused(
    users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...], note: Note, codes: tuple[str, ...]
) -> None:
    assert tuple(reason.code for reason in conflicts(users, groups, PRESENT, note)) == codes


def test_members_are_read_in_order() -> None:
    assert PRESENT.groups["team"] == (20_000, ("anna", "bert"))


def status(**changes: object) -> str:
    server = {"pid": "63", "task_id": "0"}
    opened = {"server_id": server, "uid": 20_000, "access_mask": {"WRITE_DATA": True, "APPEND_DATA": False}}
    reading = {"server_id": server, "uid": 20_000, "access_mask": {"WRITE_DATA": False, "APPEND_DATA": False}}
    other = {**opened, "uid": 20_001}
    plain = {
        "sessions": {"1": {"server_id": server, "uid": 20_000, "username": "anna", "remote_machine": "10.0.0.7"}},
        "tcons": {
            "7": {"service": "docs", "server_id": server, "session_id": "1"},
            "8": {"service": "theirs", "server_id": server, "session_id": "1"},
            "9": {"service": "docs", "server_id": server, "session_id": "gone"},
        },
        "open_files": {
            "/srv/docs/a": {"service_path": "/srv/docs", "filename": "a", "opens": {"63/1": opened}},
            "/srv/docs/b": {"service_path": "/srv/docs", "filename": "b", "opens": {"63/2": reading, "63/3": other}},
            "/srv/docs/.": {"service_path": "/srv/docs", "filename": ".", "opens": {"63/4": reading}},
        },
        "byte_range_locks": {"/srv/docs/a": {"locks": [{"server_id": server}]}},
        **changes,
    }
    return json.dumps(plain)


def test_connections_are_read_with_what_they_hold() -> None:
    found = read_status(status(), {"docs": "/srv/docs"})
    files = (OpenFile("a", is_writing=True, is_locked=True), OpenFile("b"))
    assert sessions_of(found) == (ShareSession("docs", "10.0.0.7", "anna", files),)
    assert [(connection.pid, connection.number) for connection in found] == [(63, "7")]


def test_a_server_without_clients_has_no_connections() -> None:
    assert read_status("{}", {"docs": "/srv/docs"}) == ()


@pytest.mark.parametrize("report", ["", "[]", status(tcons={"7": {"service": "docs"}})])
def test_what_is_no_report_is_said(report: str) -> None:
    with pytest.raises(UnavailableError):
        read_status(report, {"docs": "/srv/docs"})


async def test_a_password_goes_by_standard_input_only(tmp_path: Path) -> None:
    inputs: list[bytes | None] = []

    def script(argv: tuple[str, ...], data: bytes | None) -> Answer:
        inputs.append(data)
        return Answer()

    commands = ScriptedCommands(script)
    await Samba(Settings(), make_host(tmp_path, commands=commands)).set_password("anna", Secret("pass word"))
    assert inputs == [b"pass word\npass word\n"]
    assert "pass word" not in str(commands.calls)


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        ("Version 4.17.12-Debian\n", 0),
        ("Version 4.23.0\n", 0),
        ("Version 4.16.9\n", 1),
        ("Version 3.6.25\n", 1),
        ("no version\n", 1),
    ],
)
async def test_the_version_is_judged(version: str, missing: int, tmp_path: Path) -> None:
    host = make_host(tmp_path, commands=ScriptedCommands(lambda argv, data: Answer(version)))
    assert len(await probe(Settings(), host)) == missing


async def test_what_is_not_installed_is_named_with_its_package(tmp_path: Path) -> None:
    commands = ScriptedCommands(lambda argv, data: None, lacking=frozenset(("smbd", "useradd")))
    found = await probe(Settings(), make_host(tmp_path, commands=commands))
    assert [(missing.what, missing.remedy.split()[3].rstrip(",")) for missing in found] == [
        ("the program smbd", "samba"),
        ("the program useradd", "passwd"),
    ]


async def test_without_the_module_for_snapshots_its_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "vfs").mkdir()
    (tmp_path / "vfs/there.so").write_text("")
    commands = ScriptedCommands(lambda argv, data: Answer(f"Paths:\n   MODULESDIR: {tmp_path}\n"))
    samba = Samba(Settings(), make_host(tmp_path, commands=commands))
    await samba.need_module("there")
    with pytest.raises(UnavailableError) as refused:
        await samba.need_module("shadow_copy2")
    assert "samba-vfs-modules" in refused.value.reasons[0].remedy


def test_why_it_did_not_start_is_picked_from_its_log() -> None:
    log = "[2026/11/28 01:03:39, 0] ../../source3/smbd/server.c:1741(main)\n  open_socket_in failed\n"
    assert start_reasons(log) == "open_socket_in failed"
    assert start_reasons("") == "it gave no reason"


def test_settings_have_defaults_and_limits() -> None:
    assert SettingsSchema().load({}) == Settings()
    for wrong in ({"least_dialect": "NT1"}, {"group_gid": 0}, {"unknown": 1}, {"workgroup": "a b"}):
        with pytest.raises(ValidationError):
            SettingsSchema().load(wrong)


def test_the_offer_is_for_this_contract() -> None:
    offer = Plugin().smb_driver()
    assert (offer.name, offer.api) == ("samba", CONTRACT)
