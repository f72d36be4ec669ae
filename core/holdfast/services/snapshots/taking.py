"""What a schedule does when it is due: a snapshot is taken, then those that no rule keeps go.

The new one first. Only where the pool has no room for it those go before it that it would push out anyway, and those
that overflowed and hold nothing.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from holdfast.errors import HoldfastError, NoSpaceError
from holdfast.hooks.volume import SnapshotSpec
from holdfast.planning.snapshot_retention import HeldSnapshot, RetentionRules, Verdict
from holdfast.planning.snapshot_retention import judge as judge_held
from holdfast.services.dependents import refuse_destination
from holdfast.services.documents import VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.snapshots.checks import refuse_kept
from holdfast.services.snapshots.documents import (
    SnapshotCause,
    SnapshotDocument,
    SnapshotScheduleDocument,
    snapshot_lock,
)
from holdfast.services.snapshots.snapshots import Snapshots
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.store.jobs import KeepWith
from holdfast.system.clock import Clock

log = logging.getLogger(__name__)


class SnapshotTaking:
    """Defines the job `snapshot-schedule.take`."""

    def __init__(
        self,
        volumes: Intents[VolumeDocument],
        kept: Intents[SnapshotDocument],
        schedules: Intents[SnapshotScheduleDocument],
        snapshots: Snapshots,
        jobs: Jobs,
        drivers: Drivers,
        events: Events,
        clock: Clock,
    ) -> None:
        self._volumes = volumes
        self._kept = kept
        self._schedules = schedules
        self._snapshots = snapshots
        self._jobs = jobs
        self._drivers = drivers
        self._events = events
        self._clock = clock
        steps = (
            Step("make room", self._make_room),
            Step("take", self._take, self._take_back),
            Step("record", self._record, self._forget),
            Step("thin out", self._thin_out),
        )
        jobs.define(JobDefinition("snapshot-schedule.take", steps, on_failure=self._tell_failure))

    async def judge(
        self, volume: str, schedule: str, rules: RetentionRules, *, new: HeldSnapshot | None = None, but: str = ""
    ) -> tuple[Verdict, ...]:
        """Say of each snapshot that a schedule took why it stays or goes; `new` is one that there will be.

        `but` is the lock of a job of ours, which is nobody's use of a snapshot.
        """
        documents, held = await self._kept.all(), [new] if new is not None else []
        for snapshot in await self._snapshots.list(volume):
            document = documents.get(f"{volume}/{snapshot.name}")
            if document is None or document.schedule != schedule or document.taken_at is None:
                continue
            is_own = snapshot_lock(volume, snapshot.name) == but
            users = () if is_own else await self._snapshots.users(snapshot, document)
            held.append(
                HeldSnapshot(
                    snapshot.name,
                    document.taken_at,
                    document.locked_until,
                    is_void=snapshot.is_overflown,
                    used_by=users,
                )
            )
        return judge_held(held, rules, self._clock.now())

    async def start(self, document: SnapshotScheduleDocument, due_at: datetime, *, keep_with: KeepWith) -> str:
        """Take what is due; `keep_with` is one commit with it. Raises BusyError while its volume is being changed."""
        volume, name = document.volume, f"{document.name}-{due_at.astimezone(UTC):%Y%m%dt%H%M%S}"

        async def check() -> None:
            refuse_destination(await self._volumes.get(volume))

        return await self._jobs.start(
            "snapshot-schedule.take",
            snapshot_lock(volume, name),
            {"volume": volume, "name": name, "schedule": document.name},
            locks=[f"volume:{volume}"],
            check=check,
            keep_with=keep_with,
        )

    # --- steps ---

    async def _spec(self, job: JobContext) -> SnapshotSpec:
        volume, kept = job.parameters["volume"], await self._schedules.find(_schedule_key(job))
        return await self._snapshots.spec(
            volume, job.parameters["name"], kept.document.reserve_bytes if kept is not None else None
        )

    async def _make_room(self, job: JobContext) -> None:
        kept, spec = await self._schedules.find(_schedule_key(job)), await self._spec(job)
        if kept is None:
            return
        try:
            await self._snapshots.admit(spec)
        except NoSpaceError as reason:
            await job.log(f"there is no room for it yet: {reason.message}")
            new = HeldSnapshot(spec.name, self._clock.now())
            verdicts = await self.judge(spec.volume, job.parameters["schedule"], kept.document.retention, new=new)
            await self._remove(job, verdicts)

    async def _take(self, job: JobContext) -> None:
        job.facts.setdefault("taken_at", self._clock.now().isoformat())
        await job.keep_facts()
        spec = await self._spec(job)
        job.facts["pool"] = spec.pool
        await self._snapshots.take(spec)

    async def _take_back(self, job: JobContext) -> None:
        spec = await self._spec(job)
        await self._drivers.volume().delete_snapshot(spec.pool, spec.volume, spec.name)

    async def _record(self, job: JobContext) -> None:
        given, at = job.parameters, datetime.fromisoformat(job.facts["taken_at"])
        document = SnapshotDocument(given["volume"], given["name"], at, SnapshotCause.SCHEDULE, given["schedule"])
        await self._kept.put(document.key, document)

    async def _forget(self, job: JobContext) -> None:
        await self._kept.remove(f"{job.parameters['volume']}/{job.parameters['name']}")

    async def _thin_out(self, job: JobContext) -> None:
        """What cannot be removed stays until the next time: the new snapshot is there, and that is what was due."""
        kept = await self._schedules.find(_schedule_key(job))
        if kept is None:
            return
        verdicts = await self.judge(
            job.parameters["volume"], job.parameters["schedule"], kept.document.retention, but=job.target
        )
        gone = await self._remove(job, verdicts)
        job.result = {"taken": job.parameters["name"], "removed": gone}

    async def _remove(self, job: JobContext, verdicts: tuple[Verdict, ...]) -> list[str]:
        volume, gone = job.parameters["volume"], []
        pool = (await self._volumes.get(volume)).pool
        for verdict in verdicts:
            if verdict.is_kept or verdict.name == job.parameters["name"]:
                continue
            try:
                await self._remove_one(pool, volume, verdict.name)
            except HoldfastError as reason:
                await job.log(f"the snapshot {verdict.name} stays for now: {reason.message}")
                continue
            await job.log(f"removed the snapshot {verdict.name}: {'; '.join(verdict.reasons)}")
            gone.append(verdict.name)
        return gone

    async def _remove_one(self, pool: str, volume: str, name: str) -> None:
        """Under its lock, and looked at again there: a person may have locked or mounted it a moment ago."""
        lock = snapshot_lock(volume, name)
        self._jobs.locks.refuse_if_held([lock])
        self._jobs.locks.hold([lock], "the thinning out of what a schedule took")
        try:
            kept = await self._kept.find(f"{volume}/{name}")
            if kept is not None:
                refuse_kept(await self._snapshots.get(volume, name), kept.document, self._clock.now())
            async with self._snapshots.leaving.of(volume, name):
                await self._drivers.volume().delete_snapshot(pool, volume, name)
            await self._kept.remove(f"{volume}/{name}")
        finally:
            self._jobs.locks.release([lock])

    async def _tell_failure(self, job: JobContext, reason: HoldfastError) -> None:
        given = job.parameters
        log.warning("the schedule %s of %s took no snapshot: %s", given["schedule"], given["volume"], reason.message)
        body = {"schedule": given["schedule"], "snapshot": given["name"], "reason": reason.message}
        await self._events.emit("snapshot-schedule.failed", f"volume:{given['volume']}", body)


def _schedule_key(job: JobContext) -> str:
    return f"{job.parameters['volume']}/{job.parameters['schedule']}"
