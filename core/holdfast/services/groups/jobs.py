"""The steps of group jobs. Both nodes get the same document; the monitors act, and the job waits for what they did."""

from __future__ import annotations

from dataclasses import replace

from holdfast.errors import HoldfastError, UnavailableError
from holdfast.hooks.failover import GroupState
from holdfast.loading.discovery import PluginHooks
from holdfast.services.documents import GroupDocument
from holdfast.services.groups.groups import Groups
from holdfast.services.groups.history import GroupHistories
from holdfast.services.groups.moves import POLL_S, GroupMoves
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.partner import PartnerLink
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

START_WITHIN_S = 60.0
RESYNC_WITHIN_S = 24 * 3600.0


class GroupJobs:
    """Defines the jobs `group.create` (also a change), `.delete`, `.start`, `.stop`, `.switch-over` and `.resync`."""

    def __init__(
        self,
        groups: Groups,
        moves: GroupMoves,
        histories: GroupHistories,
        sides: MirrorSides,
        jobs: Jobs,
        partner: PartnerLink,
        hooks: PluginHooks,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._groups = groups
        self._moves = moves
        self._histories = histories
        self._sides = sides
        self._partner = partner
        self._hooks = hooks
        self._clock = clock
        self._node = node
        create = (
            Step("record on the partner", self._adopt_partner, self._restore_partner),
            Step("record on this node", self._adopt_here, self._restore_here),
        )
        jobs.define(JobDefinition("group.create", create))
        delete = (
            Step("forget on the partner", self._forget_partner, is_final=True),
            Step("forget here", self._forget_here),
        )
        jobs.define(JobDefinition("group.delete", delete))
        start = (
            # Taken back in one: a group stops only after the wish is gone, so to wait for it has no step of its own.
            Step("note on both nodes", self._note_started, self._take_back_start),
            Step("wait until it is served", self._wait_served),
        )
        jobs.define(JobDefinition("group.start", start))
        stop = (
            Step("note on both nodes", self._note_stopped),
            Step("wait until it is stopped", self._wait_stopped),
        )
        jobs.define(JobDefinition("group.stop", stop))
        switch_over = (Step("switch over", self._switch_over),)
        jobs.define(JobDefinition("group.switch-over", switch_over, on_failure=self._note_failed_move))
        jobs.define(JobDefinition("group.resync", (Step("resync", self._resync),), deadline_s=RESYNC_WITHIN_S))

    def _name(self, job: JobContext) -> str:
        given = job.parameters
        return str(given["group"]["name"] if "group" in given else given["name"])

    # --- create and change ---

    async def _adopt_partner(self, job: JobContext) -> None:
        await self._send(job, from_plain(GroupDocument, job.parameters["group"]))

    async def _send(self, job: JobContext, document: GroupDocument) -> None:
        await self._partner.call("group.adopt", {"group": to_plain(document)}, job_id=job.job_id)

    async def _adopt_here(self, job: JobContext) -> None:
        document = from_plain(GroupDocument, job.parameters["group"])
        await self._groups.adopt(document)
        await self._hooks.tell("group_changed", group=document.name, what="made")
        job.result = await self._groups.get(document.name)

    def _before(self, job: JobContext) -> GroupDocument | None:
        """What was recorded before this job, with a revision above the one that is taken back."""
        before = job.parameters["before"]
        if before is None:
            return None
        wanted = from_plain(GroupDocument, job.parameters["group"])
        return replace(from_plain(GroupDocument, before), revision=wanted.revision + 1)

    async def _restore_partner(self, job: JobContext) -> None:
        before = self._before(job)
        if before is None:
            await self._forget_partner(job)
        else:
            await self._send(job, before)

    async def _restore_here(self, job: JobContext) -> None:
        before = self._before(job)
        if before is None:
            await self._groups.forget(self._name(job))
        else:
            await self._groups.adopt(before)

    async def _forget_partner(self, job: JobContext) -> None:
        await self._partner.release("group.forget", {"name": self._name(job)}, job_id=job.job_id)

    async def _forget_here(self, job: JobContext) -> None:
        await self._groups.forget(self._name(job))
        await self._hooks.tell("group_changed", group=self._name(job), what="deleted")

    # --- start and stop ---

    async def _note(self, job: JobContext, *, is_started: bool) -> None:
        """Write the wish to both nodes. Repeated, it finds the wish there and only tells the partner again."""
        document = await self._groups.document(self._name(job))
        if document.is_started is not is_started:
            document = replace(document, is_started=is_started, revision=document.revision + 1)
        await self._groups.adopt(document)
        await self._send(job, document)

    async def _note_started(self, job: JobContext) -> None:
        await self._note(job, is_started=True)

    async def _note_stopped(self, job: JobContext) -> None:
        try:
            await self._note(job, is_started=False)
        except UnavailableError as reason:
            # The partner adopts the newer revision when it is back: a stop must not wait for it.
            await job.log(f"the partner was not told and adopts it when it is back: {reason.message}")

    async def _take_back_start(self, job: JobContext) -> None:
        await self._note_stopped(job)
        await self._wait_stopped(job)

    async def _wait_served(self, job: JobContext) -> None:
        name = self._name(job)
        deadline_s = self._clock.boot_s() + START_WITHIN_S
        while True:
            view = await self._groups.get(name)
            states = {s.state for s in (view.this_node, view.other_node) if s is not None}
            if states == {GroupState.ACTIVE_SYNC, GroupState.STANDBY_OK}:
                break
            if self._clock.boot_s() > deadline_s:
                seen = to_plain({"this_node": view.this_node, "other_node": view.other_node})
                raise UnavailableError(f"the group {name} is not served by one node with the other ready: {seen}")
            await self._clock.sleep(POLL_S)
        await self._hooks.tell("group_changed", group=name, what="started")
        job.result = view

    async def _wait_stopped(self, job: JobContext) -> None:
        name = self._name(job)
        deadline_s = self._clock.boot_s() + START_WITHIN_S
        while True:
            here = await self._groups.status(name)
            if here is None or here.state in (GroupState.STOPPED, GroupState.MANUAL):
                break
            if self._clock.boot_s() > deadline_s:
                raise UnavailableError(f"the group {name} is {here.state} on {self._node} and did not stop")
            await self._clock.sleep(POLL_S)
        job.result = await self._groups.get(name)

    # --- moving ---

    async def _switch_over(self, job: JobContext) -> None:
        name, to = self._name(job), job.parameters["to"]
        if why := job.parameters.get("why"):
            await job.log(why)
        view = await self._moves.move(job, name, to)
        if to != view.document.preferred:
            await self._moves.note_hold(job, view)
        job.result = view

    async def _note_failed_move(self, job: JobContext, reason: HoldfastError) -> None:
        if "why" in job.parameters:  # nobody asked for it
            await self._histories.note_failback(self._name(job), has_failed=True)

    async def _resync(self, job: JobContext) -> None:
        document = await self._groups.document(self._name(job))
        while True:
            status = await self._sides.status(document.mirror)
            if status.is_in_sync:
                break
            left = sum(v.out_of_sync_bytes for v in status.volumes)
            percents = [v.done_percent for v in status.volumes if v.done_percent is not None]
            await job.progress(min(percents) if percents else None, f"{status.connection}, {left} bytes to go")
            await self._clock.sleep(POLL_S)
        job.result = await self._groups.get(document.name)
