"""Thin pools: the part of a pool that thin volumes share, what it may promise, and how full it is."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

from holdfast.errors import ConflictError, HoldfastError, InvalidError, NoSpaceError, NotFoundError, Reason
from holdfast.hooks.base import Can
from holdfast.hooks.pools import ThinPool
from holdfast.planning.thin_pools import look_after, refuse_promise
from holdfast.services.documents import PoolDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents

log = logging.getLogger(__name__)


class ThinPools:
    """Makes thin pools and makes them larger, and says what room there is for a volume."""

    def __init__(self, kept: Intents[PoolDocument], jobs: Jobs, drivers: Drivers) -> None:
        self._kept = kept
        self._jobs = jobs
        self._drivers = drivers
        make, record = Step("make", self._make, is_final=True), Step("record", self._record)
        jobs.define(JobDefinition("thin-pool.set", (make, record)))
        jobs.define(JobDefinition("thin-pool.delete", (Step("remove", self._remove, is_final=True),)))

    async def set(
        self,
        pool: str,
        *,
        size_bytes: int | None,
        metadata_bytes: int | None,
        most_promised_percent: int | None,
        grows_itself: bool | None,
        validate_only: bool,
    ) -> str | None:
        """Make a pool's thin pool, or make it larger; None leaves as it is. The job's id, or None after the checks."""

        async def check() -> None:
            driver = self._drivers.volume()
            if Can.VOLUME_THIN not in driver.can:
                raise driver.unsupported("thin volumes")
            await self._kept.get(pool)
            found = (await driver.get_pool(pool)).thin
            if found is None:
                _refuse_without_size(size_bytes, metadata_bytes)
                return
            _refuse_smaller(found, size_bytes, metadata_bytes)
            if most_promised_percent is not None:
                size = max(found.size_bytes, size_bytes or 0)
                _refuse_below_promise(found.promised_bytes, size, most_promised_percent)

        if validate_only:
            await check()
            return None
        parameters = {
            "pool": pool,
            "size_bytes": size_bytes,
            "metadata_bytes": metadata_bytes,
            "most_promised_percent": most_promised_percent,
            "grows_itself": grows_itself,
        }
        return await self._jobs.start("thin-pool.set", f"pool:{pool}", parameters, check=check)

    async def delete(self, pool: str, *, validate_only: bool) -> str | None:
        """Give a thin pool's room back. Refused while it has volumes."""

        async def check() -> None:
            found = (await self._drivers.volume().get_pool(pool)).thin
            if found is None:
                raise NotFoundError(f"the pool {pool} has no thin pool")

        if validate_only:
            await check()
            return None
        return await self._jobs.start("thin-pool.delete", f"pool:{pool}", {"pool": pool}, check=check)

    async def check_room(self, name: str, more_bytes: int, *, is_thin: bool = False) -> None:
        """Raise InvalidError for an unknown pool, NoSpaceError when it has not that much; both name the field."""
        driver = self._drivers.volume()
        try:
            pool = await driver.get_pool(name)
        except NotFoundError as reason:
            known = ", ".join(p.name for p in await driver.list_pools()) or "none"
            field = Reason("unknown-pool", reason.message, f"name one of the pools: {known}", "pool")
            raise InvalidError(reason.message, reasons=[field]) from reason
        if is_thin:
            if pool.thin is None:
                text = f"the pool {name} has no thin pool"
                raise InvalidError(text, reasons=[Reason("no-thin-pool", text, "make one in it first", "is_thin")])
            kept = await self._kept.find(name)
            most_percent = kept.document.most_promised_percent if kept is not None else 100
            if reasons := refuse_promise(pool.thin, more_bytes, most_percent):
                raise NoSpaceError("; ".join(reason.text for reason in reasons), reasons=reasons)
        elif more_bytes > pool.free_bytes:
            missing = more_bytes - pool.free_bytes
            text = f"the pool {pool.name} has {pool.free_bytes} bytes free, {missing} too few"
            remedy = "ask for less, or extend the pool"
            raise NoSpaceError(text, reasons=[Reason("no-space", text, remedy, "size_bytes")])

    async def check_snapshot(self, pool: str, volume: str) -> None:
        """Raise NoSpaceError when a thin pool must not promise what a snapshot of a volume holds from now on."""
        found = await self._drivers.volume().get_volume(pool, volume)
        await self.check_more(pool, found.size_bytes if found.used_bytes is None else found.used_bytes)

    async def check_more(self, pool: str, more_bytes: int) -> None:
        """Raise NoSpaceError when a thin pool must not promise so much more. It is of no field of a request."""
        thin, kept = (await self._drivers.volume().get_pool(pool)).thin, await self._kept.find(pool)
        if thin is None:
            raise NotFoundError(f"the pool {pool} has no thin pool")
        reasons = refuse_promise(thin, more_bytes, kept.document.most_promised_percent if kept is not None else 100)
        if reasons:
            told = [replace(reason, field=None) for reason in reasons]
            raise NoSpaceError("; ".join(reason.text for reason in told), reasons=told)

    async def look_after_all(self) -> None:
        """Make larger what fills up and may grow. Raises HoldfastError saying what a person must do."""
        told: list[str] = []
        for name in await self._kept.all():
            await self._jobs.locks.mend(f"pool:{name}", partial(self._look_after, name, told))
        if told:
            raise HoldfastError("; ".join(told))

    async def _look_after(self, name: str, told: list[str]) -> None:
        kept = await self._kept.find(name)
        if kept is None:
            return
        driver = self._drivers.volume()
        pool = await driver.get_pool(name)
        if pool.thin is None:
            return
        grows_itself = kept.document.grows_itself
        care = look_after(pool.thin, pool.free_bytes, pool.extent_bytes, grows_itself=grows_itself)
        told += [f"{name}: {text}" for text in care.told]
        if care.size_bytes is not None or care.metadata_bytes is not None:
            await driver.grow_thin_pool(name, size_bytes=care.size_bytes, metadata_bytes=care.metadata_bytes)
            log.warning("the thin pool of %s was filling up and was made larger by itself", name)

    # --- steps ---

    async def _make(self, job: JobContext) -> None:
        given, driver = job.parameters, self._drivers.volume()
        pool = await driver.get_pool(given["pool"])
        if pool.thin is None:
            pool = await driver.create_thin_pool(pool.name, given["size_bytes"])
        sizes = {"size_bytes": given["size_bytes"], "metadata_bytes": given["metadata_bytes"]}
        if any(size is not None for size in sizes.values()):
            pool = await driver.grow_thin_pool(pool.name, **sizes)
        if pool.thin is not None:
            await job.log(f"the thin pool has {pool.thin.size_bytes} bytes, and {pool.thin.metadata_bytes} of metadata")

    async def _record(self, job: JobContext) -> None:
        given = job.parameters
        document = await self._kept.get(given["pool"])
        changed = {key: given[key] for key in ("most_promised_percent", "grows_itself") if given[key] is not None}
        await self._kept.put(document.name, replace(document, **changed))
        job.result = await self._drivers.volume().get_pool(document.name)

    async def _remove(self, job: JobContext) -> None:
        await self._drivers.volume().delete_thin_pool(job.parameters["pool"])


def _refuse_without_size(size_bytes: int | None, metadata_bytes: int | None) -> None:
    if size_bytes is None:
        text = "there is no thin pool yet, and a new one needs a size"
        raise InvalidError(text, reasons=[Reason("no-size", text, "say how large it is to be", "size_bytes")])
    if metadata_bytes is not None:
        text = "a new thin pool gets as much metadata as its size needs"
        raise InvalidError(text, reasons=[Reason("too-early", text, "give it more afterwards", "metadata_bytes")])


def _refuse_smaller(found: ThinPool, size_bytes: int | None, metadata_bytes: int | None) -> None:
    asked = (("size_bytes", size_bytes, found.size_bytes), ("metadata_bytes", metadata_bytes, found.metadata_bytes))
    for field, wanted, has in asked:
        if wanted is not None and wanted < has:
            text = f"the thin pool has {has} bytes of that, and is never made smaller"
            raise ConflictError(text, reasons=[Reason("smaller", text, "ask for more", field)])


def _refuse_below_promise(promised_bytes: int, size_bytes: int, most_percent: int) -> None:
    if promised_bytes > size_bytes * most_percent // 100:
        text = f"{promised_bytes} bytes are promised already, more than {most_percent} % of {size_bytes}"
        remedy = "make the thin pool larger, or leave more"
        raise ConflictError(text, reasons=[Reason("promised", text, remedy, "most_promised_percent")])
