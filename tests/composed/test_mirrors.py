"""Mirrors by two whole daemons over the reference drivers: what the services decide, without a kernel."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import UnavailableError
from holdfast.hooks.replication import Role
from holdfast.hooks.volume import Volume
from holdfast.planning.mirror_link import LinkMeasurement
from holdfast.testing.memory_drbd import BLOCK_BYTES
from holdfast.testing.memory_pair import Pair
from holdfast.testing.mirror import pattern
from tests.composed.appliance import Refused
from tests.composed.mirrors import (
    MIB,
    Nodes,
    events_of,
    eventually,
    make_mirror,
)

# --- the secret ----------------------------------------------------------------------------------------


async def test_the_peers_secret_is_the_same_on_both_nodes_and_nowhere_to_be_read(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    sides = [node.mechanisms.mirrors.node.side("m").secret for node in nodes]
    assert sides[0] == sides[1]
    secret = sides[0]
    assert secret is not None
    revealed = str.__str__(secret)
    assert len(revealed) >= 32
    shown = [await node.items(path) for node in nodes for path in ("/v1/mirrors", "/v1/jobs", "/v1/volumes")]
    assert revealed not in json.dumps(shown)
    assert (await b.get("/v1/mirrors/m"))["is_authenticated"]


async def test_a_skipped_sync_is_on_record_with_its_proof(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    for node in nodes:
        record = (await node.get("/v1/mirrors/m"))["first_sync"]
        assert (record["how"], len(record["proof"])) == ("zero", 2)
        assert any("on b was zeroed" in text for text in record["proof"])
    await a.change("DELETE", "/v1/mirrors/m?confirm=m")
    assert [await node.items("/v1/mirrors") for node in nodes] == [[], []]
    assert [volume["name"] for volume in await b.items("/v1/volumes")] == ["v"]


# --- file systems ----------------------------------------------------------------------------------------


async def test_a_file_system_moves_onto_its_mirror_with_all_it_holds_and_back(nodes: Nodes) -> None:
    a, b = nodes
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "v", "size_bytes": 16 * MIB, "kind": "nas"})
    await a.change("POST", "/v1/shares", {"name": "docs", "volume": "v", "path": "docs"})
    file = a.config.mount_dir / "main" / "v" / "docs" / "one"
    file.write_text("kept")
    await a.change("POST", "/v1/mirrors", {"name": "m", "volumes": ["v"], "first_sync": "full"})
    directory = str(a.config.mount_dir / "main" / "v")
    assert a.mechanisms.volumes.mounts[directory].device == "/dev/memory0"
    assert file.read_text() == "kept"
    shown = await a.get("/v1/volumes/v")
    assert (shown["mounted_at"], shown["drift"]) == (directory, [])
    there = await b.get("/v1/volumes/v")
    assert (there["mounted_at"], there["drift"], there["kind"]) == (None, [], "nas")

    a.mechanisms.volumes.reboot()
    a.mechanisms.mirrors.pair.power_off("a")
    a.mechanisms.mirrors.pair.power_on("a")
    for node in nodes:
        await node.system.services.reconciler.once()
    assert a.mechanisms.volumes.mounts[directory].device == "/dev/memory0"
    assert file.read_text() == "kept"

    await a.change("DELETE", "/v1/mirrors/m?confirm=m")
    assert a.mechanisms.volumes.mounts[directory].device == shown["actual"]["device"]
    assert file.read_text() == "kept"


async def test_a_file_system_in_use_is_left_where_it_is(nodes: Nodes) -> None:
    a, b = nodes
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "v", "size_bytes": 16 * MIB, "kind": "nas"})
    before = await a.get("/v1/volumes/v")
    a.mechanisms.volumes.held.add(before["mounted_at"])
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors", {"name": "m", "volumes": ["v"], "first_sync": "full"})
    assert "in use" in str(refused.value.problem)
    assert await a.get("/v1/volumes/v") == before
    assert a.mechanisms.volumes.metadata == {}
    assert await b.items("/v1/volumes") == []


async def test_files_and_blocks_are_not_mixed_in_one_mirror(nodes: Nodes) -> None:
    a, _ = nodes
    for name, kind in (("v", "nas"), ("w", "iscsi")):
        await a.change("POST", "/v1/volumes", {"pool": "main", "name": name, "size_bytes": 16 * MIB, "kind": kind})
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors", {"name": "m", "volumes": ["v", "w"], "first_sync": "full"})
    assert refused.value.problem["reasons"][0]["code"] == "mixed-kinds"


async def test_a_mirrored_file_system_is_not_exported_as_a_lun(nodes: Nodes) -> None:
    a, _ = nodes
    await make_mirror(a, kind="nas", size_bytes=16 * MIB)
    target = {"name": "t", "iqn": "iqn.2026-01.com.example:t", "mirror": "m", "units": [{"lun": 1, "volume": "v"}]}
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/targets", target)
    assert refused.value.problem["reasons"][0]["code"] == "nas-volume"


async def test_a_copy_that_never_was_complete_is_not_taken_for_one(nodes: Nodes) -> None:
    a, b = nodes
    a.mechanisms.mirrors.pair.is_resync_held = True
    await make_mirror(a, kind="nas", size_bytes=16 * MIB)
    assert not (await a.get("/v1/mirrors/m"))["is_in_sync"]
    await a.change("DELETE", "/v1/mirrors/m?confirm=m")
    await b.system.services.reconciler.once()
    there = await b.get("/v1/volumes/v")
    assert there["mounted_at"] is None
    assert "never" in str(there["drift"]) or "before this copy was complete" in str(there["drift"])
    assert (await a.get("/v1/volumes/v"))["mounted_at"] is not None
    with pytest.raises(Refused) as refused:
        await b.change("POST", "/v1/mirrors", {"name": "n", "volumes": ["v"], "first_sync": "full"})
    assert refused.value.problem["reasons"][0]["code"] == "torn"


# --- growing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["a", "b"])
async def test_a_mirror_grows_on_both_nodes_in_one_job(nodes: Nodes, asked: str) -> None:
    a, _ = nodes
    await make_mirror(a, kind="nas" if asked == "a" else "iscsi", size_bytes=16 * MIB)
    roles = [node.mechanisms.mirrors.node.side("m").role for node in nodes]
    job = await nodes["ab".index(asked)].change("POST", "/v1/mirrors/m/grow", {"volume": "v", "size_bytes": 32 * MIB})
    assert job["result"]["is_in_sync"]
    for node in nodes:
        volume = await node.get("/v1/volumes/v")
        assert (volume["size_bytes"], volume["actual"]["size_bytes"], volume["drift"]) == (32 * MIB, 32 * MIB, [])
        status = (await node.get("/v1/mirrors/m"))["this_node"]["status"]
        assert status["volumes"][0]["size_bytes"] == 32 * MIB
        assert (await node.system.ground.documents.mirrors.get("m")).members[0].size_bytes == 32 * MIB
    assert [node.mechanisms.mirrors.node.side("m").role for node in nodes] == roles


BAD_GROWTHS: list[tuple[dict[str, Any], str]] = [
    ({"volume": "v", "size_bytes": 4 * MIB}, "not-larger"),
    ({"volume": "w", "size_bytes": 8 * MIB}, "not-mirrored"),
    ({"volume": "v", "size_bytes": 8 << 40}, "metadata-full"),
    ({"volume": "v", "size_bytes": 5 << 30}, "no-space"),
]


async def test_a_growth_that_cannot_be_changes_nothing(nodes: Nodes) -> None:
    a, _ = nodes
    await make_mirror(a)
    before = await a.get("/v1/volumes/v")
    for body, code in BAD_GROWTHS:
        if code == "no-space":
            document = await a.system.ground.documents.mirrors.get("m")
            roomy = tuple(replace(member, metadata_bytes=64 * MIB) for member in document.members)
            await a.system.ground.documents.mirrors.put("m", replace(document, members=roomy))
        with pytest.raises(Refused) as refused:
            await a.change("POST", "/v1/mirrors/m/grow", body)
        assert refused.value.problem["reasons"][0]["code"] == code, body
        assert await a.get("/v1/volumes/v") == before, body


async def test_a_mirror_that_is_not_in_sync_does_not_grow(nodes: Nodes) -> None:
    a, _ = nodes
    await make_mirror(a)
    await a.change("POST", "/v1/mirrors/m/stop")
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/grow", {"volume": "v", "size_bytes": 8 * MIB})
    assert refused.value.problem["reasons"][0]["code"] == "not-in-sync"


async def test_a_growth_whose_node_was_rebooted_goes_back_and_lets_go_of_the_mirror(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _ = nodes
    await make_mirror(a)
    pair = a.mechanisms.mirrors.node.world
    assert isinstance(pair, Pair)

    async def lose_power(name: str, *, new_part_is_zero: bool) -> None:
        pair.power_off("a")
        pair.power_on("a")
        raise UnavailableError("it was rebooted")

    with monkeypatch.context() as patched:
        patched.setattr(a.mechanisms.mirrors, "grow", lose_power)
        with pytest.raises(Refused, match="it was rebooted"):
            await a.change("POST", "/v1/mirrors/m/grow", {"volume": "v", "size_bytes": 8 * MIB})
    await a.system.services.reconciler.once()
    await eventually(a, "/v1/mirrors/m", "is_in_sync", True)
    await a.change("POST", "/v1/mirrors/m/grow", {"volume": "v", "size_bytes": 12 * MIB})


async def test_after_a_growth_that_failed_in_between_the_difference_is_told_and_a_repair_mends_it(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _ = nodes
    await make_mirror(a)
    mirrors = a.mechanisms.mirrors

    async def lose_power(name: str) -> None:
        mirrors.pair.power_off("a")
        mirrors.pair.power_on("a")
        raise UnavailableError("it was rebooted")

    with monkeypatch.context() as patched:
        patched.setattr(mirrors, "promote", lose_power)
        with pytest.raises(Refused, match="it was rebooted"):
            await a.change("POST", "/v1/mirrors/m/grow", {"volume": "v", "size_bytes": 8 * MIB})
    await a.system.services.reconciler.once()
    # Both volumes are larger, and the sides took that up when they met; nobody has sent what is new.
    found = await a.get("/v1/mirrors/m")
    assert (found["is_in_sync"], [alert["code"] for alert in found["alerts"]]) == (False, ["out-of-sync"])
    with pytest.raises(Refused, match="repair it"):
        await a.change("POST", "/v1/mirrors/m/grow", {"volume": "v", "size_bytes": 8 * MIB})
    await a.change("POST", "/v1/mirrors/m/repair?confirm=m")
    await eventually(a, "/v1/mirrors/m", "is_in_sync", True)
    await a.change("POST", "/v1/mirrors/m/grow", {"volume": "v", "size_bytes": 12 * MIB})


async def test_a_growth_goes_on_after_a_reboot_and_sends_what_the_kernels_took_up_by_themselves(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = nodes
    await make_mirror(a)
    mirrors, volumes = a.mechanisms.mirrors, a.mechanisms.volumes
    grow_volume = volumes.grow_volume

    async def reboot_then(pool: str, name: str, size_bytes: int) -> Volume:
        grown = await grow_volume(pool, name, size_bytes)
        mirrors.pair.power_off("a")
        mirrors.pair.power_on("a")
        device = grown.device
        mirrors.node.media[device].data[4 * MIB :] = b"\x5a" * (4 * MIB)  # whatever was there before
        return grown

    monkeypatch.setattr(volumes, "grow_volume", reboot_then)
    job = await a.change("POST", "/v1/mirrors/m/grow", {"volume": "v", "size_bytes": 8 * MIB})
    assert job["result"]["is_in_sync"]
    sides = [bytes(node.mechanisms.mirrors.node.media["/dev/main/v"].data) for node in (a, b)]
    assert sides[0] == sides[1]
    assert len(sides[0]) == 8 * MIB
    assert [node.mechanisms.mirrors.node.side("m").role for node in nodes] == [Role.SECONDARY] * 2


async def test_what_a_job_had_at_boot_is_brought_up_as_soon_as_the_job_is_over(nodes: Nodes) -> None:
    a, _ = nodes
    await make_mirror(a)
    locks = a.system.ground.jobs.locks
    locks.hold(["mirror:m"], "some job")
    a.mechanisms.mirrors.pair.power_off("a")
    a.mechanisms.mirrors.pair.power_on("a")
    await a.system.services.reconciler.once()
    assert not (await a.get("/v1/mirrors/m"))["this_node"]["status"]["is_up"]
    locks.release(["mirror:m"])
    await eventually(a, "/v1/mirrors/m", "is_in_sync", True)


# --- what is told ------------------------------------------------------------------------------------------


async def test_what_happens_to_a_mirror_is_told_once_and_in_words(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    await asyncio.sleep(0.1)
    await b.mechanisms.mirrors.promote("m")
    await asyncio.sleep(0.1)
    heard = await events_of(b)
    assert heard.count("mirror.role") == 1
    assert "mirror.peer-role" in await events_of(a)


async def test_a_resync_is_held_and_goes_on_on_demand(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    await a.change("POST", "/v1/mirrors/m/pause-sync")
    await a.mechanisms.mirrors.promote("m")
    await b.mechanisms.mirrors.disconnect("m")
    await a.mechanisms.mirrors.write("m", 0, pattern(1))
    await a.change("POST", "/v1/mirrors/m/start")
    mirror = await a.get("/v1/mirrors/m")
    assert (mirror["is_in_sync"], mirror["this_node"]["status"]["volumes"][0]["to_go_bytes"]) == (False, BLOCK_BYTES)
    await b.change("POST", "/v1/mirrors/m/resume-sync")
    assert (await a.get("/v1/mirrors/m"))["is_in_sync"]


# --- the link ----------------------------------------------------------------------------------------


async def test_the_link_is_measured_when_a_mirror_is_made_and_when_asked(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    first = (await a.get("/v1/mirrors/m"))["link"]
    assert first["link_bytes_s"] > 0
    # A model's device is none: what is not known is told, and warns of nothing.
    assert first["disk_bytes_s"] is None
    assert "could not be measured" in first["unknown"]
    assert (await b.get("/v1/mirrors/m"))["link"] == first
    again = (await b.change("POST", "/v1/mirrors/m/measure-link"))["result"]["link"]
    assert (again["measured_from"], again["link_bytes_s"] > 0) == ("b", True)
    assert [(await node.get("/v1/mirrors/m"))["link"] for node in nodes] == [again, again]


async def test_a_slow_link_is_an_alert_on_both_nodes_until_it_is_measured_well(nodes: Nodes) -> None:
    a, _ = nodes
    await make_mirror(a)
    slow = LinkMeasurement("2026-01-01T00:00:00+00:00", "a", 10 * MIB, 500 * MIB, "the link is slow", None)
    for node in nodes:
        document = await node.system.ground.documents.mirrors.get("m")
        await node.system.ground.documents.mirrors.put("m", replace(document, link=slow))
        assert [alert["code"] for alert in (await node.get("/v1/mirrors/m"))["alerts"]] == ["slow-link"]
    await a.change("POST", "/v1/mirrors/m/measure-link")
    for node in nodes:
        assert (await node.get("/v1/mirrors/m"))["alerts"] == []
