"""A volume made again what it was when a snapshot was taken. What would be lost is kept in another one first."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from holdfast.errors import BusyError, HoldfastError, NoSpaceError, Reason, RefusedError
from holdfast.hooks.base import Can
from holdfast.hooks.volume import Snapshot, SnapshotSpec, VolumeChange
from holdfast.loading.discovery import PluginHooks
from holdfast.services.dependents import Dependents, refuse_destination
from holdfast.services.documents import VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.snapshots.checks import refuse_overflown
from holdfast.services.snapshots.documents import SnapshotCause, SnapshotDocument, snapshot_lock
from holdfast.services.snapshots.snapshots import Snapshots
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.volumes.mount_users import MountUser
from holdfast.services.volumes.volumes import Volumes
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock

log = logging.getLogger(__name__)

MAY_STAY = ("share", "replication-task")
"""What may lie on a volume that is rolled back: directories, and tasks that read them when they run."""
RETRY_S = 5.0
MARGIN_PERCENT = 5
"""On top of what is overwritten: the bookkeeping of the snapshot that keeps it."""


class SnapshotRollback:
    """Defines the job `volume.roll-back`."""

    def __init__(
        self,
        kept: Intents[VolumeDocument],
        documents: Intents[SnapshotDocument],
        volumes: Volumes,
        snapshots: Snapshots,
        jobs: Jobs,
        drivers: Drivers,
        dependents: Dependents,
        hooks: PluginHooks,
        clock: Clock,
        users: Sequence[MountUser],
    ) -> None:
        self._kept = kept
        self._documents = documents
        self._volumes = volumes
        self._snapshots = snapshots
        self._jobs = jobs
        self._drivers = drivers
        self._dependents = dependents
        self._hooks = hooks
        self._clock = clock
        self._users = users
        steps = (
            Step("unmount", self._unmount, self._mount),
            Step("keep what would be lost", self._keep, self._keep_no_more),
            Step("roll back", self._roll_back, is_final=True),
            Step("mount", self._mount),
            Step("tell", self._tell),
        )
        # Each command has a limit of its own, and what has begun must come to its end.
        jobs.define(JobDefinition("volume.roll-back", steps, deadline_s=None))

    async def roll_back(self, volume: str, name: str, *, validate_only: bool) -> str | None:
        """Roll a volume back; the job's id, or None where only the checks were wanted.

        Raises RefusedError with every reason while something uses the volume but directories and tasks that are idle.
        """

        async def check() -> None:
            driver = self._drivers.volume()
            if Can.SNAPSHOT_ROLL_BACK not in driver.can:
                raise driver.unsupported("rolling back")
            document, snapshot = await self._kept.get(volume), await self._snapshots.get(volume, name)
            refuse_destination(document)
            refuse_overflown(snapshot)
            if reasons := [*await self._uses(document), *await self._uses_of_snapshots(document, snapshot)]:
                raise RefusedError("; ".join(reason.text for reason in reasons), reasons=reasons)
            await self._refuse_without_room(document, snapshot)

        shares = [f"share:{user.name}" for user in await self._dependents.of_volume(volume) if user.noun == "share"]
        locks = [f"volume:{volume}", *shares]
        if validate_only:
            self._jobs.locks.refuse_if_held(locks)
            await check()
            return None
        parameters = {"volume": volume, "name": name, "pool": (await self._kept.get(volume)).pool}
        return await self._jobs.start(
            "volume.roll-back", snapshot_lock(volume, name), parameters, locks=locks, check=check
        )

    async def _uses(self, document: VolumeDocument) -> list[Reason]:
        reasons = []
        for user in await self._dependents.of_volume(document.name):
            if user.noun not in MAY_STAY:
                text = f"the volume {document.name} is used by the {user.noun} {user.name}"
                reasons.append(
                    Reason("in-use", text, f"delete the {user.noun} {user.name} first, or stop what uses it")
                )
        for each in self._users:
            reasons.extend(await each.why_held(document.name))
        if document.mirrored_as is not None and not reasons:
            text = f"the volume {document.name} is mirrored: its copy would not follow"
            reasons.append(Reason("mirrored", text, "clone the snapshot, or restore files from it"))
        return reasons

    async def _uses_of_snapshots(self, document: VolumeDocument, snapshot: Snapshot) -> list[Reason]:
        """The snapshot itself must be free, and what is overwritten must find room in all the others."""
        kept = await self._documents.find(f"{snapshot.volume}/{snapshot.name}")
        reasons = []
        if kept is not None and kept.document.is_mounted:
            text = f"the snapshot {snapshot.name} is mounted beside its volume"
            reasons.append(Reason("mounted", text, "unmount the snapshot first"))
        overwritten = overwritten_bytes(snapshot)
        for other in await self._snapshots.list(snapshot.volume):
            if other.name == snapshot.name or other.is_overflown or other.is_thin:
                continue
            if other.reserve_bytes > document.size_bytes:
                continue
            left_bytes = round(other.reserve_bytes * (100 - (other.used_percent or 0.0)) / 100)
            if left_bytes < overwritten:
                text = (
                    f"the snapshot {other.name} has {left_bytes} bytes left, and would overflow: "
                    f"up to {overwritten} bytes are overwritten"
                )
                remedy = f"make its reserve {overwritten - left_bytes} bytes larger, or delete it"
                reasons.append(Reason("would-overflow", text, remedy))
        return reasons

    def _reserve_bytes(self, document: VolumeDocument, snapshot: Snapshot) -> int | None:
        """What the snapshot of what would be lost gets; None of a thin volume's."""
        if snapshot.is_thin:
            return None
        return max(document.size_bytes // 10, overwritten_bytes(snapshot))

    async def _refuse_without_room(self, document: VolumeDocument, snapshot: Snapshot) -> None:
        needed = self._reserve_bytes(document, snapshot)
        try:
            await self._snapshots.admit(SnapshotSpec(document.pool, document.name, "before", needed))
        except NoSpaceError as reason:
            text = f"what would be lost cannot be kept: {reason.message}"
            remedy = "make room in the pool, such as by deleting a snapshot"
            raise NoSpaceError(text, reasons=[Reason("no-space", text, remedy)]) from reason

    # --- steps ---

    def _keeper(self, job: JobContext) -> str:
        return f"before-{job.job_id[:8]}"

    async def _unmount(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["volume"])
        if document.has_file_system:
            for each in self._users:
                await each.release(document.name)
            await self._drivers.volume().unmount(str(self._volumes.directory(document)))

    async def _mount(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["volume"])
        if document.has_file_system:
            await self._volumes.mount(document.name)
            for each in self._users:
                await each.take_up(document.name)

    async def _keep(self, job: JobContext) -> None:
        volume, name = job.parameters["volume"], job.parameters["name"]
        job.facts.setdefault("taken_at", self._clock.now().isoformat())
        if "reserve_bytes" not in job.facts:
            origin, snapshot = await self._kept.get(volume), await self._snapshots.get(volume, name)
            job.facts["reserve_bytes"] = self._reserve_bytes(origin, snapshot)
        await job.keep_facts()
        spec = SnapshotSpec(job.parameters["pool"], volume, self._keeper(job), job.facts["reserve_bytes"])
        await self._snapshots.take(spec)
        at = datetime.fromisoformat(job.facts["taken_at"])
        document = SnapshotDocument(volume, spec.name, at, SnapshotCause.ROLLBACK)
        await self._documents.put(document.key, document)
        await job.log(f"what {volume} holds now is kept in its snapshot {spec.name}")

    async def _keep_no_more(self, job: JobContext) -> None:
        if job.facts.get("has_begun"):
            return await job.log(f"rolling back had begun: the snapshot {self._keeper(job)} stays")
        volume, keeper = job.parameters["volume"], self._keeper(job)
        await self._drivers.volume().delete_snapshot(job.parameters["pool"], volume, keeper)
        return await self._documents.remove(f"{volume}/{keeper}")

    async def _roll_back(self, job: JobContext) -> None:
        """Go back only where nothing of it was done: from then on there is only forwards, however long it takes."""
        pool, volume, name = (job.parameters[key] for key in ("pool", "volume", "name"))
        job.facts["has_begun"] = True
        await job.keep_facts()
        while True:
            try:
                await self._drivers.volume().roll_back(pool, volume, name)
            except HoldfastError as reason:
                found = await self._drivers.volume().list_snapshots(pool)
                if any((snapshot.volume, snapshot.name) == (volume, name) for snapshot in found):
                    job.facts["has_begun"] = not isinstance(reason, BusyError)  # which comes before anything is done
                    await job.keep_facts()
                    raise
                await job.log(f"rolling back has begun and is tried again in {RETRY_S:.0f} s: {reason.message}")
            else:
                return
            await self._clock.sleep(RETRY_S)

    async def _tell(self, job: JobContext) -> None:
        volume, name = job.parameters["volume"], job.parameters["name"]
        kept = await self._documents.find(f"{volume}/{name}")
        if kept is not None:
            await self._documents.put(kept.document.key, replace(kept.document, is_mounted=False))
        await self._hooks.tell("volume_changed", change=VolumeChange(job.parameters["pool"], volume, "rolled-back"))
        job.result = {"volume": volume, "snapshot": name, "kept_as": self._keeper(job)}


def overwritten_bytes(snapshot: Snapshot) -> int:
    """What changed since a snapshot, and is overwritten by going back to it, with some room for bookkeeping."""
    used = 100.0 if snapshot.used_percent is None else snapshot.used_percent
    return round(snapshot.reserve_bytes * used / 100 * (100 + MARGIN_PERCENT) / 100)
