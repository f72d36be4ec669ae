"""Volumes: block devices for targets, file systems for shares."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from holdfast.errors import ConflictError, NotFoundError, Reason, UnavailableError
from holdfast.hooks.volume import FileSystem, IoType, Volume, VolumeChange, VolumeKind, VolumeSpec
from holdfast.loading.discovery import PluginHooks
from holdfast.planning.write_once import Act
from holdfast.services.dependents import Dependents, refuse_if_used
from holdfast.services.documents import VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.pools.thin import ThinPools
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.volumes.file_io import directory_of, refuse_io_type
from holdfast.services.volumes.views import (
    VolumeView,
    has_files,
    is_mounted_by_itself,
    told_otherwise,
    told_shut_down,
    view_of,
)
from holdfast.services.worm.guard import WormGuard, refuse_kinds_without_files
from holdfast.services.worm.keeper import WormKeeper
from holdfast.store.intent import Intents


class Volumes:
    """Makes, shows and destroys volumes of this node. Their names are unique on the node."""

    def __init__(
        self,
        kept: Intents[VolumeDocument],
        jobs: Jobs,
        drivers: Drivers,
        dependents: Dependents,
        thin_pools: ThinPools,
        hooks: PluginHooks,
        mount_dir: Path,
        guard: WormGuard,
        worm: WormKeeper,
    ) -> None:
        self._kept = kept
        self._jobs = jobs
        self._drivers = drivers
        self._dependents = dependents
        self._thin_pools = thin_pools
        self._hooks = hooks
        self._mount_dir = mount_dir
        self._guard = guard
        self._worm = worm
        make, mount = Step("make", self._make, self._unmake), Step("mount", self._mount, self._unmount)
        # Its undo is that of `make`: the file goes with its file system.
        allocate, record = Step("allocate", self._allocate), Step("record", self._record, self._forget)
        jobs.define(JobDefinition("volume.create", (make, mount, allocate, record)))
        unmount, destroy = Step("unmount", self._unmount, self._mount), Step("destroy", self._destroy, is_final=True)
        jobs.define(JobDefinition("volume.delete", (unmount, destroy, Step("forget", self._forget))))

    def directory(self, document: VolumeDocument) -> Path:
        """Where a volume with a file system is mounted."""
        return directory_of(self._mount_dir, document)

    async def document(self, name: str) -> VolumeDocument:
        """What was asked for. Raises NotFoundError."""
        return await self._kept.get(name)

    async def list(self) -> tuple[VolumeView, ...]:
        """All volumes that were asked for, by name, beside what is."""
        actual = {(v.pool, v.name): v for v in await self._drivers.volume().list_volumes()}
        return tuple([await self._view(d, actual.get((d.pool, d.name))) for d in (await self._kept.all()).values()])

    async def get(self, name: str) -> VolumeView:
        """One volume. Raises NotFoundError."""
        document = await self._kept.get(name)
        try:
            actual = await self._drivers.volume().get_volume(document.pool, name)
        except NotFoundError:
            actual = None
        return await self._view(document, actual)

    async def _view(self, document: VolumeDocument, actual: Volume | None) -> VolumeView:
        drift = told_otherwise(document, actual)
        used_by = tuple(f"{d.noun}:{d.name}" for d in await self._dependents.of_volume(document.name))
        mounted_at = None
        if document.has_file_system and actual is not None:
            if await self._is_mounted(document, actual):
                mounted_at = str(self.directory(document))
                drift += await self._shut_down(document)
            elif has_files(document):
                drift.append(f"it is not mounted at {self.directory(document)}")
        return view_of(document, actual, mounted_at, used_by, drift)

    async def _shut_down(self, document: VolumeDocument) -> tuple[str, ...]:
        directory = self.directory(document)
        is_shut_down = await self._drivers.volume().is_shut_down(str(directory))
        return (told_shut_down(document, directory),) if is_shut_down else ()

    async def _is_mounted(self, document: VolumeDocument, actual: Volume) -> bool:
        device = document.mirrored_as or actual.device
        return await self._drivers.volume().is_mounted(device, str(self.directory(document)))

    async def directory_of(self, name: str) -> Path:
        """Where a NAS volume is mounted, or would be."""
        return self.directory(await self._kept.get(name))

    async def set_mirrored(self, name: str, device: str | None) -> None:
        """Note the mirrored device above a volume, or that there is none any more."""
        await self._kept.put(name, replace(await self._kept.get(name), mirrored_as=device))

    async def note_size(self, name: str, file_bytes: int | None) -> None:
        """Record the size that a volume has now, and its file: it was asked for by whoever made it larger."""
        document = await self._kept.get(name)
        found = await self._drivers.volume().get_volume(document.pool, name)
        await self._kept.put(name, replace(document, size_bytes=found.size_bytes, file_bytes=file_bytes))

    async def mount(self, name: str) -> None:
        """Mount a volume's file system, by its mirrored device if it has one."""
        document = await self._kept.get(name)
        device = document.mirrored_as
        if device is None:
            device = (await self._drivers.volume().get_volume(document.pool, name)).device
        await self._drivers.volume().mount(device, str(self.directory(document)))

    async def mounted_directory(self, name: str) -> Path:
        """Where the file system of a volume lies now.

        Raises UnavailableError when it is not mounted: what is written there would fill the system's own disk.
        """
        document = await self._kept.get(name)
        directory = self.directory(document)
        actual = await self._drivers.volume().get_volume(document.pool, name)
        if not await self._is_mounted(document, actual):
            raise UnavailableError(f"the volume {name} is not mounted at {directory}")
        return directory

    async def refuse_unmounted(self, name: str) -> None:
        """Raise UnavailableError for a volume with file I/O whose file is not there because nothing is mounted."""
        if (await self._kept.get(name)).io_type is IoType.FILE:
            await self.mounted_directory(name)

    async def create(
        self, spec: VolumeSpec, label: str, *, worm_retention_s: int | None = None, validate_only: bool
    ) -> str | None:
        """Make a volume; the job's id, or None where only the checks were wanted."""

        async def check() -> None:
            kept = await self._kept.find(spec.name)
            if kept is not None:
                raise ConflictError(f"there is a volume {spec.name} in the pool {kept.document.pool}")
            refuse_io_type(spec, self._drivers.volume())
            refuse_kinds_without_files(spec, worm_retention_s)
            await self._thin_pools.check_room(spec.pool, spec.size_bytes, is_thin=spec.is_thin)
            await self._refuse_unknown(spec)

        if validate_only:
            await check()
            return None
        parameters = {**vars(spec), "label": label, "worm_retention_s": worm_retention_s}
        return await self._jobs.start("volume.create", f"volume:{spec.name}", parameters, check=check)

    async def _refuse_unknown(self, spec: VolumeSpec) -> None:
        """A volume that is there but not on record may hold data: an undo of ours must never reach it."""
        try:
            found = await self._drivers.volume().get_volume(spec.pool, spec.name)
        except NotFoundError:
            return
        text = f"{found.device} is there already, made outside of this configuration"
        raise ConflictError(text, reasons=[Reason("exists", text, "choose another name", "name")])

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Destroy a volume. Refused, naming them all, while something uses it."""

        async def check() -> None:
            document = await self._kept.get(name)
            refuse_if_used(f"the volume {name}", await self._dependents.of_volume(name))
            await self.refuse_snapshots(document)
            await self._guard.refuse(document, Act.DELETE)

        if validate_only:
            await check()
            return None
        document = await self._kept.get(name)
        parameters = {
            "name": name,
            "pool": document.pool,
            "kind": document.kind,
            "io_type": document.io_type,
            "directory_pool": document.directory_pool,
        }
        return await self._jobs.start("volume.delete", f"volume:{name}", parameters, check=check)

    async def refuse_snapshots(self, document: VolumeDocument) -> None:
        """Raise ConflictError, naming them, for a volume with snapshots: they would go or be worthless with it."""
        found = await self._drivers.volume().list_snapshots(document.pool)
        if names := [snapshot.name for snapshot in found if snapshot.volume == document.name]:
            text = f"the volume {document.name} has the snapshots {', '.join(names)}"
            raise ConflictError(text, reasons=[Reason("has-snapshots", text, "delete the snapshots first")])

    async def mount_all(self) -> tuple[str, ...]:
        """Mount every file system, as after a boot; return in sentences what could not be, or is of no use."""
        failed = []
        for name, document in (await self._kept.all()).items():
            try:
                await self._jobs.locks.mend(f"volume:{name}", partial(self._mount_by_itself, name))
                failed += [f"the volume {name}: {text}" for text in await self._shut_down(document)]
            except Exception as reason:  # one broken volume must not keep the others from being served
                failed.append(f"the volume {name} could not be mounted: {reason}")
        return tuple(failed)

    async def _mount_by_itself(self, name: str) -> None:
        """Mount a volume, if it is still there. A mirrored one is the mirror's to mount, a torn copy nobody's."""
        kept = await self._kept.find(name)
        if kept is not None and kept.document.has_file_system and is_mounted_by_itself(kept.document):
            await self.mount(name)

    async def mark_used(self, name: str) -> None:
        """Note that others than us have access to a volume from now on: it may hold data."""
        document = await self._kept.get(name)
        if document.is_blank:
            await self._kept.put(name, replace(document, is_blank=False))

    # --- steps ---

    def _document(self, job: JobContext) -> VolumeDocument:
        given = job.parameters
        kind, io_type = VolumeKind(given["kind"]), IoType(given.get("io_type", IoType.BLOCK))
        return VolumeDocument(
            given["name"],
            given["pool"],
            job.facts.get("size_bytes", 0),
            kind,
            given.get("label", ""),
            is_blank=kind is not VolumeKind.NAS and io_type is IoType.BLOCK,
            io_type=io_type,
            file_bytes=job.facts.get("file_bytes"),
            directory_pool=given.get("directory_pool"),
            is_thin=given.get("is_thin", False),
            file_system=FileSystem(given.get("file_system", FileSystem.XFS)),
            worm_retention_s=given.get("worm_retention_s"),
        )

    async def _make(self, job: JobContext) -> None:
        given = job.parameters
        wanted = self._document(job)
        what = wanted.kind, wanted.io_type, wanted.is_thin, wanted.file_system
        spec = VolumeSpec(wanted.pool, wanted.name, given["size_bytes"], *what)
        volume = await self._drivers.volume().create_volume(spec)
        job.facts["size_bytes"] = volume.size_bytes
        job.facts["device"] = volume.device
        if volume.size_bytes != given["size_bytes"]:
            await job.log(
                f"{given['size_bytes']} bytes were rounded up to {volume.size_bytes}, whole extents of the pool"
            )

    async def _unmake(self, job: JobContext) -> None:
        # There was no such volume when the job began, and the job holds its lock: what is there is its own.
        await self._drivers.volume().delete_volume(job.parameters["pool"], job.parameters["name"])

    async def _mount(self, job: JobContext) -> None:
        document = self._document(job)
        if document.has_file_system:
            volume = await self._drivers.volume().get_volume(document.pool, document.name)
            await self._drivers.volume().mount(volume.device, str(self.directory(document)))
        if document.worm_retention_s is not None:
            await self._worm.begin(document)

    async def _unmount(self, job: JobContext) -> None:
        document = self._document(job)
        if document.has_file_system:
            await self._worm.release(document.name)
            await self._drivers.volume().unmount(str(self.directory(document)))

    async def _allocate(self, job: JobContext) -> None:
        document, driver = self._document(job), self._drivers.volume()
        if document.io_type is IoType.FILE:
            size_bytes = driver.unit_file_bytes(document.size_bytes)
            await driver.make_unit_file(str(self.directory(document)), size_bytes)
            job.facts["file_bytes"] = size_bytes

    async def _record(self, job: JobContext) -> None:
        document = self._document(job)
        await self._kept.put(document.name, document)
        await self._hooks.tell("volume_changed", change=VolumeChange(document.pool, document.name, "created"))
        job.result = await self.get(document.name)

    async def _destroy(self, job: JobContext) -> None:
        await self._drivers.volume().delete_volume(job.parameters["pool"], job.parameters["name"])

    async def _forget(self, job: JobContext) -> None:
        name = job.parameters["name"]
        await self._kept.remove(name)
        await self._hooks.tell("volume_changed", change=VolumeChange(job.parameters["pool"], name, "deleted"))
