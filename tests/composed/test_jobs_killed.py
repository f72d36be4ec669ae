"""A daemon killed at every mark of a job, one after the other: the next one goes on, and in the end all is done."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from holdfast.loading.discovery import Found
from holdfast.testing.ports import free_port
from tests.composed.appliance import LOOPBACK, Appliance, Mechanisms, SetClock, World, pair, running, running_model
from tests.composed.mirrors import eventually, make_mirror, make_spare_pool
from tests.composed.test_the_main_job import make_group

MIB = 1 << 20
WITHIN_S = 10.0


@dataclass
class Killer:
    """Ends a kind of job where it is, as kill -9 does, once `left` of its marks are durable."""

    kind: str = ""
    left: int = 0
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    def observe(self, kind: str, persisted: int) -> None:
        if kind == self.kind and self.left:
            self.left -= 1
            if not self.left:
                self.killed.set()
                raise asyncio.CancelledError


class MortalNode:
    """A node whose daemon is killed and started again over the same disks and the same kernel."""

    def __init__(self, world: World, directory: Path, name: str = "a") -> None:
        self._directory = directory
        self._name = name
        self._ports = [free_port(LOOPBACK) for _ in range(3)]
        self.mechanisms = Mechanisms(world, name, directory)
        self.killer = Killer()
        self.clock = SetClock()
        world.copies.now = self.clock.now

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Appliance]:
        plugins = (Found("memory", None, None, self.mechanisms, None),)
        async with running(
            self._name,
            self._directory,
            plugins,
            self.mechanisms,
            observe_step=self.killer.observe,
            ports=self._ports,
            clock=self.clock,
        ) as appliance:
            yield appliance


@pytest.fixture
def mortal(directory: Path) -> tuple[World, MortalNode]:
    world = World()
    return world, MortalNode(world, directory / "a")


async def kill_at_every_mark(
    node: MortalNode, kind: str, path: str, body: dict[str, Any], look: Callable[[], Awaitable[None]] | None = None
) -> int:
    """Ask for a job, and kill daemon after daemon at its next mark until one ends it; how many died.

    `look` is called after each death, and at the end.
    """
    job: Any = None
    # Each dies before the step that it found, the next one once that is done: every beginning and every end.
    for died, marks in enumerate(itertools.cycle((1, 2))):
        node.killer.kind, node.killer.left = kind, marks
        node.killer.killed.clear()
        async with node.running() as a:
            if job is None:
                job = await a.call("POST", path, body, headers={"Prefer": "respond-async"})
            over = asyncio.ensure_future(a.system.ground.jobs.wait(job["id"], WITHIN_S))
            await asyncio.wait({over, asyncio.ensure_future(node.killer.killed.wait())}, return_when="FIRST_COMPLETED")
            record = await over
            if look is not None:
                await look()
            if record.state.value == "done":
                return died
            assert (record.state.value, node.killer.killed.is_set()) == ("running", True), record
    raise AssertionError


async def test_a_growth_goes_on_wherever_it_was_killed(mortal: tuple[World, MortalNode], directory: Path) -> None:
    world, node = mortal
    async with running_model(world, "b", directory / "b") as b:
        async with node.running() as a:
            await make_pair(a, b)
            await make_mirror(a, kind="nas", size_bytes=16 * MIB)
        died = await kill_at_every_mark(
            node, "mirror.grow", "/v1/mirrors/m/grow", {"volume": "v", "size_bytes": 32 * MIB}
        )
        assert died == 2 * 9
        async with node.running() as a:
            for each in (a, b):
                found = await eventually(each, "/v1/mirrors/m", "is_in_sync", True)
                assert found["this_node"]["status"]["volumes"][0]["size_bytes"] == 32 * MIB
                volume = await each.get("/v1/volumes/v")
                assert (volume["actual"]["size_bytes"], volume["drift"]) == (32 * MIB, [])


async def test_a_replacement_goes_on_wherever_it_was_killed(mortal: tuple[World, MortalNode], directory: Path) -> None:
    world, node = mortal
    async with running_model(world, "b", directory / "b") as b:
        async with node.running() as a:
            await make_pair(a, b)
            await make_mirror(a)
            node.mechanisms.mirrors.lose_disk("m")
            await make_spare_pool(a)
        body = {"volume": "v", "pool": "spare", "remove_old": True}
        died = await kill_at_every_mark(node, "mirror.replace-disk", "/v1/mirrors/m/replace-disk", body)
        assert died == 2 * 7
        async with node.running() as a:
            for each in (a, b):
                await eventually(each, "/v1/mirrors/m", "is_in_sync", True)
            volume = await a.get("/v1/volumes/v")
            assert (volume["pool"], volume["drift"]) == ("spare", [])
            assert {(v.pool, v.name) for v in await node.mechanisms.volumes.list_volumes()} == {("spare", "v")}


async def test_a_drill_goes_on_wherever_it_was_killed_and_its_report_says_so(
    mortal: tuple[World, MortalNode], directory: Path
) -> None:
    world, node = mortal
    async with running_model(world, "b", directory / "b") as b:
        async with node.running() as a:
            await make_pair(a, b)
            await make_group(a)
            await a.change("POST", "/v1/groups/g/start")
        died = await kill_at_every_mark(node, "group.drill", "/v1/groups/g/drill", {})
        assert died == 2 * 3
        async with node.running() as a:
            for each in (a, b):
                assert (await each.get("/v1/groups/g"))["active_node"] == "a"
                [report] = await each.items("/v1/groups/g/drills")
                assert (report["is_ok"], report["was_interrupted"]) == (True, True)
                assert [(m["destination"], m["gap_ms"]) for m in report["moves"]] == [("b", 120), ("a", 120)]


async def test_a_maintenance_goes_on_wherever_it_was_killed(mortal: tuple[World, MortalNode], directory: Path) -> None:
    world, node = mortal
    async with running_model(world, "b", directory / "b") as b:
        async with node.running() as a:
            await make_pair(a, b)
            await make_group(a)
            await a.change("POST", "/v1/groups/g/start")
        died = await kill_at_every_mark(node, "node.maintenance", "/v1/node/maintenance", {})
        assert died == 2 * 3
        async with node.running() as a:
            for each in (a, b):
                assert (await each.get("/v1/groups/g"))["active_node"] == "b"
                assert [mark["node"] for mark in (await each.get("/v1/node"))["in_maintenance"]] == ["a"]


async def make_pair(a: Appliance, b: Appliance) -> None:
    await pair(a, b)
    for node in (a, b):
        await node.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})


async def test_a_partner_is_given_up_and_another_machine_made_of_it_wherever_either_was_killed(
    mortal: tuple[World, MortalNode], directory: Path
) -> None:
    world, node = mortal
    async with running_model(world, "b", directory / "b") as b, node.running() as a:
        await make_pair(a, b)
        await make_mirror(a)
        target = {"name": "t", "mirror": "m", "units": [{"lun": 1, "volume": "v"}]}
        await a.change("POST", "/v1/targets", {**target, "access": [{"initiator": "iqn.2026-01.com.example:c"}]})
    world.mirrors.power_off("b")
    world.mirrors.nodes["b"].media.clear()
    world.failover.lose("b")
    assert await kill_at_every_mark(node, "pairing.give-up", "/v1/pairing/give-up?confirm=b", {}) == 2 * 3
    world.mirrors.power_on("b")
    world.failover.dead_monitors.discard("b")
    async with running_model(world, "b", directory / "new-b") as b:
        await b.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
        async with node.running() as a:
            await pair(a, b)
        assert await kill_at_every_mark(node, "pairing.rebuild", "/v1/pairing/rebuild", {}) == 2 * 4
        async with node.running() as a:
            for each in (a, b):
                await eventually(each, "/v1/mirrors/m", "is_in_sync", True)
            assert (await b.get("/v1/targets/t"))["iqn"] == (await a.get("/v1/targets/t"))["iqn"]
