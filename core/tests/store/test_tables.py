"""What each table's keeper promises."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from holdfast.errors import InvalidError, NotFoundError
from holdfast.store.database import Change, Database
from holdfast.store.events import KEPT, EventLog
from holdfast.store.intent import Intents
from holdfast.store.runs import Cause, RunFilter, RunResult, Runs
from holdfast.store.schedules import ScheduleTimes
from holdfast.store.secrets import Secrets
from holdfast.store.tokens import PREFIX, Tokens
from holdfast.testing.fakes import ManualClock
from holdfast.values import Secret

OK, FAILED = RunResult.OK, RunResult.FAILED
CAUSE = Cause("t", "uuid-of-t")


@dataclass(frozen=True)
class Thing:
    name: str
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Shrunk:
    name: str


@pytest.fixture
def things(database: Database, clock: ManualClock) -> Intents[Thing]:
    return Intents(database, clock, "thing", Thing)


async def test_a_document_comes_back_as_it_was_put(things: Intents[Thing]) -> None:
    await things.put("b", Thing("b", (1, 2)))
    await things.put("a", Thing("a"))
    assert await things.get("b") == Thing("b", (1, 2))
    assert list((await things.all()).items()) == [("a", Thing("a")), ("b", Thing("b", (1, 2)))]


async def test_a_changed_document_keeps_its_identity_and_its_revision_grows(things: Intents[Thing]) -> None:
    await things.put("a", Thing("a"))
    first = await things.find("a")
    await things.put("a", Thing("a", (3,)))
    second = await things.find("a")
    assert first is not None
    assert second is not None
    assert (second.uuid, second.revision, second.document.sizes) == (first.uuid, first.revision + 1, (3,))


async def test_a_document_is_absent_before_and_after_and_removing_the_absent_is_success(things: Intents[Thing]) -> None:
    with pytest.raises(NotFoundError, match="there is no thing 'a'"):
        await things.get("a")
    await things.put("a", Thing("a"))
    await things.remove("a")
    await things.remove("a")
    assert await things.find("a") is None


async def test_kinds_do_not_see_each_other(things: Intents[Thing], database: Database, clock: ManualClock) -> None:
    await things.put("a", Thing("a"))
    assert await Intents(database, clock, "other", Thing).all() == {}


async def test_a_document_of_another_version_is_refused_by_field(
    things: Intents[Thing], database: Database, clock: ManualClock
) -> None:
    await things.put("a", Thing("a"))
    with pytest.raises(InvalidError, match="sizes: unknown field"):
        await Intents(database, clock, "thing", Shrunk).get("a")


async def test_a_secret_is_kept_under_a_reference_and_forgotten(database: Database) -> None:
    secrets = Secrets(database)
    first, second = await secrets.put(Secret("tiger")), await secrets.put(Secret("tiger"))
    assert first != second
    assert "tiger" not in first
    found = await secrets.get(first)
    assert (found.reveal(), str(found)) == ("tiger", "***")
    await secrets.forget(first)
    await secrets.forget(first)
    with pytest.raises(NotFoundError, match="set it again"):
        await secrets.get(first)
    assert (await secrets.get(second)).reveal() == "tiger"


async def test_only_the_hash_of_a_token_is_on_disk(database: Database, clock: ManualClock, path: Path) -> None:
    tokens = Tokens(database, clock)
    token = (await tokens.make("admin")).reveal()
    assert token.startswith(PREFIX)
    assert len(token) >= 43
    content = await asyncio.to_thread(path.read_bytes)
    assert token.encode() not in content
    assert token.removeprefix(PREFIX).encode() not in content
    assert hashlib.sha256(token.encode()).hexdigest().encode() in content


async def test_a_token_is_known_until_its_label_is_revoked(database: Database, clock: ManualClock) -> None:
    tokens = Tokens(database, clock)
    one, two, other = [(await tokens.make(label)).reveal() for label in ("admin", "admin", "robot")]
    assert len({one, two, other}) == 3
    assert [await tokens.label_of(t) for t in (one, two, other)] == ["admin", "admin", "robot"]
    for wrong in ("", one[:-1], one + "x", one.upper(), hashlib.sha256(one.encode()).hexdigest()):
        assert await tokens.label_of(wrong) is None
    await tokens.forget_all("admin")
    assert [await tokens.label_of(t) for t in (one, two, other)] == [None, None, "robot"]


async def test_a_reader_of_events_goes_on_where_it_stopped(database: Database, clock: ManualClock) -> None:
    log = EventLog(database, clock)
    made = [await log.append("volume.created", f"volume:v{n}", {"n": n}) for n in range(5)]
    assert await log.after(0) == tuple(made)
    assert await log.after(made[2].id) == tuple(made[3:])
    assert await log.after(0, most=2) == tuple(made[:2])
    assert await log.after(made[-1].id) == ()


async def test_an_event_shows_no_secret(database: Database, clock: ManualClock, path: Path) -> None:
    event = await EventLog(database, clock).append("x", "y:z", {"password": Secret("tiger")})
    assert event.body == {"password": "***"}
    assert b"tiger" not in await asyncio.to_thread(path.read_bytes)


async def test_the_oldest_events_go_and_numbers_are_never_used_again(database: Database, clock: ManualClock) -> None:
    log = EventLog(database, clock)
    async with database.change() as change:
        rows = [("then", "k", "s", "{}")] * KEPT
        await change.execute_many("INSERT INTO events (at, kind, subject, body) VALUES (?, ?, ?, ?)", rows)
    newest = await log.append("k", "s", {})
    kept = await log.after(0, most=KEPT + 10)
    assert (len(kept), kept[0].id, kept[-1].id) == (KEPT, 2, newest.id)
    async with database.change() as change:
        await change.execute("DELETE FROM events")
    assert (await log.append("k", "s", {})).id == newest.id + 1


async def test_a_run_begins_once_for_each_job(database: Database, clock: ManualClock) -> None:
    runs = Runs(database, clock)
    assert await runs.begin(CAUSE, "job-1") == await runs.begin(CAUSE, "job-1")
    assert await runs.begin(CAUSE, "job-2") != await runs.begin(CAUSE, "job-1")
    assert [run.job_id for run in await runs.newest(RunFilter("t"), before=None, most=10)] == ["job-2", "job-1"]


@pytest.mark.parametrize(("first", "second"), [(OK, FAILED), (FAILED, OK)])
async def test_the_first_word_on_a_run_stands(
    database: Database, clock: ManualClock, first: RunResult, second: RunResult
) -> None:
    runs = Runs(database, clock)
    await runs.begin(CAUSE, "job")
    await runs.end("job", result=first, reason="because", counts={"files": 3})
    await runs.end("job", result=second, reason="no", counts=None)
    (run,) = await runs.newest(RunFilter(), before=None, most=10)
    assert (run.result, run.reason, run.counts) == (first, "because", {"files": 3})


async def test_runs_are_paged_newest_first_and_by_task(database: Database, clock: ManualClock) -> None:
    runs = Runs(database, clock)
    numbers = [await runs.begin(Cause(task, "uuid"), f"{task}{n}") for n in range(3) for task in ("a", "b")]
    assert [r.id for r in await runs.newest(RunFilter(), before=numbers[4], most=2)] == [numbers[3], numbers[2]]
    assert [r.job_id for r in await runs.newest(RunFilter("a"), before=None, most=10)] == ["a2", "a1", "a0"]


async def finished(runs: Runs, task: str, job: str, result: RunResult, frozen_at: str | None = None) -> None:
    await runs.begin(Cause(task, f"uuid-of-{task}"), job)
    await runs.end(job, result=result, reason=None, counts=None, frozen_at=frozen_at)


async def test_runs_are_found_by_how_they_ended_and_when_they_began(database: Database, clock: ManualClock) -> None:
    runs = Runs(database, clock)
    await finished(runs, "t", "job-1", OK)
    await clock.advance(60)
    middle = clock.now()
    await finished(runs, "t", "job-2", FAILED)
    await clock.advance(60)
    await runs.begin(CAUSE, "job-3")

    async def found(wanted: RunFilter) -> list[str | None]:
        return [run.job_id for run in await runs.newest(wanted, before=None, most=10)]

    assert await found(RunFilter()) == ["job-3", "job-2", "job-1"]
    assert await found(RunFilter(result=OK)) == ["job-1"]
    assert await found(RunFilter("t", FAILED)) == ["job-2"]
    assert await found(RunFilter(since=middle)) == ["job-3", "job-2"]
    assert await found(RunFilter(until=middle)) == ["job-1"]
    elsewhere = middle.astimezone(ZoneInfo("Asia/Tokyo"))
    assert await found(RunFilter(since=elsewhere, until=elsewhere + timedelta(seconds=1))) == ["job-2"]


async def test_a_run_that_was_skipped_has_no_job_and_says_why(database: Database, clock: ManualClock) -> None:
    runs = Runs(database, clock)
    async with database.change() as change:
        await runs.skip_in(change, Cause("t", "u", "nightly", "2026-03-02T18:00:00+00:00"), "one was under way")
    (run,) = await runs.newest(RunFilter(result=RunResult.SKIPPED), before=None, most=10)
    assert (run.job_id, run.action, run.reason, run.schedule) == (None, "skipped", "one was under way", "nightly")
    assert run.due_at == "2026-03-02T18:00:00+00:00"


async def test_old_runs_are_forgotten_but_not_the_newest_copy_of_a_task(database: Database, clock: ManualClock) -> None:
    runs = Runs(database, clock)
    await finished(runs, "t", "first copy", OK, "2026-01-01T00:00:00+00:00")
    await finished(runs, "t", "newest copy", OK, "2026-01-02T00:00:00+00:00")
    await finished(runs, "t", "failed", FAILED, "2026-01-03T00:00:00+00:00")
    await runs.begin(CAUSE, "under way")
    await finished(runs, "other", "of another task", OK, "2025-01-01T00:00:00+00:00")
    await clock.advance(10 * 86400 + 1)
    await finished(runs, "t", "recent", FAILED)
    assert await runs.forget_older(11) == 0
    assert await runs.forget_older(10) == 2
    kept = [run.job_id for run in await runs.newest(RunFilter(), before=None, most=10)]
    assert kept == ["recent", "of another task", "under way", "newest copy"]
    newest = {"uuid-of-t": "2026-01-02T00:00:00+00:00", "uuid-of-other": "2025-01-01T00:00:00+00:00"}
    assert await runs.newest_copies() == newest


async def test_what_is_due_is_seen_to_by_one_only(database: Database, clock: ManualClock) -> None:
    times, now = ScheduleTimes(database), clock.now()
    seen: list[str] = []

    async def note(change: Change) -> None:
        seen.append("noted")

    await times.set("t", "s", now)
    later = now + timedelta(hours=1)
    for _ in range(2):
        await times.handle("t", "s", now, later, also=note)
    await times.handle("t", "gone", now, later, also=note)
    assert seen == ["noted"]
    assert await times.all() == {("t", "s"): later}
    await times.forget("t", "s")
    await times.forget("t", "s")
    assert await times.all() == {}


async def test_what_is_seen_to_with_something_that_fails_was_not_seen_to(
    database: Database, clock: ManualClock
) -> None:
    times, now = ScheduleTimes(database), clock.now()
    await times.set("t", "s", now)

    async def fail(change: Change) -> None:
        raise NotFoundError("it is gone")

    with pytest.raises(NotFoundError):
        await times.handle("t", "s", now, now + timedelta(hours=1), also=fail)
    assert await times.all() == {("t", "s"): now}
