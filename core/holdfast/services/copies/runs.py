"""Runs of data replication tasks, and their log (S20 to S26).

A run: snapshot → mount → copy → verify → unmount → remove the snapshot, whatever fails and whenever it is killed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from holdfast.errors import ConflictError, HoldfastError, NotFoundError, Reason
from holdfast.hooks.replication import CopyNote, CopyRun
from holdfast.hooks.volume import SnapshotSpec
from holdfast.loading.discovery import PluginHooks
from holdfast.planning.run_truth import refuse_counts, refuse_differences
from holdfast.services.copies.copying import TaskCopying
from holdfast.services.copies.task_documents import TaskDocument
from holdfast.services.copies.transports import Transports
from holdfast.services.copies.truth import RunTruth
from holdfast.services.copies.ways import CopyWays
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.shares.shares import Shares
from holdfast.services.shares.snapshots import ShareSnapshots
from holdfast.services.snapshots.snapshots import Snapshots
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.store.jobs import KeepWith
from holdfast.store.runs import Cause, Run, RunFilter, RunResult, Runs
from holdfast.store.secrets import Secrets
from holdfast.system.clock import Clock
from holdfast.values import to_plain

log = logging.getLogger(__name__)

LONGEST_RUN_S = 7 * 24 * 3600.0
TIDY_EVERY_S = 3600.0

Guard = Callable[[str, str], Awaitable[None]]
"""Called with a task and its share; raises where a run must not begin. They are asked in order."""


class TaskRuns:
    """Runs tasks."""

    def __init__(
        self,
        kept: Intents[TaskDocument],
        runs: Runs,
        secrets: Secrets,
        shares: Shares,
        snapshots: Snapshots,
        jobs: Jobs,
        drivers: Drivers,
        hooks: PluginHooks,
        clock: Clock,
        run_dir: Path,
        truth: RunTruth,
        ways: CopyWays,
        transports: Transports,
        shown: ShareSnapshots,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._runs = runs
        self._secrets = secrets
        self._shares = shares
        self._snapshots = snapshots
        self._jobs = jobs
        self._drivers = drivers
        self._hooks = hooks
        self._clock = clock
        self._run_dir = run_dir
        self._truth = truth
        self._ways = ways
        self._transports = transports
        self._shown = shown
        self._copying = TaskCopying(kept, ways, drivers, clock)
        self._node = node
        self.freezing_steps = (
            Step("snapshot", self._snapshot, self._remove_snapshot),
            Step("mount", self._mount, self._unmount),
        )
        self.thawing_steps = (Step("unmount", self._unmount), Step("remove the snapshot", self._remove_snapshot))
        self.guards: list[Guard] = []
        jobs.define(
            JobDefinition(
                "replication-task.run",
                (
                    Step("note the start", self._begin),
                    *self.freezing_steps,
                    Step("copy", self._copy),
                    Step("verify", self._verify),
                    *self.thawing_steps,
                    Step("note the end", self._end),
                ),
                deadline_s=LONGEST_RUN_S,
                on_failure=self._note_failure,
            )
        )

    async def log(self, wanted: RunFilter, *, before: int | None, most: int) -> tuple[Run, ...]:
        """Runs, newest first."""
        return await self._runs.newest(wanted, before=before, most=most)

    async def tidy(self, days: int) -> None:
        """Forget runs that began so many days ago, now and again until cancelled."""
        while True:
            try:
                await self._ways.tidy()
                if forgotten := await self._runs.forget_older(days):
                    log.info("%d runs that began more than %d days ago were dropped from the log", forgotten, days)
            except HoldfastError as reason:
                log.warning("old runs could not be dropped from the log, and it is tried again: %s", reason)
            await self._clock.sleep(TIDY_EVERY_S)

    async def run(
        self, name: str, *, is_full: bool = False, may_delete: bool = False, validate_only: bool
    ) -> str | None:
        """Start a run, with every file compared if `is_full`.

        Refused while one of this task, or a change to its share or volume, is under way.
        `may_delete`: a person confirms that this one may delete as much as it will.
        """
        kept = await self._kept.find(name)
        if kept is None:
            raise NotFoundError(f"there is no {self._kept.kind} {name!r}")
        if validate_only:
            share = await self._shares.get(kept.document.share)
            self._jobs.locks.refuse_if_held(
                [f"replication-task:{name}", f"share:{share.name}", f"volume:{share.volume}"]
            )
            _refuse_disabled(kept.document)
            await self._ask_guards(name, share.name)
            await self._shares.directory(share.name)
            return None
        return await self.start(Cause(name, kept.uuid), is_full=is_full, may_delete=may_delete)

    async def start(
        self, cause: Cause, *, is_full: bool = False, may_delete: bool = False, keep_with: KeepWith | None = None
    ) -> str:
        """Start a run; `keep_with` is one commit with it. Refused as `run` is."""
        name = cause.task
        share = await self._shares.get((await self._kept.get(name)).share)
        is_full = is_full or await self._truth.is_full_due(name)

        async def check() -> None:
            kept = await self._kept.find(name)
            if kept is None or kept.uuid != cause.task_uuid:
                raise NotFoundError(f"there is no {self._kept.kind} {name!r} any more")
            _refuse_disabled(kept.document)
            await self._ask_guards(name, share.name)
            await self._shares.directory(share.name)

        return await self._jobs.start(
            "replication-task.run",
            f"replication-task:{name}",
            {
                "name": name,
                "volume": share.volume,
                "path": share.path,
                "cause": to_plain(cause),
                "is_full": is_full,
                "may_delete": may_delete,
            },
            locks=[f"share:{share.name}", f"volume:{share.volume}"],
            check=check,
            keep_with=keep_with,
        )

    async def _ask_guards(self, task: str, share: str) -> None:
        for guard in self.guards:
            await guard(task, share)

    # --- its steps ---

    async def _begin(self, job: JobContext) -> None:
        await self._runs.begin(Cause(**job.parameters["cause"]), job.job_id)

    async def _spec(self, job: JobContext) -> SnapshotSpec:
        return await self._snapshots.spec(job.parameters["volume"], f"run-{job.job_id[:8]}", None)

    def _mount_point(self, job: JobContext) -> Path:
        return self._run_dir / "runs" / job.job_id

    async def _snapshot(self, job: JobContext) -> None:
        # Before it, and kept: what is told of the age of a copy is never too little.
        job.facts.setdefault("frozen_at", self._clock.now().isoformat())
        await job.keep_facts()
        snapshot = await self._snapshots.take(await self._spec(job))
        job.facts["device"] = snapshot.device
        room = "thin" if snapshot.is_thin else f"reserve {snapshot.reserve_bytes} bytes"
        await job.log(f"the source was frozen in the snapshot {snapshot.name}, {room}")

    async def _mount(self, job: JobContext) -> None:
        await self._drivers.volume().mount(job.facts["device"], str(self._mount_point(job)), read_only=True)

    async def _copy_run(self, job: JobContext) -> CopyRun:
        task = await self._kept.get(job.parameters["name"])
        run = CopyRun(
            source=str(self._mount_point(job) / job.parameters["path"]),
            agent=await self._transports.agent(task.agent_address, task.agent_port, task.transport, task.certificate),
            replica=task.replica_share,
            user=task.user,
            password=await self._secrets.get(task.password),
            options=replace(task.options, filters=(*await self._shown.left_out(task.share), *task.filters)),
        )
        return self._ways.listed(job, run)

    async def _copy(self, job: JobContext) -> None:
        await self._mount(job)
        run = await self._copy_run(job)
        facts = await self._truth.compare_ends(job, job.parameters["name"], run)
        await self._ways.choose(job, run, facts)
        # An overflow looks as if all had been removed: the copy begins with a look at the snapshot.
        result = await self._copying.copy(job, self._copy_run, self.refuse_overflown)
        if job.parameters.get("is_full"):
            await self._truth.mend(job, job.parameters["name"], await self._copy_run(job))
            await self.refuse_overflown(job)
        job.facts["counts"] = {**to_plain(result), "copying_ms": job.facts["copying_ms"]}

    async def frozen_run(self, job: JobContext) -> CopyRun:
        """The copy of a job that has frozen its source; a reboot between the steps leaves the snapshot, unmounted."""
        await self._mount(job)
        await self.refuse_overflown(job)
        return await self._copy_run(job)

    async def refuse_overflown(self, job: JobContext) -> None:
        """A full reserve voids the snapshot without an error to its readers: ask before and after, always."""
        spec = await self._spec(job)
        found = [s for s in await self._drivers.volume().list_snapshots(spec.pool) if s.name == spec.name]
        if not found:
            raise NotFoundError(f"the snapshot {spec.name} of the volume {spec.volume} is gone: removed from outside")
        if found[0].is_overflown:
            raise ConflictError(
                f"more than the snapshot's reserve of {spec.reserve_bytes} bytes was written during the run"
            )

    async def _verify(self, job: JobContext) -> None:
        await self._mount(job)
        run = await self._copy_run(job)
        walked, is_full = await self._ways.walked(job, run), bool(job.parameters.get("is_full"))
        refuse_counts(job.facts["counts"]["files_considered"], self._ways.names_to_consider(job))
        wanted, begun_s = None if is_full else walked.sample, self._clock.boot_s()
        differences = await self._copying.again(job, lambda: self._compare(job, wanted, walked.files))
        await self.refuse_overflown(job)
        refuse_differences(differences, is_full=is_full)
        verified = walked.files if is_full else len(walked.sample)
        job.facts["verified"] = {"files": verified, "took_s": self._clock.boot_s() - begun_s}
        which = "what changed" if run.changes else "all"
        await job.log(f"verified: the number of names, the metadata of {which}, and {verified} files by checksum")

    async def _compare(self, job: JobContext, sample: tuple[str, ...] | None, files: int) -> tuple[str, ...]:
        run = await self._copy_run(job)  # anew each time: a password may have been changed
        if sample is None:
            return await self._truth.verify_all(job, job.parameters["name"], run, files)
        return await self._drivers.copy().verify(run, sample=sample)

    async def _unmount(self, job: JobContext) -> None:
        await self._drivers.volume().unmount(str(self._mount_point(job)))
        if self._mount_point(job).is_dir():
            self._mount_point(job).rmdir()

    async def _remove_snapshot(self, job: JobContext) -> None:
        spec = await self._spec(job)
        await self._drivers.volume().delete_snapshot(spec.pool, spec.volume, spec.name)

    async def _end(self, job: JobContext) -> None:
        counts = {**job.facts["counts"], **self._ways.counts(job)}
        frozen_at = str(job.facts["frozen_at"])
        await self._tell_destination(job, frozen_at)
        await self._runs.end(job.job_id, result=RunResult.OK, reason=None, counts=counts, frozen_at=frozen_at)
        await self._ways.keep(job)
        await self._hooks.tell("run_finished", task=job.parameters["name"], is_ok=True, reason=None)
        job.result = counts

    async def _tell_destination(self, job: JobContext, frozen_at: str) -> None:
        """It shows how old its copy is also when this node is lost. That it cannot be told makes no copy worse."""
        task = await self._kept.get(job.parameters["name"])
        note = CopyNote(task.name, self._node, datetime.fromisoformat(frozen_at), task.objective_s)
        try:
            await self._drivers.copy().leave_note(await self._copy_run(job), note)
        except HoldfastError as reason:
            await job.log(f"the destination was not told how new its copy is: {reason.message}")

    async def _note_failure(self, job: JobContext, reason: HoldfastError) -> None:
        await self._ways.forget_run(job)
        failed, counts = RunResult.FAILED, job.facts.get("counts")
        await self._runs.end(job.job_id, result=failed, reason=reason.message, counts=counts)
        await self._hooks.tell("run_finished", task=job.parameters["name"], is_ok=False, reason=reason.message)


def _refuse_disabled(task: TaskDocument) -> None:
    if not task.is_enabled:
        text = f"the replication task {task.name} is disabled"
        raise ConflictError(text, reasons=[Reason("task-disabled", text, "enable it", "is_enabled")])
