"""A node is lost for good, and another machine of its name takes its place: two whole daemons over the models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from holdfast.hooks.replication import FenceAnswer
from holdfast.testing.mirror import RecordingArbiter, serving
from tests.composed.appliance import Appliance, Refused, World, pair, running_model
from tests.composed.mirrors import eventually
from tests.composed.test_the_main_job import LINKS, make_group

MIB = 1 << 20
GIVE_UP = "/v1/pairing/give-up?confirm=b"
REBUILD = "/v1/pairing/rebuild"
POOL = {"name": "main", "disks": ["/dev/memory-1"]}


class Place:
    """Node a, and whatever machine is b."""

    def __init__(self, directory: Path) -> None:
        self.world = World()
        self._directory = directory
        self._a, self._b = AsyncExitStack(), AsyncExitStack()
        self._machines = 0
        self.a: Appliance
        self.b: Appliance

    async def begin(self) -> None:
        """Both nodes, paired, each with a pool."""
        await self.boot_a()
        await self.new_b()
        await pair(self.a, self.b)
        await self.a.change("POST", "/v1/pools", POOL)

    async def boot_a(self) -> None:
        """A daemon of a, the first or one more."""
        await self._a.aclose()
        self.a = await self._a.enter_async_context(running_model(self.world, "a", self._directory / "a"))

    async def lose_b(self) -> None:
        """All of it: its disks, and what it had on record."""
        await self._b.aclose()
        self.world.mirrors.power_off("b")
        self.world.mirrors.nodes["b"].media.clear()
        self.world.failover.lose("b")
        self.world.failover.plans.pop("b", None)

    async def new_b(self, *, with_pool: bool = True) -> None:
        """A blank machine called b."""
        self._machines += 1
        self.world.mirrors.power_on("b")
        self.world.failover.dead_monitors.discard("b")
        directory = self._directory / f"b{self._machines}"
        self.b = await self._b.enter_async_context(running_model(self.world, "b", directory))
        if with_pool:
            await self.b.change("POST", "/v1/pools", POOL)

    async def end(self) -> None:
        """Both daemons."""
        await self._b.aclose()
        await self._a.aclose()

    async def lose_and_give_up(self) -> None:
        """What comes before another machine."""
        await self.lose_b()
        await self.a.change("POST", GIVE_UP)


@pytest.fixture
async def place(directory: Path) -> AsyncIterator[Place]:
    place = Place(directory)
    await place.begin()
    yield place
    await place.end()


async def refused(node: Appliance, path: str) -> list[str]:
    with pytest.raises(Refused) as caught:
        await node.change("POST", path)
    return [reason["code"] for reason in caught.value.problem["reasons"]]


async def test_a_served_group_goes_on_and_another_machine_becomes_its_standby(place: Place) -> None:
    a = place.a
    await make_group(a)
    await a.change("POST", "/v1/groups/g/start")
    await place.lose_b()

    await a.change("POST", GIVE_UP)
    assert (await a.get("/v1/node"))["partner"]["is_given_up"]
    assert (await a.get("/v1/groups/g"))["this_node"]["state"] == "active-alone"
    await place.new_b()
    await pair(a, place.b)
    rebuilding = asyncio.create_task(a.change("POST", REBUILD))
    await eventually(place.b, "/v1/failover", "ping_nodes", ["192.0.2.50"])
    for node in (place.b, a):  # as the monitors of a started group do
        document = await node.system.ground.documents.mirrors.get("m")
        await node.mechanisms.mirrors.connect(await node.system.services.sides.spec(document))
    result = (await rebuilding)["result"]

    assert result["mirrors"] == ["m"]
    assert {"group g", "target t", "failover"} <= set(result["documents"])
    assert (await a.get("/v1/mirrors/m"))["is_in_sync"]
    for node in (a, place.b):
        group = await node.get("/v1/groups/g")
        assert {group["this_node"]["state"], group["other_node"]["state"]} == {"active-sync", "standby-ok"}
    assert (await place.b.get("/v1/targets/t"))["iqn"] == (await a.get("/v1/targets/t"))["iqn"]
    await a.change("POST", "/v1/groups/g/switchover", {"to": "b"})
    assert (await place.b.get("/v1/groups/g"))["active_node"] == "b"


async def test_a_partner_that_lives_is_not_given_up_and_nothing_without_its_name(place: Place) -> None:
    with pytest.raises(Refused) as caught:
        await place.a.call("POST", "/v1/pairing/give-up", {})
    assert caught.value.problem["reasons"][0]["code"] == "confirm"
    await make_group(place.a)
    assert await refused(place.a, GIVE_UP) == ["partner-answers", "partner-heard"]
    assert not (await place.a.get("/v1/node"))["partner"]["is_given_up"]


async def test_that_it_is_given_up_outlives_the_daemon_and_says_so_to_who_needs_it(place: Place) -> None:
    await place.lose_and_give_up()
    await place.boot_a()
    assert (await place.a.get("/v1/node"))["partner"]["is_given_up"]
    with pytest.raises(Refused) as caught:
        await place.a.change("PUT", "/v1/failover", {"links": LINKS, "ping_nodes": []})
    assert caught.value.problem["reasons"][0]["code"] == "given-up"


async def test_what_was_a_destination_is_the_source_now_and_mounted(place: Place) -> None:
    a, b = place.a, place.b
    volume = {"pool": "main", "name": "files", "size_bytes": 64 * MIB, "kind": "nas"}
    await b.change("POST", "/v1/volumes", volume)
    await b.change("POST", "/v1/mirrors", {"name": "m", "volumes": ["files"], "first_sync": "full"})
    assert not a.mechanisms.volumes.mounts
    await place.lose_b()
    driver = a.mechanisms.mirrors
    # Whom a monitor that has a person's word answers so.
    async with serving(driver, RecordingArbiter(FenceAnswer.PEER_FENCED)):
        await a.change("POST", GIVE_UP)

    found = await a.get("/v1/mirrors/m")
    assert (found["direction"], found["source"]) == ("source", "a")
    assert [mount.device for mount in a.mechanisms.volumes.mounts.values()] == [driver.device_path(0)]
    await a.change("POST", "/v1/shares", {"name": "docs", "volume": "files", "path": "docs"})

    await place.new_b()
    await pair(a, place.b)
    assert (await a.change("POST", REBUILD))["result"]["mirrors"] == ["m"]
    assert (await place.b.get("/v1/mirrors/m"))["direction"] == "destination"
    assert (await a.get("/v1/mirrors/m"))["is_in_sync"]


async def test_without_another_machine_all_of_it_can_be_taken_apart(place: Place) -> None:
    a = place.a
    await make_group(a)
    await a.change("POST", "/v1/groups/g/start")
    await place.lose_and_give_up()
    await a.change("POST", "/v1/groups/g/stop")
    for path in ("/v1/groups/g", "/v1/targets/t?confirm=t", "/v1/mirrors/m?confirm=m", "/v1/volumes/disk?confirm=disk"):
        await a.change("DELETE", path)
    assert await a.items("/v1/volumes") == []


async def test_a_machine_of_another_name_is_refused(place: Place, directory: Path) -> None:
    await place.lose_and_give_up()
    async with running_model(World(), "a", directory / "c") as stranger:
        with pytest.raises(Refused) as caught:
            await pair(place.a, stranger)
    assert caught.value.problem["code"] == "conflict"


async def test_one_that_has_not_what_is_needed_is_told_all_of_it_and_left_as_it_is(place: Place) -> None:
    await make_group(place.a)
    await place.lose_and_give_up()
    await place.new_b(with_pool=False)
    await pair(place.a, place.b)
    assert await refused(place.a, REBUILD) == ["no-pool"]
    assert await place.b.items("/v1/mirrors") == []


async def test_asked_again_it_goes_on_where_it_was_and_makes_nothing_twice(place: Place) -> None:
    await make_group(place.a)
    await place.lose_and_give_up()
    await place.new_b()
    await pair(place.a, place.b)
    await place.a.change("POST", REBUILD)
    again: Any = (await place.a.change("POST", REBUILD))["result"]
    assert again["mirrors"] == []
