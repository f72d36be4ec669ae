"""The steps of mirror jobs. They run on the source; the partner's side is reached by calls that may be repeated."""

from __future__ import annotations

from dataclasses import replace

from holdfast.hooks.replication import SyncLimits
from holdfast.loading.discovery import PluginHooks
from holdfast.planning.schedules import Schedule
from holdfast.services.documents import FirstSyncRecord, MirrorDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.link import MirrorLink
from holdfast.services.mirrors.making import MirrorMaking
from holdfast.services.mirrors.mirrors import Mirrors
from holdfast.services.mirrors.mounts import MirrorMounts
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.waits import MirrorWaits
from holdfast.services.partner import SLOW_S, PartnerLink
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain


class MirrorJobs:
    """Defines the jobs `mirror.create`, `.delete`, `.start`, `.stop`, `.change`, `.pause-sync` and `.resume-sync`."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        mirrors: Mirrors,
        sides: MirrorSides,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        hooks: PluginHooks,
        mounts: MirrorMounts,
        making: MirrorMaking,
        link: MirrorLink,
        clock: Clock,
    ) -> None:
        self._kept = kept
        self._mirrors = mirrors
        self._sides = sides
        self._drivers = drivers
        self._partner = partner
        self._hooks = hooks
        self._mounts = mounts
        self._making = making
        self._clock = clock
        self._waits = MirrorWaits(drivers, clock)
        create = (
            *making.prepare,
            Step("measure the link", link.measure_new),
            *making.equalise,
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
            Step("mount", making.enter_volumes),
        )
        jobs.define(JobDefinition("mirror.delete", delete))
        jobs.define(JobDefinition("mirror.start", (Step("note", self._note_started), Step("connect", self._start))))
        change = (Step("change here", self._change_here), Step("change on the partner", self._change_there))
        jobs.define(JobDefinition("mirror.change", change))
        jobs.define(JobDefinition("mirror.pause-sync", (Step("pause", self._pause),)))
        jobs.define(JobDefinition("mirror.resume-sync", (Step("resume", self._resume),)))
        jobs.define(JobDefinition("mirror.stop", (Step("disconnect", self._stop), Step("note", self._note_stopped))))

    # --- create ---

    async def _enter_mirror(self, job: JobContext) -> None:
        await self._making.connect_again(job)
        await self._mounts.enter_mirror(self._making.document(job))

    async def _leave_mirror(self, job: JobContext) -> None:
        await self._mounts.leave_mirror(self._making.document(job))

    async def _record_partner(self, job: JobContext) -> None:
        at = job.facts.setdefault("started_at", self._clock.now().isoformat())
        how, proof_of = str(job.parameters["first_sync"]), tuple(job.facts.get("proof", ()))
        first_sync = FirstSyncRecord(how, at, job.job_id, proof_of)
        self._making.keep(job, replace(self._making.document(job), started_at=at, first_sync=first_sync))
        await self._making.ask(job, "mirror.adopt")

    async def _forget_partner(self, job: JobContext) -> None:
        await self._partner.release("mirror.forget", {"name": job.parameters["name"]}, job_id=job.job_id)

    async def _record_here(self, job: JobContext) -> None:
        document = self._making.document(job)
        await self._sides.adopt(document)
        await self._hooks.tell("mirror_changed", mirror=document.name, what="created")
        job.result = await self._mirrors.get(document.name)

    async def _forget_here(self, job: JobContext) -> None:
        await self._sides.forget(job.parameters["name"])

    # --- delete, start, stop ---

    async def _note_document(self, job: JobContext) -> None:
        self._making.keep(job, await self._kept.get(job.parameters["name"]))

    async def _release_partner(self, job: JobContext) -> None:
        body = {"mirror": job.facts["mirror"], "destroy_made": False}
        await self._partner.release("mirror.discard", body, timeout_s=SLOW_S, job_id=job.job_id)

    async def _release_here(self, job: JobContext) -> None:
        await self._sides.discard(self._making.document(job), destroy_made=False, was_in_use=True)
        await self._hooks.tell("mirror_changed", mirror=job.parameters["name"], what="deleted")

    async def _note_started(self, job: JobContext) -> None:
        name = job.parameters["name"]
        document = await self._mirrors.mark_started(name, is_started=True, at=self._clock.now().isoformat())
        self._making.keep(job, document)
        await self._making.ask(job, "mirror.adopt")

    async def _start(self, job: JobContext) -> None:
        # A disk that is back here is the first to be attached: the partner's side may be behind it.
        await self._sides.connect(self._making.document(job))
        await self._making.ask(job, "mirror.connect")
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
        self._making.keep(job, document)
        await self._sides.change(document)

    async def _change_there(self, job: JobContext) -> None:
        await self._making.ask(job, "mirror.change")
        job.result = await self._mirrors.get(job.parameters["name"])

    async def _pause(self, job: JobContext) -> None:
        await self._drivers.mirror().pause_sync(job.parameters["name"])

    async def _resume(self, job: JobContext) -> None:
        # Either side may have paused it.
        await self._drivers.mirror().resume_sync(job.parameters["name"])
        await self._partner.call("mirror.resume-sync", {"name": job.parameters["name"]}, job_id=job.job_id)

    async def _note_stopped(self, job: JobContext) -> None:
        name = job.parameters["name"]
        self._making.keep(job, await self._mirrors.mark_started(name, is_started=False, at=None))
        await self._making.ask(job, "mirror.adopt")
        job.result = await self._mirrors.get(name)
