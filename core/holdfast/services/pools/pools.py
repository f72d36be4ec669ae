"""Pools: what volumes are cut from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from holdfast.errors import ConflictError
from holdfast.hooks.volume import Disk, Pool
from holdfast.services.dependents import Dependents, refuse_if_used
from holdfast.services.documents import PoolDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents


class Pools:
    """Makes, shows and removes pools of this node."""

    def __init__(self, kept: Intents[PoolDocument], jobs: Jobs, drivers: Drivers, dependents: Dependents) -> None:
        self._kept = kept
        self._jobs = jobs
        self._drivers = drivers
        self._dependents = dependents
        jobs.define(JobDefinition("pool.create", (Step("make", self._make), Step("record", self._record))))
        jobs.define(
            JobDefinition("pool.delete", (Step("remove", self._remove, is_final=True), Step("forget", self._forget)))
        )

    async def disks(self) -> tuple[Disk, ...]:
        """The disks that a pool could use."""
        return await self._drivers.volume().list_disks()

    async def list(self) -> tuple[Pool, ...]:
        """All pools as they are, by name."""
        return await self._drivers.volume().list_pools()

    async def get(self, name: str) -> Pool:
        """One pool as it is. Raises NotFoundError."""
        return await self._drivers.volume().get_pool(name)

    async def create(
        self, name: str, disks: tuple[str, ...], overwrite: Mapping[str, tuple[str, ...]], *, validate_only: bool
    ) -> str | None:
        """Make a pool; the job's id, or None where only the checks were wanted."""

        async def check() -> None:
            kept = await self._kept.find(name)
            if kept is not None and kept.document.disks != disks:
                raise ConflictError(f"there is a pool {name} on {', '.join(kept.document.disks)}")

        if validate_only:
            await check()
            return None
        parameters = {"name": name, "disks": disks, "overwrite": overwrite}
        return await self._jobs.start("pool.create", f"pool:{name}", parameters, check=check)

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Give a pool's disks back. Refused while it has volumes."""

        async def check() -> None:
            await self._drivers.volume().get_pool(name)
            refuse_if_used(f"the pool {name}", await self._dependents.of_pool(name))

        if validate_only:
            await check()
            return None
        return await self._jobs.start("pool.delete", f"pool:{name}", {"name": name}, check=check)

    async def activate(self) -> None:
        """Make every pool's volumes available, as after a boot."""
        for name in await self._kept.all():
            await self._jobs.locks.mend(f"pool:{name}", partial(self._activate, name))

    async def _activate(self, name: str) -> None:
        if await self._kept.find(name) is not None:
            await self._drivers.volume().activate_pool(name)

    # --- steps ---

    async def _make(self, job: JobContext) -> None:
        overwrite = {disk: tuple(found) for disk, found in job.parameters["overwrite"].items()}
        pool = await self._drivers.volume().create_pool(
            job.parameters["name"], tuple(job.parameters["disks"]), overwrite=overwrite
        )
        await job.log(f"the pool {pool.name} has {pool.size_bytes} bytes on {', '.join(pool.disks)}")

    async def _record(self, job: JobContext) -> None:
        name = job.parameters["name"]
        await self._kept.put(name, PoolDocument(name, tuple(job.parameters["disks"])))
        job.result = await self.get(name)

    async def _remove(self, job: JobContext) -> None:
        await self._drivers.volume().delete_pool(job.parameters["name"])

    async def _forget(self, job: JobContext) -> None:
        await self._kept.remove(job.parameters["name"])
