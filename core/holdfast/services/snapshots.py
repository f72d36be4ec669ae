"""Snapshots: a volume as it was at one moment."""

from __future__ import annotations

from holdfast.errors import ConflictError, NoSpaceError, NotFoundError, Reason
from holdfast.hooks.volume import Snapshot, SnapshotSpec
from holdfast.services.dependents import refuse_destination
from holdfast.services.documents import VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents

RESERVE_PERCENT = 10
"""Of its volume, unless asked otherwise (S14)."""


class Snapshots:
    """Makes, shows and destroys snapshots. What exists is what the driver has; nothing else is kept of them."""

    def __init__(self, volumes: Intents[VolumeDocument], jobs: Jobs, drivers: Drivers) -> None:
        self._volumes = volumes
        self._jobs = jobs
        self._drivers = drivers
        jobs.define(JobDefinition("snapshot.create", (Step("make", self._make, self._destroy),)))
        jobs.define(JobDefinition("snapshot.delete", (Step("destroy", self._destroy, is_final=True),)))

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

    async def spec(self, volume: str, name: str, reserve_bytes: int | None) -> SnapshotSpec:
        """A snapshot as asked for, with its default reserve. Raises NotFoundError for the volume."""
        document = await self._volumes.get(volume)
        reserve = reserve_bytes or max(document.size_bytes * RESERVE_PERCENT // 100, 1)
        return SnapshotSpec(document.pool, volume, name, reserve)

    async def create(self, volume: str, name: str, reserve_bytes: int | None, *, validate_only: bool) -> str | None:
        """Make a snapshot; the job's id, or None where only the checks were wanted."""
        spec = await self.spec(volume, name, reserve_bytes)

        async def check() -> None:
            refuse_destination(await self._volumes.get(volume))
            if any(s.name == name for s in await self.list(volume)):
                raise ConflictError(f"there is a snapshot {name} of the volume {volume}")
            pool = await self._drivers.volume().get_pool(spec.pool)
            if spec.reserve_bytes > pool.free_bytes:
                missing = spec.reserve_bytes - pool.free_bytes
                text = f"the pool {pool.name} has {missing} bytes too few for a reserve of {spec.reserve_bytes}"
                remedy = "ask for a smaller reserve, or make room in the pool"
                raise NoSpaceError(text, reasons=[Reason("no-space", text, remedy, "reserve_bytes")])

        if validate_only:
            await check()
            return None
        target = f"snapshot:{volume}/{name}"
        return await self._jobs.start("snapshot.create", target, vars(spec), locks=[f"volume:{volume}"], check=check)

    async def delete(self, volume: str, name: str, *, validate_only: bool) -> str | None:
        """Destroy a snapshot."""

        async def check() -> None:
            await self.get(volume, name)

        if validate_only:
            await check()
            return None
        document = await self._volumes.get(volume)
        parameters = {"pool": document.pool, "volume": volume, "name": name}
        target = f"snapshot:{volume}/{name}"
        return await self._jobs.start("snapshot.delete", target, parameters, locks=[f"volume:{volume}"], check=check)

    async def _make(self, job: JobContext) -> None:
        given = job.parameters
        job.result = await self._drivers.volume().create_snapshot(
            SnapshotSpec(given["pool"], given["volume"], given["name"], given["reserve_bytes"])
        )

    async def _destroy(self, job: JobContext) -> None:
        given = job.parameters
        await self._drivers.volume().delete_snapshot(given["pool"], given["volume"], given["name"])
