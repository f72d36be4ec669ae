"""Pools over the reference driver: disks that come and go, names, pools of others, thin pools, and the report."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.hooks.pools import FoundPool
from tests.composed.appliance import Appliance, Refused, World, running_model
from tests.composed.mirrors import eventually
from tests.composed.test_jobs_killed import MortalNode, kill_at_every_mark

MIB = 1 << 20
ONE, TWO, THREE = (f"/dev/memory-{number}" for number in (1, 2, 3))
SIZE = 64 * MIB


@pytest.fixture
async def a(directory: Path) -> AsyncIterator[Appliance]:
    async with running_model(World(), "a", directory) as node:
        await make_pool(node)
        yield node


async def make_pool(node: Appliance) -> None:
    await node.change("POST", "/v1/pools", {"name": "main", "disks": [ONE]})


async def make_volume(node: Appliance, name: str, kind: str = "nas", **more: Any) -> Any:
    body = {"pool": "main", "name": name, "size_bytes": SIZE, "kind": kind, **more}
    return (await node.change("POST", "/v1/volumes", body))["result"]


async def refused(node: Appliance, method: str, path: str, body: Any = None) -> list[str]:
    """The codes of why a change is refused, by its check alone and in earnest."""
    with pytest.raises(Refused) as checked:
        await node.call(method, f"{path}?validate_only=true", body)
    with pytest.raises(Refused) as caught:
        await node.change(method, path, body)
    assert checked.value.problem["reasons"] == caught.value.problem["reasons"]
    return [reason["code"] for reason in caught.value.problem["reasons"]]


async def test_a_pool_gets_a_disk_and_gives_one_back(a: Appliance) -> None:
    await make_volume(a, "v1")
    assert (await a.call("POST", "/v1/pools/main/extend?validate_only=true", {"disks": [TWO]}))["valid"]
    assert (await a.get("/v1/pools/main"))["disks"] == [ONE]
    grown = (await a.change("POST", "/v1/pools/main/extend", {"disks": [TWO]}))["result"]
    assert grown["disks"] == [ONE, TWO]
    job = await a.change("POST", "/v1/pools/main/remove-disk", {"disk": ONE})
    assert job["result"]["disks"] == [TWO]
    assert [step["name"] for step in job["steps"]] == ["move", "take out", "record"]
    assert (await a.items("/v1/disks"))[0] | {"faults": [], "health": None} == {
        **{"health": None, "path": ONE, "size_bytes": 4096 * MIB, "signatures": [], "used_by": None, "faults": []}
    }
    # What was recorded follows, so that the pool is known when it is asked for again.
    await a.change("POST", "/v1/pools", {"name": "main", "disks": [TWO]})
    assert (await a.get("/v1/volumes/v1"))["drift"] == []


async def test_disks_that_cannot_come_or_go_are_refused_with_the_reason(a: Appliance) -> None:
    await make_volume(a, "v1")
    extend, remove = "/v1/pools/main/extend", "/v1/pools/main/remove-disk"
    assert await refused(a, "POST", extend, {"disks": [ONE]}) == ["disk-in-use"]
    assert await refused(a, "POST", extend, {"disks": ["/dev/none"]}) == ["no-such-disk"]
    assert await refused(a, "POST", remove, {"disk": TWO}) == ["no-such-disk"]
    assert await refused(a, "POST", remove, {"disk": ONE}) == ["last-disk"]
    await a.change("POST", extend, {"disks": [TWO]})
    free_bytes = (await a.get("/v1/pools/main"))["free_bytes"]
    await make_volume(a, "v2", "iscsi", size_bytes=free_bytes - 16 * MIB)
    assert await refused(a, "POST", remove, {"disk": ONE}) == ["no-space"]
    with pytest.raises(Refused) as caught:
        await a.change("POST", "/v1/pools/main/forget-missing")
    assert "missing" in str(caught.value)


async def test_a_move_is_seen_and_cancelled_and_the_disk_stays(a: Appliance) -> None:
    await make_volume(a, "v1")
    await a.change("POST", "/v1/pools/main/extend", {"disks": [TWO]})
    before = await a.get("/v1/pools/main")
    a.mechanisms.volumes.moves_wait = True
    job = await a.call("POST", "/v1/pools/main/remove-disk", {"disk": ONE})
    shown = f"/v1/jobs/{job['id']}"
    await eventually(a, shown, "progress", {"percent": 50.0, "text": f"moving what lies on {ONE}"})
    assert next(m for m in (await a.get("/v1/pools/main"))["members"] if m["path"] == ONE)["is_leaving"]
    # Other things are done meanwhile, and nothing of it lies on the disk that leaves.
    await make_volume(a, "v2")
    await a.change("DELETE", "/v1/volumes/v2?confirm=v2")
    await a.call("POST", f"/v1/jobs/{job['id']}/cancel", {})
    await eventually(a, shown, "state", "cancelled")
    assert await a.get("/v1/pools/main") == before


async def test_a_missing_disk_is_shown_and_forgotten_when_nothing_lies_there(a: Appliance) -> None:
    await make_volume(a, "v1")
    await a.change("POST", "/v1/pools/main/extend", {"disks": [TWO, THREE]})
    model = a.mechanisms.volumes
    model.missing |= {ONE, THREE}
    shown = await a.get("/v1/pools/main")
    assert [m["path"] for m in shown["members"] if m["is_missing"]] == [None, None]
    assert await refused(a, "POST", "/v1/pools/main/forget-missing", {}) == ["disk-not-empty"]
    model.missing = {THREE}
    job = await a.change("POST", "/v1/pools/main/forget-missing")
    assert job["result"]["disks"] == [ONE, TWO]


async def test_a_pool_is_renamed_and_its_files_stay_where_they_are(a: Appliance) -> None:
    await make_volume(a, "v1")
    await a.change("POST", "/v1/shares", {"name": "docs", "volume": "v1"})
    place = (await a.get("/v1/volumes/v1"))["mounted_at"]
    (Path(place) / "file").write_text("kept")
    assert await refused(a, "POST", "/v1/pools/main/rename", {"new_name": "main"}) == ["exists"]
    await a.change("POST", "/v1/pools/main/rename", {"new_name": "lake"})
    assert [pool["name"] for pool in await a.items("/v1/pools")] == ["lake"]
    shown = await a.get("/v1/volumes/v1")
    assert (shown["pool"], shown["mounted_at"], shown["drift"]) == ("lake", place, [])
    assert (Path(place) / "file").read_text() == "kept"
    await a.change("POST", "/v1/volumes/v1/grow", {"size_bytes": 2 * SIZE})
    await a.change("POST", "/v1/volumes", {"pool": "lake", "name": "v2", "size_bytes": SIZE, "kind": "iscsi"})
    a.mechanisms.volumes.reboot()
    await a.system.services.reconciler.once()
    assert (await a.get("/v1/volumes/v1"))["mounted_at"] == place
    for noun, name in (("shares", "docs"), ("volumes", "v1"), ("volumes", "v2"), ("pools", "lake")):
        await a.change("DELETE", f"/v1/{noun}/{name}" + ("" if noun == "shares" else f"?confirm={name}"))
    assert place not in a.mechanisms.volumes.mounts


async def test_a_pool_whose_paths_are_in_use_keeps_its_name(a: Appliance) -> None:
    await make_volume(a, "v1", "iscsi")
    target = {"name": "t1", "units": [{"lun": 1, "volume": "v1"}], "access": [], "portals": []}
    await a.change("POST", "/v1/targets", {**target, "portals": [{"address": "127.0.0.1"}]})
    assert await refused(a, "POST", "/v1/pools/main/rename", {"new_name": "lake"}) == ["in-use"]
    assert [pool["name"] for pool in await a.items("/v1/pools")] == ["main"]


async def test_what_others_made_becomes_a_pool(a: Appliance) -> None:
    model = a.mechanisms.volumes
    model.foreign["id-1"] = FoundPool("id-1", "theirs", 1 << 30, (THREE,), 0, is_ours=False, contents=("data",))
    model.foreign["id-2"] = FoundPool("id-2", "half", 1 << 30, (TWO,), 1, is_ours=False, contents=())
    assert [found["id"] for found in await a.items("/v1/found-pools")] == ["id-2", "id-1"]
    take = "/v1/found-pools"
    assert await refused(a, "POST", take, {"id": "id-2", "name": "new"}) == ["disks-missing"]
    assert await refused(a, "POST", take, {"id": "id-9", "name": "new"}) == ["no-such-pool"]
    assert await refused(a, "POST", take, {"id": "id-1", "name": "main"}) == ["exists"]
    made = (await a.change("POST", take, {"id": "id-1", "name": "new"}))["result"]
    assert (made["name"], made["disks"]) == ("new", [THREE])
    assert [found["id"] for found in await a.items("/v1/found-pools")] == ["id-2"]


async def test_disks_of_a_lost_node_bring_their_volumes_along(directory: Path) -> None:
    async with running_model(World(), "a", directory / "a") as old:
        await make_pool(old)
        await make_volume(old, "v1")
        await make_volume(old, "v2", "iscsi", io_type="file")
        (Path((await old.get("/v1/volumes/v1"))["mounted_at"]) / "file").write_text("kept")
        unit_bytes = (await old.get("/v1/volumes/v2"))["unit_bytes"]
        disks = old.mechanisms.volumes
    async with running_model(World(), "b", directory / "b") as new:
        model = new.mechanisms.volumes
        model.content, model.pools, model.ids, model.volumes = disks.content, disks.pools, disks.ids, disks.volumes
        (found,) = await new.items("/v1/found-pools")
        assert (found["name"], found["is_ours"], found["contents"]) == ("main", True, ["v1", "v2"])
        await new.change("POST", "/v1/found-pools", {"id": found["id"], "name": "main"})
        assert await new.items("/v1/found-pools") == []
        files, unit = await new.items("/v1/volumes")
        assert (files["name"], files["kind"], files["drift"]) == ("v1", "nas", [])
        assert (Path(files["mounted_at"]) / "file").read_text() == "kept"
        assert (unit["io_type"], unit["unit_bytes"], unit["drift"]) == ("file", unit_bytes, [])


async def test_thin_volumes_are_promised_only_what_may_be_promised(a: Appliance) -> None:
    thin = "/v1/pools/main/thin"
    assert await refused(a, "PUT", thin, {"most_promised_percent": 200}) == ["no-size"]
    body = {"pool": "main", "name": "t1", "size_bytes": SIZE, "kind": "iscsi", "is_thin": True}
    assert await refused(a, "POST", "/v1/volumes", body) == ["no-thin-pool"]
    made = (await a.change("PUT", thin, {"size_bytes": SIZE}))["result"]
    assert (made["thin"]["size_bytes"], made["thin"]["promised_bytes"]) == (SIZE, 0)
    shown = await make_volume(a, "t1", "iscsi", is_thin=True)
    assert (shown["is_thin"], shown["actual"]["used_bytes"]) == (True, 0)
    assert await refused(a, "POST", "/v1/volumes", {**body, "name": "t2"}) == ["promised"]
    assert await refused(a, "POST", "/v1/volumes/t1/grow", {"size_bytes": 2 * SIZE}) == ["promised"]
    await a.change("PUT", thin, {"most_promised_percent": 200})
    await make_volume(a, "t2", "iscsi", is_thin=True)
    assert await refused(a, "PUT", thin, {"most_promised_percent": 100}) == ["promised"]
    assert await refused(a, "PUT", thin, {"size_bytes": SIZE // 2}) == ["smaller"]
    with pytest.raises(Refused) as caught:
        await a.change("DELETE", thin)
    assert "t1, t2" in str(caught.value)
    await a.change("PUT", thin, {"size_bytes": 2 * SIZE})
    await a.change("POST", "/v1/volumes/t1/grow", {"size_bytes": 2 * SIZE})
    for name in ("t1", "t2"):
        await a.change("DELETE", f"/v1/volumes/{name}?confirm={name}")
    await a.change("DELETE", thin)
    assert (await a.get("/v1/pools/main"))["thin"] is None


async def test_a_thin_pool_that_fills_up_grows_or_is_reported(a: Appliance) -> None:
    await a.change("PUT", "/v1/pools/main/thin", {"size_bytes": SIZE})
    model, reconciler = a.mechanisms.volumes, a.system.services.reconciler

    async def fill() -> Any:
        found = model.thin["main"]
        model.thin["main"] = type(found)(found.size_bytes, 85.0, found.metadata_bytes, 10.0, 0)
        await reconciler.once()
        return (await a.get("/v1/pools/main"))["thin"]["size_bytes"]

    grown_bytes = await fill()
    assert grown_bytes >= SIZE * 12 // 10
    assert not [text for text in reconciler.drift if "thin" in text]
    await a.change("PUT", "/v1/pools/main/thin", {"grows_itself": False})
    assert await fill() == grown_bytes
    (told,) = [text for text in reconciler.drift if "thin" in text]
    assert "main: the room for data of the thin pool is used to 85 %" in told


async def test_the_report_says_what_the_room_is_used_for(a: Appliance) -> None:
    await make_volume(a, "v1", label="the documents")
    await a.change("PUT", "/v1/pools/main/thin", {"size_bytes": SIZE})
    await make_volume(a, "t1", "iscsi", is_thin=True)
    await a.change("POST", "/v1/snapshots", {"volume": "v1", "name": "s1", "reserve_bytes": 16 * MIB})
    (Path((await a.get("/v1/volumes/v1"))["mounted_at"]) / "file").write_bytes(bytes(3 * MIB))
    await a.change("PUT", "/v1/volumes/v1/label", {"label": "Büro"})
    report = await a.get("/v1/pools/main/report")
    reserved = report["reserves"]
    assert reserved["snapshots_bytes"] == 16 * MIB
    assert report["others_bytes"] == 0
    total = report["free_bytes"] + sum(reserved.values()) + report["volumes_bytes"] + report["thin"]["size_bytes"]
    assert total == report["size_bytes"] == 4096 * MIB
    thin, nas = report["volumes"]
    assert (thin["name"], thin["is_thin"], thin["size_bytes"], thin["used_bytes"]) == ("t1", True, SIZE, 0)
    assert (nas["label"], nas["snapshots_bytes"], nas["used_bytes"]) == ("Büro", 16 * MIB, SIZE)
    assert nas["files"]["used_bytes"] == 3 * MIB
    assert (await a.get("/v1/volumes/v1"))["label"] == "Büro"


async def test_a_disk_leaves_wherever_its_daemon_was_killed(directory: Path) -> None:
    node = MortalNode(World(), directory)
    async with node.running() as a:
        await make_pool(a)
        await make_volume(a, "v1")
        await a.change("POST", "/v1/pools/main/extend", {"disks": [TWO]})
    died = await kill_at_every_mark(node, "pool.remove-disk", "/v1/pools/main/remove-disk", {"disk": ONE})
    assert died == 2 * 3
    async with node.running() as a:
        assert (await a.get("/v1/pools/main"))["disks"] == [TWO]
        assert (await a.get("/v1/volumes/v1"))["drift"] == []


async def test_a_pool_is_renamed_wherever_its_daemon_was_killed(directory: Path) -> None:
    node = MortalNode(World(), directory)
    async with node.running() as a:
        await make_pool(a)
        await make_volume(a, "v1")
    died = await kill_at_every_mark(node, "pool.rename", "/v1/pools/main/rename", {"new_name": "lake"})
    assert died == 2 * 2
    async with node.running() as a:
        shown = await a.get("/v1/volumes/v1")
        assert (shown["pool"], shown["drift"]) == ("lake", [])
        assert [pool["name"] for pool in await a.items("/v1/pools")] == ["lake"]
