"""A volume taken out of a mirror that stays in use: both copies stay, each as a plain volume of its node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from holdfast.errors import BusyError, Reason, RefusedError, UnavailableError
from holdfast.hooks.replication import Role
from holdfast.loading.discovery import PluginHooks
from holdfast.services.documents import MirrorDocument, TargetDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.adding import ASK_AGAIN_S, refuse_elsewhere, refuse_files
from holdfast.services.mirrors.growth import member_of
from holdfast.services.mirrors.mirrors import Mirrors
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.partner import SLOW_S, PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain


class MirrorRemoving:
    """Defines the job `mirror.remove-volume`."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        targets: Intents[TargetDocument],
        mirrors: Mirrors,
        sides: MirrorSides,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        hooks: PluginHooks,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._targets = targets
        self._mirrors = mirrors
        self._sides = sides
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._hooks = hooks
        self._clock = clock
        self._node = node
        steps = (
            Step("note", self._note),
            # First, so that no monitor takes a volume that is gone for a disk that was lost.
            Step("record", self._record, self._unrecord),
            Step("take it out of the mirror", self._take_out, self._take_in),
            # Its metadata goes, and with it the way back.
            Step("let go of it on the partner", self._let_go_there, is_final=True),
            Step("let go of it on this node", self._let_go_here),
        )
        jobs.define(JobDefinition("mirror.remove-volume", steps, deadline_s=None))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask of this side."""
        return {"mirror.take-out": self._on_take_out, "mirror.let-go": self._on_let_go}

    async def remove(self, name: str, volume: str, *, validate_only: bool) -> str | None:
        """Take a volume out. Refused while a target exports it, and for the last one."""

        async def check() -> None:
            document = await self._kept.get(name)
            refuse_elsewhere(document, self._node, self._drivers)
            member = member_of(document, volume)
            refuse_files(volume, member.kind, member.io_type)
            if len(document.members) == 1:
                text = f"{volume} is the last volume of the mirror {name}"
                remedy = f"take the mirror apart: DELETE /v1/mirrors/{name}"
                raise RefusedError(text, reasons=[Reason("last-volume", text, remedy, "volume")])
            await self._refuse_exported(name, volume)

        if validate_only:
            await check()
            return None
        local = member_of(await self._kept.get(name), volume).on(self._node)
        parameters = {"name": name, "volume": volume}
        locks = [f"volume:{local}"]
        return await self._jobs.start("mirror.remove-volume", f"mirror:{name}", parameters, locks=locks, check=check)

    async def _refuse_exported(self, name: str, volume: str) -> None:
        users = [
            (target.name, unit.lun)
            for target in (await self._targets.all()).values()
            for unit in target.units
            if target.mirror == name and unit.volume == volume
        ]
        if users:
            reasons = [
                Reason(
                    "in-use",
                    f"the volume {volume} is LUN {lun} of the target {target}",
                    f"take LUN {lun} out of the target {target} first",
                    "volume",
                )
                for target, lun in users
            ]
            raise BusyError("; ".join(reason.text for reason in reasons), reasons=reasons)

    # --- steps ---

    async def _note(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["name"])
        member = member_of(document, job.parameters["volume"])
        job.facts["before"] = to_plain(document)
        job.facts["alone"] = to_plain(replace(document, members=(member,)))

    def _before(self, job: JobContext) -> MirrorDocument:
        return from_plain(MirrorDocument, job.facts["before"])

    def _alone(self, job: JobContext) -> MirrorDocument:
        """The mirror as if it had this volume only."""
        return from_plain(MirrorDocument, job.facts["alone"])

    async def _record(self, job: JobContext) -> None:
        # A target may have been made while the job waited for its turn.
        await self._refuse_exported(job.parameters["name"], job.parameters["volume"])
        document = self._before(job)
        members = tuple(member for member in document.members if member.volume != job.parameters["volume"])
        await self._change_both(job, replace(document, members=members))

    async def _unrecord(self, job: JobContext) -> None:
        await self._change_both(job, self._before(job))

    async def _change_both(self, job: JobContext, document: MirrorDocument) -> None:
        body = {"mirror": to_plain(document)}
        await self._partner.call("mirror.change", body, timeout_s=SLOW_S, job_id=job.job_id)
        await self._sides.change(document)

    async def _take_out(self, job: JobContext) -> None:
        # The node that serves first: it says no while somebody has the device open.
        alone = self._alone(job)
        is_served_here = (await self._sides.status(alone.name)).role is Role.PRIMARY
        both = (self._take_out_here, self._take_out_there)
        for act in both if is_served_here else both[::-1]:
            await act(job)

    async def _take_out_here(self, job: JobContext) -> None:
        await self._sides.take_out(self._alone(job))

    async def _take_out_there(self, job: JobContext) -> None:
        await self._ask(job, "mirror.take-out")

    async def _ask(self, job: JobContext, operation: str) -> None:
        body = {"mirror": job.facts["alone"]}
        await self._partner.release(operation, body, timeout_s=SLOW_S, job_id=job.job_id)

    async def _take_in(self, job: JobContext) -> None:
        # Its metadata is there yet, and of what was not written on one side alone nothing is sent.
        body = {"mirror": job.facts["before"]}
        await self._partner.call("mirror.attach", body, timeout_s=SLOW_S, job_id=job.job_id)
        await self._sides.attach(self._before(job))

    async def _let_go_there(self, job: JobContext) -> None:
        await self._until_it_answers(job, lambda: self._ask(job, "mirror.let-go"))

    async def _until_it_answers(self, job: JobContext, act: Callable[[], Awaitable[None]]) -> None:
        """There is no way back any more: a partner that is away is waited for, however long."""
        is_told = False
        while True:
            try:
                return await act()
            except UnavailableError as reason:
                if not is_told:
                    is_told = True
                    await job.log(f"it waits for {self._partner.name}: {reason.message}")
            await self._clock.sleep(ASK_AGAIN_S)

    async def _let_go_here(self, job: JobContext) -> None:
        alone = self._alone(job)
        await self._sides.let_go(alone)
        [member] = alone.members
        names = ", ".join(f"{member.on(node)} on {node}" for node in (alone.source, alone.destination))
        await job.log(f"both copies stay as plain volumes: {names}")
        await self._hooks.tell("mirror_changed", mirror=alone.name, what="changed")
        job.result = await self._mirrors.get(alone.name)

    # --- what the partner asks ---

    async def _on_take_out(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._sides.take_out(self._sides.read(body))

    async def _on_let_go(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._sides.let_go(self._sides.read(body))
