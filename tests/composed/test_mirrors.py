"""Mirrors by two whole daemons over the reference drivers: what the services decide, without a kernel."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from holdfast.hooks.replication import FenceAnswer, Role
from holdfast.testing.memory_drbd import BLOCK_BYTES
from holdfast.testing.mirror import RecordingArbiter, pattern, serving
from tests.composed.appliance import Appliance, Refused

MIB = 1024 * 1024
SOON_S = 5.0

Nodes = tuple[Appliance, Appliance]


async def make_mirror(a: Appliance, *, kind: str = "iscsi", size_bytes: int = 4 * MIB) -> None:
    first_sync = "full" if kind == "nas" else "zero"
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "v", "size_bytes": size_bytes, "kind": kind})
    await a.change("POST", "/v1/mirrors", {"name": "m", "volumes": ["v"], "first_sync": first_sync})


async def eventually(node: Appliance, path: str, field: str, expected: Any) -> Any:
    deadline_s = asyncio.get_running_loop().time() + SOON_S
    while (found := await node.get(path))[field] != expected:
        assert asyncio.get_running_loop().time() < deadline_s, found
        await asyncio.sleep(0.02)
    return found


async def events_of(node: Appliance) -> list[str]:
    heard: list[str] = []

    async def listen() -> None:
        async for event in node.system.ground.events.follow(0):
            heard.append(event.kind)

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(listen(), 0.3)
    return heard


@contextlib.asynccontextmanager
async def writable(node: Appliance) -> AsyncIterator[None]:
    """The node is Primary meanwhile, whatever its peer does."""
    driver = node.mechanisms.mirrors
    was_primary = driver.node.side("m").role is Role.PRIMARY
    await driver.promote("m")
    await asyncio.sleep(0.05)  # whoever watches sees it
    yield
    if not was_primary:
        await driver.demote("m")


async def diverge(nodes: Nodes) -> None:
    """Both leave each other by force, both are written, and both meet again."""
    a, b = nodes
    for node in nodes:
        await node.mechanisms.mirrors.disconnect("m", force=True)
    for node, blocks in ((a, 3), (b, 1)):
        driver = node.mechanisms.mirrors
        driver.node.arbiter = None
        async with serving(driver, RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)), writable(node):
            for block in range(blocks):
                await driver.write("m", block * BLOCK_BYTES, pattern(ord(node.config.node)))
    for node in nodes:
        document = await node.system.ground.documents.mirrors.get("m")
        await node.mechanisms.mirrors.connect(await node.system.services.sides.spec(document))


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


# --- comparing and mending ---------------------------------------------------------------------------------


async def test_what_a_comparison_finds_is_kept_on_both_nodes_told_and_mended(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    job = await a.change("POST", "/v1/mirrors/m/verify")
    assert job["result"] == {"out_of_sync_bytes": 0, "is_equal": True}
    media = b.mechanisms.mirrors.node.side("m").volumes[0].media
    media.data[:BLOCK_BYTES] = pattern(9)
    job = await a.change("POST", "/v1/mirrors/m/verify")
    assert job["result"]["out_of_sync_bytes"] == BLOCK_BYTES
    for node in nodes:
        found = await node.items("/v1/mirrors/m/verifications")
        assert [item["out_of_sync_bytes"] for item in found] == [BLOCK_BYTES, 0]
        assert [alert["code"] for alert in (await node.get("/v1/mirrors/m"))["alerts"]] == ["out-of-sync"]
    assert "mirror.out-of-sync" in await events_of(a)

    plan = await a.get("/v1/mirrors/m/repair")
    assert (plan["kept_node"], plan["overwritten_node"], plan["total_bytes"]) == ("a", "b", BLOCK_BYTES)
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/repair")
    assert refused.value.problem["code"] == "confirmation-needed"
    assert media.data[:BLOCK_BYTES] == pattern(9)
    await a.change("POST", "/v1/mirrors/m/repair?confirm=m")
    assert media.data[:BLOCK_BYTES] == bytes(BLOCK_BYTES)
    for node in nodes:
        mirror = await node.get("/v1/mirrors/m")
        assert (mirror["is_in_sync"], mirror["alerts"]) == (True, [])
        assert mirror["this_node"]["status"]["role"] == "Secondary"


async def test_the_side_in_use_is_the_one_that_is_kept(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    await b.mechanisms.mirrors.promote("m")
    await b.mechanisms.mirrors.write("m", 0, pattern(1))
    a.mechanisms.mirrors.node.side("m").volumes[0].media.data[:BLOCK_BYTES] = pattern(9)
    await a.change("POST", "/v1/mirrors/m/verify")
    assert (await a.get("/v1/mirrors/m/repair"))["kept_node"] == "b"
    await a.change("POST", "/v1/mirrors/m/repair?confirm=m")
    assert a.mechanisms.mirrors.node.side("m").volumes[0].media.data[:BLOCK_BYTES] == pattern(1)
    assert b.mechanisms.mirrors.node.side("m").role is Role.PRIMARY


async def test_nothing_that_differs_is_nothing_to_repair(nodes: Nodes) -> None:
    a, _ = nodes
    await make_mirror(a)
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/repair?confirm=m")
    assert refused.value.problem["reasons"][0]["code"] == "nothing-to-repair"


async def test_a_mirror_is_verified_when_its_schedule_says_so_and_once(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    await a.change("PATCH", "/v1/mirrors/m", {"schedule": {"every_hours": 24}})
    shown = await b.get("/v1/mirrors/m")
    assert shown["schedule"]["every_hours"] == 24
    for node in nodes:
        await node.system.services.verify.start_due()
    assert await a.items("/v1/mirrors/m/verifications") == []

    document = await a.system.ground.documents.mirrors.get("m")
    earlier = a.system.ground.clock.now() - timedelta(hours=25)
    for node in nodes:
        plain = await node.system.ground.documents.mirrors.get("m")
        await node.system.ground.documents.mirrors.put("m", _started(plain, earlier.isoformat()))
    assert document.schedule is not None
    for _ in range(2):
        await b.system.services.verify.start_due()
        await a.system.services.verify.start_due()
        await asyncio.sleep(0.5)
    assert len(await a.items("/v1/mirrors/m/verifications")) == 1
    assert (await a.get("/v1/mirrors/m"))["next_verification_at"] > a.system.ground.clock.now().isoformat()
    await a.change("PATCH", "/v1/mirrors/m", {"schedule": None})
    assert (await a.get("/v1/mirrors/m"))["next_verification_at"] is None


def _started(document: Any, at: str) -> Any:
    return replace(document, started_at=at)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"schedule": {"every_hours": 1, "weekdays": [1], "time_of_day": "10:00"}}, "bad-schedule"),
        ({"schedule": {"weekdays": [9], "time_of_day": "10:00"}}, "bad-schedule"),
        ({"limits": {"max_bytes_s": 10 * MIB, "min_bytes_s": 20 * MIB}}, "bad-limits"),
    ],
)
async def test_a_change_that_makes_no_sense_changes_nothing(nodes: Nodes, body: dict[str, Any], code: str) -> None:
    a, _ = nodes
    await make_mirror(a)
    before = await a.get("/v1/mirrors/m")
    with pytest.raises(Refused) as refused:
        await a.change("PATCH", "/v1/mirrors/m", body)
    assert refused.value.problem["reasons"][0]["code"] == code
    assert await a.get("/v1/mirrors/m") == before


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


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"volume": "v", "size_bytes": 4 * MIB}, "not-larger"),
        ({"volume": "w", "size_bytes": 8 * MIB}, "not-mirrored"),
        ({"volume": "v", "size_bytes": 8 << 40}, "metadata-full"),
        ({"volume": "v", "size_bytes": 5 << 30}, "no-space"),
    ],
)
async def test_a_growth_that_cannot_be_changes_nothing(nodes: Nodes, body: dict[str, Any], code: str) -> None:
    a, _ = nodes
    await make_mirror(a)
    before = await a.get("/v1/volumes/v")
    if code == "no-space":
        document = await a.system.ground.documents.mirrors.get("m")
        roomy = tuple(replace(member, metadata_bytes=64 * MIB) for member in document.members)
        await a.system.ground.documents.mirrors.put("m", replace(document, members=roomy))
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/grow", body)
    assert refused.value.problem["reasons"][0]["code"] == code
    assert await a.get("/v1/volumes/v") == before


async def test_a_mirror_that_is_not_in_sync_does_not_grow(nodes: Nodes) -> None:
    a, _ = nodes
    await make_mirror(a)
    await a.change("POST", "/v1/mirrors/m/stop")
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/grow", {"volume": "v", "size_bytes": 8 * MIB})
    assert refused.value.problem["reasons"][0]["code"] == "not-in-sync"


# --- a lost disk ------------------------------------------------------------------------------------------


async def make_spare_pool(node: Appliance) -> None:
    blank = next(d["path"] for d in (await node.get("/v1/disks"))["items"] if not d["signatures"] and not d["used_by"])
    await node.change("POST", "/v1/pools", {"name": "spare", "disks": [blank]})


@pytest.mark.parametrize(("loser", "kind"), [("a", "nas"), ("b", "iscsi")])
async def test_a_lost_disk_is_replaced_under_the_users_of_the_mirror(nodes: Nodes, loser: str, kind: str) -> None:
    a, _ = nodes
    node, other = (nodes["ab".index(loser)], nodes["ba".index(loser)])
    await make_mirror(a, kind=kind, size_bytes=16 * MIB)
    mounted_at = (await a.get("/v1/volumes/v"))["mounted_at"]
    async with writable(a):
        await a.mechanisms.mirrors.write("m", 0, pattern(1))
        node.mechanisms.mirrors.lose_disk("m")
        await eventually(node, "/v1/mirrors/m", "is_in_sync", False)
        [alert] = [one for one in (await node.get("/v1/mirrors/m"))["alerts"] if one["code"] == "disk-lost"]
        assert "replace the disk" in alert["remedy"]
        await make_spare_pool(node)
        job = await node.change("POST", "/v1/mirrors/m/replace-disk", {"volume": "v", "pool": "spare"})
        assert await a.mechanisms.mirrors.read("m", 0, BLOCK_BYTES) == pattern(1)
    assert any("stays" in line for line in job["log"])
    for each in nodes:
        found = await eventually(each, "/v1/mirrors/m", "is_in_sync", True)
        side = found["this_node"] if each is node else found["other_node"]
        assert "spare" in side["devices"]["v"]
        document = await each.system.ground.documents.mirrors.get("m")
        assert document.members[0].pools == {loser: "spare", other.config.node: "main"}
    volume = await node.get("/v1/volumes/v")
    assert (volume["pool"], volume["drift"]) == ("spare", [])
    assert (await a.get("/v1/volumes/v"))["mounted_at"] == mounted_at
    assert ("main", "v") in {(v.pool, v.name) for v in await node.mechanisms.volumes.list_volumes()}


@pytest.mark.parametrize("is_served", [True, False])
async def test_a_lost_disk_is_attached_again_by_a_persons_word_only(nodes: Nodes, is_served: bool) -> None:
    a, _ = nodes
    await make_mirror(a)
    async with writable(a) if is_served else contextlib.nullcontext():
        a.mechanisms.mirrors.lose_disk("m")
        for _ in range(2):
            await a.system.services.reconciler.once()
        assert (await a.get("/v1/mirrors/m"))["this_node"]["status"]["volumes"][0]["disk"] == "Diskless"
        [drift] = (await a.get("/v1/node"))["drift"]
        assert "m has lost a disk" in drift
        await a.change("POST", "/v1/mirrors/m/start")
    await eventually(a, "/v1/mirrors/m", "is_in_sync", True)
    await a.system.services.reconciler.once()
    assert (await a.get("/v1/node"))["drift"] == []


async def test_what_is_left_of_a_lost_volume_is_removed_when_asked(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    b.mechanisms.mirrors.lose_disk("m")
    await make_spare_pool(b)
    body = {"volume": "v", "pool": "spare", "remove_old": True}
    await b.change("POST", "/v1/mirrors/m/replace-disk", body)
    assert {(v.pool, v.name) for v in await b.mechanisms.volumes.list_volumes()} == {("spare", "v")}
    await b.change("DELETE", "/v1/pools/main?confirm=main")


async def test_a_replacement_that_cannot_be_changes_nothing(nodes: Nodes) -> None:
    a, _ = nodes
    await make_mirror(a)
    a.mechanisms.mirrors.lose_disk("m")
    await make_spare_pool(a)
    before = await a.get("/v1/volumes/v")
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"volume": "v", "pool": "main"}, "same-pool"),
        ({"volume": "v", "pool": "nowhere"}, "unknown-pool"),
        ({"volume": "w", "pool": "spare"}, "not-mirrored"),
        ({"volume": "v", "pool": "spare", "remove_old": "yes"}, "bad-field"),
        ({"volume": "v"}, "bad-field"),
    ]
    for body, code in refusals:
        with pytest.raises(Refused) as refused:
            await a.change("POST", "/v1/mirrors/m/replace-disk", body)
        assert refused.value.problem["reasons"][0]["code"] == code
        assert await a.get("/v1/volumes/v") == before


async def test_a_disk_that_is_there_is_not_replaced_and_none_without_a_partner_to_read_from(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    await make_spare_pool(a)
    body = {"volume": "v", "pool": "spare"}
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/replace-disk", body)
    assert refused.value.problem["reasons"][0]["code"] == "disk-there"
    a.mechanisms.mirrors.lose_disk("m")
    await b.mechanisms.mirrors.disconnect("m", force=True)
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/replace-disk", body)
    assert refused.value.problem["reasons"][0]["code"] == "no-source"
    assert {(v.pool, v.name) for v in await a.mechanisms.volumes.list_volumes()} == {("main", "v")}


# --- split brain -------------------------------------------------------------------------------------------


async def test_a_split_brain_is_found_described_and_left_alone(nodes: Nodes) -> None:
    a, _ = nodes
    await make_mirror(a)
    await diverge(nodes)
    for node in nodes:
        mirror = await eventually(node, "/v1/mirrors/m", "has_split_brain", True)
        assert mirror["alerts"][0]["code"] == "split-brain"
        case = await node.get("/v1/mirrors/m/split-brain")
        assert case["is_split_brain"]
        (volume,) = case["volumes"]
        assert volume["changed_bytes"] == {"a": 3 * BLOCK_BYTES, "b": BLOCK_BYTES}
        assert volume["diverged_at"] is not None
        assert [side["node"] for side in case["sides"]] in (["a", "b"], ["b", "a"])
        assert all(side["last_writer_since"] for side in case["sides"])
        assert (await events_of(node)).count("mirror.split-brain") == 1
    for node in nodes:
        await node.system.services.reconciler.once()
        assert "diverged" in str(node.system.services.reconciler.drift)
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/start")
    assert refused.value.problem["reasons"][0]["code"] == "split-brain"
    data = [node.mechanisms.mirrors.node.side("m").volumes[0].media.data[:BLOCK_BYTES] for node in nodes]
    assert data == [pattern(ord("a")), pattern(ord("b"))]


@pytest.mark.parametrize("asked", ["a", "b"])
@pytest.mark.parametrize("survivor", ["a", "b"])
async def test_a_person_chooses_the_survivor_after_snapshots_of_both(nodes: Nodes, survivor: str, asked: str) -> None:
    await make_mirror(nodes[0])
    await diverge(nodes)
    node = nodes["ab".index(asked)]
    with pytest.raises(Refused) as refused:
        await node.change("POST", "/v1/mirrors/m/resolve-split-brain", {"survivor": survivor})
    assert refused.value.problem["code"] == "confirmation-needed"
    job = await node.change("POST", "/v1/mirrors/m/resolve-split-brain?confirm=m", {"survivor": survivor})
    for each in nodes:
        assert each.mechanisms.mirrors.node.side("m").volumes[0].media.data[:BLOCK_BYTES] == pattern(ord(survivor))
        mirror = await each.get("/v1/mirrors/m")
        assert (mirror["is_in_sync"], mirror["has_split_brain"], mirror["alerts"]) == (True, False, [])
        snapshots = [f"{s['volume']}/{s['name']}" for s in await each.items("/v1/snapshots")]
        assert snapshots == job["result"]["snapshots"]
        assert not (await each.get("/v1/mirrors/m/split-brain"))["is_split_brain"]


async def test_a_loser_in_use_is_not_overwritten_and_the_snapshots_go_again(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    await diverge(nodes)
    b.mechanisms.mirrors.node.side("m").role = Role.PRIMARY
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/resolve-split-brain?confirm=m", {"survivor": "a"})
    assert "in use on b" in str(refused.value.problem)
    assert b.mechanisms.mirrors.node.side("m").volumes[0].media.data[:BLOCK_BYTES] == pattern(ord("b"))
    for node in nodes:
        assert await node.items("/v1/snapshots") == []
        await eventually(node, "/v1/mirrors/m", "has_split_brain", True)


@pytest.mark.parametrize(("survivor", "code"), [("c", "unknown-node"), ("a", "no-split-brain")])
async def test_there_must_be_a_split_brain_and_a_side(nodes: Nodes, survivor: str, code: str) -> None:
    a, _ = nodes
    await make_mirror(a)
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/resolve-split-brain?confirm=m", {"survivor": survivor})
    assert refused.value.problem["reasons"][0]["code"] == code


async def test_without_the_partner_the_case_says_what_is_not_known_and_nothing_is_resolved(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    await diverge(nodes)
    await eventually(a, "/v1/mirrors/m", "has_split_brain", True)
    await b.system.partner.server.stop()
    case = await a.get("/v1/mirrors/m/split-brain")
    assert case["is_split_brain"]
    assert case["sides"][1]["unknown"]
    assert case["volumes"][0]["changed_bytes"] == {"a": 3 * BLOCK_BYTES, "b": None}
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors/m/resolve-split-brain?confirm=m", {"survivor": "a"})
    assert refused.value.problem["reasons"][0]["code"] == "partner-away"


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
