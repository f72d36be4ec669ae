"""When tasks run by themselves (S25): their schedules, and who starts what is due.

That a run was due is seen to in one commit with its job: a daemon killed at any moment has done both or nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from holdfast.errors import BusyError, ConflictError, HoldfastError, NotFoundError, Reason
from holdfast.planning.schedules import Due, MissedRuns, anchored, check, counted_from, due_now, upcoming
from holdfast.services.copies.runs import TaskRuns
from holdfast.services.copies.task_documents import ScheduleDocument, TaskDocument
from holdfast.services.copies.tasks import plan_lock
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.database import Change
from holdfast.store.intent import Intents
from holdfast.store.runs import Cause, Runs
from holdfast.store.schedules import ScheduleTimes, SeenToError
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
SHOWN_RUNS = 5
MOST_OF_A_TASK = 32


@dataclass(frozen=True)
class _Refusal:
    """A run that is due cannot begin: since when this daemon tries, and why not."""

    since_s: float
    reason: str


class TaskSchedules:
    """Keeps the schedules of tasks, and starts what is due."""

    def __init__(
        self,
        tasks: Intents[TaskDocument],
        kept: Intents[ScheduleDocument],
        times: ScheduleTimes,
        runs: Runs,
        task_runs: TaskRuns,
        jobs: Jobs,
        drivers: Drivers,
        events: Events,
        clock: Clock,
    ) -> None:
        self._tasks = tasks
        self._kept = kept
        self._times = times
        self._runs = runs
        self._task_runs = task_runs
        self._jobs = jobs
        self._drivers = drivers
        self._events = events
        self._clock = clock
        self._refused: dict[str, _Refusal] = {}
        self._looking = asyncio.Lock()
        jobs.define(JobDefinition("replication-schedule.set", (Step("record", self._record),)))
        jobs.define(JobDefinition("replication-schedule.delete", (Step("forget", self._forget),)))

    # --- what is asked for ---

    async def of(self, task: str) -> tuple[ScheduleDocument, ...]:
        """The schedules of a task, by name. Raises NotFoundError."""
        await self._tasks.get(task)
        return tuple(document for document in (await self._kept.all()).values() if document.task == task)

    async def get(self, task: str, name: str) -> ScheduleDocument:
        """One of them. Raises NotFoundError."""
        kept = await self._kept.find(f"{task}/{name}")
        if kept is None:
            await self._tasks.get(task)
            raise NotFoundError(f"the replication task {task} has no schedule {name!r}")
        return kept.document

    async def next_runs(self, document: ScheduleDocument) -> tuple[datetime, ...]:
        """The next times that it is due; none while it is disabled."""
        task = await self._tasks.find(document.task)
        if not document.is_enabled or task is None or not task.document.is_enabled:
            return ()
        now = self._clock.now()
        handled_until = (await self._times.all()).get((document.task, document.name), now)
        return upcoming(document.schedule, max(counted_from(handled_until, now), now), SHOWN_RUNS)

    async def set(self, wanted: ScheduleDocument, *, validate_only: bool) -> str | None:
        """Make a schedule, or change it, also while a run is under way. It counts from now on."""
        check(wanted.schedule)

        async def admit() -> None:
            others = {document.name for document in await self.of(wanted.task)}
            if len(others | {wanted.name}) > MOST_OF_A_TASK:
                text = (
                    f"the replication task {wanted.task} has {len(others)} schedules, which is as many as there may be"
                )
                raise ConflictError(text, reasons=[Reason("too-many", text, "delete one, or say more in one by cron")])

        if validate_only:
            self._jobs.locks.refuse_if_held([plan_lock(wanted.task)])
            await admit()
            return None
        return await self._jobs.start(
            "replication-schedule.set", plan_lock(wanted.task), {"document": to_plain(wanted)}, check=admit
        )

    async def delete(self, task: str, name: str, *, validate_only: bool) -> str | None:
        """Remove a schedule; a run under way goes on."""
        await self.get(task, name)
        if validate_only:
            return None
        return await self._jobs.start("replication-schedule.delete", plan_lock(task), {"task": task, "name": name})

    async def _record(self, job: JobContext) -> None:
        wanted = from_plain(ScheduleDocument, job.parameters["document"])
        kept = await self._kept.find(wanted.key)
        before = kept.document.schedule if kept is not None else None
        wanted = replace(wanted, schedule=anchored(wanted.schedule, before, self._clock.now()))
        if kept is None or kept.document != wanted:
            if kept is not None:
                await self._look_at(kept.document)
            # First this: what was due by the old one, or long before there was one, is not due by the new one.
            await self._times.set(wanted.task, wanted.name, self._clock.now())
            await self._kept.put(wanted.key, wanted)
        job.result = to_plain(wanted)

    async def _forget(self, job: JobContext) -> None:
        task, name = job.parameters["task"], job.parameters["name"]
        await self._kept.remove(f"{task}/{name}")
        await self._times.forget(task, name)

    # --- what is due ---

    async def forever(self) -> None:
        """Start what is due until cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                if self._drivers.has("copy"):
                    await self.look()
            except Exception:  # what is on record cannot be read now; it is no reason for the daemon to end
                log.exception("schedules could not be looked at")

    async def look(self) -> None:
        """Start what is due now, or note why it does not begin. One that fails keeps no other from it."""
        for document in (await self._kept.all()).values():
            try:
                await self._look_at(document)
            except HoldfastError as reason:
                log.warning("what is due by %s could not be started, and it is tried again: %s", document.key, reason)
            except Exception:  # nobody else starts what is due
                log.exception("looking at the schedule %s failed unexpectedly", document.key)

    async def _look_at(self, document: ScheduleDocument) -> None:
        # One after the other: the run that one starts would be another's reason to skip it.
        async with self._looking:
            if document.is_enabled:
                await self._look_now(document)

    async def _look_now(self, document: ScheduleDocument) -> None:
        seen = (await self._times.all()).get((document.task, document.name))
        kept = await self._tasks.find(document.task)
        if seen is None or kept is None:
            return  # it is just being made, or deleted
        now = self._clock.now()
        start = counted_from(seen, now)
        if start != seen:
            log.warning("the clock was set back from %s: the schedule %s is counted from now on", seen, document.key)
            await self._times.handle(document.task, document.name, seen, start)
            return
        if not kept.document.is_enabled:
            # It is seen to as it passes: a task that is enabled again makes up for nothing.
            await self._times.handle(document.task, document.name, seen, now)
            return
        due = due_now(document.schedule, seen, now, timedelta(seconds=document.grace_s))
        if due is not None:
            await self._see_to(_Turn(document, Cause(document.task, kept.uuid), due, seen, now))

    async def _see_to(self, turn: _Turn) -> None:
        document, due = turn.document, turn.due
        refusal = self._refused.get(document.key)
        if due.is_missed and document.missed is MissedRuns.SKIP:
            return await self._skip(turn, refusal.reason if refusal else NOBODY_LOOKED)
        try:
            self._jobs.locks.refuse_if_held([f"replication-task:{document.task}"])
        except BusyError as reason:
            return await self._skip(turn, reason.message)
        try:
            await self._task_runs.start(turn.cause, keep_with=lambda change: self._claim(change, turn))
        except SeenToError:
            return None
        except HoldfastError as reason:
            return await self._try_again(turn, reason)
        self._refused.pop(document.key, None)
        log.info("the schedule %s started a run that was due at %s", document.key, due.at.isoformat())
        return None

    async def _claim(self, change: Change, turn: _Turn) -> None:
        document, due = turn.document, turn.due
        await self._times.claim_in(change, document.task, document.name, turn.seen, turn.now)
        if due.missed_since is not None and document.missed is MissedRuns.SKIP:
            await self._runs.skip_in(change, turn.cause_at(due.missed_since), NOBODY_LOOKED)

    async def _try_again(self, turn: _Turn, reason: HoldfastError) -> None:
        """It is due until its grace is over; if it is made up for, for as long after the first attempt.

        What waits for a job of something else to end waits as long as that takes.
        """
        key, now_s = turn.document.key, self._clock.boot_s()
        known = self._refused.get(key)
        since_s = known.since_s if known else now_s
        self._refused[key] = _Refusal(since_s, reason.message)
        is_over = turn.due.is_missed and now_s - since_s > turn.document.grace_s
        if is_over and not isinstance(reason, BusyError):
            await self._skip(turn, reason.message)
        elif known is None or known.reason != reason.message:
            log.info("the schedule %s is due, and its run cannot begin yet: %s", key, reason.message)

    async def _skip(self, turn: _Turn, reason: str) -> None:
        document = turn.document
        self._refused.pop(document.key, None)
        is_noted = False

        async def note(change: Change) -> None:
            nonlocal is_noted
            await self._runs.skip_in(change, turn.cause, reason)
            is_noted = True

        await self._times.handle(document.task, document.name, turn.seen, turn.now, also=note)
        if is_noted:
            log.warning("a run that was due by the schedule %s did not begin: %s", document.key, reason)
            body: Mapping[str, Any] = {"schedule": document.name, "due_at": turn.due.at, "reason": reason}
            await self._events.emit("replication-task.run-skipped", f"replication-task:{document.task}", body)


NOBODY_LOOKED = "nobody saw to it in time: holdfastd did not run, or the clock was set forth"


@dataclass(frozen=True)
class _Turn:
    """Something is due by a schedule, of which all until `seen` was seen to."""

    document: ScheduleDocument
    task: Cause
    due: Due
    seen: datetime
    now: datetime

    @property
    def cause(self) -> Cause:
        """Of the run that is due."""
        return self.cause_at(self.due.at)

    def cause_at(self, due_at: datetime) -> Cause:
        """Of one that was due then."""
        return replace(self.task, schedule=self.document.name, due_at=due_at.isoformat())
