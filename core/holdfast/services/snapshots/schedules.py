"""When snapshots are taken by themselves, and the thinning out of those that were.

That one was due is seen to in one commit with its job: a daemon killed at any moment has done both or nothing. Only
what a schedule took is ever removed by it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta

from holdfast.errors import ConflictError, HoldfastError, InvalidError, NotFoundError, Reason
from holdfast.planning import snapshot_retention
from holdfast.planning.schedules import Due, MissedRuns, anchored, check, counted_from, due_now, upcoming
from holdfast.planning.snapshot_retention import RetentionRules, Verdict
from holdfast.services.dependents import refuse_destination
from holdfast.services.documents import VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.snapshots.checks import refuse_reserve
from holdfast.services.snapshots.documents import SnapshotScheduleDocument
from holdfast.services.snapshots.taking import SnapshotTaking
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.database import Change
from holdfast.store.intent import Intents
from holdfast.store.schedules import ScheduleTimes, SeenToError
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
SHOWN_TIMES = 5
MOST_OF_A_VOLUME = 32
LONGEST_NAME = 15
"""With the time behind it, it is the name of a snapshot."""


class SnapshotSchedules:
    """Keeps the schedules of volumes' snapshots, and starts what is due."""

    def __init__(
        self,
        volumes: Intents[VolumeDocument],
        kept: Intents[SnapshotScheduleDocument],
        times: ScheduleTimes,
        taking: SnapshotTaking,
        jobs: Jobs,
        drivers: Drivers,
        events: Events,
        clock: Clock,
    ) -> None:
        self._volumes = volumes
        self._kept = kept
        self._times = times
        self._taking = taking
        self._jobs = jobs
        self._drivers = drivers
        self._events = events
        self._clock = clock
        self._waiting: dict[str, str] = {}
        """Why what is due by a schedule does not begin yet."""
        self._looking = asyncio.Lock()
        jobs.define(JobDefinition("snapshot-schedule.set", (Step("record", self._record),)))
        jobs.define(JobDefinition("snapshot-schedule.delete", (Step("forget", self._forget),)))

    # --- what is asked for ---

    async def of(self, volume: str) -> tuple[SnapshotScheduleDocument, ...]:
        """The schedules of a volume, by name. Raises NotFoundError."""
        await self._volumes.get(volume)
        return tuple(document for document in (await self._kept.all()).values() if document.volume == volume)

    async def get(self, volume: str, name: str) -> SnapshotScheduleDocument:
        """One of them. Raises NotFoundError."""
        kept = await self._kept.find(f"{volume}/{name}")
        if kept is None:
            await self._volumes.get(volume)
            raise NotFoundError(f"the volume {volume} has no snapshot schedule {name!r}")
        return kept.document

    async def next_times(self, document: SnapshotScheduleDocument) -> tuple[datetime, ...]:
        """The next times that it is due; none while it is disabled."""
        if not document.is_enabled:
            return ()
        now = self._clock.now()
        handled_until = (await self._times.all()).get((document.counted_as, document.name), now)
        return upcoming(document.schedule, max(counted_from(handled_until, now), now), SHOWN_TIMES)

    async def set(self, wanted: SnapshotScheduleDocument, *, validate_only: bool) -> str | None:
        """Make a schedule, or change it. It counts from now on."""
        check(wanted.schedule)
        snapshot_retention.check(wanted.retention)
        if len(wanted.name) > LONGEST_NAME:
            text = f"the name of a snapshot schedule has {LONGEST_NAME} characters at most"
            raise InvalidError(text, reasons=[Reason("bad-name", text, "choose a shorter name", "schedule")])

        async def admit() -> None:
            volume = await self._volumes.get(wanted.volume)
            refuse_destination(volume)
            if volume.is_thin:
                refuse_reserve(wanted.volume, wanted.reserve_bytes)
            others = {document.name for document in await self.of(wanted.volume)}
            if len(others | {wanted.name}) > MOST_OF_A_VOLUME:
                text = f"the volume {wanted.volume} has {len(others)} snapshot schedules, as many as there may be"
                raise ConflictError(text, reasons=[Reason("too-many", text, "delete one, or say more in one by cron")])

        if validate_only:
            await admit()
            return None
        await self._volumes.get(wanted.volume)
        parameters = {"document": to_plain(wanted)}
        return await self._jobs.start("snapshot-schedule.set", _lock(wanted), parameters, check=admit)

    async def delete(self, volume: str, name: str, *, validate_only: bool) -> str | None:
        """Remove a schedule; what it took stays until somebody deletes it."""
        document = await self.get(volume, name)
        if validate_only:
            return None
        parameters = {"volume": volume, "name": name}
        return await self._jobs.start("snapshot-schedule.delete", _lock(document), parameters)

    async def preview(
        self, volume: str, name: str, rules: RetentionRules | None = None
    ) -> tuple[tuple[Verdict, ...], RetentionRules]:
        """What would become of each snapshot of a schedule now, by its rules or by others; nothing is changed."""
        document = await self.get(volume, name)
        if rules is not None:
            snapshot_retention.check(rules)
        return await self._taking.judge(volume, name, rules or document.retention), rules or document.retention

    async def _record(self, job: JobContext) -> None:
        wanted = from_plain(SnapshotScheduleDocument, job.parameters["document"])
        volume = await self._volumes.find(wanted.volume)
        wanted = replace(wanted, volume_uuid=volume.uuid if volume else "")
        kept = await self._kept.find(wanted.key)
        before = kept.document.schedule if kept is not None else None
        wanted = replace(wanted, schedule=anchored(wanted.schedule, before, self._clock.now()))
        if kept is None or kept.document != wanted:
            if kept is None or kept.document.schedule != wanted.schedule or not kept.document.is_enabled:
                await self._times.set(wanted.counted_as, wanted.name, self._clock.now())
            await self._kept.put(wanted.key, wanted)
        job.result = to_plain(wanted)

    async def _forget(self, job: JobContext) -> None:
        await self._drop(job.parameters["volume"], job.parameters["name"])

    async def _drop(self, volume: str, name: str) -> None:
        await self._kept.remove(f"{volume}/{name}")
        await self._times.forget(f"volume:{volume}", name)

    # --- what is due ---

    async def forever(self) -> None:
        """Start what is due until cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                if self._drivers.has("volume"):
                    await self.look()
            except Exception:  # what is on record cannot be read now; it is no reason for the daemon to end
                log.exception("snapshot schedules could not be looked at")

    async def look(self) -> None:
        """Start what is due now, or note why it does not begin. One that fails keeps no other from it."""
        async with self._looking:
            for document in (await self._kept.all()).values():
                try:
                    await self._look_at(document)
                except HoldfastError as reason:
                    log.warning("what is due by %s could not be started, it is tried again: %s", document.key, reason)
                except Exception:  # nobody else starts what is due
                    log.exception("looking at the snapshot schedule %s failed unexpectedly", document.key)

    async def _look_at(self, document: SnapshotScheduleDocument) -> None:
        volume = await self._volumes.find(document.volume)
        if volume is None or volume.uuid != document.volume_uuid:
            log.info("the snapshot schedule %s goes, as its volume has gone", document.key)
            return await self._drop(document.volume, document.name)
        seen = (await self._times.all()).get((document.counted_as, document.name))
        if seen is None or not document.is_enabled:
            return None
        now = self._clock.now()
        start = counted_from(seen, now)
        if start != seen:
            log.warning("the clock was set back from %s: the schedule %s is counted from now on", seen, document.key)
            return await self._times.handle(document.counted_as, document.name, seen, start)
        due = due_now(document.schedule, seen, now, timedelta(seconds=document.grace_s))
        return None if due is None else await self._see_to(document, due, seen, now)

    async def _see_to(self, document: SnapshotScheduleDocument, due: Due, seen: datetime, now: datetime) -> None:
        is_over = due.is_missed and (document.missed is MissedRuns.SKIP or document.key in self._waiting)
        if is_over:
            reason = self._waiting.pop(document.key, "nobody saw to it in time")
            await self._times.handle(document.counted_as, document.name, seen, now)
            log.warning("a snapshot that was due by %s was not taken: %s", document.key, reason)
            body = {"schedule": document.name, "due_at": due.at, "reason": reason}
            return await self._events.emit("snapshot-schedule.skipped", f"volume:{document.volume}", body)

        async def claim(change: Change) -> None:
            await self._times.claim_in(change, document.counted_as, document.name, seen, now)

        try:
            await self._taking.start(document, due.at, keep_with=claim)
        except SeenToError:
            return None
        except HoldfastError as reason:
            if self._waiting.get(document.key) != reason.message:
                log.info("a snapshot is due by %s, and cannot be taken yet: %s", document.key, reason)
            self._waiting[document.key] = reason.message
        else:
            self._waiting.pop(document.key, None)
        return None


def _lock(document: SnapshotScheduleDocument) -> str:
    return f"snapshot-schedule:{document.key}"
