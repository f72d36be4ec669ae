"""Comparing the sides of a mirror and mending what differs, by two whole daemons over the reference drivers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from holdfast.hooks.replication import MirrorSpec, MirrorStatus, ReplicationState, Role
from holdfast.services.mirrors import verify as mirror_verify
from holdfast.testing.memory_drbd import BLOCK_BYTES
from holdfast.testing.memory_pair import Pair
from holdfast.testing.mirror import pattern
from tests.composed.appliance import Appliance, Refused
from tests.composed.mirrors import (
    MIB,
    Nodes,
    events_of,
    eventually,
    make_mirror,
)

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


def cut_comparisons_off(node: Appliance, monkeypatch: pytest.MonkeyPatch, breaks: int) -> list[str]:
    """Let the wire fail for a moment soon after each of the first comparisons has begun; one entry for each one."""
    mirrors, begun = node.mechanisms.mirrors, list[str]()
    pair, verify, status = mirrors.node.world, mirrors.verify, mirrors.status
    assert isinstance(pair, Pair)
    loop, ends_s = asyncio.get_running_loop(), [0.0]

    async def verify_and_fail(name: str) -> None:
        begun.append(name)
        await verify(name)
        if len(begun) <= breaks:
            ends_s[0] = loop.time() + 0.6
            loop.call_later(0.6, pair.cut_wire)
            loop.call_later(1.2, pair.mend_wire)

    async def show(name: str) -> MirrorStatus:
        shown = await status(name)
        if loop.time() >= ends_s[0]:
            return shown
        return replace(shown, volumes=tuple(replace(v, replication=ReplicationState.VERIFY) for v in shown.volumes))

    monkeypatch.setattr(mirrors, "verify", verify_and_fail)
    monkeypatch.setattr(mirrors, "status", show)
    return begun


async def test_a_comparison_that_is_cut_off_is_begun_again(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = nodes
    await make_mirror(a)
    begun = cut_comparisons_off(a, monkeypatch, 2)
    job = await a.change("POST", "/v1/mirrors/m/verify")
    assert job["result"] == {"out_of_sync_bytes": 0, "is_equal": True}
    assert begun == ["m"] * 3
    assert [found["out_of_sync_bytes"] for found in await a.items("/v1/mirrors/m/verifications")] == [0]


async def test_one_that_is_cut_off_each_time_fails_and_says_so(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = nodes
    await make_mirror(a)
    monkeypatch.setattr(mirror_verify, "BREAKS_AT_MOST", 1)
    begun = cut_comparisons_off(a, monkeypatch, 2)
    with pytest.raises(Refused, match="each time it was verified"):
        await a.change("POST", "/v1/mirrors/m/verify")
    assert begun == ["m"] * 2
    (found,) = await a.items("/v1/mirrors/m/verifications")
    assert (found["out_of_sync_bytes"], "each time" in found["reason"]) == (None, True)


async def test_a_mirror_that_went_down_is_not_waited_for_by_its_comparison(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a reboot: as long as the job holds it, nobody brings it up."""
    a, _ = nodes
    await make_mirror(a)
    pair = a.mechanisms.mirrors.node.world
    assert isinstance(pair, Pair)

    async def lose_power(name: str) -> None:
        pair.power_off("a")
        pair.power_on("a")

    monkeypatch.setattr(a.mechanisms.mirrors, "verify", lose_power)
    with pytest.raises(Refused, match="cannot be verified now"):
        await a.change("POST", "/v1/mirrors/m/verify")
    await a.system.services.reconciler.once()
    await eventually(a, "/v1/mirrors/m", "is_in_sync", True)


def leave_the_partner(node: Appliance, monkeypatch: pytest.MonkeyPatch, *, for_s: float | None) -> list[str]:
    """As a monitor does with a silent one, soon after the first comparison has begun; one entry for each comparison."""
    mirrors, begun = node.mechanisms.mirrors, list[str]()
    verify, connect, specs = mirrors.verify, mirrors.connect, list[MirrorSpec]()
    tasks: list[asyncio.Task[object]] = []

    async def know_and_connect(spec: MirrorSpec, **how: bool) -> MirrorStatus:
        specs.append(spec)
        return await connect(spec, **how)

    async def come_back() -> None:
        await asyncio.sleep(for_s or 0)
        await connect(specs[-1])

    async def leave(name: str) -> None:
        begun.append(name)
        await verify(name)
        if len(begun) == 1:
            await mirrors.disconnect(name, force=True)
            if for_s is not None:
                tasks.append(asyncio.create_task(come_back()))

    monkeypatch.setattr(mirrors, "verify", leave)
    monkeypatch.setattr(mirrors, "connect", know_and_connect)
    return begun


async def test_a_mirror_whose_monitor_left_for_a_moment_is_compared_again(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _ = nodes
    begun = leave_the_partner(a, monkeypatch, for_s=0.8)
    await make_mirror(a)
    job = await a.change("POST", "/v1/mirrors/m/verify")
    assert job["result"] == {"out_of_sync_bytes": 0, "is_equal": True}
    assert begun == ["m"] * 2


async def test_a_mirror_that_stands_alone_is_not_waited_for_long(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = nodes
    monkeypatch.setattr(mirror_verify, "STANDS_ALONE_AT_MOST_S", 1.0)
    leave_the_partner(a, monkeypatch, for_s=None)
    await make_mirror(a)
    with pytest.raises(Refused, match="did not begin to connect within 1 s: it is StandAlone"):
        await a.change("POST", "/v1/mirrors/m/verify")


async def test_what_was_found_before_a_comparison_was_cut_off_is_not_forgotten(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = nodes
    await make_mirror(a)
    b.mechanisms.mirrors.node.side("m").volumes[0].media.data[:BLOCK_BYTES] = pattern(9)
    cut_comparisons_off(a, monkeypatch, 1)
    with pytest.raises(Refused, match=f"{BLOCK_BYTES} bytes had been found"):
        await a.change("POST", "/v1/mirrors/m/verify")
    (found,) = await a.items("/v1/mirrors/m/verifications")
    assert (found["out_of_sync_bytes"], str(BLOCK_BYTES) in found["reason"]) == (None, True)


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


async def test_a_mirror_is_verified_by_any_kind_of_schedule(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    for schedule in (
        {"cron": "0 3 * * 0", "time_zone": "Europe/Berlin"},
        {"every_hours": 24, "starts_at": "2026-03-01T03:00:00+01:00"},
    ):
        await a.change("PATCH", "/v1/mirrors/m", {"schedule": schedule})
        shown = await b.get("/v1/mirrors/m")
        assert {field: shown["schedule"][field] for field in schedule} == schedule
        assert (await a.get("/v1/mirrors/m"))["next_verification_at"] > a.system.ground.clock.now().isoformat()


BAD_CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"schedule": {"every_hours": 1, "weekdays": [1], "time_of_day": "10:00"}}, "bad-schedule"),
    ({"schedule": {"weekdays": [9], "time_of_day": "10:00"}}, "bad-schedule"),
    ({"schedule": {"cron": "0 25 * * *"}}, "bad-schedule"),
    ({"limits": {"max_bytes_s": 10 * MIB, "min_bytes_s": 20 * MIB}}, "bad-limits"),
]


async def test_a_change_that_makes_no_sense_changes_nothing(nodes: Nodes) -> None:
    a, _ = nodes
    await make_mirror(a)
    before = await a.get("/v1/mirrors/m")
    for body, code in BAD_CHANGES:
        with pytest.raises(Refused) as refused:
            await a.change("PATCH", "/v1/mirrors/m", body)
        assert refused.value.problem["reasons"][0]["code"] == code, body
        assert await a.get("/v1/mirrors/m") == before, body
