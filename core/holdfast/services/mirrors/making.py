"""The steps that make a mirror equal on both nodes, before it is on record: those of `mirror.create`, and others'.

They work on the mirror among the job's facts, whose name is the job's parameter `name`; `limits` may be given.
"""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.errors import ConflictError, NotFoundError, Reason, VerificationError
from holdfast.hooks.replication import ConnectionState, DiskState, SyncLimits
from holdfast.services.documents import MirrorDocument, MirrorMember, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.mirrors.mounts import MirrorMounts
from holdfast.services.mirrors.numbers import choose_numbers
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.waits import MirrorWaits
from holdfast.services.mirrors.wanted import FirstSync, with_devices
from holdfast.services.mirrors.zeroing import Zeroing, proof
from holdfast.services.partner import SLOW_S, PartnerLink
from holdfast.services.steps import JobContext, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain


class MirrorMaking:
    """Prepares both sides, and makes them equal. Every step may be repeated."""

    def __init__(
        self,
        volumes: Intents[VolumeDocument],
        sides: MirrorSides,
        drivers: Drivers,
        partner: PartnerLink,
        mounts: MirrorMounts,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._volumes = volumes
        self._sides = sides
        self._drivers = drivers
        self._partner = partner
        self._mounts = mounts
        self._clock = clock
        self._waits = MirrorWaits(drivers, clock)
        self._node = node
        self._choosing = asyncio.Lock()  # of two mirrors made at the same time each chooses when the other has
        self.prepare = (
            Step("choose numbers with the partner", self._choose, self._give_back),
            Step("prepare the partner", self._prepare_partner, self._discard_partner),
            Step("prepare this node", self._prepare_here, self._discard_here),
        )
        self.equalise = (
            Step("zero both sides", self._zero),
            Step("unmount", self._leave_volumes, self.enter_volumes),
            Step("connect", self._connect, self.take_down),
            Step("first sync", self._first_sync),
        )

    def document(self, job: JobContext) -> MirrorDocument:
        """The mirror as the job has made it so far."""
        return from_plain(MirrorDocument, job.facts["mirror"])

    def keep(self, job: JobContext, document: MirrorDocument) -> None:
        """Note how far it is made."""
        job.facts["mirror"] = to_plain(document)

    async def _choose(self, job: JobContext) -> None:
        async with self._choosing:
            document = await self._chosen(job)
            self._sides.numbers.take(document)
        self.keep(job, document)

    async def _give_back(self, job: JobContext) -> None:
        self._sides.numbers.release(job.parameters["name"])

    async def _chosen(self, job: JobContext) -> MirrorDocument:
        here = await self._sides.facts()
        there = await self._partner.call("mirror.facts", {}, job_id=job.job_id)
        name = job.parameters["name"]
        if name in there["mirrors"]:
            raise ConflictError(f"the partner {self._partner.name} has a mirror {name}")
        volumes = [await self._volumes.get(volume) for volume in job.parameters["volumes"]]
        (minors, port), partner = choose_numbers((here, there), count=len(volumes)), self._partner.name
        members = []
        for number, (volume, minor) in enumerate(zip(volumes, minors, strict=True)):
            destination = job.parameters.get("chosen", {}).get(volume.name)
            pool = volume.pool if destination is None else there["pools_of"].get(destination)
            if pool not in there["free_bytes"]:
                text = f"the partner {partner} has no {f'pool {pool}' if pool else f'volume {destination}'}"
                raise NotFoundError(text, reasons=[Reason("no-pool", text, "make one of that name there")])
            found = await self._drivers.volume().get_volume(volume.pool, volume.name)
            members.append(
                MirrorMember(
                    volume=volume.name,
                    minor=minor,
                    size_bytes=found.size_bytes,
                    pools={self._node: volume.pool, partner: pool},
                    devices={self._node: found.device},
                    metadata_devices={},
                    kind=volume.kind,
                    metadata_bytes=self._drivers.mirror().metadata_bytes(found.size_bytes),
                    names={} if destination is None else {partner: destination},
                    file_bytes=volume.file_bytes,
                    number=number,
                )
            )
        return MirrorDocument(
            name=name,
            source=self._node,
            destination=partner,
            members=tuple(members),
            port=port,
            addresses={self._node: here["address"], partner: there["address"]},
            is_started=True,
            is_authenticated=True,
            limits=from_plain(SyncLimits, job.parameters.get("limits", {})),
        )

    async def ask(self, job: JobContext, operation: str, *, timeout_s: float = SLOW_S, **more: Any) -> Any:
        """Have the partner do something with it."""
        body = {"mirror": job.facts["mirror"], **more}
        return await self._partner.call(operation, body, timeout_s=timeout_s, job_id=job.job_id)

    async def _prepare_partner(self, job: JobContext) -> None:
        document = self.document(job)
        answer = await self.ask(job, "mirror.prepare", secret=await self._sides.make_secret(document))
        self.keep(job, with_devices(document, self._partner.name, answer["devices"], answer["metadata_devices"]))

    async def _discard_partner(self, job: JobContext) -> None:
        await self.ask(job, "mirror.discard", destroy_made=True)

    async def _prepare_here(self, job: JobContext) -> None:
        document = self.document(job)
        devices = {member.volume: member.devices[self._node] for member in document.members}
        metadata = await self._sides.make_metadata(document)
        self.keep(job, with_devices(document, self._node, devices, metadata))

    async def _discard_here(self, job: JobContext) -> None:
        await self._sides.discard(self.document(job), destroy_made=False, was_in_use=False)

    async def _leave_volumes(self, job: JobContext) -> None:
        await self._mounts.leave_volumes(self.document(job))

    async def enter_volumes(self, job: JobContext) -> None:
        """Mount the volumes themselves again."""
        await self._mounts.enter_volumes(self.document(job))

    async def _zero(self, job: JobContext) -> None:
        if FirstSync(job.parameters["first_sync"]) is FirstSync.ZERO:
            document = self.document(job)
            await Zeroing(job, document, self._sides, self._partner, self._clock, node=self._node).run()
            job.facts["proof"] = proof(document)
            await job.log("both sides were made to read zero, so the first sync can be skipped")

    async def _connect(self, job: JobContext) -> None:
        document = self.document(job)
        await self.ask(job, "mirror.attach")
        await self._sides.attach(document)
        await self.ask(job, "mirror.connect")
        await self._sides.connect(document)
        await self._waits.connected(document.name)

    async def connect_again(self, job: JobContext) -> None:
        """Connect both sides, if they are not."""
        # After a reboot of either node, or a kill in the middle of a sync's declaration; repeating either is safe.
        if (await self._sides.status(job.parameters["name"])).connection is not ConnectionState.CONNECTED:
            await self._connect(job)

    async def take_down(self, job: JobContext) -> None:
        """Take this side out of the kernel."""
        await self._drivers.mirror().disconnect(job.parameters["name"], force=True)
        await self._drivers.mirror().down(job.parameters["name"])

    async def _first_sync(self, job: JobContext) -> None:
        name = job.parameters["name"]
        await self.connect_again(job)
        if FirstSync(job.parameters["first_sync"]) is FirstSync.ZERO:
            await self._drivers.mirror().skip_first_sync(name)
        else:
            await self._drivers.mirror().start_full_sync(await self._sides.spec(self.document(job)))
        status = await self._waits.until(
            name,
            lambda found: all(v.disk is DiskState.UP_TO_DATE for v in found.volumes),
            "was not UpToDate on its source",
        )
        if FirstSync(job.parameters["first_sync"]) is FirstSync.ZERO and not status.is_in_sync:
            raise VerificationError(f"the sides of {name} are not equal after both were zeroed")
