"""The step-wise way to a mirror on the model: modes of volumes, which fit together, and what a chosen one is spared."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import BusyError, UnavailableError
from holdfast.services.documents import ReplicationMode
from tests.composed.appliance import Appliance, Refused
from tests.composed.test_the_main_job import MIB, Nodes


async def make_volume(node: Appliance, name: str, *, size_mib: int = 4, kind: str = "iscsi") -> None:
    await node.change("POST", "/v1/volumes", {"pool": "main", "name": name, "size_bytes": size_mib * MIB, "kind": kind})


async def set_mode(node: Appliance, name: str, mode: str, **more: Any) -> Any:
    confirm = f"?confirm={name}" if mode == "destination" else ""
    return await node.change("PUT", f"/v1/volumes/{name}/replication{confirm}", {"mode": mode, **more})


async def make_mirror(node: Appliance, *, first_sync: str = "full", **chosen: str) -> Any:
    body = {"name": "m", "volumes": ["here"], "first_sync": first_sync, "destination_volumes": chosen}
    return await node.change("POST", "/v1/mirrors", body)


async def stands_in_the_way(node: Appliance, volume: str = "here") -> dict[str, set[str]]:
    found = await node.items(f"/v1/volumes/{volume}/destinations")
    return {candidate["name"]: {reason["code"] for reason in candidate["reasons"]} for candidate in found}


async def test_a_mirror_takes_a_volume_of_another_name_and_gives_it_back(nodes: Nodes) -> None:
    a, b = nodes
    await make_volume(a, "here")
    await make_volume(b, "there")
    await set_mode(a, "here", "source")
    await set_mode(b, "there", "destination", clear_metadata=True)
    made = (await make_mirror(a, here="there"))["result"]
    assert made["is_in_sync"]
    assert made["other_node"]["devices"] == {"here": (await b.get("/v1/volumes/there"))["actual"]["device"]}
    assert [volume["name"] for volume in await b.items("/v1/volumes")] == ["there"]
    assert (await b.get("/v1/volumes/there"))["used_by"] == ["mirror:m"]
    assert (await b.get("/v1/mirrors/m"))["task"] == "m-reverse"
    assert await stands_in_the_way(a) == {"there": {"in-use"}}
    with pytest.raises(Refused, match="mirror m"):
        await b.change("DELETE", "/v1/volumes/there?confirm=there")
    with pytest.raises(Refused, match="mirror m"):
        await set_mode(b, "there", "none")

    grown = await a.change("POST", "/v1/mirrors/m/grow", {"volume": "here", "size_bytes": 8 * MIB})
    assert grown["state"] == "done"
    assert (await b.get("/v1/volumes/there"))["size_bytes"] == 8 * MIB

    await a.change("DELETE", "/v1/mirrors/m?confirm=m")
    left = await b.get("/v1/volumes/there")
    assert (left["used_by"], left["replication_mode"]) == ([], "destination")
    assert await stands_in_the_way(a) == {"there": set()}
    await set_mode(b, "there", "none")
    await b.change("DELETE", "/v1/volumes/there?confirm=there")


async def test_each_candidate_says_all_that_stands_in_its_way(nodes: Nodes) -> None:
    a, b = nodes
    await make_volume(a, "here")
    await make_volume(b, "fits")
    await make_volume(b, "large", size_mib=8)
    await make_volume(b, "files", size_mib=64, kind="nas")
    await make_volume(b, "exported")
    target = {"name": "t", "units": [{"lun": 1, "volume": "exported"}], "is_open": True}
    await b.change("POST", "/v1/targets", {**target, "portals": [{"address": "192.0.2.2"}]})
    for name in ("fits", "large"):
        await set_mode(b, name, "destination")
    assert await stands_in_the_way(a) == {
        "exported": {"in-use", "not-destination"},
        "files": {"not-destination", "size", "kind"},
        "fits": set(),
        "large": {"size"},
    }
    with pytest.raises(Refused, match="4194304") as refused:
        await make_mirror(a, here="large")
    assert [reason["field"] for reason in refused.value.problem["reasons"]] == ["destination_volumes.here"]
    for chosen, field in (({"here": "nowhere"}, "here"), ({"here": "fits", "other": "large"}, "other")):
        with pytest.raises(Refused) as refused:
            await make_mirror(a, **chosen)
        assert [reason["field"] for reason in refused.value.problem["reasons"]] == [f"destination_volumes.{field}"]
    assert await a.items("/v1/mirrors") == []


async def test_a_destination_is_nobody_elses(nodes: Nodes) -> None:
    _, b = nodes
    await make_volume(b, "files", size_mib=64, kind="nas")
    mounted_at = (await b.get("/v1/volumes/files"))["mounted_at"]
    assert mounted_at
    with pytest.raises(Refused, match="confirm"):
        await b.change("PUT", "/v1/volumes/files/replication", {"mode": "destination"})
    await b.change("POST", "/v1/shares", {"name": "docs", "volume": "files"})
    with pytest.raises(Refused, match="share docs"):
        await set_mode(b, "files", "destination")
    await b.change("DELETE", "/v1/shares/docs")

    await set_mode(b, "files", "destination")
    for _ in range(2):
        shown = await b.get("/v1/volumes/files")
        assert (shown["mounted_at"], shown["replication_mode"], shown["drift"]) == (None, "destination", [])
        await b.system.services.reconciler.once()
    for path, body in (
        ("/v1/shares", {"name": "docs", "volume": "files"}),
        ("/v1/snapshots", {"volume": "files", "name": "s"}),
        ("/v1/mirrors", {"name": "m", "volumes": ["files"], "first_sync": "full"}),
    ):
        with pytest.raises(Refused, match="destination of replication") as refused:
            await b.change("POST", path, body)
        assert "replication mode" in refused.value.problem["reasons"][0]["remedy"]
    await set_mode(b, "files", "none")
    assert (await b.get("/v1/volumes/files"))["mounted_at"] == mounted_at


async def test_what_may_hold_data_is_not_zeroed_because_it_was_chosen(nodes: Nodes) -> None:
    a, b = nodes
    await make_volume(a, "here")
    await make_volume(b, "there")
    await set_mode(b, "there", "destination")
    assert (await make_mirror(a, first_sync="zero", here="there"))["result"]["is_in_sync"]
    await a.change("DELETE", "/v1/mirrors/m?confirm=m")
    await a.change("DELETE", "/v1/volumes/here?confirm=here")
    await make_volume(a, "here")
    with pytest.raises(Refused, match="zeroed by nobody") as refused:
        await make_mirror(a, first_sync="zero", here="there")
    assert [reason["field"] for reason in refused.value.problem["reasons"]] == ["first_sync"]


async def test_one_that_another_mirror_takes_meanwhile_is_left_as_it_is(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = nodes
    await make_volume(a, "here")
    await make_volume(b, "there")
    await set_mode(b, "there", "destination")
    sides = b.system.services.sides
    make_volumes = sides.make_volumes

    async def be_late(document: Any) -> Any:
        await set_mode(b, "there", "none")
        await b.mechanisms.volumes.create_metadata("main", "there", MIB)
        return await make_volumes(document)

    monkeypatch.setattr(sides, "make_volumes", be_late)
    with pytest.raises(Refused, match="no free destination any more"):
        await make_mirror(a, here="there")
    assert (await b.get("/v1/volumes/there"))["used_by"] == []
    # What is there stays: its metadata, too, is none of the failed mirror's.
    assert ("main", "there") in b.mechanisms.volumes.metadata
    assert await a.items("/v1/mirrors") == await b.items("/v1/mirrors") == []


async def test_a_chosen_one_whose_mirror_failed_is_marked_as_no_copy(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = nodes
    await make_volume(a, "here")
    await make_volume(b, "there")
    await set_mode(b, "there", "destination")

    async def fail(document: Any) -> Any:
        raise UnavailableError("of a test")

    with monkeypatch.context() as patched:
        patched.setattr(a.system.services.sides, "attach", fail)
        with pytest.raises(Refused, match="of a test"):
            await make_mirror(a, here="there")
    await set_mode(b, "there", "none")
    assert "no usable data" in (await b.get("/v1/volumes/there"))["drift"][0]
    target = {"name": "t", "units": [{"lun": 1, "volume": "there"}], "is_open": True}
    with pytest.raises(Refused, match="never was complete"):
        await b.change("POST", "/v1/targets", {**target, "portals": [{"address": "192.0.2.2"}]})

    # A mirror that ends whole leaves a whole copy.
    await set_mode(b, "there", "destination")
    await make_mirror(a, here="there")
    await a.change("DELETE", "/v1/mirrors/m?confirm=m")
    await set_mode(b, "there", "none")
    assert (await b.get("/v1/volumes/there"))["drift"] == []


async def test_of_two_mirrors_made_at_once_only_one_gets_the_volume(nodes: Nodes) -> None:
    a, b = nodes
    for name in ("one", "two"):
        await make_volume(a, name)
    await make_volume(b, "there")
    await set_mode(b, "there", "destination")

    async def mirror(name: str) -> Any:
        body = {"name": f"m-{name}", "volumes": [name], "first_sync": "full", "destination_volumes": {name: "there"}}
        return await a.change("POST", "/v1/mirrors", body)

    ends = await asyncio.gather(mirror("one"), mirror("two"), return_exceptions=True)
    assert [isinstance(end, Refused) for end in ends].count(True) == 1
    [made] = await a.items("/v1/mirrors")
    assert made["is_in_sync"]
    assert (await b.get("/v1/volumes/there"))["used_by"] == [f"mirror:{made['name']}"]
    assert ("main", "there") in b.mechanisms.volumes.metadata


async def test_a_mode_that_could_not_be_set_takes_nothing_from_a_mirror_that_came_between(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, b = nodes
    await make_volume(b, "files", size_mib=64, kind="nas")
    kept, unmount = b.system.services.volumes, b.mechanisms.volumes.unmount

    async def be_in_use(directory: str) -> None:
        document = await kept.document("files")
        await b.system.ground.documents.volumes.put("files", replace(document, claimed_for="mirror:other"))
        monkeypatch.setattr(b.mechanisms.volumes, "unmount", unmount)
        raise BusyError("a file is open")

    monkeypatch.setattr(b.mechanisms.volumes, "unmount", be_in_use)
    with pytest.raises(Refused, match="a file is open"):
        await set_mode(b, "files", "destination")
    after = await kept.document("files")
    assert (after.replication_mode, after.mirror) == (ReplicationMode.NONE, "other")


async def test_one_destination_for_two_volumes_is_refused(nodes: Nodes) -> None:
    a, b = nodes
    for name in ("one", "two"):
        await make_volume(a, name)
    await make_volume(b, "there")
    await set_mode(b, "there", "destination")
    body = {"name": "m", "volumes": ["one", "two"], "first_sync": "full"}
    with pytest.raises(Refused, match="named twice") as refused:
        await a.change("POST", "/v1/mirrors", {**body, "destination_volumes": {"one": "there", "two": "there"}})
    assert refused.value.status == 400
    for wrong in ({"one": "../there"}, {"one": 5}, {"-rf": "there"}, ["one"]):
        with pytest.raises(Refused) as refused:
            await a.change("POST", "/v1/mirrors", {**body, "destination_volumes": wrong})
        assert all(reason["field"].startswith("destination_volumes") for reason in refused.value.problem["reasons"])
    assert await a.items("/v1/mirrors") == []
    assert (await b.get("/v1/volumes/there"))["used_by"] == []
