"""Disks that come to a pool and leave it.

A job knows a disk by its id: after a reboot another one may have its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from holdfast.errors import BusyError, InvalidError, NoSpaceError, NotFoundError, Reason, UnavailableError
from holdfast.hooks.base import Can
from holdfast.hooks.pools import Pool, PoolDisk
from holdfast.services.documents import PoolDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents


class PoolDisks:
    """Defines the jobs `pool.extend`, `pool.remove-disk` and `pool.forget-missing`."""

    def __init__(self, kept: Intents[PoolDocument], jobs: Jobs, drivers: Drivers) -> None:
        self._kept = kept
        self._jobs = jobs
        self._drivers = drivers
        record = Step("record", self._record)
        extend = Step("extend", self._extend, is_final=True)
        jobs.define(JobDefinition("pool.extend", (extend, record)))
        # What was moved stays moved: to take it back would be the same work once more, for nothing.
        move, take_out = Step("move", self._move, self._stop), Step("take out", self._take_out, is_final=True)
        jobs.define(JobDefinition("pool.remove-disk", (move, take_out, record), deadline_s=None))
        forget = Step("forget", self._forget, is_final=True)
        jobs.define(JobDefinition("pool.forget-missing", (forget, record)))

    async def extend(
        self, name: str, disks: tuple[str, ...], overwrite: Mapping[str, tuple[str, ...]], *, validate_only: bool
    ) -> str | None:
        """Add disks to a pool; the job's id, or None where only the checks were wanted."""

        async def check() -> None:
            pool = await self._pool(name)
            known = {disk.path for disk in await self._drivers.volume().list_disks()}
            for path in disks:
                if path in pool.disks:
                    text = f"{path} is in the pool {name} already"
                    raise BusyError(text, reasons=[Reason("disk-in-use", text, "leave it out", "disks")])
                if path not in known:
                    text = f"{path} is no disk of this node"
                    raise NotFoundError(text, reasons=[Reason("no-such-disk", text, "look at the disks", "disks")])

        if validate_only:
            await check()
            return None
        parameters = {"name": name, "disks": disks, "overwrite": overwrite}
        return await self._jobs.start("pool.extend", f"pool:{name}", parameters, check=check)

    async def remove(self, name: str, path: str, *, validate_only: bool) -> str | None:
        """Move all off a disk and give it back, blank. Refused where the pool's other disks have no room."""
        disk = await self._disk(name, path)

        async def check() -> None:
            pool, found = await self._pool(name), await self._disk(name, path)
            if len(pool.disks) == 1:
                text = f"{path} is the last disk of the pool {name}"
                raise BusyError(text, reasons=[Reason("last-disk", text, "delete the pool instead", "disk")])
            others = (d for d in pool.members if not d.is_missing and not d.is_leaving and d.id != found.id)
            missing = found.used_bytes - sum(d.free_bytes for d in others)
            if missing > 0:
                text = f"{found.used_bytes} bytes lie on {path}, and the pool's other disks have {missing} too few"
                raise NoSpaceError(text, reasons=[Reason("no-space", text, "extend the pool first", "disk")])

        if validate_only:
            await check()
            return None
        parameters = {"name": name, "disk": path, "id": disk.id}
        return await self._jobs.start("pool.remove-disk", f"pool:{name}", parameters, check=check)

    async def forget_missing(self, name: str, *, validate_only: bool) -> str | None:
        """Let a pool go on without its missing disks. Refused while anything lies on them."""

        async def check() -> None:
            pool = await self._pool(name)
            if not any(disk.is_missing for disk in pool.members):
                raise InvalidError(f"no disk of the pool {name} is missing")
            if lost := sum(disk.used_bytes for disk in pool.members if disk.is_missing):
                text = f"{lost} bytes of the pool {name} lie on its missing disks"
                remedy = "bring the disks back; or delete the volumes that lie there, which are lost with them"
                raise BusyError(text, reasons=[Reason("disk-not-empty", text, remedy)])

        if validate_only:
            await check()
            return None
        return await self._jobs.start("pool.forget-missing", f"pool:{name}", {"name": name}, check=check)

    async def _pool(self, name: str) -> Pool:
        driver = self._drivers.volume()
        if Can.POOL_DISKS not in driver.can:
            raise driver.unsupported("changing the disks of pools")
        await self._kept.get(name)
        return await driver.get_pool(name)

    async def _disk(self, name: str, path: str) -> PoolDisk:
        for disk in (await self._pool(name)).members:
            if disk.path == path:
                return disk
        text = f"{path} is no disk of the pool {name}"
        raise NotFoundError(text, reasons=[Reason("no-such-disk", text, "look at the pool's members", "disk")])

    # --- steps ---

    async def _extend(self, job: JobContext) -> None:
        overwrite = {disk: tuple(found) for disk, found in job.parameters["overwrite"].items()}
        disks = tuple(job.parameters["disks"])
        pool = await self._drivers.volume().extend_pool(job.parameters["name"], disks, overwrite=overwrite)
        await job.log(f"the pool {pool.name} has {pool.size_bytes} bytes on {', '.join(pool.disks)}")

    async def _where(self, job: JobContext) -> str | None:
        """Where the disk of the job is now; None: it is in the pool no more, or it is missing."""
        pool = await self._drivers.volume().get_pool(job.parameters["name"])
        return next((disk.path for disk in pool.members if disk.id == job.parameters["id"]), None)

    async def _move(self, job: JobContext) -> None:
        name, path = job.parameters["name"], await self._where(job)
        if path is None:
            text = f"the disk that was {job.parameters['disk']} is not in the pool {name} any more, or is missing"
            raise NotFoundError(text, reasons=[Reason("no-such-disk", text, "look at the pool's members")])

        async def told(percent: float) -> None:
            await job.progress(percent, f"moving what lies on {path}")

        await self._activate(job)
        await self._drivers.volume().move_off(name, path, told)
        await job.log(f"nothing lies on {path} any more")

    async def _activate(self, job: JobContext) -> None:
        """After a boot nobody else does: the pool is this job's, which may take hours."""
        try:
            await self._drivers.volume().activate_pool(job.parameters["name"])
        except UnavailableError as reason:
            await job.log(reason.message)

    async def _stop(self, job: JobContext) -> None:
        if path := await self._where(job):
            await self._drivers.volume().stop_moving_off(job.parameters["name"], path)

    async def _take_out(self, job: JobContext) -> None:
        driver, name, path = self._drivers.volume(), job.parameters["name"], await self._where(job)
        if path is None:
            # Taken out before an interruption. What stands at its path now may be another disk of the pool.
            path = job.parameters["disk"]
            if path in (await driver.get_pool(name)).disks:
                return
        await driver.remove_disk(name, path)

    async def _forget(self, job: JobContext) -> None:
        await self._drivers.volume().forget_missing(job.parameters["name"])

    async def _record(self, job: JobContext) -> None:
        name = job.parameters["name"]
        pool = await self._drivers.volume().get_pool(name)
        await self._kept.put(name, replace(await self._kept.get(name), disks=pool.disks))
        job.result = pool
