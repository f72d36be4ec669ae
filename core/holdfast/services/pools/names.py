"""Pools that are called otherwise, and pools that come from elsewhere with what lies in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from holdfast.errors import BusyError, ConflictError, HoldfastError, NotFoundError, Reason
from holdfast.hooks.base import Can
from holdfast.hooks.pools import FoundPool
from holdfast.hooks.volume import UNIT_FILE, FileSystem, Volume, VolumeKind
from holdfast.services.dependents import Dependents
from holdfast.services.documents import PoolDocument, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.volumes.volumes import Volumes
from holdfast.store.intent import Intents


class PoolNames:
    """Defines the jobs `pool.rename` and `pool.import`."""

    def __init__(
        self,
        kept: Intents[PoolDocument],
        volume_documents: Intents[VolumeDocument],
        volumes: Volumes,
        jobs: Jobs,
        drivers: Drivers,
        dependents: Dependents,
    ) -> None:
        self._kept = kept
        self._volume_documents = volume_documents
        self._volumes = volumes
        self._jobs = jobs
        self._drivers = drivers
        self._dependents = dependents
        rename = Step("rename", self._rename, self._rename_back)
        jobs.define(JobDefinition("pool.rename", (rename, Step("record", self._record_name, is_final=True))))
        take = Step("import", self._import, is_final=True)
        adopt, mount = Step("record", self._adopt), Step("mount", self._mount)
        jobs.define(JobDefinition("pool.import", (take, adopt, mount)))

    async def found(self) -> tuple[FoundPool, ...]:
        """What is on this node's disks and is none of its pools."""
        known = set(await self._kept.all())
        found = await self._drivers.volume().list_found_pools()
        return tuple(pool for pool in found if not (pool.is_ours and pool.name in known))

    async def rename(self, name: str, new_name: str, *, validate_only: bool) -> str | None:
        """Call a pool otherwise. Refused while mirrors or targets have the paths of its devices."""
        used = await self._used(name)

        async def check() -> None:
            driver = self._drivers.volume()
            if Can.POOL_RENAME not in driver.can:
                raise driver.unsupported("renaming pools")
            await self._kept.get(name)
            if any(pool.name == new_name for pool in await driver.list_found_pools()):
                text = f"there is a pool or a volume group {new_name} already"
                raise ConflictError(text, reasons=[Reason("exists", text, "choose another name", "new_name")])
            await self._refuse_paths_in_use(name)

        if validate_only:
            await check()
            return None
        locks = [f"pool:{new_name}", *used]
        parameters = {"name": name, "new_name": new_name}
        return await self._jobs.start("pool.rename", f"pool:{name}", parameters, locks=locks, check=check)

    async def _used(self, name: str) -> list[str]:
        """The locks of all that works in a pool: the volumes, and what is on them."""
        found = []
        for volume in await self._dependents.of_pool(name):
            found.append(f"volume:{volume.name}")
            found += [f"{d.noun}:{d.name}" for d in await self._dependents.of_volume(volume.name)]
        return found

    async def _refuse_paths_in_use(self, name: str) -> None:
        reasons = []
        for volume in await self._dependents.of_pool(name):
            for user in await self._dependents.of_volume(volume.name):
                if user.noun in ("mirror", "target"):
                    text = f"the {user.noun} {user.name} has the path of the volume {volume.name}"
                    reasons.append(Reason("in-use", text, f"delete the {user.noun} {user.name} first", "name"))
        if reasons:
            raise BusyError("; ".join(reason.text for reason in reasons), reasons=reasons)

    async def take(self, found: str, name: str, *, validate_only: bool) -> str | None:
        """Make a pool of what was found, with the volumes in it that this product made."""

        async def check() -> None:
            driver = self._drivers.volume()
            if Can.POOL_IMPORT not in driver.can:
                raise driver.unsupported("importing pools")
            pool = next((pool for pool in await self.found() if pool.id == found), None)
            if pool is None:
                text = f"nothing with the id {found} was found that could become a pool"
                raise NotFoundError(text, reasons=[Reason("no-such-pool", text, "look at what is found", "id")])
            if pool.missing_disks:
                text = f"{pool.missing_disks} disks of {pool.name} are missing"
                raise BusyError(text, reasons=[Reason("disks-missing", text, "plug all its disks in", "id")])
            if await self._kept.find(name) is not None:
                text = f"there is a pool {name}"
                raise ConflictError(text, reasons=[Reason("exists", text, "choose another name", "name")])
            await self._refuse_names(pool.contents)

        if validate_only:
            await check()
            return None
        parameters = {"id": found, "name": name}
        return await self._jobs.start("pool.import", f"pool:{name}", parameters, check=check)

    async def _refuse_names(self, contents: Sequence[str]) -> None:
        taken = sorted(set(contents) & set(await self._volume_documents.all()))
        if taken:
            text = f"there are volumes of the same names here: {', '.join(taken)}"
            remedy = "names of volumes are unique on a node: delete those here, or import it elsewhere"
            raise ConflictError(text, reasons=[Reason("volume-exists", text, remedy, "id")])

    # --- steps ---

    async def _rename(self, job: JobContext) -> None:
        await self._drivers.volume().rename_pool(job.parameters["name"], job.parameters["new_name"])

    async def _rename_back(self, job: JobContext) -> None:
        await self._drivers.volume().rename_pool(job.parameters["new_name"], job.parameters["name"])

    async def _record_name(self, job: JobContext) -> None:
        name, new_name = job.parameters["name"], job.parameters["new_name"]
        for volume in (await self._volume_documents.all()).values():
            if volume.pool == name:
                # It stays mounted where it is: whoever works there need not know.
                moved = replace(volume, pool=new_name, directory_pool=volume.directory_pool or name)
                await self._volume_documents.put(volume.name, moved)
        kept = await self._kept.find(name)
        if kept is not None:
            await self._kept.put(new_name, replace(kept.document, name=new_name))
            await self._kept.remove(name)
        job.result = await self._drivers.volume().get_pool(new_name)

    async def _import(self, job: JobContext) -> None:
        pool = await self._drivers.volume().import_pool(job.parameters["id"], job.parameters["name"])
        await job.log(f"the pool {pool.name} has {pool.size_bytes} bytes on {', '.join(pool.disks)}")

    async def _adopt(self, job: JobContext) -> None:
        driver, name = self._drivers.volume(), job.parameters["name"]
        for volume in await driver.list_volumes(name):
            if await self._volume_documents.find(volume.name) is None:
                await self._volume_documents.put(volume.name, _adopted(volume))
                await job.log(f"it has the volume {volume.name}, {volume.kind}, of {volume.size_bytes} bytes")
        pool = await driver.get_pool(name)
        await self._kept.put(name, PoolDocument(name, pool.disks))
        job.result = pool

    async def _mount(self, job: JobContext) -> None:
        """A file system that cannot be mounted keeps nothing else from being imported: it is shown as drift."""
        for volume in (await self._volume_documents.all()).values():
            if volume.pool != job.parameters["name"] or not volume.has_file_system:
                continue
            try:
                await self._volumes.mount(volume.name)
                directory = await self._volumes.mounted_directory(volume.name)
            except HoldfastError as reason:
                await job.log(f"the volume {volume.name} is not mounted: {reason.message}")
                continue
            if volume.kind is not VolumeKind.NAS:
                await self._volumes.note_size(volume.name, _unit_bytes(directory))
        job.result = await self._drivers.volume().get_pool(job.parameters["name"])


def _adopted(volume: Volume) -> VolumeDocument:
    # Nobody knows who had access to it before: it is never taken for blank.
    return VolumeDocument(
        volume.name,
        volume.pool,
        volume.size_bytes,
        volume.kind,
        io_type=volume.io_type,
        is_thin=volume.is_thin,
        file_system=volume.file_system or FileSystem.XFS,
    )


def _unit_bytes(directory: Path) -> int | None:
    file = directory / UNIT_FILE
    return file.stat().st_size if file.is_file() else None
