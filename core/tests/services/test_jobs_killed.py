"""A daemon killed at any moment: what its successor makes of the job.

The kill is an exception that nothing of ours catches, raised before or after each durable write; the successor is a
fresh `Jobs` over the same file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import BusyError, HoldfastError
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.database import Database
from holdfast.store.events import EventLog
from holdfast.store.jobs import JobRecord, JobState, JobStore, StepState
from holdfast.testing.fakes import ManualClock

STEPS = 3
WRITES = {False: 2 * STEPS + 1, True: (2 * STEPS - 1) + 1 + STEPS + 1}
"""Durable writes of a job without and with a failing last step: marks, the turn, undone marks, the end."""


class Killed(BaseException):
    """The process is gone."""


@dataclass
class DyingStore(JobStore):
    """Dies at the write numbered `at`: before it is durable, or after."""

    database: Database
    clock: ManualClock
    at: int | None
    before: bool
    writes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__init__(self.database, self.clock)

    async def _dying(self, write: Awaitable[None]) -> None:
        self.writes += 1
        if self.writes == self.at and self.before:
            assert asyncio.iscoroutine(write)
            write.close()
            raise Killed
        await write
        if self.writes == self.at:
            raise Killed

    async def set_step(self, job_id: str, position: int, state: StepState, facts: Mapping[str, Any]) -> None:
        await self._dying(super().set_step(job_id, position, state, facts))

    async def set_undoing(self, job_id: str, error: Mapping[str, Any]) -> None:
        await self._dying(super().set_undoing(job_id, error))

    async def end(self, job_id: str, state: JobState, *, error: Mapping[str, Any] | None, result: Any) -> None:
        await self._dying(super().end(job_id, state, error=error, result=result))


@dataclass
class World:
    """What the steps change; it outlives the daemon. A step uses what earlier ones noted as facts."""

    fails: bool
    there: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)

    def definition(self) -> JobDefinition:
        steps = tuple(Step(str(n), self._do(n), self._undo(n)) for n in range(STEPS))
        return JobDefinition("build", steps, on_failure=self._tell)

    def _do(self, number: int) -> Callable[[JobContext], Awaitable[None]]:
        async def do(job: JobContext) -> None:
            assert all(job.facts[str(n)] == f"made {n}" for n in range(number)), job.facts
            self.there.add(str(number))
            job.facts[str(number)] = f"made {number}"
            job.result = sorted(self.there)
            if self.fails and number == STEPS - 1:
                raise HoldfastError("the last step never works")

        return do

    def _undo(self, number: int) -> Callable[[JobContext], Awaitable[None]]:
        async def undo(job: JobContext) -> None:
            assert not self.there & {str(n) for n in range(number + 1, STEPS)}, "a later step is not undone yet"
            self.there.discard(str(number))

        return undo

    async def _tell(self, job: JobContext, reason: HoldfastError) -> None:
        self.told.append(reason.message)


async def daemon(
    path: Path, world: World, *, at: int | None = None, before: bool = False
) -> tuple[Database, DyingStore, Jobs]:
    database, clock = await Database.open(path), ManualClock()
    store = DyingStore(database, clock, at, before)
    jobs = Jobs(store, clock, Events(EventLog(database, clock)), node="a")
    jobs.define(world.definition())
    return database, store, jobs


def under_way() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("job ")]


async def see_the_end(tasks: list[asyncio.Task[Any]]) -> None:
    # The kill is taken out of the task here, or asyncio would report it in the midst of whatever runs later.
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)


async def live(path: Path, world: World, job_id: str | None, *, at: int | None = None, before: bool = False) -> str:
    """Run a daemon until its job is over or it dies; start the job, or recover it."""
    database, _, jobs = await daemon(path, world, at=at, before=before)
    if job_id is None:
        job_id = await jobs.start("build", "thing:x", {}, locks=["volume:v"])
    else:
        await jobs.recover()
    await see_the_end(under_way())
    await jobs.stop()
    await database.close()
    return job_id


async def record_of(path: Path, job_id: str) -> JobRecord:
    database = await Database.open(path)
    record = await JobStore(database, ManualClock()).get(job_id)
    await database.close()
    return record


def judge(world: World, record: JobRecord) -> None:
    states = {step.state for step in record.steps}
    if world.fails:
        assert (record.state, states, world.there) == (JobState.FAILED, {StepState.UNDONE}, set())
        assert record.error is not None
        assert record.error["message"] == "the last step never works"
        assert set(world.told) == {"the last step never works"}
    else:
        assert (record.state, states) == (JobState.DONE, {StepState.DONE})
        assert world.there == {str(n) for n in range(STEPS)}
        assert world.told == []


@pytest.mark.parametrize("fails", [False, True])
async def test_the_writes_that_a_kill_can_fall_between_are_all_counted(quick_path: Path, fails: bool) -> None:
    database, store, jobs = await daemon(quick_path / "db", World(fails))
    await jobs.wait(await jobs.start("build", "thing:x", {}), 5)
    assert store.writes == WRITES[fails]
    await database.close()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("fails", "at"), [(fails, at) for fails in (False, True) for at in range(1, WRITES[fails] + 1)]
)
async def test_a_job_killed_at_any_write_ends_whole_after_the_restart(
    quick_path: Path, fails: bool, at: int, before: bool
) -> None:
    world, path = World(fails), quick_path / "db"
    job_id = await live(path, world, None, at=at, before=before)
    over = (await record_of(path, job_id)).state.is_over
    assert over is (at == WRITES[fails] and not before), "the kill did not hit"
    await live(path, world, job_id)
    judge(world, await record_of(path, job_id))


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("every", [1, 2, 3])
async def test_a_daemon_killed_again_and_again_still_brings_the_job_to_its_end(
    quick_path: Path, fails: bool, every: int
) -> None:
    world, path = World(fails), quick_path / "db"
    job_id = await live(path, world, None, at=every)
    for _ in range(30):
        if (await record_of(path, job_id)).state.is_over:
            break
        # The first write of a recovered job repeats the one that the kill came after: one more gets it further.
        await live(path, world, job_id, at=every + 1)
    judge(world, await record_of(path, job_id))


async def test_a_job_stopped_with_the_daemon_stays_under_way_keeps_its_locks_and_goes_on(quick_path: Path) -> None:
    path, world = quick_path / "db", World(fails=False)
    held = asyncio.Event()
    release = asyncio.Event()

    async def wait(job: JobContext) -> None:
        held.set()
        await release.wait()

    def defined(jobs: Jobs) -> Jobs:
        jobs.define(JobDefinition("slow", (Step("wait", wait),)))
        return jobs

    database, _, jobs = await daemon(path, world)
    job_id = await defined(jobs).start("slow", "thing:x", {}, locks=["volume:v"])
    await held.wait()
    await jobs.stop()
    await database.close()
    assert (await record_of(path, job_id)).state is JobState.RUNNING

    held.clear()
    database, _, jobs = await daemon(path, world)
    await defined(jobs).recover()
    with pytest.raises(BusyError, match="slow of thing:x"):
        await jobs.start("build", "thing:y", {}, locks=["volume:v"])
    release.set()
    record = await jobs.wait(job_id, 5)
    assert record.state is JobState.DONE
    assert any("started again" in line for line in record.log)
    jobs.locks.refuse_if_held(["volume:v", "thing:x"])
    await database.close()


async def test_a_cancelled_job_killed_while_it_goes_back_ends_cancelled(quick_path: Path) -> None:
    path, world = quick_path / "db", World(fails=False)
    held = asyncio.Event()

    async def wait(job: JobContext) -> None:
        held.set()
        await asyncio.Event().wait()

    def defined(jobs: Jobs) -> Jobs:
        jobs.define(JobDefinition("slow", (Step("first", world._do(0), world._undo(0)), Step("wait", wait))))
        return jobs

    database, _, jobs = await daemon(path, world, at=5)  # marks: 3; the turn; the undone mark of `wait`
    job_id = await defined(jobs).start("slow", "thing:x", {})
    await held.wait()
    tasks = under_way()
    await jobs.cancel(job_id)
    await see_the_end(tasks)
    await database.close()
    assert (await record_of(path, job_id)).state is JobState.UNDOING
    assert world.there == {"0"}

    database, _, jobs = await daemon(path, world)
    await defined(jobs).recover()
    assert (await jobs.wait(job_id, 5)).state is JobState.CANCELLED
    assert world.there == set()
    await database.close()
