"""Lost disks and split brains, by two whole daemons over the reference drivers: what is refused, and what mends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from holdfast.hooks.replication import Role
from holdfast.testing.memory_drbd import BLOCK_BYTES
from holdfast.testing.mirror import pattern
from tests.composed.appliance import Refused
from tests.composed.mirrors import (
    MIB,
    SOON_S,
    Nodes,
    diverge,
    events_of,
    eventually,
    make_mirror,
    make_spare_pool,
    writable,
)

# --- a lost disk ------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("is_partner_whole", [False, True])
async def test_a_side_that_is_behind_does_not_come_back_to_a_partner_without_its_disk(
    nodes: Nodes, is_partner_whole: bool
) -> None:
    a, b = nodes
    await make_mirror(a)
    async with writable(a):
        a.mechanisms.mirrors.lose_disk("m")
        await a.mechanisms.mirrors.write("m", 0, pattern(1))
        await eventually(a, "/v1/mirrors/m", "is_in_sync", False)

        async def is_noted() -> bool:
            return (await a.system.ground.histories.get("m")).behind_since is not None

        async with asyncio.timeout(SOON_S):
            while not await is_noted():  # noqa: ASYNC110  # what notes it has no event to wait for
                await asyncio.sleep(0.02)
    await a.mechanisms.mirrors.down("m")  # as a boot leaves it
    if not is_partner_whole:
        b.mechanisms.mirrors.lose_disk("m")
        await a.system.services.reconciler.once()
        assert not (await a.get("/v1/mirrors/m"))["this_node"]["status"]["is_up"]
        [drift] = (await a.get("/v1/node"))["drift"]
        assert "was without a disk here while b went on, and b does not have its disk" in drift
        with pytest.raises(Refused) as refusal:
            await a.change("POST", "/v1/mirrors/m/start")
        assert refusal.value.problem["reasons"][0]["code"] == "behind"
        await b.change("POST", "/v1/mirrors/m/start")
    await a.system.services.reconciler.once()
    await eventually(a, "/v1/mirrors/m", "is_in_sync", True)
    assert (await a.get("/v1/node"))["drift"] == []
    async with writable(a):
        assert await a.mechanisms.mirrors.read("m", 0, BLOCK_BYTES) == pattern(1)
    async with asyncio.timeout(SOON_S):
        while await is_noted():  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.02)


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
