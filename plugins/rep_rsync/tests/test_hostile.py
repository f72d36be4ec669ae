"""A source that has the ID and the password of one replica share, and wants more than to write a copy into that."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.hooks.copying import Tls
from holdfast.hooks.replication import AgentSpec
from holdfast.testing.certificates import make_identity
from holdfast.testing.trees import differences, read_tree
from holdfast.values import Secret
from holdfast_rep_rsync import tunnel
from holdfast_rep_rsync.options import PARTIAL
from plugins.rep_rsync.tests.machine import Machine, wait_until


class Attacker:
    """Real rsync, in clear or through a tunnel with a certificate that the agent trusts; `outside` is not its own."""

    def __init__(self, machine: Machine, tls: Tls | None) -> None:
        self.machine = machine
        self.tls = tls
        self.outside = machine.directory / "outside"
        self.outside.mkdir()
        (self.outside / "file").write_bytes(b"theirs")
        (machine.source / "file").write_bytes(b"mine")
        (machine.replica / "kept").write_bytes(b"kept")
        self.before = {path: read_tree(path) for path in (self.outside, machine.replica)}

    def way(self) -> list[str]:
        if self.tls is None:
            return []
        files = tunnel.TunnelFiles(self.machine.directory / "trusted", self.machine.directory / "log")
        files.trusted.write_text("".join(self.tls.trusted))
        config = self.machine.directory / "tunnel"
        config.write_text(tunnel.render_client(self.machine.spec, self.tls, files, connect_s=5, dead_peer_s=60))
        return [f"--rsh=stunnel '{config}'"]

    def url(self, path: str) -> str:
        return f"rsync://copier@127.0.0.1:{self.machine.spec.port}/{path}"

    async def rsync(self, *arguments: str) -> int:
        """The exit code; a connection before it that is just leaving is waited for, and is no refusal."""
        while True:
            done, told = await self.machine.try_rsync(*self.way(), *arguments)
            if "max connections" not in told:
                return done
            await asyncio.sleep(0.05)

    def push(self, path: str = "docs/") -> list[str]:
        return [f"{self.machine.source}/", self.url(path)]

    def assert_nothing_changed(self) -> None:
        for path, before in self.before.items():
            assert differences(before, read_tree(path)) == (), path


@pytest.fixture(params=["in clear", "encrypted"])
async def attacker(machine: Machine, request: pytest.FixtureRequest) -> Attacker:
    tls = make_identity(machine.directory / "keys", "a") if request.param == "encrypted" else None
    machine.spec = AgentSpec(machine.spec.address, machine.spec.port, tls)
    attacker = Attacker(machine, tls)
    other = replace(machine.share, name="other", path=str(attacker.outside), password=Secret("another one"))
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share, other))
    return attacker


OPTIONS = (
    *("--inplace", "--append", "--write-devices", "--copy-devices", "--temp-dir=/", "--backup"),
    *("--backup-dir=../outside", "--link-dest=../outside", "--copy-dest=../outside", "--compare-dest=../outside"),
    *("--delay-updates", "--fuzzy", "--fake-super", "-M--fake-super", "-M--log-file=/outside/log", "--super"),
    *("-M--copy-links", "-M--munge-links", "--keep-dirlinks", "--usermap=0:1", "--chmod=4777", "-M--config=/outside/x"),
)
HERE = {"--chmod=4777", "--usermap=0:1", "--super", "--fake-super", "--copy-devices"}
"""Options of the attacker's own side, which it may give: the agent is told nothing of them, or refuses all the same."""


async def test_an_option_that_no_copy_of_ours_has_is_refused(attacker: Attacker) -> None:
    accepted = [option for option in OPTIONS if await attacker.rsync("-r", option, *attacker.push()) == 0]
    assert set(accepted) <= HERE, accepted
    for option in set(OPTIONS) - HERE:
        assert option not in accepted
    (attacker.machine.replica / "file").unlink(missing_ok=True)
    assert [path.name for path in attacker.outside.iterdir()] == ["file"]
    assert (attacker.outside / "file").read_bytes() == b"theirs"
    # The negative control: nothing but the option made the difference.
    assert await attacker.rsync("-r", *attacker.push()) == 0


@pytest.mark.parametrize(
    "path",
    ["other/", "other+note/", "docs+former/", "docs+note/", "global/", "no-such/", "../", "/", "docs+former+note/"],
)
async def test_no_other_module_opens(attacker: Attacker, path: str) -> None:
    assert await attacker.rsync("-r", *attacker.push(path)) != 0
    attacker.assert_nothing_changed()


@pytest.mark.parametrize("path", ["docs/../outside/", "docs/../../etc/", "docs//../../outside/", "docs/x/../../../"])
async def test_a_path_with_parents_ends_at_the_top_of_the_replica(attacker: Attacker, path: str) -> None:
    await attacker.rsync("-r", *attacker.push(path))
    assert differences(attacker.before[attacker.outside], read_tree(attacker.outside)) == ()
    assert not (attacker.machine.directory / "file").exists()


async def test_nothing_is_read_back(attacker: Attacker, tmp_path: Path) -> None:
    back = attacker.machine.directory / "back"
    back.mkdir()
    for path in ("docs/", "docs/kept", "docs+note/", "other/", f"docs/{PARTIAL}/"):
        assert await attacker.rsync("-r", attacker.url(path), f"{back}/") != 0
    assert list(back.iterdir()) == []
    attacker.assert_nothing_changed()


async def test_a_part_kept_aside_stays_in_the_replica_wherever_it_was_asked_for(attacker: Attacker) -> None:
    (attacker.machine.source / "file").write_bytes(os.urandom(4 << 20))
    for place in ("/../outside", "../outside", str(attacker.outside)):
        partial = ("--partial", f"--partial-dir={place}", "--bwlimit=1000")
        copying = asyncio.create_task(attacker.rsync("-r", *partial, *attacker.push()))
        await wait_until(lambda: any(attacker.machine.replica.glob(".file.*")), within_s=10)
        for pid in attacker.machine.connections_of_any_kind():
            os.kill(pid, 15)
        assert await copying != 0
        # What the attempt before kept would be written on where it lies.
        for path in attacker.machine.replica.iterdir():
            if path.is_dir():
                await asyncio.to_thread(shutil.rmtree, path)
    assert differences(attacker.before[attacker.outside], read_tree(attacker.outside)) == ()


async def test_links_and_devices_of_a_source_lead_nowhere(attacker: Attacker) -> None:
    source, replica = attacker.machine.source, attacker.machine.replica
    (source / "out").symlink_to("../../../etc")
    (source / "absolute").symlink_to(attacker.outside)
    os.mknod(source / "null", 0o20666, os.makedev(1, 3))
    (replica / "file").symlink_to(attacker.outside / "file")
    (replica / "dir").symlink_to(attacker.outside)
    (source / "dir").mkdir()
    (source / "dir/file").write_bytes(b"mine")
    assert await attacker.rsync("-a", *attacker.push()) == 0
    assert (attacker.outside / "file").read_bytes() == b"theirs"
    assert (replica / "out").readlink() == Path("../../../etc")
    assert (replica / "dir/file").read_bytes() == b"mine"
    assert not (replica / "dir").is_symlink()
