"""What is decided without a kernel's server: exports and their table, and what the kernel tells of its clients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from marshmallow import ValidationError

from holdfast.errors import InvalidError
from holdfast.hooks.base import CONTRACT
from holdfast.hooks.share import NfsClient, NfsExposure, OpenFile, Squash
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.fakes import Answer, ScriptedCommands, make_host
from holdfast_share_nfs import exports
from holdfast_share_nfs.clients import CLIENTS, expire, read_address, read_clients, read_devices, read_files
from holdfast_share_nfs.plugin import Plugin
from holdfast_share_nfs.probe import probe
from holdfast_share_nfs.settings import Settings, SettingsSchema

FSID = "0b5f9a3e-8d0c-4a8e-9d3d-2f3c6f1f0001"
DOCS = NfsExposure("docs", "/srv/docs", FSID, (NfsClient("10.0.0.0/24"), NfsClient("fd00::7", True, Squash.NONE)))
# As exportfs keeps it (nfs-utils 2.6.2).
TABLE = (
    "/run/x/root/docs\t10.0.0.0/24(rw,sync,wdelay,hide,nocrossmnt,secure,root_squash,no_all_squash,no_subtree_check,"
    f"secure_locks,acl,mountpoint,no_pnfs,fsid={FSID},anonuid=65534,anongid=65534,sec=sys,rw,secure,root_squash)\n"
    "/srv/with\\040space\t*(ro,sync,fsid=0,sec=sys,ro,secure,root_squash,no_all_squash)\n"
)


def test_the_table_is_read_whoever_made_the_exports() -> None:
    table = exports.read_table(TABLE)
    assert set(table) == {("10.0.0.0/24", "/run/x/root/docs"), ("*", "/srv/with space")}
    assert table["10.0.0.0/24", "/run/x/root/docs"].issuperset(exports.options(DOCS.clients[0], DOCS, Settings()))


@pytest.mark.parametrize(
    ("client", "is_read_only", "words"),
    [
        (NfsClient("10.0.0.7"), False, {"rw", "root_squash", "no_all_squash"}),
        (NfsClient("10.0.0.7"), True, {"ro", "root_squash", "no_all_squash"}),
        (NfsClient("10.0.0.7", True), False, {"ro", "root_squash", "no_all_squash"}),
        (NfsClient("10.0.0.7", squash=Squash.NONE), False, {"rw", "no_root_squash", "no_all_squash"}),
        (
            NfsClient("10.0.0.7", squash=Squash.ALL),
            False,
            {"rw", "root_squash", "all_squash", "anonuid=65534", "anongid=19999"},
        ),
    ],
)
def test_options_say_what_a_client_may(client: NfsClient, is_read_only: bool, words: set[str]) -> None:
    always = {"sync", "no_subtree_check", "mountpoint", f"fsid={FSID}"}
    assert set(exports.options(client, replace(DOCS, is_read_only=is_read_only), Settings())) == words | always


def test_what_is_exported_as_wanted_reads_as_wanted() -> None:
    wanted = replace(DOCS, is_read_only=True)
    there = [(c.network, frozenset(exports.options(c, wanted, Settings()))) for c in wanted.clients]
    assert exports.read_exposure(wanted, there, Settings()) == wanted


@pytest.mark.parametrize("squash", list(Squash))
def test_each_squash_is_told_from_the_others_in_the_table(squash: Squash) -> None:
    asked = replace(DOCS, clients=(NfsClient("10.0.0.7", squash=squash),))
    there = frozenset(exports.options(asked.clients[0], asked, Settings()))
    for other in Squash:
        wanted = replace(DOCS, clients=(NfsClient("10.0.0.7", squash=other),))
        assert exports.read_exposure(wanted, [("10.0.0.7", there)], Settings()) == asked


def test_what_is_exported_otherwise_reads_as_it_is() -> None:
    there = [("10.0.0.0/8", frozenset(("rw", "all_squash"))), ("10.9.9.9", frozenset(("ro", "root_squash")))]
    found = exports.read_exposure(replace(DOCS, is_read_only=True), there, Settings())
    clients = (NfsClient("10.0.0.0/8", False, Squash.ALL), NfsClient("10.9.9.9", True, Squash.ROOT))
    assert found == replace(DOCS, clients=clients)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(DOCS, share="../x"),
        replace(DOCS, fsid="0"),
        replace(DOCS, clients=(NfsClient("*"),)),
        replace(DOCS, clients=(NfsClient("10.0.0.7(rw)"),)),
        replace(DOCS, clients=(NfsClient("@all"),)),
    ],
)
def test_what_exportfs_would_take_for_something_else_is_refused(wrong: NfsExposure) -> None:
    with pytest.raises(InvalidError) as refused:
        exports.check(wrong)
    assert refused.value.reasons[0].remedy


# As Linux 6.1 tells it (fs/nfsd/nfs4state.c, nfs4_show_open, nfs4_show_lock, nfs4_show_deleg).
STATES = """\
- 0x01: { type: open, access: rw, deny: --, superblock: "fd:03:131", filename: "docs/a", owner: "open id:x" }
- 0x02: { type: lock, superblock: "fd:03:131", filename: "docs/a", owner: "lock id:y" }
- 0x03: { type: open, access: r-, deny: --, superblock: "fd:03:140", filename: "docs/b", owner: "open id:z" }
- 0x04: { type: deleg, access: r, superblock: "fe:10:7", filename: "more/c" }
"""
INFO = 'clientid: 0x1\naddress: "10.77.1.21:780"\nstatus: confirmed\nname: "Linux NFSv4.2 c"\n'


def test_opens_and_locks_of_one_file_are_one_and_what_was_only_lent_is_no_open_file() -> None:
    files = (OpenFile("docs/a", is_writing=True, is_locked=True), OpenFile("docs/b"))
    assert read_files(STATES) == {(0xFD, 3): files}
    assert read_devices(STATES) == {(0xFD, 3), (0xFE, 0x10)}


@pytest.mark.parametrize(
    ("info", "address"),
    [(INFO, "10.77.1.21"), ('address: "[fd00::7]:801"\n', "fd00::7"), ("status: confirmed\n", None)],
)
def test_the_address_of_a_client_is_read(info: str, address: str | None) -> None:
    assert read_address(info) == address


def test_clients_are_read_and_made_to_let_go(tmp_path: Path) -> None:
    place = tmp_path / CLIENTS.lstrip("/") / "5"
    place.mkdir(parents=True)
    for name, text in (("info", INFO), ("states", STATES), ("ctl", "")):
        (place / name).write_text(text)
    (tmp_path / CLIENTS.lstrip("/") / "6").mkdir()  # it has just left
    [client] = read_clients(KernelFs(tmp_path))
    assert (client.number, client.address) == ("5", "10.77.1.21")
    expire(KernelFs(tmp_path), client)
    assert (place / "ctl").read_text() == "expire\n"


@pytest.mark.parametrize(
    ("systems", "returncode", "missing"), [("nodev\tnfsd\n", 1, 0), ("nodev\ttmpfs\n", 0, 0), ("nodev\ttmpfs\n", 1, 1)]
)
async def test_the_kernel_is_asked_for_its_server(systems: str, returncode: int, missing: int, tmp_path: Path) -> None:
    host = make_host(tmp_path, commands=ScriptedCommands(lambda argv, data: Answer(returncode=returncode)))
    (tmp_path / "kernel/proc").mkdir()
    (tmp_path / "kernel/proc/filesystems").write_text(systems)
    assert len(await probe(Settings(), host)) == missing


async def test_what_is_not_installed_is_named_with_its_package(tmp_path: Path) -> None:
    commands = ScriptedCommands(lambda argv, data: None, lacking=frozenset(("exportfs",)))
    found = await probe(Settings(), make_host(tmp_path, commands=commands))
    assert [(missing.what, missing.remedy) for missing in found] == [
        ("the program exportfs", "install the package nfs-kernel-server")
    ]


def test_settings_have_defaults_and_limits() -> None:
    assert SettingsSchema().load({}) == Settings()
    for wrong in ({"threads": 0}, {"lease_s": 1}, {"unknown": 1}):
        with pytest.raises(ValidationError):
            SettingsSchema().load(wrong)


def test_the_offer_is_for_this_contract() -> None:
    offer = Plugin().nfs_driver()
    assert (offer.name, offer.api) == ("knfsd", CONTRACT)
