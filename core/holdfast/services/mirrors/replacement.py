"""A volume that lost its disk is given one in another pool while the partner serves: made, attached, resynced.

The job runs on the node whose disk it was. What is left of the volume in its old pool is touched only when asked.
"""

from __future__ import annotations

from dataclasses import replace

from holdfast.errors import (
    ConflictError,
    HoldfastError,
    InvalidError,
    NoSpaceError,
    NotFoundError,
    Reason,
    RefusedError,
)
from holdfast.hooks.base import Can
from holdfast.hooks.replication import ConnectionState, DiskState, MirrorSpec, MirrorStatus, ReplicationState
from holdfast.hooks.volume import VolumeSpec
from holdfast.planning.mirror_alerts import LOST
from holdfast.services.documents import MirrorDocument, MirrorMember, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.growth import member_of
from holdfast.services.mirrors.mirrors import Mirrors
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.waits import MirrorWaits
from holdfast.services.partner import SLOW_S, PartnerLink
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

_RESYNCS = (ReplicationState.SYNC_TARGET, ReplicationState.PAUSED)


class MirrorReplacement:
    """Defines the job `mirror.replace-disk`."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        volumes: Intents[VolumeDocument],
        mirrors: Mirrors,
        sides: MirrorSides,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._volumes = volumes
        self._mirrors = mirrors
        self._sides = sides
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._node = node
        self._waits = MirrorWaits(drivers, clock)
        steps = (
            Step("choose", self._choose),
            Step("make the volume", self._make, self._unmake),
            Step("attach it", self._attach, self._detach),
            Step("record on the partner", self._record_there, self._unrecord_there),
            Step("record on this node", self._record_here, self._unrecord_here),
            Step("begin the resync", self._await_resync),
            Step("remove the old volume", self._remove_old, is_final=True),
        )
        jobs.define(JobDefinition("mirror.replace-disk", steps))

    async def replace(
        self, name: str, volume: str, pool: str, *, remove_old: bool = False, validate_only: bool
    ) -> str | None:
        """Give a volume of this node that lost its disk a new one in `pool`.

        Refused while its disk is there, or while the partner does not have all of its data and is connected.
        """

        async def check() -> None:
            document = await self._kept.get(name)
            driver = self._drivers.mirror()
            if Can.MIRROR_DETACH not in driver.can:
                raise driver.unsupported("taking out a disk")
            member = member_of(document, volume)
            await self._refuse_unless_lost(document, member)
            await self._refuse_bad_pool(member, pool)

        if validate_only:
            await check()
            return None
        local = member_of(await self._kept.get(name), volume).on(self._node)
        parameters = {"name": name, "volume": volume, "local": local, "pool": pool, "remove_old": remove_old}
        locks = [f"volume:{local}"]
        return await self._jobs.start("mirror.replace-disk", f"mirror:{name}", parameters, locks=locks, check=check)

    async def _refuse_unless_lost(self, document: MirrorDocument, member: MirrorMember) -> None:
        status = await self._sides.status(document.name)
        found = next((one for one in status.volumes if one.number == member.number), None)
        if found is None:
            text = f"the mirror {document.name} is not up on {self._node}"
            raise RefusedError(text, reasons=[Reason("not-up", text, "start it: POST /v1/mirrors/NAME/start")])
        if found.disk not in LOST:
            text = f"the volume {member.volume} has its disk on {self._node}: it is {found.disk.value}"
            remedy = f"if {document.other(self._node)} lost its disk, ask there"
            raise RefusedError(text, reasons=[Reason("disk-there", text, remedy, "volume")])
        if status.connection is not ConnectionState.CONNECTED or found.peer_disk is not DiskState.UP_TO_DATE:
            text = f"{document.other(self._node)} is not connected with all data of the volume {member.volume}"
            raise RefusedError(text, reasons=[Reason("no-source", text, "bring the partner back first")])

    async def _refuse_bad_pool(self, member: MirrorMember, pool: str) -> None:
        if pool == member.pools[self._node]:
            text = f"the pool {pool} is the one that the volume {member.volume} lies in"
            remedy = "name a pool on other disks; if its own disk works again, start the mirror, which attaches it"
            raise ConflictError(text, reasons=[Reason("same-pool", text, remedy, "pool")])
        try:
            free_bytes = (await self._drivers.volume().get_pool(pool)).free_bytes
        except NotFoundError as reason:
            field = Reason("unknown-pool", reason.message, "make a pool on the new disk, and name it", "pool")
            raise InvalidError(reason.message, reasons=[field]) from reason
        needed_bytes = member.size_bytes + member.metadata_bytes
        if free_bytes < needed_bytes:
            text = f"the pool {pool} has {free_bytes} bytes free, and {needed_bytes} are needed"
            raise NoSpaceError(text, reasons=[Reason("no-space", text, "name a larger pool, or extend it", "pool")])
        await self._refuse_taken_name(pool, member.on(self._node))

    async def _refuse_taken_name(self, pool: str, volume: str) -> None:
        try:
            found = await self._drivers.volume().get_volume(pool, volume)
        except NotFoundError:
            return
        text = f"the pool {pool} has a volume {volume} already: {found.device}"
        raise ConflictError(text, reasons=[Reason("name-taken", text, "name another pool", "pool")])

    # --- steps ---

    async def _choose(self, job: JobContext) -> None:
        # Once it is noted, a volume of that name in that pool is this job's own, and an undo may remove it.
        document = await self._kept.get(job.parameters["name"])
        await self._refuse_taken_name(job.parameters["pool"], job.parameters["local"])
        job.facts["old_mirror"] = to_plain(document)
        job.facts["old_volume"] = to_plain(await self._volumes.get(job.parameters["local"]))

    async def _make(self, job: JobContext) -> None:
        pool, local = job.parameters["pool"], job.parameters["local"]
        document = await self._kept.get(job.parameters["name"])
        member = member_of(document, job.parameters["volume"])
        driver = self._drivers.volume()
        made = await driver.create_volume(VolumeSpec(pool, local, member.size_bytes, member.kind))
        if made.size_bytes < member.size_bytes:
            raise ConflictError(f"{made.device} has {made.size_bytes} bytes, and the mirror {member.size_bytes}")
        size_bytes = member.metadata_bytes or self._drivers.mirror().metadata_bytes(member.size_bytes)
        metadata = await driver.create_metadata(pool, local, size_bytes)
        moved = replace(
            member,
            pools={**member.pools, self._node: pool},
            devices={**member.devices, self._node: made.device},
            metadata_devices={**member.metadata_devices, self._node: metadata},
        )
        members = tuple(moved if one == member else one for one in document.members)
        job.facts["mirror"] = to_plain(replace(document, members=members))

    async def _unmake(self, job: JobContext) -> None:
        pool, local = job.parameters["pool"], job.parameters["local"]
        member = member_of(from_plain(MirrorDocument, job.facts["old_mirror"]), job.parameters["volume"])
        driver = self._drivers.volume()
        try:
            found = await driver.get_volume(pool, local)
        except NotFoundError:
            return
        if found.kind is not member.kind or found.size_bytes < member.size_bytes:
            await job.log(f"{found.device} is none that this job would have made, and stays")
            return
        await driver.delete_metadata(pool, local)
        await driver.delete_volume(pool, local)

    async def _attach(self, job: JobContext) -> None:
        spec = await self._spec_of_one(job)
        driver = self._drivers.mirror()
        await driver.create_metadata(spec)
        await driver.attach(spec)
        await job.log(f"{spec.volumes[0].device} is attached, and everything is sent to it")

    async def _detach(self, job: JobContext) -> None:
        document = self._document(job)
        if (await self._sides.status(document.name)).is_up:
            number = member_of(document, job.parameters["volume"]).number
            await self._drivers.mirror().detach(document.name, number)

    async def _spec_of_one(self, job: JobContext) -> MirrorSpec:
        """The mirror with this volume only: the others are none of the job's business."""
        spec = await self._sides.spec(self._document(job))
        return replace(spec, volumes=tuple(v for v in spec.volumes if v.volume == job.parameters["volume"]))

    def _document(self, job: JobContext) -> MirrorDocument:
        return from_plain(MirrorDocument, job.facts["mirror"])

    async def _record_there(self, job: JobContext) -> None:
        body = {"mirror": job.facts["mirror"]}
        await self._partner.call("mirror.change", body, timeout_s=SLOW_S, job_id=job.job_id)

    async def _unrecord_there(self, job: JobContext) -> None:
        body = {"mirror": job.facts["old_mirror"]}
        await self._partner.call("mirror.change", body, timeout_s=SLOW_S, job_id=job.job_id)

    async def _record_here(self, job: JobContext) -> None:
        volume = self._old_volume(job)
        # A file system stays mounted where it is.
        moved = replace(volume, pool=job.parameters["pool"], directory_pool=volume.directory_pool or volume.pool)
        await self._volumes.put(volume.name, moved)
        await self._sides.change(self._document(job))

    async def _unrecord_here(self, job: JobContext) -> None:
        volume = self._old_volume(job)
        await self._volumes.put(volume.name, volume)
        await self._sides.change(from_plain(MirrorDocument, job.facts["old_mirror"]))

    def _old_volume(self, job: JobContext) -> VolumeDocument:
        return from_plain(VolumeDocument, job.facts["old_volume"])

    async def _await_resync(self, job: JobContext) -> None:
        document = self._document(job)
        number = member_of(document, job.parameters["volume"]).number

        def goes_on_or_is_over(status: MirrorStatus) -> bool:
            volume = next(volume for volume in status.volumes if volume.number == number)
            return volume.replication in _RESYNCS or volume.disk is DiskState.UP_TO_DATE

        # After a boot in the middle nobody else has brought it back, for it is this job's.
        if (await self._sides.status(document.name)).connection is not ConnectionState.CONNECTED:
            await self._sides.connect(document)
        await self._waits.until(document.name, goes_on_or_is_over, "did not begin to resync")

    async def _remove_old(self, job: JobContext) -> None:
        pool, volume = self._old_volume(job).pool, job.parameters["local"]
        if job.parameters["remove_old"]:
            try:
                await self._drivers.volume().delete_metadata(pool, volume)
                await self._drivers.volume().delete_volume(pool, volume)
            except HoldfastError as reason:  # a pool whose disk is dead: nothing else depends on it
                await job.log(f"what is left of {volume} in the pool {pool} could not be removed: {reason.message}")
        else:
            await job.log(f"what is left of {volume} in the pool {pool} was not asked to be removed, and stays")
        job.result = await self._mirrors.get(job.parameters["name"])
