"""A volume of one node made larger under its users: what lies on it, and what is exported of it, in one job.

Nothing of it is taken back, and every step may be repeated: a device that is larger than what lies on it harms nothing,
and the next growth takes it up.
"""

from __future__ import annotations

from dataclasses import replace

from holdfast.errors import ConflictError, HoldfastError, Reason, RefusedError
from holdfast.hooks.base import Can
from holdfast.hooks.volume import IoType, VolumeChange
from holdfast.loading.discovery import PluginHooks
from holdfast.planning.volume_sizes import refuse_smaller
from holdfast.services.dependents import Dependents, refuse_destination
from holdfast.services.documents import TargetDocument, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.pools.thin import ThinPools
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.targets.jobs import TargetJobs
from holdfast.services.volumes.volumes import Volumes
from holdfast.store.intent import Intents


class VolumeGrowth:
    """Defines the job `volume.grow`."""

    def __init__(
        self,
        kept: Intents[VolumeDocument],
        targets: Intents[TargetDocument],
        volumes: Volumes,
        thin_pools: ThinPools,
        target_jobs: TargetJobs,
        jobs: Jobs,
        drivers: Drivers,
        dependents: Dependents,
        hooks: PluginHooks,
    ) -> None:
        self._kept = kept
        self._targets = targets
        self._volumes = volumes
        self._thin_pools = thin_pools
        self._target_jobs = target_jobs
        self._jobs = jobs
        self._drivers = drivers
        self._dependents = dependents
        self._hooks = hooks
        steps = (
            Step("grow the volume", self._grow_volume),
            Step("grow the file system", self._grow_file_system),
            # On record, and so served, only once the file has that size: a unit is never larger than its file.
            Step("grow the file", self._grow_file),
            Step("record", self._record),
            Step("serve", self._serve),
        )
        jobs.define(JobDefinition("volume.grow", steps))

    async def grow(self, name: str, size_bytes: int, *, validate_only: bool) -> str | None:
        """Make a volume larger; the job's id, or None where only the checks were wanted."""

        async def check() -> None:
            driver = self._drivers.volume()
            if Can.VOLUME_GROW not in driver.can:
                raise driver.unsupported("growing")
            document = await self._kept.get(name)
            await self._refuse_mirrored(document)
            refuse_destination(document)
            if document.is_torn:
                text = f"the volume {name} is a copy that never was complete"
                raise ConflictError(text, reasons=[Reason("torn", text, "make another volume", "volume")])
            what = document.kind, document.io_type, document.file_system
            if reasons := refuse_smaller(name, *what, document.size_bytes, size_bytes):
                raise ConflictError(reasons[0].text, reasons=reasons)
            refuse_not_larger(name, document.size_bytes, size_bytes)
            await self._volumes.refuse_snapshots(document)
            more_bytes = size_bytes - document.size_bytes
            await self._thin_pools.check_room(document.pool, more_bytes, is_thin=document.is_thin)

        if validate_only:
            await check()
            return None
        await self._kept.get(name)
        locks = [f"target:{target.name}" for target in await self._served(name)]
        parameters = {"name": name, "size_bytes": size_bytes}
        return await self._jobs.start("volume.grow", f"volume:{name}", parameters, locks=locks, check=check)

    async def _refuse_mirrored(self, document: VolumeDocument) -> None:
        found = [user.name for user in await self._dependents.of_volume(document.name) if user.noun == "mirror"]
        if found:
            text = f"the volume {document.name} is in the mirror {found[0]}, and grows with its copy"
            remedy = f"grow it there: POST /v1/mirrors/{found[0]}/grow"
            raise RefusedError(text, reasons=[Reason("mirrored", text, remedy, "volume")])

    async def _served(self, volume: str) -> list[TargetDocument]:
        targets = (await self._targets.all()).values()
        return [t for t in targets if t.mirror is None and any(unit.volume == volume for unit in t.units)]

    # --- steps ---

    async def _grow_volume(self, job: JobContext) -> None:
        document, asked = await self._kept.get(job.parameters["name"]), job.parameters["size_bytes"]
        found = await self._drivers.volume().grow_volume(document.pool, document.name, asked)
        job.facts["size_bytes"] = found.size_bytes
        if found.size_bytes != asked:
            await job.log(f"{asked} bytes were rounded up to {found.size_bytes}, whole extents of the pool")

    async def _grow_file_system(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["name"])
        if document.has_file_system:
            directory = await self._volumes.mounted_directory(document.name)
            await self._drivers.volume().grow_file_system(str(directory))

    async def _grow_file(self, job: JobContext) -> None:
        document, driver = await self._kept.get(job.parameters["name"]), self._drivers.volume()
        if document.file_bytes is not None:
            wanted = max(document.file_bytes, driver.unit_file_bytes(job.facts["size_bytes"]))
            await driver.grow_unit_file(str(await self._volumes.mounted_directory(document.name)), wanted)
            job.facts["file_bytes"] = wanted

    async def _record(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["name"])
        size_bytes, file_bytes = job.facts["size_bytes"], job.facts.get("file_bytes")
        await self._kept.put(document.name, replace(document, size_bytes=size_bytes, file_bytes=file_bytes))
        await self._hooks.tell("volume_changed", change=VolumeChange(document.pool, document.name, "grown"))

    async def _serve(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["name"])
        # Of a block device the kernel tells the size that it has.
        for target in await self._served(document.name) if document.io_type is IoType.FILE else ():
            try:
                await self._target_jobs.serve(target)
            except HoldfastError as reason:  # the volume has grown all the same, and the reconciler goes on trying
                await job.log(f"the target {target.name} is not served with the new size: {reason.message}")
        job.result = await self._volumes.get(document.name)


def refuse_not_larger(volume: str, size_bytes: int, asked_bytes: int) -> None:
    """Raise ConflictError for a size that is no growth."""
    if asked_bytes <= size_bytes:
        text = f"the volume {volume} has {size_bytes} bytes, and is only made larger"
        raise ConflictError(text, reasons=[Reason("not-larger", text, "ask for more", "size_bytes")])
