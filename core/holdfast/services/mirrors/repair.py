"""Making both sides of a mirror equal again where a comparison found that they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.errors import BusyError, Reason, RefusedError
from holdfast.hooks.replication import ConnectionState, MirrorStatus, ReplicationState, Role
from holdfast.services.documents import MirrorDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.history import MirrorHistories
from holdfast.services.mirrors.rejoin import MirrorRejoin
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.verify import LOCK, LONGEST_S
from holdfast.services.mirrors.waits import MirrorWaits
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain


@dataclass(frozen=True)
class RepairPlan:
    """What a repair would do. Nothing is done by asking for it."""

    mirror: str
    kept_node: str
    overwritten_node: str
    bytes_by_volume: dict[str, int]
    total_bytes: int
    is_promoted_meanwhile: bool
    """Neither side is Primary: the kept one becomes so for as long as the repair lasts."""


class MirrorRepair:
    """Defines the job `mirror.repair`."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        sides: MirrorSides,
        histories: MirrorHistories,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        events: Events,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._sides = sides
        self._histories = histories
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._events = events
        self._node = node
        self._waits = MirrorWaits(drivers, clock)
        self._rejoin = MirrorRejoin(kept, sides, drivers, partner, self._waits, node=node)
        steps = (
            Step("choose", self._choose),
            Step("promote", self._promote, self._demote),
            Step("part", self._part, self._join),
            Step("join", self._join),
            Step("resync", self._resync),
            Step("demote", self._demote),
            Step("note", self._note_repaired),
        )
        jobs.define(JobDefinition("mirror.repair", steps, LONGEST_S))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask of this side."""
        return {
            "mirror.note-repaired": self._on_note_repaired,
            "mirror.promote": self._on_promote,
            "mirror.demote": self._on_demote,
        }

    async def plan(self, name: str) -> RepairPlan:
        """What a repair would overwrite, and where. Raises RefusedError when it cannot be done now."""
        document, status = await self._kept.get(name), await self._sides.status(name)
        if status.connection is not ConnectionState.CONNECTED:
            text = f"the mirror {name} is {status.connection.value}: what differs is known while it is connected"
            raise RefusedError(text, reasons=[Reason("not-connected", text, "start it, and verify it again")])
        if busy := [v for v in status.volumes if v.replication is not ReplicationState.ESTABLISHED]:
            text = f"volume {busy[0].number} is in {busy[0].replication.value}"
            raise BusyError(text, reasons=[Reason("not-quiet", text, "wait for its end")])
        kept_node = self._kept_node(document, status)
        members = {member.number: member.volume for member in document.members}
        found = {members[v.number]: v.out_of_sync_bytes for v in status.volumes}
        return RepairPlan(
            mirror=name,
            kept_node=kept_node,
            overwritten_node=document.other(kept_node),
            bytes_by_volume=found,
            total_bytes=sum(found.values()),
            is_promoted_meanwhile=Role.PRIMARY not in (status.role, status.peer_role),
        )

    def _kept_node(self, document: MirrorDocument, status: MirrorStatus) -> str:
        """The side in use is right: its users have read it. Where none is, the source."""
        if status.role is Role.PRIMARY:
            return self._node
        return document.other(self._node) if status.peer_role is Role.PRIMARY else document.source

    async def repair(self, name: str, *, validate_only: bool) -> str | None:
        """Make both sides equal where the last comparison found that they differ."""

        async def check() -> None:
            plan = await self.plan(name)
            if plan.total_bytes == 0:
                text = f"nothing of the mirror {name} is known to differ"
                raise RefusedError(text, reasons=[Reason("nothing-to-repair", text, "verify it first")])

        if validate_only:
            await check()
            return None
        return await self._jobs.start("mirror.repair", f"mirror:{name}", {"name": name}, locks=[LOCK], check=check)

    async def _choose(self, job: JobContext) -> None:
        plan = await self.plan(job.parameters["name"])
        job.facts["plan"] = to_plain(plan)
        await job.log(f"{plan.total_bytes} bytes on {plan.overwritten_node} are overwritten from {plan.kept_node}")

    def _plan(self, job: JobContext) -> RepairPlan:
        return from_plain(RepairPlan, job.facts["plan"])

    async def _promote(self, job: JobContext) -> None:
        # Two Secondaries that reconnect keep the marks and send nothing: only a Primary begins a new generation.
        plan = self._plan(job)
        if plan.is_promoted_meanwhile:
            await self._on("mirror.promote", plan.kept_node, job)

    async def _demote(self, job: JobContext) -> None:
        plan = self._plan(job)
        if plan.is_promoted_meanwhile:
            await self._on("mirror.demote", plan.kept_node, job)

    async def _part(self, job: JobContext) -> None:
        plan = self._plan(job)
        await self._rejoin.part(plan.mirror, plan.overwritten_node, job)

    async def _join(self, job: JobContext) -> None:
        await self._rejoin.join(job.parameters["name"], job)

    async def _resync(self, job: JobContext) -> None:
        await self._waits.synced(job.parameters["name"], job)

    async def _note_repaired(self, job: JobContext) -> None:
        name = job.parameters["name"]
        await self._histories.note_repaired(name)
        await self._partner.call("mirror.note-repaired", {"name": name}, job_id=job.job_id)
        plan = self._plan(job)
        job.result = {"overwritten_node": plan.overwritten_node, "overwritten_bytes": plan.total_bytes}
        await self._events.emit("mirror.repaired", f"mirror:{name}", job.result)

    async def _on(self, operation: str, node: str, job: JobContext) -> None:
        """Have an operation done by this node or by the partner."""
        body = {"name": job.parameters["name"]}
        if node != self._node:
            await self._partner.call(operation, body, job_id=job.job_id)
        else:
            await self.handlers()[operation](body, job.job_id)

    # --- what the partner asks ---

    async def _on_note_repaired(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._histories.note_repaired(body["name"])

    async def _on_promote(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._drivers.mirror().promote(body["name"])

    async def _on_demote(self, body: dict[str, Any], job_id: str | None) -> Any:
        # After a reboot of this node it is neither Primary nor, perhaps, up.
        if (await self._sides.status(body["name"])).role is Role.PRIMARY:
            await self._drivers.mirror().demote(body["name"])
