"""Comparing both sides of a mirror, on demand and by schedule, and mending what was found to differ."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from holdfast.errors import BusyError, HoldfastError, Reason, RefusedError, UnavailableError
from holdfast.hooks.replication import ConnectionState, MirrorStatus, ReplicationState, Role
from holdfast.planning.schedules import next_due
from holdfast.services.documents import MirrorDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.mirror_history import MirrorHistories, Verification
from holdfast.services.mirror_sides import MirrorSides
from holdfast.services.mirror_waits import POLL_S, MirrorWaits
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

log = logging.getLogger(__name__)

LONGEST_S = 7 * 24 * 3600.0
LOOK_AT_SCHEDULES_EVERY_S = 20.0
# One at a time on a node: two would only make each other, and the applications, slower.
LOCK = "mirror-verify:this"


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


class MirrorVerify:
    """Defines the jobs `mirror.verify` and `mirror.repair`, and starts the first when its schedule says so."""

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
        self._clock = clock
        self._node = node
        self._waits = MirrorWaits(drivers, clock)
        compare, note = Step("compare", self._compare), Step("note", self._note)
        jobs.define(JobDefinition("mirror.verify", (compare, note), LONGEST_S, self._note_failure))
        repair = (
            Step("choose", self._choose),
            Step("promote", self._promote, self._demote),
            Step("part", self._part, self._join),
            Step("join", self._join),
            Step("resync", self._resync),
            Step("demote", self._demote),
            Step("note", self._note_repaired),
        )
        jobs.define(JobDefinition("mirror.repair", repair, LONGEST_S))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask of this side."""
        return {
            "mirror.note-verification": self._on_note_verification,
            "mirror.note-repaired": self._on_note_repaired,
            "mirror.promote": self._on_promote,
            "mirror.demote": self._on_demote,
        }

    # --- comparing ---

    async def verify(self, name: str, *, validate_only: bool) -> str | None:
        """Compare both sides online; the job's result says how many bytes differ."""

        async def check() -> None:
            await self._kept.get(name)
            status = await self._sides.status(name)
            if any(v.replication is not ReplicationState.ESTABLISHED for v in status.volumes) or not status.volumes:
                text = f"the mirror {name} is not connected and quiet: {status.connection}"
                raise RefusedError(text, reasons=[Reason("not-connected", text, "start it, or wait for the resync")])
            for other in await self._kept.all():
                volumes = (await self._sides.status(other)).volumes
                if any(v.replication is ReplicationState.VERIFY for v in volumes):
                    text = f"the mirror {other} is being verified, asked by the partner"
                    raise BusyError(text, reasons=[Reason("verify-under-way", text, "wait for its end")])

        if validate_only:
            await check()
            return None
        return await self._jobs.start("mirror.verify", f"mirror:{name}", {"name": name}, locks=[LOCK], check=check)

    async def _compare(self, job: JobContext) -> None:
        name = job.parameters["name"]
        job.facts.setdefault("started_at", self._clock.now().isoformat())
        status = await self._sides.status(name)
        if all(v.replication is not ReplicationState.VERIFY for v in status.volumes):
            await self._drivers.mirror().verify(name)
        while True:
            await self._clock.sleep(POLL_S)
            status = await self._sides.status(name)
            if status.connection is not ConnectionState.CONNECTED:
                raise UnavailableError(f"the mirror {name} lost its connection while it was verified")
            if all(v.replication is not ReplicationState.VERIFY for v in status.volumes):
                break
            done = [v.done_percent for v in status.volumes if v.done_percent is not None]
            rate = sum(v.rate_bytes_s or 0 for v in status.volumes)
            await job.progress(min(done) if done else None, f"comparing both sides, {rate} bytes a second")
        job.facts["out_of_sync_bytes"] = sum(v.out_of_sync_bytes for v in status.volumes)

    async def _note(self, job: JobContext) -> None:
        found = int(job.facts["out_of_sync_bytes"])
        name = job.parameters["name"]
        await self._keep(job, found, None)
        if found:
            await self._events.emit("mirror.out-of-sync", f"mirror:{name}", {"out_of_sync_bytes": found})
        job.result = {"out_of_sync_bytes": found, "is_equal": found == 0}
        await job.log(f"verified: {found} bytes out of sync")

    async def _note_failure(self, job: JobContext, reason: HoldfastError) -> None:
        await self._keep(job, None, reason.message)

    async def _keep(self, job: JobContext, found: int | None, reason: str | None) -> None:
        now = self._clock.now().isoformat()
        verification = Verification(job.job_id, str(job.facts.get("started_at", now)), now, found, reason)
        name = job.parameters["name"]
        await self._histories.add_verification(name, verification)
        try:
            body = {"name": name, "verification": to_plain(verification)}
            await self._partner.call("mirror.note-verification", body, job_id=job.job_id)
        except HoldfastError as unheard:
            # Its own history lacks it then; this node's has it.
            log.info("the partner did not take the result of verifying %s: %s", name, unheard)

    # --- by schedule ---

    async def next_verification(self, document: MirrorDocument) -> datetime | None:
        """When the next one is due, on the source, which starts it."""
        if document.schedule is None or not document.is_started:
            return None
        found = (await self._histories.get(document.name)).verifications
        # One that failed is no reason to try again at once, for ever.
        after = found[0].started_at if found else document.started_at
        return next_due(document.schedule, datetime.fromisoformat(after)) if after else None

    async def start_due(self) -> None:
        """Start what is due now, one; the others come after it."""
        now = self._clock.now()
        for document in (await self._kept.all()).values():
            due = await self.next_verification(document) if document.source == self._node else None
            if due is None or due > now:
                continue
            try:
                await self.verify(document.name, validate_only=False)
            except HoldfastError as reason:
                log.info("the mirror %s is due to be verified, and cannot be now: %s", document.name, reason)

    async def follow_schedules(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self._clock.sleep(LOOK_AT_SCHEDULES_EVERY_S)
            if self._drivers.has("mirror"):
                await self.start_due()

    # --- mending ---

    async def plan_repair(self, name: str) -> RepairPlan:
        """What a repair would overwrite, and where. Raises RefusedError when it cannot be done now."""
        document, status = await self._kept.get(name), await self._sides.status(name)
        if status.connection is not ConnectionState.CONNECTED:
            text = f"the mirror {name} is {status.connection.value}: what differs is known while it is connected"
            raise RefusedError(text, reasons=[Reason("not-connected", text, "start it, and verify it again")])
        if busy := [v for v in status.volumes if v.replication is not ReplicationState.ESTABLISHED]:
            text = f"volume {busy[0].number} is in {busy[0].replication.value}"
            raise BusyError(text, reasons=[Reason("not-quiet", text, "wait for its end")])
        kept_node = self._kept_node(document, status)
        members = {number: member.volume for number, member in enumerate(document.members)}
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
            plan = await self.plan_repair(name)
            if plan.total_bytes == 0:
                text = f"nothing of the mirror {name} is known to differ"
                raise RefusedError(text, reasons=[Reason("nothing-to-repair", text, "verify it first")])

        if validate_only:
            await check()
            return None
        return await self._jobs.start("mirror.repair", f"mirror:{name}", {"name": name}, locks=[LOCK], check=check)

    async def _choose(self, job: JobContext) -> None:
        plan = await self.plan_repair(job.parameters["name"])
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
        await self._on("mirror.disconnect", plan.overwritten_node, job)
        lost = "did not part"
        await self._waits.until(plan.mirror, lambda s: s.connection is not ConnectionState.CONNECTED, lost)

    async def _join(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["name"])
        await self._partner.call("mirror.connect", {"mirror": to_plain(document)}, job_id=job.job_id)
        await self._sides.connect(document)
        await self._waits.connected(document.name)

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
        elif operation == "mirror.disconnect":
            await self._drivers.mirror().disconnect(body["name"])
        else:
            await self.handlers()[operation](body, job.job_id)

    # --- what the partner asks ---

    async def _on_note_verification(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._histories.add_verification(body["name"], from_plain(Verification, body["verification"]))

    async def _on_note_repaired(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._histories.note_repaired(body["name"])

    async def _on_promote(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._drivers.mirror().promote(body["name"])

    async def _on_demote(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._drivers.mirror().demote(body["name"])
