"""Tasks that run by themselves, on a whole daemon whose clock is set: what is due runs once, whatever happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.planning.schedules import Schedule
from holdfast.store.database import Change
from holdfast.store.jobs import JobStore
from tests.composed.appliance import Appliance, Refused, World
from tests.composed.mirrors import events_of
from tests.composed.tasks import HOUR, HOURLY, RUNS, TASK, WITHIN_S, Holding, look, make_task, schedule, told
from tests.composed.test_jobs_killed import MortalNode


@pytest.fixture
def node(directory: Path) -> MortalNode:
    """A node that is its own destination."""
    return MortalNode(World(), directory / "a")


@pytest.fixture
async def a(node: MortalNode) -> AsyncIterator[Appliance]:
    async with node.running() as appliance:
        await make_task(appliance)
        yield appliance


# --- what is due ---


async def test_a_task_runs_by_itself_when_its_schedule_says_so_and_once(a: Appliance, node: MortalNode) -> None:
    await schedule(a, node)
    await look(a)
    assert await told(a) == []
    node.clock.ahead += HOUR
    await asyncio.gather(look(a), look(a))
    await look(a)
    assert await told(a) == [("ok", "hourly")]
    assert (a.config.mount_dir / "main" / "copy" / "x" / "one").read_text() == "one"
    node.clock.ahead += HOUR
    await look(a)
    assert await told(a) == [("ok", "hourly")] * 2


async def test_the_schedules_of_a_task_are_listed_with_their_next_five_runs(a: Appliance, node: MortalNode) -> None:
    await schedule(a, node)
    evening = {"weekdays": [4, 0, 0, 1, 2, 3], "time_of_day": "18:00", "time_zone": "Europe/Berlin"}
    await a.change("PUT", f"{TASK}/schedules/evening", evening)
    off = {"cron": "*/5 * * * *", "is_enabled": False, "missed": "skip", "grace_s": 60}
    await a.change("PUT", f"{TASK}/schedules/off", off)
    items = {item["name"]: item for item in await a.items(f"{TASK}/schedules")}
    assert list(items) == ["evening", "hourly", "off"]
    assert {len(items[name]["next_runs"]) for name in ("evening", "hourly")} == {5}
    assert items["evening"]["weekdays"] == [0, 1, 2, 3, 4]
    hourly = [datetime.fromisoformat(at) for at in items["hourly"]["next_runs"]]
    assert hourly == [hourly[0] + n * HOUR for n in range(5)]
    assert items["off"]["next_runs"] == []
    assert {field: items["off"][field] for field in off} == off
    assert await a.get(HOURLY) == items["hourly"]
    first = min(items["evening"]["next_runs"][0], items["hourly"]["next_runs"][0])
    assert (await a.get(TASK))["next_run_at"] == first


async def test_what_is_disabled_does_not_run_and_what_is_enabled_again_makes_up_for_nothing(
    a: Appliance, node: MortalNode
) -> None:
    await schedule(a, node, is_enabled=False)
    node.clock.ahead += 3 * HOUR
    await look(a)
    await a.change("PUT", HOURLY, {"every_hours": 1})
    await look(a)
    assert await told(a) == []
    node.clock.ahead += HOUR
    await look(a)
    assert await told(a) == [("ok", "hourly")]


async def test_a_run_that_is_due_while_one_is_under_way_is_noted_and_told(
    a: Appliance, node: MortalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await schedule(a, node)
    copies = Holding(a, monkeypatch)
    node.clock.ahead += HOUR
    await a.system.services.task_schedules.look()
    async with asyncio.timeout(WITHIN_S):
        await copies.begun.wait()
    # Schedules and objective can be changed meanwhile.
    await a.change("PUT", f"{TASK}/schedules/other", {"cron": "0 0 1 1 *"})
    await a.change("PATCH", TASK, {"objective_s": 3600})
    node.clock.ahead += HOUR
    for _ in range(2):
        await a.system.services.task_schedules.look()
    skipped, running = await a.items(RUNS)
    assert (skipped["action"], skipped["result"], skipped["job"]) == ("skipped", "skipped", None)
    assert "held by the job replication-task.run" in skipped["reason"]
    assert (running["action"], running["result"]) == ("started", None)
    copies.may_go_on.set()
    await look(a)
    assert sorted(await told(a)) == [("ok", "hourly"), ("skipped", "hourly")]
    assert "replication-task.run-skipped" in await events_of(a)


@pytest.mark.parametrize(
    ("missed", "results"), [("skip", ["skipped", "ok"]), ("run_once", ["ok", "ok"])], ids=["skip", "run_once"]
)
async def test_what_was_missed_while_the_daemon_was_off_is_seen_to_once(
    node: MortalNode, missed: str, results: list[str]
) -> None:
    async with node.running() as a:
        await make_task(a)
        await schedule(a, node, missed=missed)
    node.clock.ahead += 6 * HOUR + timedelta(minutes=30)
    async with node.running() as a:
        for _ in range(3):
            await look(a)
        node.clock.ahead += timedelta(minutes=31)
        await look(a)
        assert await told(a) == [(result, "hourly") for result in results]
        if missed == "skip":
            assert "holdfastd did not run" in (await a.items(f"{RUNS}?result=skipped"))[0]["reason"]


async def test_a_late_daemon_that_comes_within_the_grace_runs_what_is_due(node: MortalNode) -> None:
    async with node.running() as a:
        await make_task(a)
        await schedule(a, node, missed="skip", grace_s=1200)
    node.clock.ahead += 3 * HOUR + timedelta(minutes=19)
    async with node.running() as a:
        await look(a)
        # Two are over their grace, and the newest is not.
        assert await told(a) == [("skipped", "hourly"), ("ok", "hourly")]


async def test_a_schedule_that_fails_unexpectedly_keeps_no_other_from_its_run(a: Appliance, node: MortalNode) -> None:
    await schedule(a, node)
    kept = a.system.ground.documents.schedules
    gone = replace(await kept.get("task/hourly"), name="a", schedule=Schedule(cron="0 * * * *", time_zone="No/Where"))
    await a.system.ground.times.set("task", "a", node.clock.now())
    await kept.put(gone.key, gone)
    node.clock.ahead += HOUR
    await look(a)
    assert await told(a) == [("ok", "hourly")]


@pytest.mark.parametrize("missed", ["run_once", "skip"])
async def test_a_run_that_cannot_begin_is_tried_until_its_grace_is_over_and_then_noted(
    a: Appliance, node: MortalNode, missed: str
) -> None:
    await schedule(a, node, missed=missed)
    mounted = (await a.get("/v1/volumes/docs"))["mounted_at"]
    await a.mechanisms.volumes.unmount(mounted)
    node.clock.let_pass(HOUR)
    await look(a)
    assert await told(a) == []
    for _ in range(2):
        node.clock.let_pass(timedelta(minutes=11))
        await look(a)
    (skipped,) = await a.items(RUNS)
    assert "not mounted" in skipped["reason"]
    await a.system.services.reconciler.once()
    node.clock.let_pass(timedelta(minutes=39))
    await look(a)
    assert await told(a) == [("skipped", "hourly"), ("ok", "hourly")]


@pytest.mark.parametrize(("missed", "result"), [("run_once", "ok"), ("skip", "skipped")], ids=["run_once", "skip"])
async def test_a_run_waits_for_a_job_that_holds_its_volume(
    a: Appliance, node: MortalNode, missed: str, result: str
) -> None:
    await schedule(a, node, missed=missed)
    locks = a.system.ground.jobs.locks
    locks.hold(["volume:docs"], "replication-task.run of replication-task:other")
    for minutes in (60, 11, 11):
        node.clock.let_pass(timedelta(minutes=minutes))
        await look(a)
    locks.release(["volume:docs"])
    await look(a)
    assert await told(a) == [(result, "hourly")]
    if result == "skipped":
        assert "replication-task:other" in (await a.items(RUNS))[0]["reason"]


async def test_a_clock_that_is_set_a_year_forth_and_back_starts_one_run_and_no_storm(
    a: Appliance, node: MortalNode
) -> None:
    await schedule(a, node)
    node.clock.ahead += timedelta(days=365)
    for _ in range(3):
        await look(a)
    node.clock.ahead -= timedelta(days=365)
    for _ in range(3):
        await look(a)
    assert await told(a) == [("ok", "hourly")]
    for _ in range(2):
        node.clock.ahead += HOUR
        await look(a)
    assert await told(a) == [("ok", "hourly")] * 3


# --- killed ---


@pytest.mark.parametrize("place", ["claim", "job"])
async def test_a_daemon_killed_while_it_claims_what_is_due_has_done_nothing_and_the_next_one_does(
    node: MortalNode, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    async with node.running() as a:
        await make_task(a)
        await schedule(a, node)
        node.clock.ahead += HOUR
        times = a.system.ground.times
        handle_in = times.handle_in

        async def claim_and_die(change: Change, *which: Any) -> bool:
            assert await handle_in(change, *which)
            raise asyncio.CancelledError

        with monkeypatch.context() as patched:
            if place == "claim":
                patched.setattr(times, "handle_in", claim_and_die)
            else:
                patched.setattr(JobStore, "add", _die)
            with pytest.raises(asyncio.CancelledError):
                await a.system.services.task_schedules.look()
        assert await a.items(f"{RUNS}?task=task") == []
    async with node.running() as a:
        assert not [job for job in await a.items("/v1/jobs") if job["kind"] == "replication-task.run"]
        await look(a)
        assert await told(a) == [("ok", "hourly")]


async def test_a_daemon_killed_before_it_begins_what_it_claimed_is_followed_by_one_that_does(
    node: MortalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node.running() as a:
        await make_task(a)
        await schedule(a, node)
        node.clock.ahead += HOUR
        with monkeypatch.context() as patched:
            patched.setattr(a.system.ground.jobs, "_launch", _die)
            with pytest.raises(asyncio.CancelledError):
                await a.system.services.task_schedules.look()
        assert await told(a) == []
    async with node.running() as a:
        await look(a)
        assert await told(a) == [("ok", "hourly")]


def _die(*_: Any, **__: Any) -> None:
    raise asyncio.CancelledError


async def test_a_run_that_was_due_is_done_once_wherever_the_daemon_is_killed(node: MortalNode) -> None:
    async with node.running() as a:
        await make_task(a)
        await schedule(a, node)
    node.clock.ahead += HOUR
    died = 0
    while True:
        node.killer.kind, node.killer.left = "replication-task.run", 1 + died % 2
        node.killer.killed.clear()
        async with node.running() as a:
            await look(a)
            if await told(a) == [("ok", "hourly")]:
                break
            assert node.killer.killed.is_set()
            died += 1
    assert died >= 8
    async with node.running() as a:
        await look(a)
        assert await told(a) == [("ok", "hourly")]
        assert await a.items("/v1/snapshots") == []


# --- what is asked for ---


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "every_hours"),
    ({"every_hours": 1, "cron": "0 1 * * *"}, "every_hours"),
    ({"cron": "0 25 * * *"}, "cron"),
    ({"cron": "0 1 * * *", "time_zone": "Europe/Atlantis"}, "time_zone"),
    ({"weekdays": [7], "time_of_day": "18:00"}, "weekdays"),
    ({"every_hours": 1, "starts_at": "2026-03-01T00:00:00"}, "starts_at"),
    ({"every_hours": 1, "grace_s": 1}, "grace_s"),
    ({"every_hours": 1, "missed": "run_all"}, "missed"),
    ({"every_hours": 1, "often": True}, "often"),
]


async def test_a_schedule_that_makes_no_sense_is_refused_by_field_and_changes_nothing(
    a: Appliance, node: MortalNode
) -> None:
    await schedule(a, node)
    before = await a.items(f"{TASK}/schedules")
    for body, field in BAD:
        for query in ("", "?validate_only=true"):
            with pytest.raises(Refused) as refused:
                await a.call("PUT", f"{HOURLY}{query}", body)
            (reason,) = refused.value.problem["reasons"]
            assert (refused.value.status, reason["field"], bool(reason["remedy"])) == (400, field, True), body
    for path in ("/v1/replication-tasks/none/schedules", f"{TASK}/schedules/none"):
        with pytest.raises(Refused, match="404"):
            await a.get(path)
    with pytest.raises(Refused, match="404"):
        await a.change("PUT", "/v1/replication-tasks/none/schedules/s", {"every_hours": 1})
    assert await a.items(f"{TASK}/schedules") == before


async def test_the_schedules_go_with_their_task(a: Appliance, node: MortalNode) -> None:
    await schedule(a, node)
    await a.change("PUT", f"{TASK}/schedules/other", {"cron": "0 1 * * *"})
    await a.change("DELETE", f"{TASK}/schedules/other")
    assert [item["name"] for item in await a.items(f"{TASK}/schedules")] == ["hourly"]
    await a.change("DELETE", TASK)
    node.clock.ahead += HOUR
    await look(a)
    assert await a.system.ground.documents.schedules.all() == {}
    assert await a.system.ground.times.all() == {}
    assert await told(a) == []


async def test_a_schedule_that_is_put_again_stays_as_it_is(a: Appliance, node: MortalNode) -> None:
    await a.change("PUT", HOURLY, {"every_hours": 2})
    first = await a.get(HOURLY)
    node.clock.ahead += timedelta(minutes=119)
    await a.change("PUT", HOURLY, {"every_hours": 2})
    assert await a.get(HOURLY) == first
    node.clock.ahead += timedelta(minutes=2)
    await look(a)
    assert await told(a) == [("ok", "hourly")]
