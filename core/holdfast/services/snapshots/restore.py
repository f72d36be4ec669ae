"""Single files and folders brought back from a snapshot into a share: looked at first, never outside of the share."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import ConflictError, InvalidError, NotFoundError, Reason, RefusedError
from holdfast.planning.write_once import Act
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.shares.shares import Shares
from holdfast.services.snapshots.checks import refuse_overflown
from holdfast.services.snapshots.documents import snapshot_lock
from holdfast.services.snapshots.snapshots import Snapshots
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.volumes.volumes import Volumes
from holdfast.services.worm.guard import WormGuard
from holdfast.system.restoring import Action, Report, Restoring, opened, parts_of
from holdfast.values import to_plain

LONGEST_S = 7 * 24 * 3600.0


@dataclass(frozen=True)
class RestoreRequest:
    """What is to be brought back: `path` and `to` are below the root of the share; empty for all of it."""

    volume: str
    snapshot: str
    share: str
    path: str = ""
    to: str | None = None
    """Where it goes; None: where it was."""
    may_replace: bool = False
    """Whether files that are there and differ are replaced; else the restore is refused."""


class SnapshotRestore:
    """Defines the jobs `snapshot.restore` and `snapshot.preview-restore`."""

    def __init__(
        self,
        volumes: Volumes,
        shares: Shares,
        snapshots: Snapshots,
        jobs: Jobs,
        drivers: Drivers,
        guard: WormGuard,
        run_dir: Path,
    ) -> None:
        self._volumes = volumes
        self._shares = shares
        self._snapshots = snapshots
        self._jobs = jobs
        self._drivers = drivers
        self._guard = guard
        self._run_dir = run_dir
        mount, unmount = Step("mount", self._mount, self._unmount), Step("unmount", self._unmount)
        look, restore = Step("look", self._look), Step("restore", self._restore)
        jobs.define(JobDefinition("snapshot.restore", (mount, look, restore, unmount), deadline_s=LONGEST_S))
        jobs.define(JobDefinition("snapshot.preview-restore", (mount, look, unmount), deadline_s=LONGEST_S))

    async def restore(self, wanted: RestoreRequest, *, is_preview: bool, validate_only: bool) -> str | None:
        """Bring files back, or only tell what that would do; the job's id, or None after the checks."""
        parts_of(wanted.path)
        if wanted.to is not None:
            parts_of(wanted.to, "to")

        async def check() -> None:
            share = await self._shares.get(wanted.share)
            if share.volume != wanted.volume:
                text = f"the share {share.name} lies on the volume {share.volume}, not on {wanted.volume}"
                raise InvalidError(text, reasons=[Reason("other-volume", text, "name a share on it", "share")])
            if not is_preview:
                await self._guard.refuse_named(share.volume, Act.RESTORE_INTO, "share")
            refuse_overflown(await self._snapshots.get(wanted.volume, wanted.snapshot))
            await self._shares.directory(wanted.share)

        lock, share_lock = snapshot_lock(wanted.volume, wanted.snapshot), f"share:{wanted.share}"
        if validate_only:
            self._jobs.locks.refuse_if_held([lock, share_lock])
            await check()
            return None
        kind = "snapshot.preview-restore" if is_preview else "snapshot.restore"
        return await self._jobs.start(kind, lock, to_plain(wanted), locks=[share_lock], check=check)

    # --- steps ---

    def _wanted(self, job: JobContext) -> RestoreRequest:
        return RestoreRequest(**{key: value for key, value in job.parameters.items() if key != "_locks"})

    def _place(self, job: JobContext) -> Path:
        return self._run_dir / "restores" / job.job_id

    async def _mount(self, job: JobContext) -> None:
        wanted = self._wanted(job)
        snapshot = await self._snapshots.get(wanted.volume, wanted.snapshot)
        refuse_overflown(snapshot)
        await self._drivers.volume().mount(snapshot.device, str(self._place(job)), read_only=True)

    async def _unmount(self, job: JobContext) -> None:
        await self._drivers.volume().unmount(str(self._place(job)))
        with contextlib.suppress(FileNotFoundError):
            self._place(job).rmdir()

    async def _look(self, job: JobContext) -> None:
        report = await self._work(job, is_preview=True)
        job.result = _shown(report)
        replaced = report.counts[Action.REPLACE]
        if job.kind == "snapshot.restore" and replaced and not self._wanted(job).may_replace:
            first = next(entry.path for entry in report.entries if entry.action is Action.REPLACE)
            text = f"{replaced} names that are there now differ, {first!r} first, and would be replaced"
            remedy = "look at the preview, then ask again with may_replace, or name another place in `to`"
            raise RefusedError(text, reasons=[Reason("would-replace", text, remedy, "may_replace")])

    async def _restore(self, job: JobContext) -> None:
        # Before and after: a copy may come in meanwhile, and its note says nothing of what is restored after it.
        await self._distrust_replicas()
        try:
            report = await self._work(job, is_preview=False)
        finally:
            await self._distrust_replicas()
        job.result = _shown(report)
        done = report.counts[Action.CREATE] + report.counts[Action.REPLACE]
        await job.log(f"restored {done} names, {report.copied_bytes} bytes")

    async def _distrust_replicas(self) -> None:
        if self._drivers.has("copy"):
            await self._drivers.copy().distrust_replicas()

    async def _work(self, job: JobContext, *, is_preview: bool) -> Report:
        await self._mount(job)  # after a reboot between the steps the mount is gone
        wanted = self._wanted(job)
        share = await self._shares.get(wanted.share)
        root = await self._volumes.mounted_directory(share.volume)
        work = Restoring(is_preview=is_preview, mark=job.job_id[:8])
        running = asyncio.ensure_future(
            asyncio.to_thread(_restore, work, self._place(job), root, share.path, wanted.path, wanted.to)
        )
        telling = asyncio.ensure_future(_tell(job, work))
        try:
            report = await asyncio.shield(running)
        except asyncio.CancelledError:
            work.stopping.set()
            await asyncio.wait({running})
            raise
        finally:
            telling.cancel()
        # One that overflows while it is read gives errors, and may show an empty folder.
        snapshot = await self._snapshots.get(wanted.volume, wanted.snapshot)
        if snapshot.is_overflown:
            raise ConflictError(f"the snapshot {snapshot.name} overflowed while it was read: not all was brought back")
        return report


async def _tell(job: JobContext, work: Restoring) -> None:
    while True:
        await asyncio.sleep(1)
        await job.progress(None, f"{sum(work.report.counts.values())} names, {work.report.copied_bytes} bytes")


@contextlib.contextmanager
def _root(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _restore(work: Restoring, past: Path, present: Path, share: str, path: str, to: str | None) -> Report:
    below, source = parts_of(share), parts_of(path)
    target = source if to is None else parts_of(to)
    with contextlib.ExitStack() as stack:
        source_root = stack.enter_context(_root(past))
        try:
            past_share = stack.enter_context(opened(source_root, below))
        except NotFoundError as reason:
            raise NotFoundError("the share was not there when the snapshot was taken") from reason
        share_now = stack.enter_context(opened(stack.enter_context(_root(present)), below))
        return work.restore(past_share, source, share_now, target)


def _shown(report: Report) -> dict[str, Any]:
    return {
        "counts": {str(action): count for action, count in report.counts.items()},
        "copied_bytes": report.copied_bytes,
        "entries": to_plain(report.entries),
        "is_complete": len(report.entries) == sum(n for a, n in report.counts.items() if a is not Action.SAME),
    }
