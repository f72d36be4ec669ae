"""Two whole daemons with real rsync and stunnel below them: the certificates of pairing are what encrypts a copy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast.hooks.base import Host
from holdfast.loading.discovery import Found
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.ports import free_port
from holdfast.testing.trees import read_tree
from holdfast_rep_rsync.driver import RsyncDriver, open_driver
from holdfast_rep_rsync.settings import Settings
from tests.composed.appliance import LOOPBACK, Appliance, Mechanisms, Refused, World, pair, running

MIB = 1 << 20
LOGIN = {"user": "copier", "password": "only for tests"}


@dataclass
class Side:
    """One node, and where its agent listens."""

    node: Appliance
    driver: RsyncDriver
    port: int

    def place(self, volume: str) -> Path:
        return self.node.config.mount_dir / "main" / volume / "x"


@contextlib.asynccontextmanager
async def side(world: World, name: str, directory: Path) -> AsyncIterator[Side]:
    for place in ("rsync-state", "rsync-run"):
        (directory / place).mkdir(parents=True)
    host = Host(name, SystemCommands(), KernelFs(), SystemClock(), directory / "rsync-state", directory / "rsync-run")
    driver = await open_driver(Settings(), host)
    mechanisms = Mechanisms(world, name, directory)
    mechanisms.copies = driver  # type: ignore[assignment]
    plugins = (Found("memory", None, None, mechanisms, None),)
    try:
        async with running(name, directory, plugins, mechanisms) as node:
            yield Side(node, driver, free_port(LOOPBACK))
    finally:
        await driver.stop_agent()


async def furnish(one: Side) -> None:
    """A source, and an encrypted agent."""
    await one.node.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
    await make_share(one, "docs")
    # What the model of a snapshot can copy: files, and the links between them.
    for name in ("one", "deep/two", "deep/er/three", "-rf", "a name\nof two lines"):
        path = one.place("docs") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name} of {one.node.config.node}")
    (one.place("docs") / "out").symlink_to("../../etc")
    agent = {"is_enabled": True, "address": LOOPBACK, "port": one.port}
    await one.node.change("PUT", "/v1/agent", agent)


async def make_share(one: Side, name: str) -> None:
    volume = {"pool": "main", "name": name, "size_bytes": 64 * MIB, "kind": "nas"}
    await one.node.change("POST", "/v1/volumes", volume)
    await one.node.change("POST", "/v1/shares", {"name": name, "volume": name, "path": "x"})


async def make_task(source: Side, destination: Side, name: str, **more: Any) -> None:
    """A replica share of its own at the destination, and its task."""
    await make_share(destination, name)
    replica = {"name": name, "share": name, "allowed_sources": ["127.0.0.1", LOOPBACK], **LOGIN}
    await destination.node.change("POST", "/v1/replica-shares", replica)
    where = {"agent_address": LOOPBACK, "agent_port": destination.port, "replica_share": name}
    task = {"name": name, "share": "docs", "retry_delay_s": 1, "retries": 1, **where, **LOGIN, **more}
    await source.node.change("POST", "/v1/replication-tasks", task)


async def run(source: Side, name: str, **body: Any) -> Any:
    return (await source.node.change("POST", f"/v1/replication-tasks/{name}/run", body))["result"]


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    world = World()
    async with side(world, "a", tmp_path / "a") as a, side(world, "b", tmp_path / "b") as b:
        await pair(a.node, b.node)
        for one in (a, b):
            await furnish(one)
        yield a, b


def assert_copied(source: Side, destination: Side, name: str) -> None:
    trees = [read_tree(place) for place in (source.place("docs"), destination.place(name))]
    one, other = ({path: (entry.content, entry.target) for path, entry in tree.items()} for tree in trees)
    assert one == other


async def test_a_pair_copies_across_and_within_and_changes_a_password(sides: tuple[Side, Side]) -> None:
    """Across both ways at once; several sources into one destination; one source to several destinations."""
    a, b = sides
    await make_task(a, b, "a-to-b")
    await make_task(b, a, "b-to-a")
    await make_task(a, a, "a-to-a")
    await make_task(b, b, "b-to-b")
    await asyncio.gather(run(a, "a-to-b"), run(b, "b-to-a"))
    await asyncio.gather(run(a, "a-to-a"), run(b, "b-to-b"))
    for source, destination, name in ((a, b, "a-to-b"), (b, a, "b-to-a"), (a, a, "a-to-a"), (b, b, "b-to-b")):
        assert_copied(source, destination, name)
    rotated = await b.node.change("POST", "/v1/replica-shares/a-to-b/rotate", {"password": "a new one for tests"})
    assert rotated["result"]["tasks_told"] == 1
    (a.place("docs") / "more").write_text("more")
    assert (await run(a, "a-to-b"))["files_sent"] == 1
    assert_copied(a, b, "a-to-b")


async def test_who_is_no_partner_is_let_in_with_a_pinned_certificate_only(tmp_path: Path) -> None:
    world = World()
    async with side(world, "a", tmp_path / "a") as a, side(world, "b", tmp_path / "b") as b:
        for one in (a, b):
            await furnish(one)
        path = "/v1/agent/certificate"
        of_a, of_b = [(await one.node.get(path))["certificate"] for one in (a, b)]
        await make_task(a, b, "far", certificate=of_b, retries=0)
        with pytest.raises(Refused, match="does not trust the certificate of this node"):
            await run(a, "far")
        trusted = {"source_certificates": [of_a]}
        await b.node.change("PATCH", "/v1/replica-shares/far", trusted)
        await run(a, "far")
        assert_copied(a, b, "far")
        await a.node.change("PATCH", "/v1/replication-tasks/far", {"certificate": of_a})
        with pytest.raises(Refused, match="not the agent whose certificate is trusted"):
            await run(a, "far")


async def test_in_clear_only_where_both_sides_say_so(sides: tuple[Side, Side]) -> None:
    a, b = sides
    await make_task(a, b, "a-to-b", transport="plain", retries=0)
    with pytest.raises(Refused, match="agent"):
        await run(a, "a-to-b")
    agent = {"is_enabled": True, "address": LOOPBACK, "port": b.port, "transport": "plain"}
    await b.node.change("PUT", "/v1/agent", agent)
    await run(a, "a-to-b")
    assert_copied(a, b, "a-to-b")
    await a.node.change("PATCH", "/v1/replication-tasks/a-to-b", {"transport": "tls"})
    with pytest.raises(Refused, match="does not speak TLS"):
        await run(a, "a-to-b")
