"""Volumes added to a mirror in use, and taken out: by two whole daemons, killed and failing at every step."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.hooks.replication import ConnectionState, Role
from holdfast.services.groups.plans import read_plan
from holdfast.testing.memory_drbd import BLOCK_BYTES
from holdfast.testing.mirror import pattern
from tests.composed.appliance import Appliance, Refused, World, running_model
from tests.composed.conftest import Failing
from tests.composed.mirrors import MIB, Nodes, events_of, eventually, make_mirror, writable
from tests.composed.test_jobs_killed import MortalNode, kill_at_every_mark, make_pair
from tests.composed.test_the_main_job import INITIATOR

ADD, REMOVE = "/v1/mirrors/m/add-volume", "/v1/mirrors/m/remove-volume?confirm=w"
ADD_STEPS, REMOVE_STEPS = 11, 5
BODY = {"volume": "w", "first_sync": "zero"}


async def make_volume(node: Appliance, name: str = "w", *, size_bytes: int = 4 * MIB, kind: str = "iscsi") -> None:
    await node.change("POST", "/v1/volumes", {"pool": "main", "name": name, "size_bytes": size_bytes, "kind": kind})


async def add(node: Appliance, volume: str = "w", first_sync: str = "zero", **more: Any) -> Any:
    return await node.change("POST", ADD, {"volume": volume, "first_sync": first_sync, **more})


def planned(node: Appliance) -> list[str]:
    """The volumes of the mirror that a node's monitor counts."""
    found = read_plan(node.config.state_dir)
    assert found is not None
    return [volume.volume for spec in found.mirrors for volume in spec.volumes]


async def volumes_of(node: Appliance) -> list[str]:
    volumes: list[str] = (await node.get("/v1/mirrors/m"))["volumes"]
    return volumes


async def lower(node: Appliance, name: str, length: int = BLOCK_BYTES) -> bytes:
    device = (await node.get(f"/v1/volumes/{name}"))["actual"]["device"]
    return bytes(node.mechanisms.mirrors.node.media[device].data[:length])


async def assert_plain(nodes: Nodes, name: str, *, partner_has_it: bool) -> None:
    """Nobody has the volume, nothing of a mirror is left of it, and the mirror is as it was."""
    a, b = nodes
    for node in nodes:
        assert await volumes_of(node) == ["v"] == planned(node)
        await eventually(node, "/v1/mirrors/m", "is_in_sync", True)
        assert list(node.mechanisms.mirrors.node.side("m").volumes) == [0]
        assert list(node.mechanisms.mirrors.node.sides) == ["m"]
    assert (await a.get(f"/v1/volumes/{name}"))["used_by"] == []
    assert {v["name"] for v in await b.items("/v1/volumes")} == {"v", name} if partner_has_it else {"v"}
    for node in nodes:
        left = {volume.name for volume in await node.mechanisms.volumes.list_volumes()}
        assert left == ({"v", name} if partner_has_it or node is a else {"v"})


# --- the way that it goes ---


@pytest.mark.parametrize("first_sync", ["zero", "full"])
async def test_a_volume_joins_a_mirror_in_use_and_leaves_it_again(nodes: Nodes, first_sync: str) -> None:
    a, b = nodes
    await make_mirror(a)
    await make_volume(a)
    driver = a.mechanisms.mirrors
    async with writable(a):
        await driver.write("m", 0, pattern(1))
        added = (await add(a, first_sync=first_sync))["result"]
        assert (added["volumes"], added["is_in_sync"]) == (["v", "w"], True)
        await driver.write("m", BLOCK_BYTES, pattern(2))
        with pytest.raises(OSError, match="Secondary"):  # who serves the mirror promotes it, and nobody does here
            await driver.write("m", 0, pattern(3), number=1)
        await driver.promote("m")
        await driver.write("m", 0, pattern(3), number=1)
    for node in nodes:
        assert await volumes_of(node) == ["v", "w"] == planned(node)
        assert (await node.get("/v1/volumes/w"))["used_by"] == ["mirror:m"]
        assert list(node.mechanisms.mirrors.node.sides) == ["m"]
    proof = (await b.get("/v1/mirrors/m"))["first_sync"]["proof"]
    assert len(proof) == (4 if first_sync == "zero" else 2)

    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/remove-volume", {"volume": "w"})
    assert refused.value.problem["code"] == "confirmation-needed"
    async with writable(a):
        await a.change("POST", REMOVE, {"volume": "w"})
        await driver.write("m", 0, pattern(4))
    await assert_plain(nodes, "w", partner_has_it=True)
    for node in nodes:
        assert not [kind for kind in await events_of(node) if kind == "mirror.disk-lost"]
        assert await lower(node, "w") == pattern(3)
        await node.change("DELETE", "/v1/volumes/w?confirm=w")


async def test_numbers_outlive_the_ones_taken_out_before_them(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    for name in ("w", "x"):
        await make_volume(a, name)
        await add(a, name)
    await a.change("POST", REMOVE, {"volume": "w"})
    for node in nodes:
        await eventually(node, "/v1/mirrors/m", "is_in_sync", True)
        assert list(node.mechanisms.mirrors.node.side("m").volumes) == [0, 2]
        # After a boot it comes up by what is on record.
        node.mechanisms.mirrors.pair.power_off(node.config.node)
        node.mechanisms.mirrors.pair.power_on(node.config.node)
        await node.system.services.reconciler.once()
        await eventually(node, "/v1/mirrors/m", "is_in_sync", True)
    await a.change("POST", "/v1/mirrors/m/grow", {"volume": "x", "size_bytes": 8 * MIB})
    assert (await b.get("/v1/volumes/x"))["size_bytes"] == 8 * MIB
    await make_volume(a, "y")
    await add(a, "y")
    assert await volumes_of(b) == ["v", "y", "x"]
    await a.change("DELETE", "/v1/mirrors/m?confirm=m")
    assert {volume["name"] for volume in await b.items("/v1/volumes") if volume["used_by"]} == set()


async def test_a_chosen_destination_is_taken_and_given_back(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    await make_volume(a)
    await make_volume(b, "there")
    with pytest.raises(Refused, match="replication mode is none"):
        await add(a, first_sync="full", destination_volume="there")
    await b.change("PUT", "/v1/volumes/there/replication?confirm=there", {"mode": "destination"})
    await add(a, first_sync="full", destination_volume="there")
    assert await lower(a, "w") == await lower(b, "there")
    assert (await b.get("/v1/volumes/there"))["used_by"] == ["mirror:m"]
    with pytest.raises(Refused, match="mirror m"):
        await b.change("DELETE", "/v1/volumes/there?confirm=there")
    await a.change("POST", REMOVE, {"volume": "w"})
    assert (await b.get("/v1/volumes/there"))["used_by"] == []


async def test_until_it_is_equal_no_monitor_counts_it_and_nobody_has_it(nodes: Nodes) -> None:
    a, b = nodes
    world = a.mechanisms.mirrors.pair
    await make_mirror(a)
    await make_volume(a)
    world.is_resync_held = True
    job = await a.call("POST", ADD, {**BODY, "first_sync": "full"}, headers={"Prefer": "respond-async"})
    await eventually_syncing(a)
    for node in nodes:
        assert await volumes_of(node) == ["v"] == planned(node)
        assert (await node.get("/v1/mirrors/m"))["is_in_sync"]
    with pytest.raises(Refused, match="used by"):
        await b.change("DELETE", "/v1/volumes/w?confirm=w")
    target = {"name": "t", "mirror": "m", "units": [{"lun": 1, "volume": "w"}], "access": [{"initiator": INITIATOR}]}
    with pytest.raises(Refused, match="not in the mirror m"):
        await b.change("POST", "/v1/targets", target)
    # The partner boots meanwhile: what it has lost from its kernel is brought back, and the job goes on.
    world.power_off("b")
    world.power_on("b")
    await b.system.services.reconciler.once()
    assert a.mechanisms.mirrors.node.sides["m+w"].connection is not ConnectionState.CONNECTED
    await eventually_syncing(a)
    world.is_resync_held = False
    world.finish_resyncs()
    record = await a.system.ground.jobs.wait(job["id"], 20)
    assert record.state.value == "done", record.error
    for node in nodes:
        assert await volumes_of(node) == ["v", "w"] == planned(node)
        await eventually(node, "/v1/mirrors/m", "is_in_sync", True)


async def test_a_mirror_that_the_partner_takes_apart_meanwhile_ends_the_job_and_leaves_nothing(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    await make_volume(a)
    a.mechanisms.mirrors.pair.is_resync_held = True
    job = await a.call("POST", ADD, {**BODY, "first_sync": "full"}, headers={"Prefer": "respond-async"})
    await eventually_syncing(a)
    await b.change("DELETE", "/v1/mirrors/m?confirm=m")
    a.mechanisms.mirrors.pair.is_resync_held = False
    a.mechanisms.mirrors.pair.finish_resyncs()
    record = await a.system.ground.jobs.wait(job["id"], 20)
    assert record.state.value == "failed"
    for node in nodes:
        assert node.mechanisms.mirrors.node.sides == {}
    assert [{v["name"] for v in await node.items("/v1/volumes")} for node in nodes] == [{"v", "w"}, {"v"}]
    assert (await a.get("/v1/volumes/w"))["used_by"] == []


async def eventually_syncing(node: Appliance) -> None:
    sides = node.mechanisms.mirrors.node.sides
    async with asyncio.timeout(5):
        while "m+w" not in sides or sides["m+w"].volumes[0].replication.value != "SyncSource":  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# --- what is refused ---


async def test_what_cannot_be_added_is_refused_and_nothing_is_changed(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    await make_volume(a)
    await make_volume(a, "files", size_bytes=16 * MIB, kind="nas")
    await make_volume(a, "out")
    out = {"name": "out", "units": [{"lun": 1, "volume": "out"}], "portals": [{"address": "192.0.2.1", "port": 3260}]}
    await a.change("POST", "/v1/targets", {**out, "access": [{"initiator": INITIATOR}]})
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("nowhere", {"first_sync": "zero"}, "unknown-volume"),
        ("v", {"first_sync": "full"}, "mirrored"),
        ("files", {"first_sync": "full"}, "file-system"),
        ("out", {"first_sync": "full"}, "in-use"),
        ("w", {"first_sync": "full", "zero_limit_bytes_s": 2 * MIB}, "no-zeroing"),
        ("w", {"first_sync": "full", "destination_volume": "none"}, "unknown-volume"),
    ]
    for volume, body, code in cases:
        with pytest.raises(Refused) as refused:
            await add(a, volume, **body)
        assert code in [reason["code"] for reason in refused.value.problem["reasons"]], refused.value
    await make_volume(b, "theirs")
    with pytest.raises(Refused, match="ask a"):
        await add(b, "theirs")
    assert await a.call("POST", f"{ADD}?validate_only=true", BODY) is not None
    await b.mechanisms.mirrors.disconnect("m")
    with pytest.raises(Refused, match="not connected and equal"):
        await add(a)
    assert await volumes_of(a) == ["v"]


async def test_what_cannot_be_taken_out_is_refused_and_says_who_uses_it(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/remove-volume?confirm=v", {"volume": "v"})
    [reason] = refused.value.problem["reasons"]
    assert (reason["code"], "DELETE /v1/mirrors/m" in reason["remedy"]) == ("last-volume", True)
    await make_volume(a)
    await add(a)
    target = {"name": "t", "mirror": "m", "units": [{"lun": 1, "volume": "v"}, {"lun": 2, "volume": "w"}]}
    await a.change("POST", "/v1/targets", {**target, "access": [{"initiator": INITIATOR}]})
    with pytest.raises(Refused) as refused:
        await a.change("POST", REMOVE, {"volume": "w"})
    [reason] = refused.value.problem["reasons"]
    assert reason["text"] == "the volume w is LUN 2 of the target t"
    with pytest.raises(Refused, match="ask a"):
        await b.change("POST", REMOVE, {"volume": "w"})
    with pytest.raises(Refused, match="not in the mirror"):
        await a.change("POST", "/v1/mirrors/m/remove-volume?confirm=z", {"volume": "z"})


async def test_a_copy_that_was_not_complete_is_marked_when_it_is_taken_out(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    await make_volume(a)
    await add(a)
    world = a.mechanisms.mirrors.pair
    async with writable(a):
        await a.mechanisms.mirrors.promote("m")
        await b.mechanisms.mirrors.disconnect("m")
        await a.mechanisms.mirrors.write("m", 0, pattern(3), number=1)
        world.is_resync_held = True
        document = await b.system.ground.documents.mirrors.get("m")
        await b.mechanisms.mirrors.connect(await b.system.services.sides.spec(document))
        await a.change("POST", REMOVE, {"volume": "w"})
    torn = [(await node.system.ground.documents.volumes.get("w")).is_torn for node in nodes]
    assert torn == [False, True]


# --- killed and failing ---


@contextlib.asynccontextmanager
async def pair_with_mirror(directory: Path) -> AsyncIterator[tuple[MortalNode, Appliance]]:
    world = World()
    node = MortalNode(world, directory / "a")
    async with running_model(world, "b", directory / "b") as b:
        async with node.running() as a:
            await make_pair(a, b)
            await make_mirror(a)
            await make_volume(a)
        yield node, b


@pytest.mark.parametrize("first_sync", ["zero", "full"])
async def test_an_addition_goes_on_wherever_it_was_killed(directory: Path, first_sync: str) -> None:
    async with pair_with_mirror(directory) as (node, b):

        async def look() -> None:
            assert (await b.get("/v1/mirrors/m"))["this_node"]["status"]["volumes"][0]["disk"] == "UpToDate"

        body = {**BODY, "first_sync": first_sync}
        assert await kill_at_every_mark(node, "mirror.add-volume", ADD, body, look) == 2 * ADD_STEPS
        async with node.running() as a:
            for each in (a, b):
                assert await volumes_of(each) == ["v", "w"] == planned(each)
                await eventually(each, "/v1/mirrors/m", "is_in_sync", True)
                assert list(each.mechanisms.mirrors.node.sides) == ["m"]
                assert (await each.get("/v1/volumes/w"))["drift"] == []


async def test_a_removal_goes_on_wherever_it_was_killed(directory: Path) -> None:
    async with pair_with_mirror(directory) as (node, b):
        async with node.running() as a:
            await add(a)
        assert await kill_at_every_mark(node, "mirror.remove-volume", REMOVE, {"volume": "w"}) == 2 * REMOVE_STEPS
        async with node.running() as a:
            await assert_plain((a, b), "w", partner_has_it=True)


@pytest.mark.parametrize("reboots", ["a", "b"])
async def test_an_addition_goes_on_after_a_boot_at_every_step(directory: Path, reboots: str) -> None:
    """The daemon is killed at every mark, and with it the power of a node goes."""
    async with pair_with_mirror(directory) as (node, b):
        world = b.mechanisms.mirrors.pair

        async def boot() -> None:
            world.power_off(reboots)
            world.power_on(reboots)
            if reboots == "b":
                await b.system.services.reconciler.once()

        await kill_at_every_mark(node, "mirror.add-volume", ADD, {**BODY, "first_sync": "full"}, boot)
        async with node.running() as a:
            for each in (a, b):
                await each.system.services.reconciler.once()
            for each in (a, b):
                assert await volumes_of(each) == ["v", "w"] == planned(each)
                await eventually(each, "/v1/mirrors/m", "is_in_sync", True)


async def test_an_addition_that_fails_leaves_all_as_it_was(nodes: Nodes, failing: Failing) -> None:
    a = nodes[0]
    await make_mirror(a)
    await make_volume(a)
    async with writable(a):
        for mark in range(1, 2 * ADD_STEPS + 1):
            failing.begin("mirror.add-volume", mark)
            with pytest.raises(Refused, match=f"made to fail at mark {mark}'"):
                await add(a, first_sync="full")
            await a.mechanisms.mirrors.write("m", 0, pattern(mark))
            assert a.mechanisms.mirrors.node.side("m").role is Role.PRIMARY, mark
            await assert_plain(nodes, "w", partner_has_it=False)
        await add(a, first_sync="full")


async def test_a_removal_that_fails_before_its_end_leaves_all_as_it_was(nodes: Nodes, failing: Failing) -> None:
    a = nodes[0]
    await make_mirror(a)
    await make_volume(a)
    await add(a)
    for mark in range(1, 2 * 3 + 1):
        failing.begin("mirror.remove-volume", mark)
        with pytest.raises(Refused, match=f"made to fail at mark {mark}'"):
            await a.change("POST", REMOVE, {"volume": "w"})
        for node in nodes:
            assert await volumes_of(node) == ["v", "w"] == planned(node), mark
            await eventually(node, "/v1/mirrors/m", "is_in_sync", True)
            assert list(node.mechanisms.mirrors.node.side("m").volumes) == [0, 1], mark
    await a.change("POST", REMOVE, {"volume": "w"})
