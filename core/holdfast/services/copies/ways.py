"""How each run finds what to copy: it decides, makes the list of changes, and keeps the listing for the next run.

The listing of what a good run copied lies beside the database, one for each task. It is made while the frozen source
is read for the verification anyhow, so nothing of the source is held for it until the next run: no snapshot, no
reserve. What cannot be kept, or read, is one listing less, and leads to a walk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.hooks.base import Can
from holdfast.hooks.copy_restore import ReplicaFacts
from holdfast.hooks.copying import CopyChanges, CopyPreview
from holdfast.hooks.filters import is_excluded
from holdfast.hooks.replication import CopyRun
from holdfast.planning.copy_ways import Compared, Known, LastCopy, Plan, Told, Way, WayWanted, after_comparing, instead
from holdfast.planning.copy_ways import plan as decide
from holdfast.planning.sampling import sample_paths
from holdfast.services.copies.task_documents import TaskDocument
from holdfast.services.drivers import Drivers
from holdfast.services.steps import JobContext
from holdfast.store.intent import Intents, Kept
from holdfast.store.runs import Runs
from holdfast.system import listing
from holdfast.system.clock import Clock
from holdfast.system.listing import ListingError
from holdfast.values import to_plain

SAMPLED_FILES = 100
# Of what is free where the database is, too: a listing is never the reason that there is no room for that.
SHARE_OF_FREE = 10


@dataclass(frozen=True)
class ListingDocument:
    """The listing that the last good run of a task left."""

    task: str
    task_uuid: str
    job_id: str
    last: LastCopy


@dataclass
class Walked:
    """What a run's source has, as it was read for the run."""

    names: int = 0
    """Its top is one."""
    files: int = 0
    file_bytes: int = 0
    sample: tuple[str, ...] = ()
    """Files that are compared by checksum."""


class CopyWays:
    """Decides for the runs of all tasks."""

    def __init__(
        self,
        kept: Intents[ListingDocument],
        tasks: Intents[TaskDocument],
        runs: Runs,
        drivers: Drivers,
        clock: Clock,
        directory: Path,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._tasks = tasks
        self._runs = runs
        self._drivers = drivers
        self._clock = clock
        self._directory = directory
        self._node = node

    # --- deciding ---

    async def plan(self, job: JobContext, facts: ReplicaFacts | None) -> Plan:
        """How a run of the job's task would go now, as far as that is known before the source is read."""
        task, last = await self._task(job), await self._last(job)
        return decide(
            Known(
                wanted=task.document.way,
                now=self._clock.now(),
                rules=_rules(job, task.document),
                last=last,
                told=None if facts is None else Told(self._copy_of(task.document, facts)),
                can_list=Can.COPY_CHANGES in self._drivers.copy().can,
                compares_all=bool(job.parameters.get("is_full")),
            )
        )

    def _copy_of(self, task: TaskDocument, facts: ReplicaFacts) -> datetime | None:
        note = facts.note
        is_ours = note is not None and (note.task, note.source) == (task.name, self._node)
        return note.frozen_at if note is not None and is_ours else None

    async def choose(self, job: JobContext, run: CopyRun, facts: ReplicaFacts | None) -> None:
        """Decide how this run goes, before anything is written, and make its list of changes if it is to have one."""
        self._forget_walk(job)
        planned = await self.plan(job, facts)
        if planned.is_by_changes:
            planned = await self._list_changes(job, run, planned)
        await self._go(job, planned)

    async def walk_instead(self, job: JobContext, reason: HoldfastError) -> None:
        """Go on by a walk, since copying by the list has failed. Raises `reason` if it was none."""
        if not self.is_by_changes(job):
            raise reason
        await self._go(job, instead(reason.message))

    async def _go(self, job: JobContext, planned: Plan) -> None:
        job.facts["way"] = to_plain(planned)
        await job.keep_facts()
        await self._runs.note_way(job.job_id, planned.way, planned.why)
        await job.log(planned.why)

    def is_by_changes(self, job: JobContext) -> bool:
        """Whether the job's run goes by a list that is still there."""
        return _is_by_changes(job) and self._names(job).exists() and self._gone(job).exists()

    def listed(self, job: JobContext, run: CopyRun) -> CopyRun:
        """The run with its list of changes, if it has one."""
        return replace(run, changes=self._changes(job)) if self.is_by_changes(job) else run

    # --- the source ---

    async def walked(self, job: JobContext, run: CopyRun) -> Walked:
        """What the source has; it is read once for each run, and its listing made on the way."""
        if "walked" not in job.facts:
            wants_listing = (await self._task(job)).document.way is not WayWanted.WALK
            walked = await asyncio.to_thread(self._walk, job, run, wants_listing)
            job.facts["walked"] = {**vars(walked), "sample": list(walked.sample)}
        return Walked(**{**job.facts["walked"], "sample": tuple(job.facts["walked"]["sample"])})

    def _walk(self, job: JobContext, run: CopyRun, wants_listing: bool) -> Walked:
        walked = Walked()
        writer = self._writer(job) if wants_listing and self._can_keep() else None
        with contextlib.ExitStack() as stack:
            if writer is not None:
                stack.callback(writer.drop)
            walked.sample = _sample(job, _counted(_tree(run), walked, writer))
            if writer is not None:
                writer.finish()
        return walked

    async def _list_changes(self, job: JobContext, run: CopyRun, planned: Plan) -> Plan:
        begun_s = self._clock.boot_s()
        try:
            walked, found = await asyncio.to_thread(self._compare, job, run, await self._found(job))
        except (OSError, ListingError) as reason:
            self._drop_names(job)
            return instead(str(reason))
        job.facts["walked"] = {**vars(walked), "sample": list(walked.sample)}
        job.facts["changes"] = {**vars(found), "comparing_ms": round((self._clock.boot_s() - begun_s) * 1000)}
        return after_comparing(planned, found)

    def _compare(self, job: JobContext, run: CopyRun, last: ListingDocument) -> tuple[Walked, Compared]:
        walked, writer = Walked(), self._writer(job)
        with contextlib.ExitStack() as stack:
            stack.callback(writer.drop)
            changed, gone = (stack.enter_context(path.open("wb")) for path in (self._names(job), self._gone(job)))
            names = listing.Names(changed, gone, is_deleting=run.options.is_deleting)
            known = listing.read(self._listing(last.task_uuid, last.job_id))
            entries = listing.compare(known, _tree(run), names)
            walked.sample = _sample(job, _counted(entries, walked, writer))
            writer.finish()
        return walked, Compared(walked.names, names.changed, names.created, names.removed, names.looked_at)

    def names_to_consider(self, job: JobContext) -> int:
        """How many names the copier is to have considered."""
        return int(job.facts["changes"]["looked_at"] if _is_by_changes(job) else job.facts["walked"]["names"])

    def counts(self, job: JobContext) -> dict[str, int]:
        """What a run's log has beside what the copier counted."""
        counts = {"files_verified": job.facts["verified"]["files"]}
        if _is_by_changes(job):
            walked, found = job.facts["walked"], job.facts["changes"]
            counts |= {"files_considered": walked["names"], "considered_bytes": walked["file_bytes"]}
            counts |= {"files_changed": found["changed"], "comparing_ms": found["comparing_ms"]}
        return counts

    # --- what is kept ---

    async def keep(self, job: JobContext) -> None:
        """Keep the listing of a good run for the next one; it takes the place of the one before."""
        task, before = await self._task(job), await self._last(job)
        path = self._listing(task.uuid, job.job_id)
        if before is not None and before.frozen_at.isoformat() == job.facts["frozen_at"]:
            pass  # kept already, before the daemon was killed
        elif path.exists():
            at = datetime.fromisoformat(str(job.facts["frozen_at"]))
            names, rules = job.facts["walked"]["names"], _rules(job, task.document)
            comparing_s = job.facts["changes"]["comparing_ms"] / 1000 if "changes" in job.facts else None
            last = LastCopy(at, rules, names, walked_at=at, walk_s=job.facts["verified"]["took_s"], comparing_s=comparing_s)
            if _is_by_changes(job) and before is not None:
                since = before.runs_by_changes + 1
                last = replace(last, walked_at=before.walked_at, runs_by_changes=since, walk_s=before.walk_s)
            elif comparing_s is None and before is not None:
                last = replace(last, comparing_s=before.comparing_s)
            await self._kept.put(task.document.name, ListingDocument(task.document.name, task.uuid, job.job_id, last))
        else:
            await self._kept.remove(task.document.name)
        self._drop_names(job)
        for other in await asyncio.to_thread(self._files, task.uuid):
            if other != path:
                other.unlink(missing_ok=True)

    async def forget_run(self, job: JobContext) -> None:
        """Leave nothing of a run that failed; the listing of the last good one stays."""
        self._drop_names(job)
        self._forget_walk(job)

    def _forget_walk(self, job: JobContext) -> None:
        for key in ("walked", "changes", "way"):
            job.facts.pop(key, None)
        self._listing(_uuid(job), job.job_id).unlink(missing_ok=True)

    async def tidy(self) -> None:
        """Remove what tasks have left that are no more."""
        uuids = {task.uuid for name in await self._tasks.all() if (task := await self._tasks.find(name)) is not None}
        for name, document in (await self._kept.all()).items():
            if document.task_uuid not in uuids:
                await self._kept.remove(name)
        for path in await asyncio.to_thread(self._files, "*"):
            if path.name.partition(".")[0] not in uuids:
                path.unlink(missing_ok=True)

    # --- files ---

    def _files(self, uuid: str) -> tuple[Path, ...]:
        return tuple(self._directory.glob(f"{uuid}.*"))

    def _listing(self, uuid: str, job_id: str) -> Path:
        return self._directory / f"{uuid}.{job_id}.listing"

    def _names(self, job: JobContext) -> Path:
        return self._directory / f"{_uuid(job)}.{job.job_id}.names"

    def _gone(self, job: JobContext) -> Path:
        return self._directory / f"{_uuid(job)}.{job.job_id}.gone"

    def _changes(self, job: JobContext) -> CopyChanges:
        return CopyChanges(str(self._names(job)), str(self._gone(job)))

    def _drop_names(self, job: JobContext) -> None:
        for path in (self._names(job), self._gone(job)):
            path.unlink(missing_ok=True)

    def _can_keep(self) -> bool:
        return Can.COPY_CHANGES in self._drivers.copy().can

    def _writer(self, job: JobContext) -> listing.ListingWriter:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        frozen_at = datetime.fromisoformat(str(job.facts["frozen_at"]))
        most_bytes = shutil.disk_usage(self._directory).free // SHARE_OF_FREE
        path = self._listing(_uuid(job), job.job_id)
        return listing.ListingWriter(path, frozen_ns=int(frozen_at.timestamp() * 1e9), most_bytes=most_bytes)

    # --- documents ---

    async def _task(self, job: JobContext) -> Kept[TaskDocument]:
        await self._tasks.get(job.parameters["name"])
        found = await self._tasks.find(job.parameters["name"])
        assert found is not None
        return found

    async def _last(self, job: JobContext) -> LastCopy | None:
        task, found = await self._task(job), await self._kept.find(job.parameters["name"])
        if found is None or found.document.task_uuid != task.uuid:
            return None
        return found.document.last

    async def _found(self, job: JobContext) -> ListingDocument:
        return await self._kept.get(job.parameters["name"])


def counted_ahead(job: JobContext) -> CopyPreview | None:
    """What a run by changes will do, as far as it is known without asking the destination; None for a walk."""
    if not _is_by_changes(job):
        return None
    found = job.facts["changes"]
    return CopyPreview(found["names"], found["created"], 0, found["removed"], 0, (), is_whole=False)


def _is_by_changes(job: JobContext) -> bool:
    return bool(job.facts.get("way", {}).get("way") == Way.CHANGES)


def _uuid(job: JobContext) -> str:
    return str(job.parameters["cause"]["task_uuid"])


def _rules(job: JobContext, task: TaskDocument) -> str:
    """All that says what is copied, and where to."""
    said = [task.share, job.parameters["volume"], job.parameters["path"], task.agent_address, task.agent_port]
    return json.dumps(to_plain([*said, task.replica_share, task.filters, task.is_deleting]))


def _tree(run: CopyRun) -> Iterator[listing.Entry]:
    filters = run.options.filters
    is_left_out = (lambda path, is_directory: is_excluded(filters, path, is_directory=is_directory)) if filters else None
    return listing.walk(Path(run.source), is_left_out)


def _counted(
    entries: Iterator[listing.Entry], walked: Walked, writer: listing.ListingWriter | None
) -> Iterator[str]:
    """The regular files among the entries; all are counted, and written down."""
    for entry in entries:
        walked.names += 1
        if writer is not None:
            writer.add(entry)
        if entry.is_file:
            walked.files += 1
            walked.file_bytes += entry.size_bytes
            yield os.fsdecode(entry.path)


def _sample(job: JobContext, files: Iterator[str]) -> tuple[str, ...]:
    return sample_paths(files, most=SAMPLED_FILES, seed=job.job_id)


