"""The steps of mirror jobs. They run on the source; the partner's side is reached by calls that may be repeated."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from holdfast.errors import ConflictError, NotFoundError, Reason, VerificationError
from holdfast.hooks.replication import ConnectionState, DiskState, SyncLimits
from holdfast.loading.discovery import PluginHooks
from holdfast.planning.schedules import Schedule
from holdfast.services.documents import FirstSyncRecord, MirrorDocument, MirrorMember, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.link import MirrorLink
from holdfast.services.mirrors.mirrors import Mirrors
from holdfast.services.mirrors.mounts import MirrorMounts
from holdfast.services.mirrors.numbers import choose_numbers
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.waits import MirrorWaits
from holdfast.services.mirrors.wanted import FirstSync, with_devices
from holdfast.services.mirrors.zeroing import Zeroing, proof
from holdfast.services.partner import SLOW_S, PartnerLink
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain


class MirrorJobs:
    """Defines the jobs `mirror.create`, `.delete`, `.start`, `.stop`, `.change`, `.pause-sync` and `.resume-sync`."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        volumes: Intents[VolumeDocument],
        mirrors: Mirrors,
        sides: MirrorSides,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        hooks: PluginHooks,
        mounts: MirrorMounts,
        link: MirrorLink,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._volumes = volumes
        self._mirrors = mirrors
        self._sides = sides
        self._drivers = drivers
        self._partner = partner
        self._hooks = hooks
        self._mounts = mounts
        self._clock = clock
        self._waits = MirrorWaits(drivers, clock)
        self._node = node
        self._choosing = asyncio.Lock()  # of two mirrors made at the same time each chooses when the other has
        create = (
            Step("choose numbers with the partner", self._choose, self._give_back),
            Step("prepare the partner", self._prepare_partner, self._discard_partner),
            Step("prepare this node", self._prepare_here, self._discard_here),
            Step("measure the link", link.measure_new),
            Step("zero both sides", self._zero),
            Step("unmount", self._leave_volumes, self._enter_volumes),
            Step("connect", self._connect, self._take_down),
            Step("first sync", self._first_sync),
            Step("mount", self._enter_mirror, self._leave_mirror),
            Step("record on the partner", self._record_partner, self._forget_partner),
            Step("record on this node", self._record_here, self._forget_here),
        )
        # How long zeroing takes only the disks know, and perhaps a limit; all else has one of its own.
        jobs.define(JobDefinition("mirror.create", create, deadline_s=None))
        # A mirror half taken apart cannot be put together again: each step goes on when it is repeated.
        delete = (
            Step("note", self._note_document),
            Step("unmount", self._leave_mirror, self._enter_mirror),
            Step("forget on the partner", self._forget_partner, is_final=True),
            Step("forget on this node", self._forget_here),
            Step("take apart on the partner", self._release_partner),
            Step("take apart on this node", self._release_here),
            Step("mount", self._enter_volumes),
        )
        jobs.define(JobDefinition("mirror.delete", delete))
        jobs.define(JobDefinition("mirror.start", (Step("note", self._note_started), Step("connect", self._start))))
        change = (Step("change here", self._change_here), Step("change on the partner", self._change_there))
        jobs.define(JobDefinition("mirror.change", change))
        jobs.define(JobDefinition("mirror.pause-sync", (Step("pause", self._pause),)))
        jobs.define(JobDefinition("mirror.resume-sync", (Step("resume", self._resume),)))
        jobs.define(JobDefinition("mirror.stop", (Step("disconnect", self._stop), Step("note", self._note_stopped))))

    # --- create ---

    def _document(self, job: JobContext) -> MirrorDocument:
        return from_plain(MirrorDocument, job.facts["mirror"])

    def _keep(self, job: JobContext, document: MirrorDocument) -> None:
        job.facts["mirror"] = to_plain(document)

    async def _choose(self, job: JobContext) -> None:
        async with self._choosing:
            document = await self._chosen(job)
            self._sides.numbers.take(document)
        self._keep(job, document)

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
        for volume, minor in zip(volumes, minors, strict=True):
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
        )

    async def _ask(self, job: JobContext, operation: str, *, timeout_s: float = SLOW_S, **more: Any) -> Any:
        body = {"mirror": job.facts["mirror"], **more}
        return await self._partner.call(operation, body, timeout_s=timeout_s, job_id=job.job_id)

    async def _prepare_partner(self, job: JobContext) -> None:
        document = self._document(job)
        answer = await self._ask(job, "mirror.prepare", secret=await self._sides.make_secret(document))
        self._keep(job, with_devices(document, self._partner.name, answer["devices"], answer["metadata_devices"]))

    async def _discard_partner(self, job: JobContext) -> None:
        await self._ask(job, "mirror.discard", destroy_made=True)

    async def _prepare_here(self, job: JobContext) -> None:
        document = self._document(job)
        devices = {member.volume: member.devices[self._node] for member in document.members}
        metadata = await self._sides.make_metadata(document)
        self._keep(job, with_devices(document, self._node, devices, metadata))

    async def _discard_here(self, job: JobContext) -> None:
        await self._sides.discard(self._document(job), destroy_made=False, was_in_use=False)

    async def _leave_volumes(self, job: JobContext) -> None:
        await self._mounts.leave_volumes(self._document(job))

    async def _enter_volumes(self, job: JobContext) -> None:
        await self._mounts.enter_volumes(self._document(job))

    async def _enter_mirror(self, job: JobContext) -> None:
        await self._connect_again(job)
        await self._mounts.enter_mirror(self._document(job))

    async def _leave_mirror(self, job: JobContext) -> None:
        await self._mounts.leave_mirror(self._document(job))

    async def _zero(self, job: JobContext) -> None:
        if FirstSync(job.parameters["first_sync"]) is FirstSync.ZERO:
            document = self._document(job)
            await Zeroing(job, document, self._sides, self._partner, self._clock, node=self._node).run()
            job.facts["proof"] = proof(document)
            await job.log("both sides were made to read zero, so the first sync can be skipped")

    async def _connect(self, job: JobContext) -> None:
        document = self._document(job)
        await self._ask(job, "mirror.attach")
        await self._sides.attach(document)
        await self._ask(job, "mirror.connect")
        await self._sides.connect(document)
        await self._waits.connected(document.name)

    async def _connect_again(self, job: JobContext) -> None:
        # After a reboot of either node, or a kill in the middle of a sync's declaration; repeating either is safe.
        if (await self._sides.status(job.parameters["name"])).connection is not ConnectionState.CONNECTED:
            await self._connect(job)

    async def _take_down(self, job: JobContext) -> None:
        await self._drivers.mirror().disconnect(job.parameters["name"], force=True)
        await self._drivers.mirror().down(job.parameters["name"])

    async def _first_sync(self, job: JobContext) -> None:
        name = job.parameters["name"]
        await self._connect_again(job)
        if FirstSync(job.parameters["first_sync"]) is FirstSync.ZERO:
            await self._drivers.mirror().skip_first_sync(name)
        else:
            await self._drivers.mirror().start_full_sync(await self._sides.spec(self._document(job)))
        status = await self._waits.until(
            name,
            lambda found: all(v.disk is DiskState.UP_TO_DATE for v in found.volumes),
            "was not UpToDate on its source",
        )
        if FirstSync(job.parameters["first_sync"]) is FirstSync.ZERO and not status.is_in_sync:
            raise VerificationError(f"the sides of {name} are not equal after both were zeroed")

    async def _record_partner(self, job: JobContext) -> None:
        at = job.facts.setdefault("started_at", self._clock.now().isoformat())
        how, proof_of = str(job.parameters["first_sync"]), tuple(job.facts.get("proof", ()))
        first_sync = FirstSyncRecord(how, at, job.job_id, proof_of)
        self._keep(job, replace(self._document(job), started_at=at, first_sync=first_sync))
        await self._ask(job, "mirror.adopt")

    async def _forget_partner(self, job: JobContext) -> None:
        await self._partner.release("mirror.forget", {"name": job.parameters["name"]}, job_id=job.job_id)

    async def _record_here(self, job: JobContext) -> None:
        document = self._document(job)
        await self._sides.adopt(document)
        await self._hooks.tell("mirror_changed", mirror=document.name, what="created")
        job.result = await self._mirrors.get(document.name)

    async def _forget_here(self, job: JobContext) -> None:
        await self._sides.forget(job.parameters["name"])

    # --- delete, start, stop ---

    async def _note_document(self, job: JobContext) -> None:
        self._keep(job, await self._kept.get(job.parameters["name"]))

    async def _release_partner(self, job: JobContext) -> None:
        body = {"mirror": job.facts["mirror"], "destroy_made": False}
        await self._partner.release("mirror.discard", body, timeout_s=SLOW_S, job_id=job.job_id)

    async def _release_here(self, job: JobContext) -> None:
        await self._sides.discard(self._document(job), destroy_made=False, was_in_use=True)
        await self._hooks.tell("mirror_changed", mirror=job.parameters["name"], what="deleted")

    async def _note_started(self, job: JobContext) -> None:
        name = job.parameters["name"]
        document = await self._mirrors.mark_started(name, is_started=True, at=self._clock.now().isoformat())
        self._keep(job, document)
        await self._ask(job, "mirror.adopt")

    async def _start(self, job: JobContext) -> None:
        # A disk that is back here is the first to be attached: the partner's side may be behind it.
        await self._sides.connect(self._document(job))
        await self._ask(job, "mirror.connect")
        await self._waits.connected(job.parameters["name"])
        job.result = await self._mirrors.get(job.parameters["name"])

    async def _stop(self, job: JobContext) -> None:
        name = job.parameters["name"]
        await self._drivers.mirror().disconnect(name)
        await self._partner.call("mirror.disconnect", {"name": name}, job_id=job.job_id)

    async def _change_here(self, job: JobContext) -> None:
        given = job.parameters
        limits = from_plain(SyncLimits, given["limits"])
        schedule = from_plain(Schedule, given["schedule"]) if given["schedule"] is not None else None
        document = replace(await self._kept.get(given["name"]), limits=limits, schedule=schedule)
        self._keep(job, document)
        await self._sides.change(document)

    async def _change_there(self, job: JobContext) -> None:
        await self._ask(job, "mirror.change")
        job.result = await self._mirrors.get(job.parameters["name"])

    async def _pause(self, job: JobContext) -> None:
        await self._drivers.mirror().pause_sync(job.parameters["name"])

    async def _resume(self, job: JobContext) -> None:
        # Either side may have paused it.
        await self._drivers.mirror().resume_sync(job.parameters["name"])
        await self._partner.call("mirror.resume-sync", {"name": job.parameters["name"]}, job_id=job.job_id)

    async def _note_stopped(self, job: JobContext) -> None:
        name = job.parameters["name"]
        self._keep(job, await self._mirrors.mark_started(name, is_started=False, at=None))
        await self._ask(job, "mirror.adopt")
        job.result = await self._mirrors.get(name)
