"""Volumes with file I/O through all of core, on the model: made, exported, brought back, refused, deleted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from holdfast.hooks.target import LogicalUnit
from holdfast.services.plans import FileSystem, read_plan
from tests.composed.appliance import Appliance, Refused, World, running_model
from tests.composed.test_jobs_killed import MortalNode, kill_at_every_mark
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
    status, fields, _ = await refused(a, "POST", "/v1/mirrors/m/grow", {"volume": "f", "size_bytes": 32 * MIB})
    assert (status, fields) == (409, ["volume"])


async def test_its_copy_is_made_by_the_mirror_and_not_chosen(nodes: Nodes) -> None:
    a, b = nodes
    await a.change("POST", "/v1/volumes", FILE)
    await b.change("POST", "/v1/volumes", {**FILE, "name": "d", "io_type": "block"})
    await b.change("PUT", "/v1/volumes/d/replication?confirm=d", {"mode": "destination"})
    wanted = {"name": "m", "volumes": ["f"], "first_sync": "full", "destination_volumes": {"f": "d"}}
    status, fields, _ = await refused(a, "POST", "/v1/mirrors", wanted)
    assert (status, fields) == (409, ["destination_volumes"])
