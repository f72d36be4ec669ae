from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from holdfast.errors import BusyError, ConflictError, HoldfastError, InvalidError, NoSpaceError, NotFoundError, Reason
from holdfast.services.events import Events
from holdfast.services.jobs import RETRY_LONGEST_S, Jobs
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.database import Database
from holdfast.store.events import EventLog
from holdfast.store.jobs import JobRecord, JobState, JobStore, StepState
from holdfast.testing.fakes import ManualClock
from holdfast.values import Secret

SHORT_S = 5.0


@dataclass
class Work:
    """Three steps that note what they do; `fail` raises in that step, `hold` waits in it."""

    fail: Exception | None = None
    hold: int | None = None
    undo_failures: int = 0
    final: int | None = None
    holding: asyncio.Event = field(default_factory=asyncio.Event)
    done: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def definition(self, *, deadline_s: float | None = 600.0) -> JobDefinition:
        steps = tuple(Step(f"step {n}", self._do(n), self._undo(n), is_final=n == self.final) for n in range(3))
        return JobDefinition("work", steps, deadline_s=deadline_s, on_failure=self._tell)

    def _do(self, number: int) -> Callable[[JobContext], Awaitable[None]]:
        async def do(job: JobContext) -> None:
            self.done.append(f"do {number}")
            job.facts[f"fact {number}"] = number
            if self.hold == number:
                self.holding.set()
                await asyncio.Event().wait()
            if self.fail is not None and number == 2:
                raise self.fail
            job.result = dict(job.facts)

        return do

    def _undo(self, number: int) -> Callable[[JobContext], Awaitable[None]]:
        async def undo(job: JobContext) -> None:
            if number == 1 and self.undo_failures:
                self.undo_failures -= 1
                raise HoldfastError("the partner is away")
            self.done.append(f"undo {number}")

        return undo

    async def _tell(self, job: JobContext, reason: HoldfastError) -> None:
        self.told.append(reason.message)


@pytest.fixture
def events(database: Database, clock: ManualClock) -> Events:
    return Events(EventLog(database, clock))


@pytest.fixture
async def jobs(database: Database, clock: ManualClock, events: Events) -> AsyncIterator[Jobs]:
    made = Jobs(JobStore(database, clock), clock, events, node="a")
    yield made
    await made.stop()


def states(record: JobRecord) -> list[StepState]:
    return [step.state for step in record.steps]


async def run(jobs: Jobs, work: Work, **keywords: float | None) -> JobRecord:
    jobs.define(work.definition(**keywords))
    return await jobs.wait(await jobs.start("work", "thing:x", {}), SHORT_S)


async def test_a_job_does_its_steps_in_order_and_shows_its_result(
    jobs: Jobs, database: Database, events: Events
) -> None:
    work = Work()
    record = await run(jobs, work)
    assert work.done == ["do 0", "do 1", "do 2"]
    assert (record.state, record.progress_percent, record.error, record.origin_node) == (JobState.DONE, 100, None, "a")
    assert record.result == {"fact 0": 0, "fact 1": 1, "fact 2": 2}
    assert states(record) == [StepState.DONE] * 3
    assert record.ended_at is not None
    event = await anext(events.follow(0))
    assert (event.kind, event.subject, event.body["job"]) == ("job.done", "thing:x", record.id)
    assert work.told == []


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        (NoSpaceError("full", reasons=[Reason("no-space", "full", "delete")]), "no-space", "full"),
        (ZeroDivisionError("a fault of ours"), "error", "ZeroDivisionError: a fault of ours"),
        (TimeoutError("of the step's own"), "error", "TimeoutError: of the step's own"),
    ],
)
async def test_a_step_that_fails_is_undone_with_all_before_it_in_reverse(
    jobs: Jobs, fault: Exception, code: str, text: str
) -> None:
    work = Work(fail=fault)
    record = await run(jobs, work)
    assert work.done == ["do 0", "do 1", "do 2", "undo 2", "undo 1", "undo 0"]
    assert (record.state, states(record)) == (JobState.FAILED, [StepState.UNDONE] * 3)
    assert record.error is not None
    assert (record.error["code"], record.error["message"], record.result) == (code, text, None)
    assert work.told == [text]


async def test_a_step_that_was_not_begun_is_not_undone(jobs: Jobs) -> None:
    work = Work(hold=1)
    jobs.define(work.definition())
    job = await jobs.start("work", "thing:x", {})
    await work.holding.wait()
    await jobs.cancel(job)
    record = await jobs.wait(job, SHORT_S)
    assert work.done == ["do 0", "do 1", "undo 1", "undo 0"]
    assert states(record) == [StepState.UNDONE, StepState.UNDONE, StepState.PENDING]


class HurriedClock(ManualClock):
    """Each sleep passes at once and is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_s: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)


async def test_an_undo_that_fails_is_tried_again_ever_more_slowly_until_it_works(
    database: Database, events: Events
) -> None:
    work, clock = Work(fail=HoldfastError("no"), undo_failures=7), HurriedClock()
    record = await run(Jobs(JobStore(database, clock), clock, events, node="a"), work)
    assert clock.slept_s == [2, 4, 8, 16, 32, RETRY_LONGEST_S, RETRY_LONGEST_S]
    assert record.state is JobState.FAILED
    assert work.done[-3:] == ["undo 2", "undo 1", "undo 0"]
    assert len(record.log) == 7
    assert "undoing 'step 1' failed and is tried again in 2 s: the partner is away" in record.log[0]


async def test_a_cancelled_job_is_undone_and_says_so(jobs: Jobs) -> None:
    work = Work(hold=2)
    jobs.define(work.definition())
    job = await jobs.start("work", "thing:x", {})
    await work.holding.wait()
    await jobs.cancel(job)
    with pytest.raises(ConflictError, match="cannot be cancelled"):
        await jobs.cancel(job)
    record = await jobs.wait(job, SHORT_S)
    assert record.state is JobState.CANCELLED
    assert work.done[-3:] == ["undo 2", "undo 1", "undo 0"]
    assert work.told == ["it was cancelled"]


@pytest.mark.parametrize(("final", "is_refused"), [(0, True), (1, True), (2, False)])
async def test_past_a_step_with_no_way_back_a_job_is_not_cancelled(jobs: Jobs, final: int, is_refused: bool) -> None:
    work = Work(hold=1, final=final)
    jobs.define(work.definition())
    job = await jobs.start("work", "thing:x", {})
    await work.holding.wait()
    if is_refused:
        with pytest.raises(ConflictError, match=f"has begun to step {final}") as refusal:
            await jobs.cancel(job)
        assert refusal.value.reasons[0].code == "no-way-back"
        assert (await jobs.get(job)).state is JobState.RUNNING
    else:
        await jobs.cancel(job)
        assert (await jobs.wait(job, SHORT_S)).state is JobState.CANCELLED


async def test_a_job_that_is_over_or_unknown_is_not_cancelled(jobs: Jobs) -> None:
    record = await run(jobs, Work())
    with pytest.raises(ConflictError, match="the job is done"):
        await jobs.cancel(record.id)
    with pytest.raises(NotFoundError):
        await jobs.cancel("no-such-job")


@pytest.mark.parametrize("turns", range(0, 60, 4))
@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancel_at_any_moment_leaves_a_job_that_is_over_and_whole(jobs: Jobs, turns: int, fails: bool) -> None:
    work = Work(fail=HoldfastError("no") if fails else None)
    jobs.define(work.definition())
    job = await jobs.start("work", "thing:x", {})
    for _ in range(turns):
        await asyncio.sleep(0.0001)
    try:
        await jobs.cancel(job)
    except ConflictError:
        ends = {JobState.FAILED if fails else JobState.DONE}
    else:
        ends = {JobState.CANCELLED, JobState.FAILED} if fails else {JobState.CANCELLED}
    record = await jobs.wait(job, SHORT_S)
    assert record.state in ends
    assert StepState.RUNNING not in states(record)
    assert {s for s in states(record)} <= (
        {StepState.DONE} if record.state is JobState.DONE else {StepState.UNDONE, StepState.PENDING}
    )
    jobs.locks.refuse_if_held(["thing:x"])


async def test_of_a_job_without_a_deadline_only_the_steps_have_limits(jobs: Jobs) -> None:
    record = await run(jobs, Work(fail=TimeoutError("a step's own")), deadline_s=None)
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert "a step's own" in record.error["message"]


async def test_a_job_beyond_its_deadline_is_undone_and_names_the_deadline(jobs: Jobs) -> None:
    work = Work(hold=1)
    record = await run(jobs, work, deadline_s=0.05)
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert "deadline of 0 s" in record.error["message"]
    assert work.done[-2:] == ["undo 1", "undo 0"]


async def test_a_second_change_to_a_thing_is_refused_and_told_by_which_job(jobs: Jobs) -> None:
    work = Work(hold=0)
    jobs.define(work.definition())
    job = await jobs.start("work", "thing:x", {}, locks=["volume:v"])
    await work.holding.wait()
    for target, locks in (("thing:x", []), ("thing:y", ["volume:v"]), ("volume:v", ["a:b"])):
        with pytest.raises(BusyError, match="held by the job work of thing:x") as raised:
            await jobs.start("work", target, {}, locks=locks)
        assert raised.value.reasons[0].remedy
    jobs.locks.refuse_if_held(["thing:y", "a:b"])
    await jobs.cancel(job)
    await jobs.wait(job, SHORT_S)
    jobs.locks.refuse_if_held(["thing:x", "volume:v"])


async def test_a_job_waits_for_what_is_being_mended_and_what_a_job_holds_is_not_mended(jobs: Jobs) -> None:
    work, mended, may_end = Work(hold=2), [], asyncio.Event()

    async def mend() -> None:
        mended.append("begun")
        await may_end.wait()
        mended.append("over")

    jobs.define(work.definition())
    mending = asyncio.create_task(jobs.locks.mend("volume:v", mend))
    await asyncio.sleep(0)
    job = await jobs.start("work", "thing:x", {}, locks=["volume:v"])
    await jobs.wait(job, 0.1)
    assert (work.done, mended) == ([], ["begun"])
    may_end.set()
    await mending
    await work.holding.wait()
    for name in ("volume:v", "thing:x"):
        await jobs.locks.mend(name, mend)
    assert mended == ["begun", "over"]
    await jobs.locks.mend("volume:other", mend)
    assert mended == ["begun", "over"] * 2
    await jobs.cancel(job)
    await jobs.wait(job, SHORT_S)
    await jobs.locks.mend("volume:v", mend)
    assert mended == ["begun", "over"] * 3


async def test_a_job_that_waits_for_what_is_being_mended_can_be_cancelled(jobs: Jobs) -> None:
    work = Work()
    jobs.define(work.definition())

    async def mend() -> None:
        await asyncio.Event().wait()

    mending = asyncio.create_task(jobs.locks.mend("thing:x", mend))
    await asyncio.sleep(0)
    job = await jobs.start("work", "thing:x", {})
    await jobs.wait(job, 0.1)
    await jobs.cancel(job)
    assert (await jobs.wait(job, SHORT_S)).state is JobState.CANCELLED
    assert work.done == []
    mending.cancel()


async def test_a_check_that_refuses_leaves_no_job_and_no_lock(jobs: Jobs) -> None:
    jobs.define(Work().definition())

    async def check() -> None:
        with pytest.raises(BusyError):
            jobs.locks.refuse_if_held(["thing:x"])  # nothing can change between the check and the job
        raise InvalidError("no")

    with pytest.raises(InvalidError):
        await jobs.start("work", "thing:x", {}, check=check)
    assert await jobs.newest(before=None, most=10) == ()
    jobs.locks.refuse_if_held(["thing:x"])


async def test_waiting_ends_in_time_and_cancels_nothing(jobs: Jobs) -> None:
    work = Work(hold=0)
    jobs.define(work.definition())
    job = await jobs.start("work", "thing:x", {})
    assert (await jobs.wait(job, 0.01)).state is JobState.RUNNING


async def test_a_secret_among_the_parameters_is_not_in_the_record(jobs: Jobs, database: Database) -> None:
    jobs.define(Work().definition())
    job = await jobs.start("work", "thing:x", {"password": Secret("tiger"), "deep": [{"x": Secret("tiger")}]})
    record = await jobs.wait(job, SHORT_S)
    assert record.parameters["password"] == "***"
    assert record.parameters["deep"] == [{"x": "***"}]
    rows = [*await database.rows("SELECT * FROM jobs"), *await database.rows("SELECT * FROM events")]
    assert "tiger" not in repr([tuple(row) for row in rows])


async def test_progress_is_kept_at_most_twice_a_second(jobs: Jobs, clock: ManualClock) -> None:
    seen: list[str] = []

    async def do(job: JobContext) -> None:
        for moment in range(4):
            await job.progress(float(moment), f"moment {moment}")
            seen.append((await jobs.get(job.job_id)).progress_text)
            await clock.advance(0.3)

    jobs.define(JobDefinition("move", (Step("move", do),)))
    await jobs.wait(await jobs.start("move", "thing:x", {}), SHORT_S)
    assert seen == ["moment 0", "moment 0", "moment 2", "moment 2"]


async def test_jobs_are_listed_newest_first_and_paged(jobs: Jobs) -> None:
    jobs.define(Work().definition())
    for name in "abc":
        await jobs.wait(await jobs.start("work", f"thing:{name}", {}), SHORT_S)
    first = await jobs.newest(before=None, most=2)
    assert [job.target for job in first] == ["thing:c", "thing:b"]
    assert [job.target for job in await jobs.newest(before=first[-1].number, most=2)] == ["thing:a"]


async def test_a_history_that_cannot_be_written_keeps_no_job_from_its_end(jobs: Jobs) -> None:
    work = Work(fail=HoldfastError("no"))

    async def tell(job: JobContext, reason: HoldfastError) -> None:
        raise OSError("disk full")

    jobs.define(JobDefinition("work", work.definition().steps, on_failure=tell))
    record = await jobs.wait(await jobs.start("work", "thing:x", {}), SHORT_S)
    assert record.state is JobState.FAILED


class FillingClock(ManualClock):
    """The disk is full until it was slept `times` times."""

    def __init__(self, database: Database, times: int) -> None:
        super().__init__()
        self.slept_s: list[float] = []
        self.database = database
        self.times = times

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)
        if len(self.slept_s) == self.times:
            await self.database.rows("PRAGMA max_page_count=100000")


@pytest.mark.parametrize("fail", [None, HoldfastError("no")])
async def test_a_job_waits_with_its_locks_until_the_disk_takes_its_record(
    database: Database, events: Events, fail: Exception | None
) -> None:
    clock = FillingClock(database, times=3)
    jobs = Jobs(JobStore(database, clock), clock, events, node="a")
    locked: list[bool] = []

    async def fill(job: JobContext) -> None:
        job.facts["much"] = "x" * 100_000  # more than there are pages for
        [(pages,)] = await database.rows("PRAGMA page_count")
        await database.rows(f"PRAGMA max_page_count={pages}")
        await job.log("y" * 100_000)  # lost, and no reason to fail
        await job.progress(50, "z" * 100_000)

    async def look(job: JobContext) -> None:
        locked.append(jobs.locks.must_pass_over("thing:x"))
        if fail is not None:
            raise fail

    async def undo(job: JobContext) -> None:
        locked.append(jobs.locks.must_pass_over("thing:x"))

    jobs.define(JobDefinition("work", (Step("fill", fill, undo), Step("look", look))))
    job = await jobs.start("work", "thing:x", {})
    record = await jobs.wait(job, SHORT_S)
    assert clock.slept_s == [2, 4, 8]
    assert record.state is (JobState.DONE if fail is None else JobState.FAILED)
    assert locked == ([True] if fail is None else [True, True])
    assert record.facts["much"] == "x" * 100_000
    assert record.log == ()
    assert not jobs.locks.must_pass_over("thing:x")


async def test_whoever_passed_over_what_a_job_held_is_told_of_its_end(jobs: Jobs) -> None:
    locks = jobs.locks

    async def mend() -> None:
        raise AssertionError("a job has it")

    locks.hold(["volume:v", "volume:w"], "some job")
    locks.release(["volume:w"])
    assert not locks.freed.is_set()
    await locks.mend("volume:v", mend)
    assert locks.must_pass_over("volume:v")
    assert not locks.must_pass_over("volume:w")
    assert not locks.freed.is_set()
    locks.release(["volume:v"])
    assert locks.freed.is_set()
    locks.freed.clear()
    locks.hold(["volume:v"], "another job")
    locks.release(["volume:v"])
    assert not locks.freed.is_set()


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_job_that_is_over_has_changed_may_be_changed_at_once(
    jobs: Jobs, events: Events, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Also while the event that tells of its end is still on its way to the disk."""
    over, told, emit = asyncio.Event(), asyncio.Event(), events.emit

    async def slow(*what: Any, **more: Any) -> None:
        over.set()
        await told.wait()
        await emit(*what, **more)

    monkeypatch.setattr(events, "emit", slow)
    work = Work(fail=HoldfastError("no") if fails else None)
    jobs.define(work.definition())
    jobs.define(replace(Work(hold=1).definition(), kind="long work"))
    first = await jobs.start("work", "thing:x", {})
    async with asyncio.timeout(SHORT_S):
        await over.wait()
    assert (await jobs.get(first)).ended_at is not None
    await jobs.start("long work", "thing:x", {})
    told.set()
    await jobs.wait(first, SHORT_S)
    # The end of the first gave nothing back that is the second's now.
    with pytest.raises(BusyError):
        await jobs.start("work", "thing:x", {})
