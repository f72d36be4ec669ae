"""Tasks with rules: edited, disabled, looked ahead at, within windows, tried again, asked before much is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import UnavailableError
from holdfast.hooks.replication import CopyResult, CopyRun
from holdfast.services.copies import copying as task_copying
from tests.composed.appliance import Appliance, Refused, World
from tests.composed.tasks import HOURLY, RUNS, TASK, Holding, look, make_task, schedule, told
from tests.composed.test_jobs_killed import MortalNode

RUN = f"{TASK}/run"
ALWAYS = {"weekdays": [0, 1, 2, 3, 4, 5, 6], "begins_at": "00:00", "ends_at": "00:00"}


@pytest.fixture
def node(directory: Path) -> MortalNode:
    """A node that is its own destination."""
    return MortalNode(World(), directory / "a")


@pytest.fixture
async def a(node: MortalNode) -> AsyncIterator[Appliance]:
    async with node.running() as appliance:
        yield appliance


def window_from_now(node: MortalNode, begins: timedelta, ends: timedelta, **more: Any) -> dict[str, Any]:
    now = node.clock.now()
    times = {"begins_at": f"{now + begins:%H:%M}", "ends_at": f"{now + ends:%H:%M}"}
    return {"weekdays": [0, 1, 2, 3, 4, 5, 6], **times, **more}


async def test_a_task_is_made_encrypted_with_a_guard_and_shown_with_its_rules(a: Appliance) -> None:
    await make_task(a, filters=[{"pattern": "*.tmp", "is_included": False}], windows=[ALWAYS], bandwidth_bytes_s=10**6)
    shown = await a.get(TASK)
    assert (shown["transport"], shown["is_enabled"], shown["most_deleted_percent"]) == ("tls", True, 50)
    assert shown["filters"] == [{"pattern": "*.tmp", "is_included": False}]
    assert shown["windows"] == [{**ALWAYS, "bandwidth_bytes_s": None}]
    assert (await a.get("/v1/agent"))["transport"] == "tls"
    assert "password" not in shown


async def test_a_task_is_edited_and_the_rest_stays(a: Appliance) -> None:
    home = await make_task(a, objective_s=3600)
    (home / "left.tmp").write_text("left out")
    await a.change("PATCH", TASK, {"filters": [{"pattern": "*.tmp", "is_included": False}], "retries": 0})
    shown = await a.get(TASK)
    assert (shown["objective_s"], shown["retries"], shown["user"]) == (3600, 0, "copier")
    await a.change("POST", RUN)
    copy = a.config.mount_dir / "main/copy/x"
    assert {path.name for path in copy.iterdir()} == {"one"}
    await a.change("PATCH", TASK, {"filters": []})
    await a.change("POST", RUN)
    assert {path.name for path in copy.iterdir()} == {"one", "left.tmp"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "objective_s"),
        ({"filters": [{"pattern": "a\\b", "is_included": False}]}, "filters"),
        ({"windows": [{**ALWAYS, "begins_at": "25:00"}]}, "windows"),
        ({"windows_time_zone": "Nowhere"}, "windows_time_zone"),
        ({"bandwidth_bytes_s": 1}, "bandwidth_bytes_s"),
        ({"most_deleted_percent": 101}, "most_deleted_percent"),
        ({"certificate": "none"}, "certificate"),
        ({"share": "copy"}, "share"),
        ({"name": "other"}, "name"),
    ],
)
async def test_rules_that_mean_nothing_are_refused_by_field(
    a: Appliance,
    changes: dict[str, Any],
    field: str,
) -> None:
    await make_task(a)
    before = await a.get(TASK)
    with pytest.raises(Refused, match=field):
        await a.change("PATCH", TASK, changes)
    after = await a.get(TASK)
    assert {**before, "copy_age_s": None} == {**after, "copy_age_s": None}


async def test_what_a_run_goes_by_is_not_changed_under_it_and_its_limits_are(
    a: Appliance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await make_task(a)
    holding = Holding(a, monkeypatch)
    running = asyncio.create_task(a.change("POST", RUN))
    await holding.begun.wait()
    with pytest.raises(Refused, match=r"held by the job replication-task\.run"):
        await a.change("PATCH", TASK, {"replica_share": "other"})
    with pytest.raises(Refused, match=r"held by the job replication-task\.run"):
        await a.change("PATCH", TASK, {"password": "another secret"})
    await a.change("PATCH", TASK, {"retries": 9})
    holding.may_go_on.set()
    await running
    shown = await a.get(TASK)
    assert (shown["retries"], shown["replica_share"]) == (9, "replica")


async def test_a_disabled_task_runs_neither_when_asked_nor_by_itself_and_makes_up_for_nothing(
    a: Appliance,
    node: MortalNode,
) -> None:
    await make_task(a)
    await schedule(a, node)
    await a.change("PATCH", TASK, {"is_enabled": False})
    with pytest.raises(Refused, match="disabled"):
        await a.change("POST", RUN)
    assert (await a.get(HOURLY))["next_runs"] == []
    node.clock.ahead += timedelta(hours=1, minutes=1)
    await look(a)
    await a.change("PATCH", TASK, {"is_enabled": True})
    await look(a)
    assert await told(a) == []
    assert len((await a.get(HOURLY))["next_runs"]) == 5
    await a.change("POST", RUN)
    assert await told(a) == [("ok", None)]


async def test_a_dry_run_shows_what_would_move_and_go_and_changes_nothing(a: Appliance) -> None:
    home = await make_task(a)
    await a.change("POST", RUN)
    (home / "one").unlink()
    for number in range(5):
        (home / f"new {number}").write_text("new")
    result = (await a.change("POST", f"{TASK}/dry-run", {"most": 4}))["result"]
    assert (result["files_sent"], result["files_deleted"], result["to_send_bytes"]) == (5, 1, 15)
    assert (len(result["changes"]), result["is_whole"]) == (4, False)
    assert {"action": "delete", "path": "one", "size_bytes": None} in result["changes"]
    assert [path.name for path in (a.config.mount_dir / "main/copy/x").iterdir()] == ["one"]
    assert len(await a.items(RUNS)) == 1
    assert await a.items("/v1/snapshots") == []


async def test_a_run_that_would_delete_much_asks_and_one_that_is_confirmed_does_it(a: Appliance) -> None:
    home = await make_task(a)
    for number in range(30):
        (home / f"file {number}").write_text("x")
    await a.change("POST", RUN)
    for number in range(20):
        (home / f"file {number}").unlink()
    copy = a.config.mount_dir / "main/copy/x"
    with pytest.raises(Refused, match="20 of the 32 files of the copy would be deleted") as refused:
        await a.change("POST", RUN)
    assert refused.value.problem["reasons"][0]["field"] == "confirm_deletions"
    assert len(list(copy.iterdir())) == 31
    (newest, *_) = await a.items(RUNS)
    assert newest["result"] == "failed"
    assert "more than 50 %" in newest["reason"]
    await a.change("POST", RUN, {"confirm_deletions": True})
    assert len(list(copy.iterdir())) == 11


class Faltering:
    """Copies fail so many times before they work."""

    def __init__(self, a: Appliance, monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
        self.attempts = 0
        copy = a.mechanisms.copies.copy

        async def faltering(run: CopyRun, progress: Any) -> CopyResult:
            self.attempts += 1
            if self.attempts <= failures:
                raise UnavailableError("the line was cut")
            return await copy(run, progress)

        monkeypatch.setattr(a.mechanisms.copies, "copy", faltering)


async def test_a_run_tries_again_after_the_line_was_cut(
    a: Appliance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await make_task(a, retries=2, retry_delay_s=1)
    line = Faltering(a, monkeypatch, failures=1)
    await a.change("POST", RUN)
    assert line.attempts == 2
    assert await told(a) == [("ok", None)]


async def test_a_verification_tries_again_too(a: Appliance, monkeypatch: pytest.MonkeyPatch) -> None:
    await make_task(a, retries=1, retry_delay_s=1)
    verify, attempts = a.mechanisms.copies.verify, 0

    async def faltering(run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise UnavailableError("the line was cut")
        return await verify(run, sample=sample)

    monkeypatch.setattr(a.mechanisms.copies, "verify", faltering)
    await a.change("POST", RUN)
    assert (attempts, await told(a)) == (2, [("ok", None)])


async def test_a_run_gives_up_after_its_last_attempt_with_the_reason(
    a: Appliance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await make_task(a, retries=1, retry_delay_s=1)
    line = Faltering(a, monkeypatch, failures=9)
    with pytest.raises(Refused, match="the line was cut"):
        await a.change("POST", RUN)
    assert line.attempts == 2
    assert await a.items("/v1/snapshots") == []


async def test_a_copy_pauses_where_its_window_ends_and_goes_on_in_the_next(
    a: Appliance, node: MortalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_copying, "LOOK_EVERY_S", 0.05)
    await make_task(a)
    holding = Holding(a, monkeypatch)
    running = asyncio.create_task(a.change("POST", RUN))
    await holding.begun.wait()
    holding.begun.clear()
    await a.change("PATCH", TASK, {"windows": [window_from_now(node, timedelta(hours=2), timedelta(hours=3))]})
    await asyncio.sleep(0.3)
    assert not holding.begun.is_set()
    assert not running.done()
    holding.may_go_on.set()
    await a.change("PATCH", TASK, {"windows": []})
    job = await running
    assert holding.begun.is_set()
    log = str((await a.get(f"/v1/jobs/{job['id']}"))["log"])
    assert "the transfer window ended" in log
    assert await told(a) == [("ok", None)]


async def test_a_run_waits_for_its_window(a: Appliance, node: MortalNode) -> None:
    closed = window_from_now(node, timedelta(hours=2), timedelta(hours=3))
    await make_task(a, windows=[closed])
    running = asyncio.create_task(a.change("POST", RUN))
    for _ in range(200):
        jobs = [job for job in await a.items("/v1/jobs") if job["kind"] == "replication-task.run"]
        if jobs and "transfer window" in str(jobs[0]["progress"]):
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("it does not say that it waits")
    assert not running.done()
    (job,) = jobs
    await a.call("POST", f"/v1/jobs/{job['id']}/cancel", {})
    with pytest.raises(Refused, match="cancelled"):
        await running
    assert await a.items("/v1/snapshots") == []
    await a.change("PATCH", TASK, {"windows": [window_from_now(node, timedelta(hours=-1), timedelta(hours=1))]})
    await a.change("POST", RUN)
    assert [result for result, _ in await told(a)] == ["failed", "ok"]
