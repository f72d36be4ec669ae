"""How old copies are, and the log of runs, on a whole daemon whose clock is set."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.api.runs import COLUMNS, COUNTS
from holdfast.errors import UnavailableError
from holdfast.hooks.replication import CopyNote, CopyRun
from tests.composed.appliance import Appliance, Refused, World
from tests.composed.mirrors import events_of
from tests.composed.tasks import (
    HOUR,
    HOURLY,
    RUNS,
    TASK,
    WITHIN_S,
    Holding,
    look,
    make_task,
    schedule,
    settled,
    told,
)
from tests.composed.test_jobs_killed import MortalNode

REPLICA = "/v1/replica-shares/replica"
MISSED, MET = "objective-missed", "objective-met"


@pytest.fixture
def node(directory: Path) -> MortalNode:
    """A node that is its own destination."""
    return MortalNode(World(), directory / "a")


@pytest.fixture
async def a(node: MortalNode) -> AsyncIterator[Appliance]:
    async with node.running() as appliance:
        await make_task(appliance, objective_s=7200)
        yield appliance


async def judged(a: Appliance, path: str) -> tuple[bool, list[str]]:
    """Whether the objective of a task or a replica share is missed, and its alerts."""
    await a.system.services.copy_ages.look()
    shown = await a.get(path)
    for alert in shown["alerts"]:
        assert alert["text"]
        assert alert["remedy"]
    return shown["is_objective_missed"], [alert["code"] for alert in shown["alerts"]]


async def told_of_objectives(a: Appliance) -> list[str]:
    return [kind for kind in await events_of(a) if "objective" in kind]


FINE: tuple[bool, list[str]] = (False, [])
LATE = (True, ["copy-too-old"])


async def test_a_copy_has_the_age_of_the_snapshot_that_it_was_made_from(
    a: Appliance, node: MortalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await a.get(TASK)
    assert (before["newest_copy_at"], before["copy_age_s"]) == (None, None)
    copies = Holding(a, monkeypatch)
    await a.call("POST", f"{TASK}/run", {})
    async with asyncio.timeout(WITHIN_S):
        await copies.begun.wait()
    node.clock.ahead += HOUR
    copies.may_go_on.set()
    await settled(a)
    await a.system.services.copy_ages.look()
    task, replica = await a.get(TASK), await a.get(REPLICA)
    (run,) = await a.items(RUNS)
    assert run["started_at"] <= run["frozen_at"] <= run["ended_at"]
    assert task["newest_copy_at"] == replica["newest_copy_at"] == run["frozen_at"]
    assert 3600 <= task["copy_age_s"] < 3700
    assert 3600 <= replica["copy_age_s"] < 3700
    assert (replica["task"], replica["source"], replica["objective_s"]) == ("task", "a", 7200)
    assert "password" not in task
    assert "password" not in replica


async def test_an_objective_that_is_missed_raises_an_alert_on_both_sides_until_it_is_met(
    a: Appliance, node: MortalNode
) -> None:
    await a.change("POST", f"{TASK}/run")
    for path in (TASK, REPLICA):
        assert await judged(a, path) == FINE
    node.clock.ahead += 2 * HOUR + timedelta(seconds=1)
    for path in (TASK, REPLICA):
        assert await judged(a, path) == LATE
    expected = [f"replication-task.{MISSED}", f"replica-share.{MISSED}"]
    assert await told_of_objectives(a) == expected
    await a.change("POST", f"{TASK}/run")
    for path in (TASK, REPLICA):
        assert await judged(a, path) == FINE
    assert await told_of_objectives(a) == [*expected, f"replication-task.{MET}", f"replica-share.{MET}"]


async def test_the_destination_raises_its_alert_when_the_source_has_vanished_and_after_a_restart(
    node: MortalNode,
) -> None:
    async with node.running() as a:
        await make_task(a, objective_s=7200)
        await a.change("POST", f"{TASK}/run")
        await a.system.services.copy_ages.look()
        await a.change("DELETE", TASK)
        # As after a reboot that the agent's own notes did not outlast.
        node.mechanisms.copies.network.notes.clear()
        await node.mechanisms.copies.stop_agent()
    node.clock.ahead += 3 * HOUR
    async with node.running() as a:
        assert await judged(a, REPLICA) == LATE
        (alert,) = (await a.get(REPLICA))["alerts"]
        assert "node a" in alert["remedy"]
    async with node.running() as a:
        assert await judged(a, REPLICA) == LATE
        assert await told_of_objectives(a) == [f"replica-share.{MISSED}"], "it is told once"


async def test_a_run_that_fails_makes_no_copy_newer(
    a: Appliance, node: MortalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a.change("POST", f"{TASK}/run")
    node.clock.ahead += 3 * HOUR

    async def differs(run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        return ("one differs in content",)

    monkeypatch.setattr(a.mechanisms.copies, "verify", differs)
    with pytest.raises(Refused, match="differs"):
        await a.change("POST", f"{TASK}/run")
    for path in (TASK, REPLICA):
        assert await judged(a, path) == LATE


async def test_a_destination_that_takes_no_notes_fails_no_run(a: Appliance, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(run: CopyRun, note: CopyNote) -> None:
        raise UnavailableError("the agent is gone")

    monkeypatch.setattr(a.mechanisms.copies, "leave_note", refuse)
    job = await a.change("POST", f"{TASK}/run")
    assert "the destination was not told how new its copy is: the agent is gone" in str(job["log"])
    assert (await a.get(TASK))["copy_age_s"] is not None
    assert (await a.get(REPLICA))["copy_age_s"] is None


async def test_a_task_that_never_copied_is_late_once_its_objective_is_over(a: Appliance, node: MortalNode) -> None:
    node.clock.ahead += HOUR
    assert await judged(a, TASK) == FINE
    node.clock.ahead += HOUR + timedelta(minutes=1)
    assert await judged(a, TASK) == LATE
    await a.change("PATCH", TASK, {"objective_s": None})
    assert await judged(a, TASK) == FINE
    await a.change("PATCH", TASK, {"objective_s": 60})
    assert await judged(a, TASK) == FINE
    node.clock.ahead += timedelta(minutes=2)
    assert await judged(a, TASK) == LATE
    assert await told_of_objectives(a) == [f"replication-task.{MISSED}"] * 2
    for body in ({"objective_s": 1}, {"objective_s": "60"}, {}):
        with pytest.raises(Refused, match="objective_s"):
            await a.change("PATCH", TASK, body)


async def test_what_is_told_by_somebody_who_only_has_the_password_is_checked(a: Appliance, node: MortalNode) -> None:
    spec, now = node.mechanisms.copies.spec, node.clock.now()
    assert spec is not None
    notes = node.mechanisms.copies.network.notes[spec.address, spec.port]
    for note in (CopyNote("no name", "a", now, None), CopyNote("t", "a", now, 1), CopyNote("t", "", now, None)):
        notes["replica"] = note
        await a.system.services.copy_ages.look()
        assert (await a.get(REPLICA))["newest_copy_at"] is None, note
    notes["replica"] = CopyNote("t", "a", now + timedelta(days=300), 7200)
    await a.system.services.copy_ages.look()
    node.clock.ahead += 3 * HOUR
    assert await judged(a, REPLICA) == LATE, "no copy is newer than when it was told of"


async def test_a_task_or_a_replica_share_of_the_same_name_has_another_copy(a: Appliance, node: MortalNode) -> None:
    await a.change("POST", f"{TASK}/run")
    await a.system.services.copy_ages.look()
    await a.change("DELETE", TASK)
    await a.change("DELETE", REPLICA)
    login = {"user": "copier", "password": "secret enough"}
    replica = {"name": "replica", "share": "copy", "allowed_sources": ["127.0.0.1"], **login}
    await a.change("POST", "/v1/replica-shares", replica)
    task = {"name": "task", "share": "docs", "agent_address": "127.0.0.1", "replica_share": "replica", **login}
    await a.change("POST", "/v1/replication-tasks", task)
    for path in (TASK, REPLICA):
        assert (await a.get(path))["copy_age_s"] is None
    assert len(await a.items(RUNS)) == 1, "its log stays"


# --- the log ---


async def some_runs(a: Appliance, node: MortalNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is OK, one that fails, one that is skipped."""
    await schedule(a, node, missed="skip")
    await a.change("POST", f"{TASK}/run")
    with monkeypatch.context() as patched:
        patched.setattr(a.mechanisms.copies, "address", "192.0.2.1")
        with pytest.raises(Refused):
            await a.change("POST", f"{TASK}/run")
    node.clock.ahead += HOUR + timedelta(minutes=30)
    await look(a)


async def text_of(a: Appliance, query: str) -> tuple[str, str]:
    """The media type and the text of a download."""
    async with a.http.get(f"{RUNS}?{query}") as answer:
        assert answer.status == 200
        assert "attachment" in answer.headers["Content-Disposition"]
        return answer.content_type, await answer.text()


async def test_the_log_tells_of_each_run_what_and_how_much_and_is_filtered_and_paged(
    a: Appliance, node: MortalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await some_runs(a, node, monkeypatch)
    skipped, failed, ok = await a.items(RUNS)
    assert [run["action"] for run in (ok, failed, skipped)] == ["finished", "finished", "skipped"]
    assert set(ok["counts"]) == set(COUNTS) - {"files_changed", "comparing_ms"}, "those are of runs by changes"
    assert [run["way"] for run in (ok, failed, skipped)] == ["walk", "walk", None]
    assert ok["way_reason"] == "everything is walked: no good run has left a listing to compare with"
    assert ok["counts"]["files_sent"] == 1
    assert ok["duration_s"] * 1000 >= ok["counts"]["copying_ms"] - 1
    assert (skipped["duration_s"], skipped["speed_bytes_s"], failed["speed_bytes_s"]) == (None, None, None)
    assert failed["duration_s"] is not None
    assert "does not accept copies" in failed["reason"]
    assert (skipped["schedule"], skipped["due_at"] < skipped["started_at"]) == ("hourly", True)
    for query, expected in (
        ("result=ok", [ok]),
        ("result=failed&task=task", [failed]),
        ("result=skipped", [skipped]),
        ("schedule=hourly", [skipped]),
        ("task=other", []),
        (f"since={skipped['started_at'][:19]}Z", [skipped]),
        (f"until={skipped['started_at'][:19]}Z", [failed, ok]),
    ):
        assert await a.items(f"{RUNS}?{query}") == expected, query
    page = await a.get(f"{RUNS}?page_size=2")
    assert page["items"] == [skipped, failed]
    assert (await a.get(f"{RUNS}?page_size=2&page_token={page['next_page_token']}"))["items"] == [ok]


@pytest.mark.parametrize("query", ["result=good", "since=yesterday", "until=2026-03-01", "task=A", "format=xml"])
async def test_a_filter_that_makes_no_sense_is_refused_by_field(a: Appliance, query: str) -> None:
    with pytest.raises(Refused) as refused:
        await a.get(f"{RUNS}?{query}")
    (reason,) = refused.value.problem["reasons"]
    assert (refused.value.status, reason["field"]) == (400, query.partition("=")[0])


async def test_the_log_is_downloaded_whole_as_csv_and_as_json_lines(
    a: Appliance, node: MortalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.api.runs.ROWS_AT_ONCE", 2)
    await some_runs(a, node, monkeypatch)
    items = await a.items(RUNS)
    kind, text = await text_of(a, "format=jsonl&page_size=1")
    assert (kind, [json.loads(line) for line in text.splitlines()]) == ("application/jsonl", items)
    kind, text = await text_of(a, "format=csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert kind == "text/csv"
    assert [*rows[0]] == [*COLUMNS, *COUNTS]
    assert [row["result"] for row in rows] == ["skipped", "failed", "ok"]
    assert [row["reason"] for row in rows] == [item["reason"] or "" for item in items]
    assert (rows[0]["sent_bytes"], rows[2]["sent_bytes"]) == ("", str(items[2]["counts"]["sent_bytes"]))
    _, text = await text_of(a, "format=csv&result=ok")
    assert len(text.splitlines()) == 2
    _, text = await text_of(a, "format=csv&task=other")
    assert text.splitlines() == [",".join((*COLUMNS, *COUNTS))]


async def test_the_log_is_kept_for_the_time_that_is_set_and_the_age_of_a_copy_longer(
    a: Appliance, node: MortalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await some_runs(a, node, monkeypatch)
    node.clock.ahead += timedelta(days=a.system.config.run_log_days + 1)
    assert a.system.config.run_log_days == 90
    await a.system.ground.runs.forget_older(a.system.config.run_log_days)
    assert await told(a) == [("ok", None)]
    assert (await a.get(TASK))["copy_age_s"] > 90 * 86400
    assert (await a.get(HOURLY))["name"] == "hourly"
