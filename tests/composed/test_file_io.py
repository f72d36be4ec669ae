"""Volumes with file I/O through all of core, on the model: made, exported, brought back, refused, deleted."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import UnavailableError
from holdfast.hooks.target import LogicalUnit
from holdfast.hooks.volume import Volume
from holdfast.services.groups.plans import FileSystem, read_plan
from holdfast.services.mirrors import unit_files as mirror_unit_files
from tests.composed.appliance import Appliance, Refused, World, running_model
from tests.composed.test_jobs_killed import MortalNode, kill_at_every_mark, make_pair
from tests.composed.test_targets import refused
from tests.composed.test_the_main_job import MIB, Nodes

FILE: dict[str, Any] = {"pool": "main", "name": "f", "size_bytes": 16 * MIB, "kind": "iscsi", "io_type": "file"}
TARGET: dict[str, Any] = {"name": "t", "portals": [{"address": "192.0.2.1"}], "units": [{"lun": 1, "volume": "f"}]}
IQN = "iqn.2026-01.com.example.holdfast:t"
FILE_BYTES = 15 * MIB  # as the model counts


@pytest.fixture
async def a(nodes: Nodes) -> Appliance:
    await nodes[0].change("POST", "/v1/volumes", FILE)
    return nodes[0]


async def unit(node: Appliance) -> LogicalUnit:
    """What the kernel serves."""
    spec = await node.mechanisms.targets.read(IQN)
    assert spec is not None
    [found] = spec.units
    return found


async def test_a_volume_shows_how_it_is_exported(a: Appliance) -> None:
    made = await a.get("/v1/volumes/f")
    assert (made["io_type"], made["unit_bytes"], made["drift"]) == ("file", FILE_BYTES, [])
    assert (Path(made["mounted_at"]) / "unit").stat().st_size == FILE_BYTES
    await a.change("POST", "/v1/volumes", {**FILE, "name": "b", "io_type": "block"})
    block = await a.get("/v1/volumes/b")
    assert (block["io_type"], block["unit_bytes"], block["mounted_at"]) == ("block", None, None)


async def test_its_file_is_what_is_served_and_again_after_a_boot(a: Appliance) -> None:
    await a.change("POST", "/v1/targets", TARGET)
    served = await unit(a)
    assert (served.device.endswith("/main/f/unit"), served.file_bytes, served.has_write_cache) == (
        True,
        FILE_BYTES,
        False,
    )
    await a.mechanisms.targets.remove("t", IQN)
    a.mechanisms.volumes.reboot()
    await a.system.services.reconciler.once()
    assert (await a.get("/v1/targets/t"))["this_node"] == "active"
    assert (await a.get("/v1/volumes/f"))["mounted_at"]
    assert (await a.get("/v1/targets/t/identity"))["is_same"] is True


async def test_without_its_file_system_it_is_not_served_and_nothing_else_in_its_place(a: Appliance) -> None:
    await a.change("POST", "/v1/targets", TARGET)
    place = (await a.get("/v1/volumes/f"))["mounted_at"]
    await a.mechanisms.targets.remove("t", IQN)
    await a.mechanisms.volumes.unmount(place)
    device = (await a.get("/v1/volumes/f"))["actual"]["device"]
    files = a.mechanisms.volumes.content / device.removeprefix("/dev/")
    files.rename(files.with_suffix(".gone"))  # it can no longer be mounted
    await a.system.services.reconciler.once()
    assert (await a.get("/v1/targets/t"))["this_node"] == "absent"
    assert any("not mounted" in text for text in a.system.services.reconciler.drift)
    assert not await asyncio.to_thread(Path(place, "unit").exists)
    files.with_suffix(".gone").rename(files)
    await a.system.services.reconciler.once()
    assert (await a.get("/v1/targets/t"))["this_node"] == "active"


async def test_a_write_cache_is_asked_for_and_noted(a: Appliance) -> None:
    cached = {**TARGET, "units": [{"lun": 1, "volume": "f", "has_write_cache": True}]}
    made = (await a.change("POST", "/v1/targets", cached))["result"]
    assert any("write cache" in note for note in made["notes"])
    assert (await unit(a)).has_write_cache
    await a.change("PUT", "/v1/targets/t", {key: TARGET[key] for key in ("portals", "units")})
    assert not (await unit(a)).has_write_cache


BAD: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "/v1/volumes", {**FILE, "name": "n", "kind": "nas"}, "io_type"),
    ("PUT", "/v1/volumes/f/replication?confirm=f", {"mode": "destination"}, "mode"),
    (
        "POST",
        "/v1/targets",
        {**TARGET, "units": [{"lun": 1, "volume": "f", "is_read_only": True}]},
        "units.0.is_read_only",
    ),
    ("POST", "/v1/shares", {"name": "s", "volume": "f", "path": ""}, "volume"),
]


async def test_what_it_cannot_be_is_refused_by_field_and_changes_nothing(a: Appliance) -> None:
    before = await a.items("/v1/volumes"), await a.items("/v1/mirrors"), await a.items("/v1/targets")
    for method, path, body, field in BAD:
        status, fields, text = await refused(a, method, path, body)
        assert (status in (400, 409), fields) == (True, [field]), text
        assert (await a.items("/v1/volumes"), await a.items("/v1/mirrors"), await a.items("/v1/targets")) == before, (
            path
        )


async def test_a_unit_of_a_mirror_gets_no_write_cache(nodes: Nodes) -> None:
    a = nodes[0]
    await a.change("POST", "/v1/volumes", {**FILE, "name": "v", "io_type": "block", "size_bytes": 4 * MIB})
    await a.change("POST", "/v1/mirrors", {"name": "m", "volumes": ["v"], "first_sync": "zero"})
    body = {"name": "t", "mirror": "m", "units": [{"lun": 1, "volume": "v", "has_write_cache": True}]}
    status, fields, text = await refused(a, "POST", "/v1/targets", body)
    assert (status, fields, "takeover" in text) == (400, ["units.0.has_write_cache"], True)


async def test_deleting_leaves_no_mount_and_spares_what_is_exported(a: Appliance) -> None:
    await a.change("POST", "/v1/targets", TARGET)
    with pytest.raises(Refused):
        await a.change("DELETE", "/v1/volumes/f?confirm=f")
    assert (await a.get("/v1/volumes/f"))["mounted_at"]
    await a.change("DELETE", "/v1/targets/t?confirm=t")
    await a.change("DELETE", "/v1/volumes/f?confirm=f")
    assert (a.mechanisms.volumes.mounts, a.mechanisms.volumes.volumes) == ({}, {})


async def test_its_making_goes_on_wherever_it_was_killed(directory: Path) -> None:
    world = World()
    node = MortalNode(world, directory / "a")
    async with running_model(world, "b", directory / "b"), node.running() as a:
        await a.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
    died = await kill_at_every_mark(node, "volume.create", "/v1/volumes", FILE)
    assert died == 2 * 4
    async with node.running() as a:
        made = await a.get("/v1/volumes/f")
        assert (made["unit_bytes"], made["drift"]) == (FILE_BYTES, [])


def unit_of(node: Appliance) -> Path:
    return node.config.mount_dir / "main" / "f" / "unit"


async def mirrored(nodes: Nodes) -> None:
    """The file volume `f` is mirrored as `m`, exported as `t`, and has something in its file."""
    a = nodes[0]
    await a.change("POST", "/v1/volumes", FILE)
    unit_of(a).write_text("kept")
    await a.change("POST", "/v1/mirrors", {"name": "m", "volumes": ["f"], "first_sync": "full"})
    target = {"name": "t", "mirror": "m", "units": [{"lun": 1, "volume": "f"}], "is_open": True}
    await a.change("POST", "/v1/targets", target)
    address = {"address": "192.0.2.9", "prefix_length": 24, "interface": "lo"}
    await a.change("POST", "/v1/groups", {"name": "g", "mirror": "m", "targets": ["t"], "addresses": [address]})


async def test_a_mirrored_one_is_mounted_by_the_monitor_that_serves_it_and_by_nobody_else(nodes: Nodes) -> None:
    await mirrored(nodes)
    for node in nodes:
        await node.system.services.reconciler.once()
        assert node.system.services.reconciler.drift == ()
        shown = await node.get("/v1/volumes/f")
        assert (shown["mounted_at"], shown["drift"], shown["io_type"]) == (None, [], "file")
        assert shown["unit_bytes"] == FILE_BYTES
        plan = read_plan(node.config.state_dir)
        assert plan is not None
        place = str(node.config.mount_dir / "main" / "f")
        assert plan.file_systems == (FileSystem("m", "/dev/memory0", place),)
        [found] = plan.targets[0].units
        assert (found.device, found.file_bytes, found.has_write_cache) == (f"{place}/unit", FILE_BYTES, False)


async def test_when_its_mirror_is_taken_apart_each_node_has_its_copy_mounted_again(nodes: Nodes) -> None:
    await mirrored(nodes)
    a = nodes[0]
    for path in ("groups/g", "targets/t?confirm=t", "mirrors/m?confirm=m"):
        await a.change("DELETE", f"/v1/{path}")
    for node in nodes:
        await node.system.services.reconciler.once()
        shown = await node.get("/v1/volumes/f")
        assert (shown["mounted_at"], shown["drift"]) == (str(node.config.mount_dir / "main" / "f"), [])
    assert unit_of(a).read_text() == "kept"


async def test_what_a_mirrored_one_cannot_be_is_refused_by_field(nodes: Nodes) -> None:
    await mirrored(nodes)
    a = nodes[0]
    units = [{"lun": 1, "volume": "f", "has_write_cache": True}]
    change = {"mirror": "m", "units": units, "is_open": True}
    status, fields, text = await refused(a, "PUT", "/v1/targets/t", change)
    assert (status, fields, "takeover" in text) == (400, ["units.0.has_write_cache"], True)


async def test_its_copy_is_made_by_the_mirror_and_not_chosen(nodes: Nodes) -> None:
    a, b = nodes
    await a.change("POST", "/v1/volumes", FILE)
    await b.change("POST", "/v1/volumes", {**FILE, "name": "d", "io_type": "block"})
    await b.change("PUT", "/v1/volumes/d/replication?confirm=d", {"mode": "destination"})
    wanted = {"name": "m", "volumes": ["f"], "first_sync": "full", "destination_volumes": {"f": "d"}}
    status, fields, _ = await refused(a, "POST", "/v1/mirrors", wanted)
    assert (status, fields) == (409, ["destination_volumes"])


async def test_a_file_system_that_the_kernel_shut_down_is_told_with_what_to_do(nodes: Nodes) -> None:
    a = nodes[0]
    await mirrored(nodes)
    await serve(a)
    await a.change("POST", "/v1/volumes", {**FILE, "name": "lone"})
    for name, remedy in (("f", "switch its group over"), ("lone", "unmount it")):
        place = str(a.config.mount_dir / "main" / name)
        a.mechanisms.volumes.shut_down.add(place)
        [text] = (await a.get(f"/v1/volumes/{name}"))["drift"]
        assert (place in text, remedy in text) == (True, True), text
        await a.system.services.reconciler.once()
        assert any(text in told for told in a.system.services.reconciler.drift)
        await a.mechanisms.volumes.unmount(place)
        await a.system.services.reconciler.once()
        assert a.system.services.reconciler.drift == ()


# --- growing ---

LARGER_BYTES = 32 * MIB
GROWN: tuple[int, int | None, list[str]] = (LARGER_BYTES, 31 * MIB, [])


async def sizes(node: Appliance, volume: str = "f") -> tuple[int, int | None, list[str]]:
    """Of the volume and its file, and what is amiss."""
    shown = await node.get(f"/v1/volumes/{volume}")
    assert shown["actual"]["size_bytes"] == shown["size_bytes"]
    return shown["size_bytes"], shown["unit_bytes"], shown["drift"]


async def test_a_volume_grows_with_its_file_and_nobody_who_is_logged_in_is_disturbed(a: Appliance) -> None:
    initiator = "iqn.2026-01.com.example:c"
    await a.change("POST", "/v1/targets", {**TARGET, "access": [{"initiator": initiator}]})
    unit_of(a).write_text("kept")
    os.truncate(unit_of(a), FILE_BYTES)
    before = await unit(a)
    assert a.mechanisms.targets.log_in(IQN, initiator, "192.0.2.7", 1)
    grown = (await a.change("POST", "/v1/volumes/f/grow", {"size_bytes": LARGER_BYTES - 1}))["result"]
    assert (grown["size_bytes"], grown["unit_bytes"]) == GROWN[:2]
    assert await sizes(a) == GROWN
    assert unit_of(a).stat().st_size == 31 * MIB
    assert unit_of(a).read_bytes()[:5] == b"kept\0"
    assert await unit(a) == replace(before, file_bytes=31 * MIB)
    assert len(await a.mechanisms.targets.list_sessions(IQN)) == 1
    assert (await a.get("/v1/targets/t"))["this_node"] == "active"


async def test_one_that_is_not_exported_grows_without_a_look_at_targets(
    a: Appliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any) -> None:
        raise AssertionError("a target was touched")

    other = {"name": "o", "portals": [{"address": "192.0.2.1"}], "units": [{"lun": 1, "volume": "b"}]}
    await a.change("POST", "/v1/volumes", {**FILE, "name": "b", "io_type": "block"})
    await a.change("POST", "/v1/targets", other)
    for operation in ("stage", "activate", "deactivate"):
        monkeypatch.setattr(a.mechanisms.targets, operation, never)
    await a.change("POST", "/v1/volumes/f/grow", {"size_bytes": LARGER_BYTES})
    assert await sizes(a) == GROWN


@pytest.mark.parametrize("kind", ["nas", "iscsi"])
async def test_other_volumes_grow_as_well(a: Appliance, kind: str) -> None:
    await a.change("POST", "/v1/volumes", {**FILE, "name": "o", "io_type": "block", "kind": kind})
    await a.change("POST", "/v1/volumes/o/grow", {"size_bytes": LARGER_BYTES})
    assert await sizes(a, "o") == (LARGER_BYTES, None, [])


async def test_a_growth_that_cannot_be_is_refused_by_field_and_changes_nothing(nodes: Nodes) -> None:
    a = nodes[0]
    await mirrored(nodes)
    for name in ("s", "d", "v"):
        await a.change("POST", "/v1/volumes", {**FILE, "name": name, "io_type": "block"})
    await a.change("POST", "/v1/snapshots", {"volume": "s", "name": "now"})
    await a.change("PUT", "/v1/volumes/d/replication?confirm=d", {"mode": "destination"})
    before = await a.items("/v1/volumes")
    for name, size_bytes, expected in (
        ("f", LARGER_BYTES, (409, "mirrored", "volume")),
        ("d", LARGER_BYTES, (409, "destination", "volume")),
        ("s", LARGER_BYTES, (409, "has-snapshots", None)),
        ("v", 16 * MIB, (409, "not-larger", "size_bytes")),
        ("v", 1 << 50, (507, "no-space", "size_bytes")),
    ):
        with pytest.raises(Refused) as caught:
            await a.change("POST", f"/v1/volumes/{name}/grow", {"size_bytes": size_bytes})
        [reason] = caught.value.problem["reasons"]
        assert (caught.value.status, reason["code"], reason.get("field")) == expected, name
        assert await a.items("/v1/volumes") == before, name
    with pytest.raises(Refused) as caught:
        await a.change("POST", "/v1/volumes/absent/grow", {"size_bytes": LARGER_BYTES})
    assert caught.value.status == 404


async def test_its_growth_goes_on_wherever_it_was_killed(directory: Path) -> None:
    world = World()
    node = MortalNode(world, directory / "a")
    async with running_model(world, "b", directory / "b"), node.running() as a:
        await a.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
        await a.change("POST", "/v1/volumes", FILE)
        await a.change("POST", "/v1/targets", TARGET)
        file = unit_of(a)
    seen = []

    async def look() -> None:
        spec = await node.mechanisms.targets.read(IQN)
        assert spec is not None
        [served] = spec.units
        assert served.file_bytes is not None
        assert served.file_bytes <= file.stat().st_size
        seen.append(served.file_bytes)

    died = await kill_at_every_mark(node, "volume.grow", "/v1/volumes/f/grow", {"size_bytes": LARGER_BYTES}, look)
    assert (died, seen[0], seen[-1], sorted(seen)) == (2 * 5, FILE_BYTES, 31 * MIB, seen)
    async with node.running() as a:
        assert await sizes(a) == GROWN
        assert (await a.get("/v1/targets/t"))["this_node"] == "active"


async def serve(node: Appliance) -> None:
    """Do what a monitor does that takes the group over: the file is there, for the mirror carries it."""
    await node.mechanisms.mirrors.promote("m")
    place = node.config.mount_dir / "main" / "f"
    await node.mechanisms.volumes.mount("/dev/memory0", str(place))
    file = place / "unit"
    file.touch()
    os.truncate(file, max(FILE_BYTES, file.stat().st_size))


def planned_bytes(state_dir: Path) -> int:
    """The size of the unit if the node served it now."""
    plan = read_plan(state_dir)
    assert plan is not None
    [found] = plan.targets[0].units
    assert found.file_bytes is not None
    return found.file_bytes


@pytest.mark.parametrize("asked", [0, 1])
@pytest.mark.parametrize("serving", [None, 0, 1])
async def test_a_mirrored_one_grows_where_it_is_mounted_whoever_is_asked(
    nodes: Nodes, asked: int, serving: int | None
) -> None:
    await mirrored(nodes)
    if serving is not None:
        await serve(nodes[serving])
    roles = [node.mechanisms.mirrors.node.side("m").role for node in nodes]
    mounts = [dict(node.mechanisms.volumes.mounts) for node in nodes]
    grower = nodes[asked if serving is None else serving]
    if serving is None and asked == 1:
        # Node a's file is on both sides of a real mirror.
        await nodes[1].mechanisms.volumes.mount("/dev/memory0", str(unit_of(nodes[1]).parent))
        unit_of(nodes[1]).touch()
        await nodes[1].mechanisms.volumes.unmount(str(unit_of(nodes[1]).parent))
    job = await nodes[asked].change("POST", "/v1/mirrors/m/grow", {"volume": "f", "size_bytes": LARGER_BYTES})
    assert job["result"]["is_in_sync"]
    for node in nodes:
        assert await sizes(node) == GROWN
        assert planned_bytes(node.config.state_dir) == 31 * MIB
        [member] = (await node.system.ground.documents.mirrors.get("m")).members
        assert (member.size_bytes, member.file_bytes) == GROWN[:2]
    assert [node.mechanisms.mirrors.node.side("m").role for node in nodes] == roles
    assert [dict(node.mechanisms.volumes.mounts) for node in nodes] == mounts
    content = grower.mechanisms.volumes.content / "main" / "f" / "unit"
    assert content.stat().st_size == 31 * MIB


async def test_one_that_is_taken_over_meanwhile_grows_on_the_other_node(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = nodes
    await mirrored(nodes)
    await serve(a)
    volumes = a.mechanisms.volumes
    grow = volumes.grow_file_system

    async def move_first(directory: str) -> None:
        await volumes.unmount(directory)
        await a.mechanisms.mirrors.demote("m")
        moving.append(asyncio.get_running_loop().create_task(move()))
        await grow(directory)

    async def move() -> None:
        await asyncio.sleep(0.3)
        await serve(b)

    moving: list[asyncio.Task[None]] = []
    monkeypatch.setattr(volumes, "grow_file_system", move_first)
    await a.change("POST", "/v1/mirrors/m/grow", {"volume": "f", "size_bytes": LARGER_BYTES})
    assert len(moving) == 1
    assert await sizes(a) == await sizes(b) == GROWN
    assert unit_of(b).stat().st_size == 31 * MIB


async def test_a_file_system_that_nobody_mounts_is_told_and_the_unit_stays_as_it_is(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = nodes
    await mirrored(nodes)
    await a.mechanisms.mirrors.promote("m")
    monkeypatch.setattr(mirror_unit_files, "MOUNTED_WITHIN_S", 0.3)
    with pytest.raises(Refused) as caught:
        await a.change("POST", "/v1/mirrors/m/grow", {"volume": "f", "size_bytes": LARGER_BYTES})
    assert "not mounted on a" in caught.value.problem["message"]
    assert "not mounted on b" in caught.value.problem["message"]
    for node in nodes:
        assert (await node.get("/v1/volumes/f"))["unit_bytes"] == FILE_BYTES
        assert planned_bytes(node.config.state_dir) == FILE_BYTES
    await serve(a)
    await a.change("POST", "/v1/mirrors/m/grow", {"volume": "f", "size_bytes": LARGER_BYTES})
    assert await sizes(a) == await sizes(b) == GROWN


@pytest.mark.parametrize("is_served", [False, True])
async def test_a_mirrored_ones_growth_goes_on_wherever_it_was_killed(directory: Path, is_served: bool) -> None:
    world = World()
    node = MortalNode(world, directory / "a")
    async with running_model(world, "b", directory / "b") as b:
        async with node.running() as a:
            await make_pair(a, b)
            await mirrored((a, b))
            if is_served:
                await serve(a)
            file = a.mechanisms.volumes.content / "main" / "f" / "unit"
            os.truncate(file, FILE_BYTES)
            state_dirs = [each.config.state_dir for each in (a, b)]
        seen = []

        async def look() -> None:
            here, there = (planned_bytes(state_dir) for state_dir in state_dirs)
            assert here <= there <= file.stat().st_size
            seen.append((here, there))

        body = {"volume": "f", "size_bytes": LARGER_BYTES}
        died = await kill_at_every_mark(node, "mirror.grow", "/v1/mirrors/m/grow", body, look)
        assert (died, seen[0], seen[-1]) == (2 * 9, (FILE_BYTES,) * 2, (31 * MIB,) * 2)
        async with node.running() as a:
            for each in (a, b):
                assert await sizes(each) == GROWN
            assert bool(node.mechanisms.volumes.mounts) is is_served


async def test_a_growth_that_the_standby_could_not_note_leaves_the_unit_as_it_is_and_is_asked_for_again(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = nodes
    await mirrored(nodes)
    await serve(a)
    growth = {"volume": "f", "size_bytes": LARGER_BYTES}

    async def refuse(pool: str, name: str) -> Volume:
        raise UnavailableError("LVM does not answer")

    volumes = b.mechanisms.volumes
    grow_volume = volumes.grow_volume
    with monkeypatch.context() as away:

        async def grow(pool: str, name: str, size_bytes: int) -> Volume:
            grown = await grow_volume(pool, name, size_bytes)
            away.setattr(volumes, "get_volume", refuse)
            return grown

        away.setattr(volumes, "grow_volume", grow)
        with pytest.raises(Refused) as caught:
            await a.change("POST", "/v1/mirrors/m/grow", growth)
    assert "LVM does not answer" in caught.value.problem["message"]
    assert unit_of(a).stat().st_size == 31 * MIB
    assert [planned_bytes(node.config.state_dir) for node in nodes] == [FILE_BYTES] * 2
    await a.change("POST", "/v1/mirrors/m/grow", growth)
    assert await sizes(a) == await sizes(b) == GROWN
