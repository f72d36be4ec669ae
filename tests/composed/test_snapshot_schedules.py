"""Snapshots that are taken by themselves and thinned out, and reserves that are watched. The clock is set."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.composed.appliance import Appliance, Refused, World
from tests.composed.tasks import settled
from tests.composed.test_jobs_killed import MortalNode

MIB = 1 << 20
HOUR = timedelta(hours=1)
_NUMBERS = itertools.count()
SCHEDULE = "/v1/volumes/docs/snapshot-schedules/often"
POLICY = "/v1/volumes/docs/snapshot-policy"


@pytest.fixture
def node(directory: Path) -> MortalNode:
    return MortalNode(World(), directory / "a")


@pytest.fixture
async def a(node: MortalNode) -> AsyncIterator[Appliance]:
    async with node.running() as appliance:
        await appliance.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
        volume = {"pool": "main", "name": "docs", "size_bytes": 400 * MIB, "kind": "nas"}
        await appliance.change("POST", "/v1/volumes", volume)
        yield appliance


async def schedule(a: Appliance, node: MortalNode, **more: Any) -> None:
    """Hourly, an hour from now on; the newest two are kept, and the newest of each of three days."""
    starts_at = (node.clock.now() + HOUR).isoformat()
    body = {"every_hours": 1, "starts_at": starts_at, "retention": {"last": 2, "daily": 3}, **more}
    await a.change("PUT", SCHEDULE, body)


async def look(a: Appliance) -> None:
    await a.system.services.snapshot_side.schedules.look()
    await settled(a)


async def let_pass(a: Appliance, node: MortalNode, hours: int, step: int = 1) -> None:
    for _ in range(0, hours, step):
        node.clock.let_pass(step * HOUR)
        await look(a)


async def events_of(a: Appliance, kind: str) -> list[dict[str, Any]]:
    last = f"test.last-{next(_NUMBERS)}"
    await a.system.ground.events.emit(last, "test:last")
    found: list[dict[str, Any]] = []
    async for event in a.system.ground.events.follow(0):
        if event.kind == last:
            break
        if event.kind == kind:
            found.append({"subject": event.subject, "body": event.body})
    return found


async def names(a: Appliance) -> list[str]:
    return [snapshot["name"] for snapshot in await a.items("/v1/snapshots")]


# --- schedules ---


async def test_snapshots_are_taken_when_due_once_and_thinned_out_by_all_rules(a: Appliance, node: MortalNode) -> None:
    await schedule(a, node)
    await look(a)
    assert await names(a) == []
    node.clock.let_pass(HOUR)
    await asyncio.gather(look(a), look(a))
    [first] = await a.items("/v1/snapshots")
    assert (first["cause"], first["schedule"], first["reserve_bytes"]) == ("schedule", "often", 40 * MIB)
    await let_pass(a, node, 96, step=8)
    verdicts = await a.items(f"{SCHEDULE}/preview")
    assert all(verdict["is_kept"] for verdict in verdicts)
    assert len(verdicts) in (3, 4)  # the day before today's newest two begins where the clock says
    assert sorted(v["name"] for v in verdicts) == sorted(await names(a))
    # A preview of other rules tells what they would do, and does nothing.
    tried = await a.items(f"{SCHEDULE}/preview?last=1")
    assert [verdict["is_kept"] for verdict in tried] == [True, *[False] * (len(verdicts) - 1)]
    assert tried[0]["reasons"] == ["last: number 1 of the newest 1"]
    assert tried[1]["reasons"] == ["no rule keeps it"]
    assert len(await names(a)) == len(verdicts)


async def test_what_others_took_and_what_is_locked_or_mounted_is_never_thinned_out(
    a: Appliance, node: MortalNode
) -> None:
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": "mine"})
    await schedule(a, node, retention={"last": 1})
    await let_pass(a, node, 1)
    locked = next(name for name in await names(a) if name != "mine")
    until = node.clock.now() + timedelta(days=2)
    await a.change("PUT", f"/v1/snapshots/docs/{locked}/lock", {"locked_until": until.isoformat()})
    await let_pass(a, node, 1)
    mounted = next(name for name in await names(a) if name not in ("mine", locked))
    await a.change("POST", f"/v1/snapshots/docs/{mounted}/mount")
    await let_pass(a, node, 3)
    assert {"mine", locked, mounted} < set(await names(a))
    assert len(await names(a)) == 4
    # A clock that is set back keeps it longer, and loses nothing.
    node.clock.ahead -= timedelta(days=100)
    await look(a)
    await let_pass(a, node, 2)
    assert {"mine", locked, mounted} < set(await names(a))
    node.clock.ahead += timedelta(days=110)
    await a.change("POST", f"/v1/snapshots/docs/{mounted}/unmount")
    await look(a)
    assert len(await names(a)) == 2
    assert "mine" in await names(a)


async def test_a_snapshot_that_overflowed_makes_room_for_the_next_one(a: Appliance, node: MortalNode) -> None:
    await schedule(a, node, retention={"last": 5}, reserve_bytes=40 * MIB)
    await let_pass(a, node, 1)
    [first] = await names(a)
    free = (await a.get("/v1/pools/main"))["free_bytes"]
    filler = {"pool": "main", "name": "filler", "size_bytes": free - 4 * MIB, "kind": "iscsi"}
    await a.change("POST", "/v1/volumes", filler)
    home = a.config.mount_dir / "main" / "docs"
    (home / "much").write_bytes(bytes(60 * MIB))
    await a.system.services.snapshot_side.watch.look()
    assert (await a.get(f"/v1/snapshots/docs/{first}"))["is_overflown"]
    await let_pass(a, node, 1)
    [second] = await a.items("/v1/snapshots")
    assert (second["name"] != first, second["is_overflown"]) == (True, False)
    assert (home / "much").stat().st_size == 60 * MIB


async def test_without_room_none_is_taken_and_it_is_told(a: Appliance, node: MortalNode) -> None:
    await schedule(a, node, reserve_bytes=8000 * MIB)
    await let_pass(a, node, 1)
    assert await names(a) == []
    [event] = await events_of(a, "snapshot-schedule.failed")
    assert "too few" in event["body"]["reason"] or "missing" in event["body"]["reason"]


async def test_a_volume_that_is_busy_gets_its_snapshot_when_it_is_not(a: Appliance, node: MortalNode) -> None:
    await schedule(a, node)
    a.system.ground.jobs.locks.hold(["volume:docs"], "something long")
    await let_pass(a, node, 1)
    assert await names(a) == []
    a.system.ground.jobs.locks.release(["volume:docs"])
    await look(a)
    assert len(await names(a)) == 1


async def test_a_daemon_that_is_killed_takes_what_was_due_once(a: Appliance, node: MortalNode) -> None:
    await schedule(a, node)
    node.clock.let_pass(HOUR)
    for marks in range(1, 9):
        node.killer.kind, node.killer.left = "snapshot-schedule.take", marks
        await look(a)
        break
    async with asyncio.timeout(10):
        await settled(a)
    # Whatever the killer left of the job, the next daemon ends it.
    node.killer.left = 0
    await a.system.ground.jobs.recover()
    await settled(a)
    await look(a)
    assert len(await names(a)) == 1


async def test_schedules_show_their_next_times_and_are_checked(a: Appliance, node: MortalNode) -> None:
    await schedule(a, node)
    shown = await a.get(SCHEDULE)
    assert len(shown["next_times"]) == 5
    assert shown["retention"]["daily"] == 3
    assert [one["name"] for one in await a.items("/v1/volumes/docs/snapshot-schedules")] == ["often"]
    wrong = [
        ({"every_hours": 1, "retention": {}}, "retention.last"),
        ({"every_hours": 1, "retention": {"last": 1, "time_zone": "No/Where"}}, "retention.time_zone"),
        ({"retention": {"last": 1}}, "every_hours"),
        ({"every_hours": 1}, "retention"),
    ]
    for body, field in wrong:
        with pytest.raises(Refused) as refused:
            await a.change("PUT", SCHEDULE, body)
        assert [reason["field"] for reason in refused.value.problem["reasons"]] == [field]
    long = "/v1/volumes/docs/snapshot-schedules/much-too-long-a-name"
    with pytest.raises(Refused, match="15 characters"):
        await a.change("PUT", long, {"every_hours": 1, "retention": {"last": 1}})
    await a.change("DELETE", SCHEDULE)
    assert await a.items("/v1/volumes/docs/snapshot-schedules") == []


async def test_a_volume_of_the_same_name_has_no_schedule_and_no_policy_of_a_former_one(
    a: Appliance, node: MortalNode
) -> None:
    await schedule(a, node)
    await a.change("PUT", POLICY, {"action": "extend"})
    await a.change("DELETE", "/v1/volumes/docs?confirm=docs")
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "docs", "size_bytes": 400 * MIB, "kind": "nas"})
    assert (await a.get(POLICY))["action"] == "stop"
    await let_pass(a, node, 2)
    assert await names(a) == []
    assert await a.items("/v1/volumes/docs/snapshot-schedules") == []


# --- reserves that fill ---


async def watch(a: Appliance, node: MortalNode, seconds: float = 15) -> None:
    node.clock.let_pass(timedelta(seconds=seconds))
    await a.system.services.snapshot_side.watch.look()


def write(a: Appliance, name: str, mib: int) -> None:
    (a.config.mount_dir / "main" / "docs" / name).write_bytes(bytes(mib * MIB))


async def test_the_rate_is_measured_and_an_alert_comes_ahead_once(a: Appliance, node: MortalNode) -> None:
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": "s"})
    await watch(a, node)
    write(a, "one", 1)
    await watch(a, node, 100)
    shown = await a.get("/v1/snapshots/docs/s")
    assert shown["fill_bytes_s"] == pytest.approx(MIB / 100, rel=0.05)
    assert shown["full_in_s"] == pytest.approx(3900, rel=0.05)
    assert shown["alerts"] == []
    write(a, "two", 1)
    await watch(a, node, 60)
    await watch(a, node, 1)
    shown = await a.get("/v1/snapshots/docs/s")
    assert [alert["code"] for alert in shown["alerts"]] == ["snapshot-filling"]
    [event] = await events_of(a, "snapshot.filling")
    assert event["subject"] == "snapshot:docs/s"
    assert event["body"]["full_in_s"] == pytest.approx(38 * 80, rel=0.1)
    assert shown["reserve_bytes"] == 40 * MIB
    # Told again when it is over: nothing was written for an hour.
    await watch(a, node, 3700)
    await watch(a, node, 60)
    assert len(await events_of(a, "snapshot.has-room")) == 1


async def test_a_policy_gives_room_from_the_pool_in_time(a: Appliance, node: MortalNode) -> None:
    await a.change("PUT", POLICY, {"action": "extend"})
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": "s"})
    await watch(a, node)
    for number in range(6):
        write(a, f"f{number}", 30)
        await watch(a, node)
        shown = await a.get("/v1/snapshots/docs/s")
        assert not shown["is_overflown"], number
    assert shown["reserve_bytes"] > 180 * MIB


async def test_the_oldest_that_nothing_needs_makes_room(a: Appliance, node: MortalNode) -> None:
    await a.change("PUT", POLICY, {"action": "drop_oldest"})
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": "mine"})
    await schedule(a, node, retention={"last": 9})
    await let_pass(a, node, 3)
    _, oldest, *newer = await names(a)
    until = node.clock.now() + timedelta(days=2)
    await a.change("PUT", f"/v1/snapshots/docs/{newer[0]}/lock", {"locked_until": until.isoformat()})
    free = (await a.get("/v1/pools/main"))["free_bytes"]
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "f", "size_bytes": free, "kind": "iscsi"})
    write(a, "much", 36)
    for _ in range(4):
        await watch(a, node)
    left = await names(a)
    assert oldest not in left
    assert {"mine", newer[0]} <= set(left)
    first, *_ = await events_of(a, "snapshot.dropped")
    assert first["body"]["dropped"] == oldest
    shown = await a.items("/v1/snapshots")
    assert not any(snapshot["is_overflown"] for snapshot in shown)
    assert any(snapshot["reserve_bytes"] > 40 * MIB for snapshot in shown)


async def test_without_a_policy_it_overflows_and_is_told_and_the_volume_goes_on(a: Appliance, node: MortalNode) -> None:
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": "s"})
    write(a, "much", 50)
    await watch(a, node)
    await watch(a, node)
    [event] = await events_of(a, "snapshot.overflown")
    assert event["subject"] == "snapshot:docs/s"
    assert (await a.get("/v1/snapshots/docs/s"))["alerts"][0]["code"] == "snapshot-overflown"
    assert (a.config.mount_dir / "main" / "docs" / "much").stat().st_size == 50 * MIB


async def test_a_policy_of_its_own_counts_before_that_of_the_volume(a: Appliance, node: MortalNode) -> None:
    await a.change("PUT", POLICY, {"action": "extend"})
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": "s", "policy": {"action": "stop"}})
    write(a, "much", 38)
    await watch(a, node)
    assert (await a.get("/v1/snapshots/docs/s"))["reserve_bytes"] == 40 * MIB
    await a.change("PUT", "/v1/snapshots/docs/s/policy", {"policy": None})
    await watch(a, node)
    assert (await a.get("/v1/snapshots/docs/s"))["reserve_bytes"] == 60 * MIB


async def test_what_was_removed_from_outside_is_forgotten(a: Appliance, node: MortalNode) -> None:
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": "s"})
    await node.mechanisms.volumes.delete_snapshot("main", "docs", "s")
    await watch(a, node)
    assert await a.system.ground.documents.snapshots.all() == {}
