"""A volume added to a mirror that is in use: made equal on both nodes beside it, then taken into its write order.

Until then it is a mirror of its own, nowhere on record, made by the steps that every mirror is made by. So the volumes
that are there lose nothing meanwhile: neither their standby, nor their connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from holdfast.errors import ConflictError, InvalidError, Reason, RefusedError, UnavailableError
from holdfast.hooks.base import Can
from holdfast.hooks.replication import ConnectionState, DiskState, MirrorStatus, Role
from holdfast.hooks.volume import IoType, VolumeKind
from holdfast.loading.discovery import PluginHooks
from holdfast.planning.mirror_members import free_number
from holdfast.planning.unit_growth import in_turn_of_record
from holdfast.services.documents import GroupDocument, MirrorDocument, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.making import MirrorMaking
from holdfast.services.mirrors.mirrors import Mirrors
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.waits import MirrorWaits
from holdfast.services.mirrors.wanted import FirstSync, MirrorWanted
from holdfast.services.partner import SLOW_S, PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.system.clock import Clock
from holdfast.values import to_plain

MOST_VOLUMES = 64
AWAY_S = 600.0
ASK_AGAIN_S = 1.0


class MirrorAdding:
    """Defines the job `mirror.add-volume`."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        volumes: Intents[VolumeDocument],
        groups: Intents[GroupDocument],
        mirrors: Mirrors,
        sides: MirrorSides,
        making: MirrorMaking,
        secrets: Secrets,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        hooks: PluginHooks,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._volumes = volumes
        self._groups = groups
        self._mirrors = mirrors
        self._sides = sides
        self._making = making
        self._secrets = secrets
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._hooks = hooks
        self._clock = clock
        self._node = node
        self._waits = MirrorWaits(drivers, clock)
        steps = (
            *making.prepare,
            *making.equalise,
            Step("wait for the end of the first sync", self._await_sync),
            Step("take it out of the kernel", self._part),
            Step("take it into the mirror", self._take_in, self._take_out),
            Step("record", self._record, self._unrecord),
        )
        # All of it may be sent, for as long as that takes.
        jobs.define(JobDefinition("mirror.add-volume", steps, deadline_s=None))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask of this side."""
        return {
            "mirror.down": self._on_down,
            "mirror.adopt-volume": self._on_adopt_volume,
            "mirror.release-volume": self._on_release_volume,
        }

    async def add(
        self,
        name: str,
        volume: str,
        first_sync: FirstSync,
        destination: str | None,
        zero_limit_bytes_s: int | None,
        *,
        validate_only: bool,
    ) -> str | None:
        """Add a volume of this node, the mirror's source. Refused unless both sides are equal and connected."""
        chosen = {} if destination is None else {volume: destination}
        wanted = MirrorWanted(f"{name}+{volume}", (volume,), first_sync, chosen, zero_limit_bytes_s)

        async def check() -> None:
            document = await self._kept.get(name)
            refuse_elsewhere(document, self._node, self._drivers)
            if any(member.volume == volume for member in document.members):
                text = f"the volume {volume} is in the mirror {name} already"
                raise ConflictError(text, reasons=[Reason("mirrored", text, "name another", "volume")])
            if len(document.members) >= MOST_VOLUMES:
                text = f"the mirror {name} has {MOST_VOLUMES} volumes, and takes no more"
                raise RefusedError(text, reasons=[Reason("too-many", text, "make another mirror", "volume")])
            await self._mirrors.refuse_unfit(wanted)
            found = await self._volumes.get(volume)
            refuse_files(volume, found.kind, found.io_type)
            for member in document.members:
                refuse_files(member.volume, member.kind, IoType.BLOCK)
            if not (await self._sides.status(name)).is_in_sync:
                text = f"the sides of the mirror {name} are not connected and equal"
                remedy = "start it and wait for the resync, or repair it: see its alerts"
                raise RefusedError(text, reasons=[Reason("not-in-sync", text, remedy)])

        if validate_only:
            await check()
            return None
        limits = (await self._kept.get(name)).limits
        parameters = {**asdict(wanted), "mirror": name, "volume": volume, "limits": limits}
        locks = [f"volume:{volume}"]
        return await self._jobs.start("mirror.add-volume", f"mirror:{name}", parameters, locks=locks, check=check)

    # --- beside the mirror ---

    async def _await_sync(self, job: JobContext) -> None:
        await self._bring_back(job.parameters["mirror"])
        away_since_s: float | None = None
        while True:
            try:
                await self._making.connect_again(job)
                away_since_s = None
                if (await self._waits.synced_or_apart(job.parameters["name"], job)).is_in_sync:
                    return
            except UnavailableError as reason:
                now_s = self._clock.boot_s()
                if away_since_s is None:
                    away_since_s = now_s
                    await job.log(f"the first sync waits for {self._partner.name}: {reason.message}")
                if now_s - away_since_s >= AWAY_S:
                    raise
            await self._clock.sleep(ASK_AGAIN_S)

    async def _bring_back(self, name: str) -> None:
        # After a boot of this node nobody else does: this job holds the mirror. That of a group is its monitor's.
        grouped = {group.mirror for group in (await self._groups.all()).values() if group.is_started}
        if name not in grouped and not (await self._sides.status(name)).is_up:
            await self._sides.bring_back(name)

    async def _part(self, job: JobContext) -> None:
        name = job.parameters["name"]
        await self._down(name)
        await self._partner.call("mirror.down", {"name": name}, timeout_s=SLOW_S, job_id=job.job_id)

    async def _down(self, name: str) -> None:
        await self._drivers.mirror().disconnect(name)
        await self._drivers.mirror().down(name)

    # --- into the mirror ---

    async def _grown(self, job: JobContext) -> MirrorDocument:
        """The mirror as it is on record, with the volume."""
        document = _without(await self._kept.get(job.parameters["mirror"]), job.parameters["volume"])
        number = job.facts.setdefault("number", free_number([member.number for member in document.members]))
        [member] = self._making.document(job).members
        members = sorted((*document.members, replace(member, number=number)), key=lambda each: each.number)
        return replace(document, members=tuple(members))

    async def _take_in(self, job: JobContext) -> None:
        document = await self._grown(job)
        await job.keep_facts()
        await self._bring_back(document.name)
        await self._waits.until(document.name, _is_connected, "did not connect", AWAY_S)
        body = {"mirror": to_plain(document)}
        await self._partner.call("mirror.attach", body, timeout_s=SLOW_S, job_id=job.job_id)
        await self._sides.attach(document)
        number = job.facts["number"]
        await self._waits.until(document.name, lambda s: _is_equal(s, number), f"did not take in volume {number}")

    async def _take_out(self, job: JobContext) -> None:
        if "number" not in job.facts:
            return
        # The mirror may be on record no more: from the partner it can be taken apart meanwhile.
        beside, number = self._making.document(job), job.facts["number"]
        members = tuple(replace(member, number=number) for member in beside.members)
        alone = replace(beside, name=job.parameters["mirror"], members=members)
        await self._partner.call("mirror.take-out", {"mirror": to_plain(alone)}, timeout_s=SLOW_S, job_id=job.job_id)
        await self._drivers.mirror().take_out(alone.name, number)

    async def _record(self, job: JobContext) -> None:
        document = await self._grown(job)
        if proof := tuple(job.facts.get("proof", ())):
            before = document.first_sync
            if before is not None and not set(proof) <= set(before.proof):
                document = replace(document, first_sync=replace(before, proof=(*before.proof, *proof)))
        await self._both(job, document, "mirror.adopt-volume", self._adopt_volume)
        await job.log(f"{job.parameters['volume']} is in the mirror {document.name}: both nodes have it on record")
        await self._hooks.tell("mirror_changed", mirror=document.name, what="changed")
        job.result = await self._mirrors.get(document.name)

    async def _unrecord(self, job: JobContext) -> None:
        if kept := await self._kept.find(job.parameters["mirror"]):
            document = _without(kept.document, job.parameters["volume"])
            await self._both(job, document, "mirror.release-volume", self._release_volume)

    async def _both(self, job: JobContext, document: MirrorDocument, operation: str, act: Any) -> None:
        """Both nodes note it, the one that serves last: see planning/mirror_members.py."""
        [member] = self._making.document(job).members
        is_served_here = (await self._sides.status(document.name)).role is Role.PRIMARY
        made_as = job.parameters["name"]
        for node in in_turn_of_record(self._node, document.other(self._node), is_served_here=is_served_here):
            if node == self._node:
                await act(document, member.on(node), made_as)
            else:
                body = {"mirror": to_plain(document), "volume": member.on(node), "made_as": made_as}
                await self._partner.call(operation, body, timeout_s=SLOW_S, job_id=job.job_id)

    async def _adopt_volume(self, document: MirrorDocument, local: str, made_as: str) -> None:
        member = next(each for each in document.members if each.on(self._node) == local)
        device = self._drivers.mirror().device_path(member.minor)
        volume = _claimed(await self._volumes.get(local), f"mirror:{made_as}", f"mirror:{document.name}")
        await self._volumes.put(local, replace(volume, is_blank=False, mirrored_as=device))
        await self._sides.change(document)
        await self._secrets.forget(replace(document, name=made_as).secret_reference)
        self._sides.numbers.release(made_as)

    async def _release_volume(self, document: MirrorDocument, local: str, made_as: str) -> None:
        await self._sides.change(document)
        volume = _claimed(await self._volumes.get(local), f"mirror:{document.name}", f"mirror:{made_as}")
        await self._volumes.put(local, replace(volume, mirrored_as=None))

    # --- what the partner asks ---

    async def _on_down(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._down(body["name"])

    async def _on_adopt_volume(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._adopt_volume(self._sides.read(body), body["volume"], body["made_as"])

    async def _on_release_volume(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._release_volume(self._sides.read(body), body["volume"], body["made_as"])


def refuse_elsewhere(document: MirrorDocument, node: str, drivers: Drivers) -> None:
    """Volumes are added and taken out on the mirror's source, by a driver that can."""
    driver = drivers.mirror()
    if Can.MIRROR_VOLUMES not in driver.can:
        raise driver.unsupported("adding and taking out volumes")
    if document.source != node:
        text = f"the source of the mirror {document.name} is {document.source}"
        raise RefusedError(text, reasons=[Reason("not-source", text, f"ask {document.source}")])


def refuse_files(volume: str, kind: VolumeKind, io_type: IoType) -> None:
    """A file system would have to be unmounted until the first sync ends."""
    if kind is VolumeKind.NAS or io_type is IoType.FILE:
        text = f"on the volume {volume} lies a file system, and only block volumes are added to a mirror, or taken out"
        remedy = "make a mirror of its own for it, or take that apart"
        raise InvalidError(text, reasons=[Reason("file-system", text, remedy, "volume")])


def _without(document: MirrorDocument, volume: str) -> MirrorDocument:
    return replace(document, members=tuple(member for member in document.members if member.volume != volume))


def _claimed(volume: VolumeDocument, old: str, new: str) -> VolumeDocument:
    """The volume with whom it was made for, or taken by, under another name."""
    made_for = new if volume.made_for == old else volume.made_for
    claimed_for = new if volume.claimed_for == old else volume.claimed_for
    return replace(volume, made_for=made_for, claimed_for=claimed_for)


def _is_connected(status: MirrorStatus) -> bool:
    return status.connection is ConnectionState.CONNECTED


def _is_equal(status: MirrorStatus, number: int) -> bool:
    up = DiskState.UP_TO_DATE
    found = [(v.disk, v.peer_disk, v.out_of_sync_bytes) for v in status.volumes if v.number == number]
    return found == [(up, up, 0)]
