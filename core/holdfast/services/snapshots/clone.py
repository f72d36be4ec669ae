"""A new volume that holds what a snapshot holds."""

from __future__ import annotations

from dataclasses import replace

from holdfast.errors import ConflictError, NotFoundError, Reason
from holdfast.hooks.base import Can
from holdfast.hooks.volume import VolumeChange, VolumeSpec
from holdfast.loading.discovery import PluginHooks
from holdfast.services.documents import VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.snapshots.checks import refuse_overflown
from holdfast.services.snapshots.documents import snapshot_lock
from holdfast.services.snapshots.snapshots import Snapshots
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.volumes.volumes import Volumes
from holdfast.store.intent import Intents
from holdfast.values import from_plain, to_plain

PART_BYTES = 256 << 20
"""What is copied at a time: after each part it is kept how far the copy is."""


class SnapshotClone:
    """Defines the job `snapshot.clone`."""

    def __init__(
        self,
        kept: Intents[VolumeDocument],
        volumes: Volumes,
        snapshots: Snapshots,
        jobs: Jobs,
        drivers: Drivers,
        hooks: PluginHooks,
    ) -> None:
        self._kept = kept
        self._volumes = volumes
        self._snapshots = snapshots
        self._jobs = jobs
        self._drivers = drivers
        self._hooks = hooks
        steps = (
            Step("make", self._make, self._unmake),
            Step("copy", self._copy),
            # Mounted by what is on record of it, and so after that.
            Step("record", self._record, self._forget),
            Step("mount", self._mount, self._unmount),
        )
        jobs.define(JobDefinition("snapshot.clone", steps, deadline_s=None))

    async def clone(self, volume: str, name: str, clone: str, label: str, *, validate_only: bool) -> str | None:
        """Make the volume `clone` of a snapshot, in the same pool; the job's id, or None after the checks."""

        async def check() -> None:
            driver = self._drivers.volume()
            if Can.SNAPSHOT_COPY not in driver.can:
                raise driver.unsupported("copying snapshots")
            document = await self._kept.get(volume)
            snapshot = await self._snapshots.get(volume, name)
            refuse_overflown(snapshot)
            if (taken := await self._kept.find(clone)) is not None:
                text = f"there is a volume {clone} in the pool {taken.document.pool}"
                raise ConflictError(text, reasons=[Reason("exists", text, "choose another name", "name")])
            if snapshot.is_thin:
                await self._snapshots.admit_branch(document)
            else:
                await self._snapshots.refuse_without_room(document.pool, document.size_bytes, what="a clone")
            await self._refuse_unknown(document.pool, clone)

        if validate_only:
            await check()
            return None
        document = await self._kept.get(volume)
        # Of what it is a clone it has the kind and the size, and nothing of its mirrors or modes.
        wanted = replace(
            VolumeDocument(clone, document.pool, document.size_bytes, document.kind, label),
            io_type=document.io_type,
            file_bytes=document.file_bytes,
            file_system=document.file_system,
            is_thin=(await self._snapshots.get(volume, name)).is_thin,
        )
        parameters = {"volume": volume, "name": name, "clone": to_plain(wanted)}
        locks = [snapshot_lock(volume, name)]
        return await self._jobs.start("snapshot.clone", f"volume:{clone}", parameters, locks=locks, check=check)

    async def _refuse_unknown(self, pool: str, name: str) -> None:
        """A volume that is there but not on record may hold data: it must never be written."""
        try:
            found = await self._drivers.volume().get_volume(pool, name)
        except NotFoundError:
            return
        text = f"{found.device} is there already, made outside of this configuration"
        raise ConflictError(text, reasons=[Reason("exists", text, "choose another name", "name")])

    # --- steps ---

    def _wanted(self, job: JobContext) -> VolumeDocument:
        return from_plain(VolumeDocument, job.parameters["clone"])

    async def _make(self, job: JobContext) -> None:
        """A thin one is made of the snapshot at once, and shares with it what neither has written since."""
        wanted = self._wanted(job)
        if wanted.is_thin:
            volume, name = job.parameters["volume"], job.parameters["name"]
            await self._drivers.volume().branch_snapshot(wanted.pool, volume, name, wanted.name)
            return
        spec = VolumeSpec(wanted.pool, wanted.name, wanted.size_bytes, wanted.kind, wanted.io_type)
        spec = replace(spec, file_system=wanted.file_system)
        await self._drivers.volume().create_volume(spec)

    async def _unmake(self, job: JobContext) -> None:
        # There was no such volume when the job began, and the job holds its lock: what is there is its own.
        wanted = self._wanted(job)
        await self._drivers.volume().delete_volume(wanted.pool, wanted.name)

    async def _copy(self, job: JobContext) -> None:
        wanted, volume, name = self._wanted(job), job.parameters["volume"], job.parameters["name"]
        if wanted.is_thin:
            return
        while (offset := job.facts.get("copied_bytes", 0)) < wanted.size_bytes:
            part_bytes = min(PART_BYTES, wanted.size_bytes - offset)
            await self._drivers.volume().copy_snapshot(
                wanted.pool, volume, name, wanted.name, offset_bytes=offset, size_bytes=part_bytes
            )
            job.facts["copied_bytes"] = offset + part_bytes
            await job.keep_facts()
            percent = 100 * (offset + part_bytes) / wanted.size_bytes
            await job.progress(percent, f"{offset + part_bytes} of {wanted.size_bytes} bytes are copied")
        refuse_overflown(await self._snapshots.get(volume, name))

    async def _record(self, job: JobContext) -> None:
        wanted = self._wanted(job)
        await self._kept.put(wanted.name, wanted)

    async def _forget(self, job: JobContext) -> None:
        await self._kept.remove(self._wanted(job).name)

    async def _mount(self, job: JobContext) -> None:
        wanted = self._wanted(job)
        if wanted.has_file_system:
            await self._volumes.mount(wanted.name)
        await self._hooks.tell("volume_changed", change=VolumeChange(wanted.pool, wanted.name, "created"))
        job.result = await self._volumes.get(wanted.name)

    async def _unmount(self, job: JobContext) -> None:
        wanted = self._wanted(job)
        if wanted.has_file_system:
            await self._drivers.volume().unmount(str(self._volumes.directory(wanted)))
