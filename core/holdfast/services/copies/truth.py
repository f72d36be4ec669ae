"""What makes a run of a task believable: both ends compared before it, and from time to time every file after it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from datetime import datetime

from holdfast.errors import HoldfastError, NotFoundError, Reason
from holdfast.hooks.copy_restore import ReplicaFacts, RestoreRun
from holdfast.hooks.replication import CopyRun
from holdfast.planning.run_truth import (
    SHOWN_DIFFERENCES,
    EndsCompared,
    FullVerification,
    end_alerts,
    is_full_due,
    verification_alerts,
)
from holdfast.services.copies.task_documents import TaskDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock


@dataclass(frozen=True)
class TruthDocument:
    """What is known of a task's two ends, and how often every file is compared."""

    task: str
    task_uuid: str
    every_days: int | None = None
    """None: only when it is asked for."""
    last: FullVerification | None = None
    ends: EndsCompared | None = None


class RunTruth:
    """Keeps what is known, and does what a run asks of it."""

    def __init__(
        self,
        kept: Intents[TruthDocument],
        tasks: Intents[TaskDocument],
        jobs: Jobs,
        drivers: Drivers,
        events: Events,
        clock: Clock,
    ) -> None:
        self._kept = kept
        self._tasks = tasks
        self._jobs = jobs
        self._drivers = drivers
        self._events = events
        self._clock = clock
        jobs.define(JobDefinition("replication-task.set-verification", (Step("record", self._record),)))

    async def of(self, task: str) -> TruthDocument:
        """What is known of a task. Raises NotFoundError."""
        subject = await self._tasks.find(task)
        if subject is None:
            raise NotFoundError(f"there is no {self._tasks.kind} {task!r}")
        found = await self._kept.find(task)
        if found is None or found.document.task_uuid != subject.uuid:
            return TruthDocument(task, subject.uuid)
        return found.document

    async def alerts(self, task: str) -> tuple[Reason, ...]:
        """What about it needs a person."""
        known = await self.of(task)
        return (*verification_alerts(task, known.last), *end_alerts(known.ends))

    async def set_interval(self, task: str, every_days: int | None, *, validate_only: bool) -> str | None:
        """Say how often every file is compared."""
        await self.of(task)
        if validate_only:
            return None
        given = {"task": task, "every_days": every_days}
        return await self._jobs.start("replication-task.set-verification", f"replication-truth:{task}", given)

    async def _record(self, job: JobContext) -> None:
        known = replace(await self.of(job.parameters["task"]), every_days=job.parameters["every_days"])
        await self._kept.put(known.task, known)
        job.result = {"name": known.task, "every_days": known.every_days}

    # --- for a run ---

    async def is_full_due(self, task: str) -> bool:
        """Whether the next run is to compare every file."""
        known = await self.of(task)
        return is_full_due(known.every_days, known.last, self._clock.now())

    async def compare_ends(self, job: JobContext, task: str, run: CopyRun) -> ReplicaFacts | None:
        """Capacities and clocks (S21). An agent that tells nothing of itself is no reason against a run: None."""
        before = self._clock.now()
        try:
            facts = await self._drivers.copy().replica_facts(run)
        except NotFoundError:
            await job.log("capacities and clocks were not compared: the agent, of an older version, tells nothing")
            return None
        except HoldfastError:
            return None  # the copy meets it too, and says so
        now = self._clock.now()
        here = await asyncio.to_thread(os.statvfs, run.source)
        ends = EndsCompared(
            at=now,
            source_bytes=here.f_blocks * here.f_frsize,
            source_used_bytes=(here.f_blocks - here.f_bfree) * here.f_frsize,
            destination_bytes=facts.capacity_bytes,
            destination_free_bytes=facts.free_bytes,
            clock_difference_s=(facts.now - (before + (now - before) / 2)).total_seconds(),
        )
        for alert in end_alerts(ends):
            await job.log(f"{alert.text}; {alert.remedy}")
        await self._kept.put(task, replace(await self.of(task), ends=ends))
        return facts

    async def mend(self, job: JobContext, task: str, run: CopyRun) -> None:
        """Copy by content where the last full verification found differences: size and time do not tell them."""
        last = (await self.of(task)).last
        if last is not None and not last.is_ok:
            counted = await self._drivers.copy().restore(
                RestoreRun(run, deletes=run.options.is_deleting, by_content=True), lambda progress: None
            )
            await job.log(f"{counted.files_sent} files were mended that differed in content only")

    async def verify_all(self, job: JobContext, task: str, run: CopyRun, files: int) -> tuple[str, ...]:
        """Compare every file by checksum, and keep how that ended; what differs."""
        differences = await self._drivers.copy().verify_all(run)
        known, now = await self.of(task), self._clock.now()
        frozen_at = datetime.fromisoformat(str(job.facts["frozen_at"]))
        last = FullVerification(now, frozen_at, files, len(differences), tuple(differences[:SHOWN_DIFFERENCES]))
        await self._kept.put(task, replace(known, last=last))
        body = {"files": files, "differences": len(differences), "shown": last.shown}
        word = "verified" if last.is_ok else "copy-differs"
        await self._events.emit(f"replication-task.{word}", f"replication-task:{task}", body)
        return differences
