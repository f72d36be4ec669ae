"""How each run finds what to copy: it decides, has the list of changes made, and keeps the listing for the next run.

What cannot be kept, or read, is one listing less, and leads to a walk.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import datetime

from holdfast.errors import HoldfastError, NotFoundError, VerificationError
from holdfast.hooks.base import Can
from holdfast.hooks.copy_restore import ReplicaFacts
from holdfast.hooks.copying import CopyPreview
from holdfast.hooks.replication import CopyRun
from holdfast.planning.copy_ways import Known, LastCopy, Plan, Told, Way, WayWanted, after_comparing, instead
from holdfast.planning.copy_ways import plan as decide
from holdfast.services.copies.listings import Listings, RunFiles, Walked
from holdfast.services.copies.task_documents import TaskDocument
from holdfast.services.drivers import Drivers
from holdfast.services.steps import JobContext
from holdfast.store.intent import Intents, Kept
from holdfast.store.runs import Runs
from holdfast.system.clock import Clock
from holdfast.system.listing import ListingError
from holdfast.values import to_plain


@dataclass(frozen=True)
class ListingDocument:
    """The listing that the last good run of a task left."""

    task: str
    task_uuid: str
    job_id: str
    last: LastCopy


class CopyWays:
    """Decides for the runs of all tasks."""

    def __init__(
        self,
        kept: Intents[ListingDocument],
        tasks: Intents[TaskDocument],
        runs: Runs,
        drivers: Drivers,
        clock: Clock,
        listings: Listings,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._tasks = tasks
        self._runs = runs
        self._drivers = drivers
        self._clock = clock
        self._listings = listings
        self._node = node

    # --- deciding ---

    async def plan(self, job: JobContext, facts: ReplicaFacts | None) -> Plan:
        """How a run of the job's task would go now, as far as that is known before the source is read."""
        task, kept = await self._task(job), await self._last(job)
        return decide(
            Known(
                wanted=task.document.way,
                now=self._clock.now(),
                rules=_rules(job, task.document),
                last=None if kept is None else kept.last,
                told=None if facts is None else Told(self._copy_of(task.document, facts)),
                can_list=self._can_list(),
                compares_all=bool(job.parameters.get("is_full")),
            )
        )

    def _can_list(self) -> bool:
        return Can.COPY_CHANGES in self._drivers.copy().can

    def _copy_of(self, task: TaskDocument, facts: ReplicaFacts) -> datetime | None:
        note = facts.note
        return note.frozen_at if note is not None and (note.task, note.source) == (task.name, self._node) else None

    async def choose(self, job: JobContext, run: CopyRun, facts: ReplicaFacts | None) -> None:
        """Decide how this run goes, before anything is written, and make its list of changes if it is to have one."""
        await self.forget_run(job)
        planned, last = await self.plan(job, facts), await self._last(job)
        if planned.is_by_changes and last is not None:
            planned = await self._list_changes(job, run, planned, last)
        await self._go(job, planned)

    async def _list_changes(self, job: JobContext, run: CopyRun, planned: Plan, last: ListingDocument) -> Plan:
        begun_s, before = self._clock.boot_s(), RunFiles(last.task_uuid, last.job_id)
        try:
            walked, found = await asyncio.to_thread(self._listings.compare, before, _files(job), run, _frozen_at(job))
        except (OSError, ListingError) as reason:
            return instead(str(reason))
        job.facts["walked"] = to_plain(vars(walked))
        job.facts["changes"] = {**vars(found), "comparing_ms": round((self._clock.boot_s() - begun_s) * 1000)}
        return after_comparing(planned, found)

    async def walk_instead(self, job: JobContext, reason: HoldfastError) -> None:
        """Go on by a walk, since copying by the list has failed. Raises `reason` if it was none."""
        if not _is_by_changes(job):
            raise reason
        await self._go(job, instead(reason.message))

    async def _go(self, job: JobContext, planned: Plan) -> None:
        job.facts["way"] = to_plain(planned)
        await job.keep_facts()
        await self._runs.note_way(job.job_id, planned.way, planned.why)
        await job.log(planned.why)

    def listed(self, job: JobContext, run: CopyRun) -> CopyRun:
        """The run with its list of changes, if it goes by one that is still there."""
        if _is_by_changes(job) and self._listings.has_changes(_files(job)):
            return replace(run, changes=self._listings.changes(_files(job)))
        return run

    # --- the source ---

    async def walked(self, job: JobContext, run: CopyRun) -> Walked:
        """What the source has; it is read once for each run, and its listing made on the way.

        Raises VerificationError for a source that cannot be read whole.
        """
        if "walked" not in job.facts:
            keeps = self._can_list() and (await self._task(job)).document.way is not WayWanted.WALK
            try:
                walked = await asyncio.to_thread(self._listings.walk, _files(job), run, _frozen_at(job), keeps=keeps)
            except (OSError, ListingError) as reason:
                raise VerificationError(f"the source could not be read whole: {reason}") from reason
            job.facts["walked"] = to_plain(vars(walked))
        facts = job.facts["walked"]
        return Walked(**{**facts, "sample": tuple(facts["sample"])})

    def names_to_consider(self, job: JobContext) -> int:
        """How many names the copier is to have considered."""
        return int(job.facts["changes"]["looked_at"] if _is_by_changes(job) else job.facts["walked"]["names"])

    def counts(self, job: JobContext) -> dict[str, int]:
        """What a run's log has beside what the copier counted, or in its place."""
        counts = {"files_verified": job.facts["verified"]["files"]}
        if _is_by_changes(job):
            walked, found = job.facts["walked"], job.facts["changes"]
            counts |= {"files_considered": walked["names"], "considered_bytes": walked["file_bytes"]}
            counts |= {"files_changed": found["changed"], "comparing_ms": found["comparing_ms"]}
        return counts

    # --- what is kept ---

    async def keep(self, job: JobContext) -> None:
        """Keep the listing of a good run for the next one; it takes the place of the one before."""
        task, before, files = await self._task(job), await self._last(job), _files(job)
        name = task.document.name
        if before is not None and before.job_id == job.job_id:
            pass  # kept already, before the daemon was killed
        elif self._listings.has_listing(files):
            last = self._last_copy(job, task.document, None if before is None else before.last)
            await self._kept.put(name, ListingDocument(name, task.uuid, job.job_id, last))
        else:
            await self._kept.remove(name)
        await asyncio.to_thread(self._listings.drop_all_but, files)

    def _last_copy(self, job: JobContext, task: TaskDocument, before: LastCopy | None) -> LastCopy:
        at, found = _frozen_at(job), job.facts.get("changes")
        comparing_s = found["comparing_ms"] / 1000 if found is not None else before.comparing_s if before else None
        names, took_s = job.facts["walked"]["names"], job.facts["verified"]["took_s"]
        if _is_by_changes(job) and before is not None:
            since = before.runs_by_changes + 1
            return replace(before, frozen_at=at, names=names, runs_by_changes=since, comparing_s=comparing_s)
        # Where every file was compared that says nothing of how long a walk takes.
        walk_s = took_s if not job.parameters.get("is_full") else before.walk_s if before else None
        return LastCopy(at, _rules(job, task), names, walked_at=at, walk_s=walk_s, comparing_s=comparing_s)

    async def forget_run(self, job: JobContext) -> None:
        """Leave nothing of a run that failed; the listing of the last good one stays."""
        for key in ("way", "walked", "changes"):
            job.facts.pop(key, None)
        await asyncio.to_thread(self._listings.drop, _files(job))

    async def tidy(self) -> None:
        """Remove what tasks have left that are no more."""
        tasks = [await self._tasks.find(name) for name in await self._tasks.all()]
        uuids = {task.uuid for task in tasks if task is not None}
        for name, document in (await self._kept.all()).items():
            if document.task_uuid not in uuids:
                await self._kept.remove(name)
        await asyncio.to_thread(self._listings.tidy, uuids)

    async def _task(self, job: JobContext) -> Kept[TaskDocument]:
        found = await self._tasks.find(job.parameters["name"])
        if found is None:
            raise NotFoundError(f"there is no {self._tasks.kind} {job.parameters['name']!r}")
        return found

    async def _last(self, job: JobContext) -> ListingDocument | None:
        task, found = await self._task(job), await self._kept.find(job.parameters["name"])
        return found.document if found is not None and found.document.task_uuid == task.uuid else None


def counted_ahead(job: JobContext) -> CopyPreview | None:
    """What a run by changes will do, as far as it is known without asking the destination; None for a walk."""
    if not _is_by_changes(job):
        return None
    found = job.facts["changes"]
    return CopyPreview(found["names"], found["created"], 0, found["removed"], 0, (), is_whole=False)


def _is_by_changes(job: JobContext) -> bool:
    return bool(job.facts.get("way", {}).get("way") == Way.CHANGES)


def _files(job: JobContext) -> RunFiles:
    return RunFiles(str(job.parameters["cause"]["task_uuid"]), job.job_id)


def _frozen_at(job: JobContext) -> datetime:
    return datetime.fromisoformat(str(job.facts["frozen_at"]))


def _rules(job: JobContext, task: TaskDocument) -> str:
    """All that says what is copied, and where to."""
    said = [task.share, job.parameters["volume"], job.parameters["path"], task.agent_address, task.agent_port]
    return json.dumps(to_plain([*said, task.replica_share, task.filters, task.is_deleting]))
