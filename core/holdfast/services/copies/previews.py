"""Dry runs of tasks: what a run would send and delete now, shown as the result of a job, and in no log of runs."""

from __future__ import annotations

import contextlib

from holdfast.errors import HoldfastError, NotFoundError
from holdfast.hooks.copy_restore import ReplicaFacts
from holdfast.hooks.replication import CopyRun
from holdfast.services.copies.runs import LONGEST_RUN_S, TaskRuns
from holdfast.services.copies.task_documents import TaskDocument
from holdfast.services.copies.ways import CopyWays
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.shares.shares import Shares
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.values import to_plain

SHOWN_CHANGES = 200
MOST_CHANGES = 1000


class TaskPreviews:
    """Looks ahead, from a snapshot as a run does."""

    def __init__(
        self, kept: Intents[TaskDocument], runs: TaskRuns, ways: CopyWays, shares: Shares, jobs: Jobs, drivers: Drivers
    ) -> None:
        self._kept = kept
        self._runs = runs
        self._ways = ways
        self._shares = shares
        self._jobs = jobs
        self._drivers = drivers
        steps = (*runs.freezing_steps, Step("look ahead", self._look), *runs.thawing_steps)
        jobs.define(JobDefinition("replication-task.dry-run", steps, deadline_s=LONGEST_RUN_S))

    async def start(self, name: str, most: int, *, validate_only: bool) -> str | None:
        """Start a dry run that names at most `most` changes. Refused while a run of the task is under way."""
        task = await self._kept.get(name)
        share = await self._shares.get(task.share)
        target = f"replication-task:{name}"
        locks = [f"share:{share.name}", f"volume:{share.volume}"]

        async def check() -> None:
            if await self._kept.find(name) is None:
                raise NotFoundError(f"there is no {self._kept.kind} {name!r} any more")
            await self._shares.directory(share.name)

        if validate_only:
            self._jobs.locks.refuse_if_held([target, *locks])
            await check()
            return None
        parameters = {"name": name, "volume": share.volume, "path": share.path, "most": most}
        return await self._jobs.start("replication-task.dry-run", target, parameters, locks=locks, check=check)

    async def _look(self, job: JobContext) -> None:
        run = await self._runs.frozen_run(job)
        planned = await self._ways.plan(job, await self._facts(run))
        preview = await self._drivers.copy().preview(run, most=job.parameters["most"])
        await self._runs.refuse_overflown(job)
        job.facts["preview"] = {**to_plain(preview), "way": planned.way, "way_reason": planned.why}
        job.result = job.facts["preview"]

    async def _facts(self, run: CopyRun) -> ReplicaFacts | None:
        with contextlib.suppress(HoldfastError):  # what keeps it from telling is told by the look ahead
            return await self._drivers.copy().replica_facts(run)
        return None
