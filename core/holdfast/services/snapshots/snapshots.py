"""Snapshots: a volume as it was at one moment. Taking, showing, locking and destroying them, and giving them room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from holdfast.errors import BusyError, ConflictError, NoSpaceError, NotFoundError, Reason
from holdfast.hooks.base import Can
from holdfast.hooks.volume import Snapshot, SnapshotSpec
from holdfast.planning.snapshot_fill import OverflowPolicy
from holdfast.planning.snapshot_fill import check as check_policy
from holdfast.services.dependents import refuse_destination
from holdfast.services.documents import VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.pools.thin import ThinPools
from holdfast.services.snapshots.checks import (
    policy_of,
    refuse_kept,
    refuse_lock,
    refuse_overflown,
    refuse_policy_of_its_own,
    refuse_reserve,
)
from holdfast.services.snapshots.documents import SnapshotDocument, SnapshotPolicyDocument, place_of, snapshot_lock
from holdfast.services.snapshots.leaving import Leaving
from holdfast.services.snapshots.views import FillRates, SnapshotView, view
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

RESERVE_PERCENT = 10
"""Of its volume, unless asked otherwise (S14)."""


class Snapshots:
    """Takes, shows and destroys snapshots. What exists is what the driver has; on record is what was asked of it."""

    def __init__(
        self,
        volumes: Intents[VolumeDocument],
        kept: Intents[SnapshotDocument],
        policies: Intents[SnapshotPolicyDocument],
        rates: FillRates,
        jobs: Jobs,
        drivers: Drivers,
        thin_pools: ThinPools,
        clock: Clock,
        mount_dir: Path,
    ) -> None:
        self._volumes = volumes
        self._kept = kept
        self._policies = policies
        self._rates = rates
        self._jobs = jobs
        self._drivers = drivers
        self._thin_pools = thin_pools
        self._clock = clock
        self._mount_dir = mount_dir
        self.leaving = Leaving()
        take = (Step("make", self._make, self._unmake), Step("record", self._record, self._forget))
        jobs.define(JobDefinition("snapshot.create", take))
        destroy = Step("destroy", self._destroy, is_final=True)
        jobs.define(JobDefinition("snapshot.delete", (destroy, Step("forget", self._forget))))
        jobs.define(JobDefinition("snapshot.extend", (Step("give it room", self._extend),)))
        jobs.define(JobDefinition("snapshot.change", (Step("record", self._record_change),)))

    # --- showing ---

    async def list(self, volume: str | None = None) -> tuple[Snapshot, ...]:
        """Snapshots of one volume or of all."""
        found = await self._drivers.volume().list_snapshots()
        return tuple(s for s in found if volume in (None, s.volume))

    async def get(self, volume: str, name: str) -> Snapshot:
        """One snapshot. Raises NotFoundError."""
        for snapshot in await self.list(volume):
            if snapshot.name == name:
                return snapshot
        raise NotFoundError(f"there is no snapshot {name} of the volume {volume}")

    async def views(self, volume: str | None = None) -> tuple[SnapshotView, ...]:
        """The same as they are shown."""
        documents, policies = await self._kept.all(), await self._policies.all()
        return tuple([await self._view(s, documents, policies) for s in await self.list(volume)])

    async def view(self, volume: str, name: str) -> SnapshotView:
        """One of them. Raises NotFoundError."""
        return await self._view(await self.get(volume, name), await self._kept.all(), await self._policies.all())

    async def _view(
        self,
        snapshot: Snapshot,
        documents: Mapping[str, SnapshotDocument],
        policies: Mapping[str, SnapshotPolicyDocument],
    ) -> SnapshotView:
        document = documents.get(f"{snapshot.volume}/{snapshot.name}")
        place = await self._mounted_at(snapshot)
        users = await self.users(snapshot, document)
        policy = policy_of(snapshot, document, policies)
        return view(snapshot, document, policy, self._rates, mounted_at=place, used_by=users)

    async def _mounted_at(self, snapshot: Snapshot) -> str | None:
        volume = await self._volumes.find(snapshot.volume)
        if volume is None:
            return None
        place = str(place_of(self._mount_dir, volume.document, snapshot.name))
        return place if await self._drivers.volume().is_mounted(snapshot.device, place) else None

    async def users(self, snapshot: Snapshot, document: SnapshotDocument | None) -> tuple[str, ...]:
        """What uses it now, in words: jobs, and its mount beside the volume."""
        users = []
        if document is not None and document.is_mounted:
            users.append("it is mounted beside its volume")
        try:
            self._jobs.locks.refuse_if_held([snapshot_lock(snapshot.volume, snapshot.name)])
        except BusyError as reason:
            users.append(reason.message)
        return tuple(users)

    # --- asking for ---

    async def spec(self, volume: str, name: str, reserve_bytes: int | None) -> SnapshotSpec:
        """A snapshot as asked for, with its default reserve; of a thin volume without one.

        Raises NotFoundError for the volume, InvalidError for a reserve of a thin one.
        """
        document = await self._volumes.get(volume)
        if document.is_thin:
            refuse_reserve(volume, reserve_bytes)
            return SnapshotSpec(document.pool, volume, name, None)
        reserve = reserve_bytes or max(document.size_bytes * RESERVE_PERCENT // 100, 1)
        return SnapshotSpec(document.pool, volume, name, reserve)

    async def create(self, wanted: SnapshotDocument, reserve_bytes: int | None, *, validate_only: bool) -> str | None:
        """Take a snapshot; the job's id, or None where only the checks were wanted."""
        volume, name = wanted.volume, wanted.name
        spec = await self.spec(volume, name, reserve_bytes)
        if wanted.policy is not None:
            check_policy(wanted.policy)
            refuse_policy_of_its_own(volume, name, is_thin=spec.reserve_bytes is None)

        async def check() -> None:
            refuse_destination(await self._volumes.get(volume))
            if wanted.locked_until is not None:
                refuse_lock(wanted.locked_until, None, self._clock.now())
            if any(s.name == name for s in await self.list(volume)):
                raise ConflictError(f"there is a snapshot {name} of the volume {volume}")
            await self.admit(spec)

        if validate_only:
            await check()
            return None
        parameters = {**vars(spec), "document": to_plain(wanted)}
        locks = [f"volume:{volume}"]
        return await self._jobs.start(
            "snapshot.create", snapshot_lock(volume, name), parameters, locks=locks, check=check
        )

    async def admit(self, spec: SnapshotSpec) -> None:
        """Raise NoSpaceError when there is no room for a snapshot: for its reserve, or in the thin pool."""
        if spec.reserve_bytes is None:
            await self._thin_pools.check_snapshot(spec.pool, spec.volume)
        else:
            await self.refuse_without_room(spec.pool, spec.reserve_bytes)

    async def take(self, spec: SnapshotSpec) -> Snapshot:
        """Have the driver take it; one that is there, of an interrupted job, needs no more room."""
        if spec.reserve_bytes is None and not any(s.name == spec.name for s in await self.list(spec.volume)):
            await self.admit(spec)
        return await self._drivers.volume().create_snapshot(spec)

    async def admit_branch(self, document: VolumeDocument) -> None:
        """Raise NoSpaceError when the thin pool has no room for a volume that is made of a thin snapshot."""
        await self._thin_pools.check_more(document.pool, document.size_bytes)

    async def refuse_without_room(self, pool_name: str, size_bytes: int, *, what: str = "a reserve") -> None:
        """Raise NoSpaceError when the pool has no room for a reserve, or what else, saying how much is missing."""
        pool = await self._drivers.volume().get_pool(pool_name)
        if size_bytes > pool.free_bytes:
            missing = size_bytes - pool.free_bytes
            text = f"the pool {pool.name} has {missing} bytes too few for {what} of {size_bytes}"
            remedy = "ask for less, or make room in the pool"
            field = "reserve_bytes" if what == "a reserve" else None
            raise NoSpaceError(text, reasons=[Reason("no-space", text, remedy, field)])

    async def delete(self, volume: str, name: str, *, validate_only: bool) -> str | None:
        """Destroy a snapshot. Refused while it is locked, mounted, or a job works with it."""

        async def check() -> None:
            snapshot, kept = await self.get(volume, name), await self._kept.find(f"{volume}/{name}")
            if kept is not None:
                refuse_kept(snapshot, kept.document, self._clock.now())

        if validate_only:
            self._jobs.locks.refuse_if_held([snapshot_lock(volume, name)])
            await check()
            return None
        document = await self._volumes.get(volume)
        parameters = {"pool": document.pool, "volume": volume, "name": name}
        locks = [f"volume:{volume}"]
        return await self._jobs.start(
            "snapshot.delete", snapshot_lock(volume, name), parameters, locks=locks, check=check
        )

    async def extend(self, volume: str, name: str, reserve_bytes: int, *, validate_only: bool) -> str | None:
        """Give a snapshot more room, also while a run reads it: no lock of its volume is needed for that."""

        async def check() -> None:
            driver = self._drivers.volume()
            if Can.SNAPSHOT_GROW not in driver.can:
                raise driver.unsupported("growing snapshots")
            snapshot = await self.get(volume, name)
            refuse_overflown(snapshot)
            if snapshot.is_thin:
                refuse_reserve(volume, reserve_bytes)
            if reserve_bytes <= snapshot.reserve_bytes:
                text = f"the snapshot {name} has {snapshot.reserve_bytes} bytes, and is only made larger"
                raise ConflictError(text, reasons=[Reason("not-larger", text, "ask for more", "reserve_bytes")])
            await self.refuse_without_room(snapshot.pool, reserve_bytes - snapshot.reserve_bytes)

        if validate_only:
            await check()
            return None
        pool = (await self.get(volume, name)).pool
        parameters = {"pool": pool, "volume": volume, "name": name, "reserve_bytes": reserve_bytes}
        return await self._jobs.start("snapshot.extend", snapshot_lock(volume, name), parameters, check=check)

    async def lock(self, volume: str, name: str, until: datetime, *, validate_only: bool) -> str | None:
        """Let nobody remove a snapshot before an instant. A lock is never made shorter."""

        async def check() -> None:
            refuse_overflown(await self.get(volume, name))
            kept = await self._kept.find(f"{volume}/{name}")
            refuse_lock(until, kept.document.locked_until if kept else None, self._clock.now())

        if validate_only:
            await check()
            return None
        parameters = {"volume": volume, "name": name, "locked_until": until}
        return await self._jobs.start("snapshot.change", snapshot_lock(volume, name), parameters, check=check)

    async def set_policy(
        self, volume: str, name: str, policy: OverflowPolicy | None, *, validate_only: bool
    ) -> str | None:
        """Say what is done when this snapshot is about to overflow; None: what is done for its volume."""
        snapshot = await self.get(volume, name)
        if policy is not None:
            check_policy(policy)
            refuse_policy_of_its_own(volume, name, is_thin=snapshot.is_thin)
        if validate_only:
            return None
        parameters = {"volume": volume, "name": name, "policy": to_plain(policy)}
        return await self._jobs.start("snapshot.change", snapshot_lock(volume, name), parameters)

    # --- steps ---

    async def _make(self, job: JobContext) -> None:
        # Before it, and kept: a snapshot is never told to be newer than it is.
        job.facts.setdefault("taken_at", self._clock.now().isoformat())
        await job.keep_facts()
        given = job.parameters
        await self.take(SnapshotSpec(given["pool"], given["volume"], given["name"], given["reserve_bytes"]))

    async def _unmake(self, job: JobContext) -> None:
        await self._drivers.volume().delete_snapshot(*(job.parameters[key] for key in ("pool", "volume", "name")))

    async def _record(self, job: JobContext) -> None:
        document = from_plain(SnapshotDocument, job.parameters["document"])
        await self._kept.put(document.key, replace(document, taken_at=datetime.fromisoformat(job.facts["taken_at"])))
        job.result = await self.view(document.volume, document.name)

    async def _forget(self, job: JobContext) -> None:
        await self._kept.remove(f"{job.parameters['volume']}/{job.parameters['name']}")

    async def _destroy(self, job: JobContext) -> None:
        async with self.leaving.of(job.parameters["volume"], job.parameters["name"]):
            await self._unmake(job)

    async def _extend(self, job: JobContext) -> None:
        keys = ("pool", "volume", "name", "reserve_bytes")
        made = await self._drivers.volume().grow_snapshot(*(job.parameters[key] for key in keys))
        job.result = {"reserve_bytes": made.reserve_bytes}

    async def _record_change(self, job: JobContext) -> None:
        given = job.parameters
        volume, name = given["volume"], given["name"]
        kept = await self._kept.find(f"{volume}/{name}")
        document = kept.document if kept is not None else SnapshotDocument(volume, name, None)
        if "locked_until" in given:
            document = replace(document, locked_until=datetime.fromisoformat(given["locked_until"]))
        else:
            policy = given["policy"]
            document = replace(document, policy=None if policy is None else from_plain(OverflowPolicy, policy))
        await self._kept.put(document.key, document)
        job.result = await self.view(volume, name)
