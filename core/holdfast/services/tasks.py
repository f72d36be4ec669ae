"""Data replication tasks on their source, and their runs (S20 to S26).

A run: snapshot → mount read-only → copy → verify → unmount → remove the snapshot. Whatever fails, and wherever the
daemon is killed, the snapshot goes away and the log says how the run ended.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

from holdfast.errors import ConflictError, HoldfastError, NotFoundError, VerificationError, named_in
from holdfast.hooks.replication import AgentSpec, CopyProgress, CopyRun
from holdfast.hooks.volume import SnapshotSpec
from holdfast.loading.discovery import PluginHooks
from holdfast.planning.sampling import sample_paths
from holdfast.services.documents import TaskDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.shares import Shares
from holdfast.services.snapshots import Snapshots
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.store.runs import Run, Runs
from holdfast.store.secrets import Secrets
from holdfast.values import Secret, to_plain

SAMPLED_FILES = 100
LONGEST_RUN_S = 7 * 24 * 3600.0


class Tasks:
    """Makes and runs data replication tasks."""

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
        run_dir: Path,
    ) -> None:
        self._kept = kept
        self._runs = runs
        self._secrets = secrets
        self._shares = shares
        self._snapshots = snapshots
        self._jobs = jobs
        self._drivers = drivers
        self._hooks = hooks
        self._run_dir = run_dir
        jobs.define(JobDefinition("replication-task.create", (Step("record", self._record, self._forget),)))
        jobs.define(JobDefinition("replication-task.delete", (Step("forget", self._forget),)))
        jobs.define(
            JobDefinition(
                "replication-task.run",
                (
                    Step("note the start", self._begin),
                    Step("snapshot", self._snapshot, self._remove_snapshot),
                    Step("mount", self._mount, self._unmount),
                    Step("copy", self._copy),
                    Step("verify", self._verify),
                    Step("unmount", self._unmount),
                    Step("remove the snapshot", self._remove_snapshot),
                    Step("note the end", self._end),
                ),
                deadline_s=LONGEST_RUN_S,
                on_failure=self._note_failure,
            )
        )

    async def list(self) -> tuple[TaskDocument, ...]:
        """All tasks, by name."""
        return tuple((await self._kept.all()).values())

    async def get(self, name: str) -> TaskDocument:
        """One task. Raises NotFoundError."""
        return await self._kept.get(name)

    async def runs(self, task: str | None, *, before: int | None, most: int) -> tuple[Run, ...]:
        """Runs of one task or of all, newest first."""
        return await self._runs.newest(task, before=before, most=most)

    async def create(self, task: TaskDocument, password: Secret, *, validate_only: bool) -> str | None:
        """Make a task; `task.password` is set here, from `password`."""

        async def check() -> None:
            if await self._kept.find(task.name) is not None:
                raise ConflictError(f"there is a replication task {task.name}")
            with named_in("share"):
                await self._shares.get(task.share)
            self._drivers.copy()

        if validate_only:
            await check()
            return None
        reference = await self._secrets.put(password)
        parameters = {**vars(task), "password": reference}
        try:
            target, locks = f"replication-task:{task.name}", [f"share:{task.share}"]
            return await self._jobs.start("replication-task.create", target, parameters, locks=locks, check=check)
        except HoldfastError:
            await self._secrets.forget(reference)
            raise

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Remove a task. Its copies and its log stay."""
        await self._kept.get(name)
        if validate_only:
            return None
        return await self._jobs.start("replication-task.delete", f"replication-task:{name}", {"name": name})

    async def run(self, name: str, *, validate_only: bool) -> str | None:
        """Start a run. Refused while one of this task, or a change to its share or volume, is under way."""
        task = await self._kept.get(name)
        share = await self._shares.get(task.share)
        locks = [f"share:{share.name}", f"volume:{share.volume}"]

        async def check() -> None:
            await self._kept.get(name)
            await self._shares.directory(share.name)

        if validate_only:
            self._jobs.locks.refuse_if_held([f"replication-task:{name}", *locks])
            await check()
            return None
        parameters = {"name": name, "volume": share.volume, "path": share.path}
        target = f"replication-task:{name}"
        return await self._jobs.start("replication-task.run", target, parameters, locks=locks, check=check)

    # --- steps of create and delete ---

    async def _record(self, job: JobContext) -> None:
        given = {key: value for key, value in job.parameters.items() if not key.startswith("_")}
        task = TaskDocument(**given)
        await self._kept.put(task.name, task)
        job.result = {key: value for key, value in given.items() if key != "password"}

    async def _forget(self, job: JobContext) -> None:
        kept = await self._kept.find(job.parameters["name"])
        if kept is not None:
            await self._kept.remove(kept.document.name)
            await self._secrets.forget(kept.document.password)

    # --- steps of a run ---

    async def _begin(self, job: JobContext) -> None:
        await self._runs.begin(job.parameters["name"], job.job_id)

    async def _spec(self, job: JobContext) -> SnapshotSpec:
        return await self._snapshots.spec(job.parameters["volume"], f"run-{job.job_id[:8]}", None)

    def _mount_point(self, job: JobContext) -> Path:
        return self._run_dir / "runs" / job.job_id

    async def _snapshot(self, job: JobContext) -> None:
        snapshot = await self._drivers.volume().create_snapshot(await self._spec(job))
        job.facts["device"] = snapshot.device
        await job.log(f"the source was frozen in the snapshot {snapshot.name}, reserve {snapshot.reserve_bytes} bytes")

    async def _mount(self, job: JobContext) -> None:
        await self._drivers.volume().mount(job.facts["device"], str(self._mount_point(job)), read_only=True)

    async def _copy_run(self, job: JobContext) -> CopyRun:
        task = await self._kept.get(job.parameters["name"])
        return CopyRun(
            source=str(self._mount_point(job) / job.parameters["path"]),
            agent=AgentSpec(task.agent_address, task.agent_port),
            replica=task.replica_share,
            user=task.user,
            password=await self._secrets.get(task.password),
        )

    async def _copy(self, job: JobContext) -> None:
        # After a reboot between the steps the mount is gone, while the snapshot is still there.
        await self._mount(job)
        newest: list[CopyProgress] = []
        run = await self._copy_run(job)
        await self._refuse_overflown(job)
        telling = asyncio.create_task(_tell_progress(job, newest))
        try:
            result = await self._drivers.copy().copy(run, newest.append)
        finally:
            telling.cancel()
        await self._refuse_overflown(job)
        job.facts["counts"] = to_plain(result)

    async def _refuse_overflown(self, job: JobContext) -> None:
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
        root = Path(run.source)
        sample = await asyncio.to_thread(sample_paths, _files_below(root), most=SAMPLED_FILES, seed=job.job_id)
        differences = await self._drivers.copy().verify(run, sample=sample)
        await self._refuse_overflown(job)
        if differences:
            shown = "; ".join(differences[:5])
            raise VerificationError(f"the copy differs from its source in {len(differences)} places: {shown}")
        await job.log(f"verified: all metadata, and {len(sample)} files by checksum")

    async def _unmount(self, job: JobContext) -> None:
        await self._drivers.volume().unmount(str(self._mount_point(job)))
        if self._mount_point(job).is_dir():
            self._mount_point(job).rmdir()

    async def _remove_snapshot(self, job: JobContext) -> None:
        spec = await self._spec(job)
        await self._drivers.volume().delete_snapshot(spec.pool, spec.volume, spec.name)

    async def _end(self, job: JobContext) -> None:
        counts = dict(job.facts["counts"])
        await self._runs.end(job.job_id, result="ok", reason=None, counts=counts)
        await self._hooks.tell("run_finished", task=job.parameters["name"], is_ok=True, reason=None)
        job.result = counts

    async def _note_failure(self, job: JobContext, reason: HoldfastError) -> None:
        await self._runs.end(job.job_id, result="failed", reason=reason.message, counts=job.facts.get("counts"))
        await self._hooks.tell("run_finished", task=job.parameters["name"], is_ok=False, reason=reason.message)


async def _tell_progress(job: JobContext, newest: list[CopyProgress]) -> None:
    while True:
        await asyncio.sleep(1)
        if newest:
            await job.progress(newest[-1].percent, newest[-1].text)
            del newest[:]


def _files_below(root: Path) -> Iterator[str]:
    for directory, subdirectories, files in os.walk(root):
        subdirectories.sort()
        for name in sorted(files):
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(root))
