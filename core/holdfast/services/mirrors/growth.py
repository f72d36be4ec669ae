"""A mirrored volume made larger on both nodes under its users, and what lies on it with it, in one job.

Every step may be repeated: lower volumes that are larger than the mirror harm nothing, and the next one takes them up.
So does a file that is larger than its unit; that the unit is never the larger one is decision 21.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from holdfast.errors import InvalidError, NoSpaceError, Reason, RefusedError
from holdfast.hooks.replication import ConnectionState, Role
from holdfast.hooks.volume import IoType, VolumeKind
from holdfast.planning.unit_growth import in_turn_of_record
from holdfast.services.documents import MirrorDocument, MirrorMember
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.mirrors import Mirrors
from holdfast.services.mirrors.rejoin import MirrorRejoin
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.unit_files import MirrorUnitFiles
from holdfast.services.mirrors.waits import MirrorWaits
from holdfast.services.partner import SLOW_S, PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.volumes.growth import refuse_not_larger
from holdfast.services.volumes.volumes import Volumes
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import to_plain


class MirrorGrowth:
    """Defines the job `mirror.grow`."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        mirrors: Mirrors,
        sides: MirrorSides,
        volumes: Volumes,
        unit_files: MirrorUnitFiles,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._mirrors = mirrors
        self._sides = sides
        self._volumes = volumes
        self._unit_files = unit_files
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._node = node
        self._waits = MirrorWaits(drivers, clock)
        self._rejoin = MirrorRejoin(kept, sides, drivers, partner, self._waits, node=node)
        steps = (
            Step("choose", self._choose),
            Step("grow the partner's volume", self._grow_there),
            Step("grow this node's volume", self._grow_here),
            Step("promote", self._promote, self._demote),
            Step("grow the mirror", self._grow_mirror),
            Step("grow the unit's file", self._grow_unit_file),
            Step("demote", self._demote),
            Step("record", self._record),
            Step("grow the file system", self._grow_file_system),
        )
        # What is new is synced, for as long as that takes.
        jobs.define(JobDefinition("mirror.grow", steps, deadline_s=None))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask of this side."""
        return {
            "mirror.grow-volume": self._on_grow_volume,
            "mirror.note-size": self._on_note_size,
            "mirror.grow-file-system": self._on_grow_file_system,
        }

    async def grow(self, name: str, volume: str, size_bytes: int, *, validate_only: bool) -> str | None:
        """Make a volume of a mirror larger. Refused unless both sides are equal and connected."""

        async def check() -> None:
            document = await self._kept.get(name)
            member = member_of(document, volume)
            refuse_not_larger(volume, member.size_bytes, size_bytes)
            largest_bytes = self._drivers.mirror().largest_bytes(member.metadata_bytes)
            if size_bytes > largest_bytes:
                text = f"the mirror's metadata of {volume} has room for {largest_bytes} bytes at most"
                remedy = "take the mirror apart, grow the volume, and mirror it again"
                raise NoSpaceError(text, reasons=[Reason("metadata-full", text, remedy, "size_bytes")])
            if not (await self._sides.status(name)).is_in_sync:
                text = f"the sides of the mirror {name} are not connected and equal"
                remedy = "start it and wait for the resync, or repair it: see its alerts"
                raise RefusedError(text, reasons=[Reason("not-in-sync", text, remedy)])
            await self._refuse_without_room(member, size_bytes - member.size_bytes)

        if validate_only:
            await check()
            return None
        parameters = {"name": name, "volume": volume, "size_bytes": size_bytes}
        locks = [f"volume:{member_of(await self._kept.get(name), volume).on(self._node)}"]
        return await self._jobs.start("mirror.grow", f"mirror:{name}", parameters, locks=locks, check=check)

    async def _refuse_without_room(self, member: MirrorMember, more_bytes: int) -> None:
        there = (await self._partner.call("mirror.facts", {}))["free_bytes"]
        here = (await self._drivers.volume().get_pool(member.pools[self._node])).free_bytes
        for node, free_bytes in ((self._node, here), (self._partner.name, there.get(member.pools[self._partner.name]))):
            if free_bytes is not None and free_bytes < more_bytes:
                text = f"the pool on {node} has {free_bytes} bytes free, and {more_bytes} are needed"
                raise NoSpaceError(text, reasons=[Reason("no-space", text, "ask for less, or extend the pool")])

    # --- steps ---

    async def _choose(self, job: JobContext) -> None:
        # Decided once: after a restart it is not to be taken for a user's that this job itself promoted it.
        status = await self._sides.status(job.parameters["name"])
        job.facts["is_promoted_meanwhile"] = Role.PRIMARY not in (status.role, status.peer_role)

    async def _grow_there(self, job: JobContext) -> None:
        body = {key: job.parameters[key] for key in ("name", "volume", "size_bytes")}
        answer = await self._partner.call("mirror.grow-volume", body, timeout_s=SLOW_S, job_id=job.job_id)
        job.facts["partner_bytes"] = answer["size_bytes"]

    async def _grow_here(self, job: JobContext) -> None:
        given = job.parameters
        size_bytes = await self._grow_lower(given["name"], given["volume"], given["size_bytes"])
        if size_bytes != job.facts["partner_bytes"]:
            await job.log(f"the pools round differently: {size_bytes} bytes here, {job.facts['partner_bytes']} there")
        job.facts["size_bytes"] = min(size_bytes, int(job.facts["partner_bytes"]))

    async def _grow_lower(self, name: str, volume: str, size_bytes: int) -> int:
        member = member_of(await self._kept.get(name), volume)
        pool = member.pools[self._node]
        return (await self._drivers.volume().grow_volume(pool, member.on(self._node), size_bytes)).size_bytes

    async def _promote(self, job: JobContext) -> None:
        name = job.parameters["name"]
        # After a reboot of this node the mirror is down as long as this job holds it, and nobody is Primary.
        if (await self._sides.status(name)).connection is not ConnectionState.CONNECTED:
            await self._rejoin.join(name, job)
        await self._waits.quiet(name, job)
        if job.facts["is_promoted_meanwhile"]:
            await self._drivers.mirror().promote(name)

    async def _demote(self, job: JobContext) -> None:
        name = job.parameters["name"]
        if job.facts.get("is_promoted_meanwhile") and (await self._sides.status(name)).role is Role.PRIMARY:
            member = await self._member(job)
            if member.io_type is IoType.FILE:
                await self._unit_files.unmount(member)
            await self._drivers.mirror().demote(name)

    async def _grow_mirror(self, job: JobContext) -> None:
        name = job.parameters["name"]
        await self._promote(job)
        await self._drivers.mirror().grow(name, new_part_is_zero=False)
        number, wanted = (await self._member(job)).number, int(job.facts["size_bytes"])
        await self._waits.until(
            name,
            lambda s: any(v.number == number and (v.size_bytes or 0) >= wanted for v in s.volumes),
            f"has not {wanted} bytes",
        )
        await self._rejoin.send_marked(name, job)
        await self._waits.synced(name, job)

    async def _grow_unit_file(self, job: JobContext) -> None:
        member = await self._member(job)
        if member.io_type is not IoType.FILE:
            return
        file_bytes = self._unit_files.bytes_on(member, job.facts["size_bytes"])
        if job.facts["is_promoted_meanwhile"]:
            await self._promote(job)
            await self._unit_files.mount(member)
        await self._unit_files.grow(await self._kept.get(job.parameters["name"]), member, file_bytes, job)
        job.facts["file_bytes"] = file_bytes

    async def _record(self, job: JobContext) -> None:
        name, volume = job.parameters["name"], job.parameters["volume"]
        size_bytes, file_bytes = int(job.facts["size_bytes"]), job.facts.get("file_bytes")
        document = await self._kept.get(name)
        document = replace(
            document,
            members=tuple(
                replace(m, size_bytes=size_bytes, file_bytes=file_bytes) if m.volume == volume else m
                for m in document.members
            ),
        )
        is_served_here = (await self._sides.status(name)).role is Role.PRIMARY
        for node in in_turn_of_record(self._node, document.other(self._node), is_served_here=is_served_here):
            if node == self._node:
                await self._note_size(document, volume)
            else:
                body = {"mirror": to_plain(document), "volume": volume, "size_bytes": job.facts["partner_bytes"]}
                await self._partner.call("mirror.note-size", body, job_id=job.job_id)

    async def _note_size(self, document: MirrorDocument, volume: str) -> None:
        member = member_of(document, volume)
        await self._volumes.note_size(member.on(self._node), member.file_bytes)
        await self._sides.change(document)

    async def _member(self, job: JobContext) -> MirrorMember:
        return member_of(await self._kept.get(job.parameters["name"]), job.parameters["volume"])

    async def _grow_file_system(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["name"])
        member = member_of(document, job.parameters["volume"])
        if member.io_type is IoType.FILE:
            await self._unit_files.see_it_taken(document.name, member.volume, job)
        elif member.kind is VolumeKind.NAS and document.source == self._node:
            await self._grow_files(member.on(self._node))
        elif member.kind is VolumeKind.NAS:
            body = {"volume": member.on(document.other(self._node))}
            await self._partner.call("mirror.grow-file-system", body, timeout_s=SLOW_S, job_id=job.job_id)
        job.result = await self._mirrors.get(document.name)

    async def _grow_files(self, volume: str) -> None:
        await self._drivers.volume().grow_file_system(str(await self._volumes.directory_of(volume)))

    # --- what the partner asks ---

    async def _on_grow_volume(self, body: dict[str, Any], job_id: str | None) -> Any:
        return {"size_bytes": await self._grow_lower(body["name"], body["volume"], body["size_bytes"])}

    async def _on_note_size(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._note_size(self._sides.read(body), body["volume"])

    async def _on_grow_file_system(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._grow_files(body["volume"])


def member_of(document: MirrorDocument, volume: str) -> MirrorMember:
    """A volume of a mirror. Raises InvalidError naming those that there are."""
    for member in document.members:
        if member.volume == volume:
            return member
    text = f"the volume {volume} is not in the mirror {document.name}"
    remedy = f"name one of {', '.join(m.volume for m in document.members)}"
    raise InvalidError(text, reasons=[Reason("not-mirrored", text, remedy, "volume")])
