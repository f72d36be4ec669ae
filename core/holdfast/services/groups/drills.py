"""Drills (S60): a group is moved to the other node and back as in earnest, and what it took is kept."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from typing import Any

from holdfast.errors import HoldfastError, Reason, RefusedError, UnavailableError
from holdfast.hooks.failover import Decision, GroupState
from holdfast.planning.drills import gap_ms
from holdfast.services.events import Events
from holdfast.services.groups.groups import Groups, GroupView
from holdfast.services.groups.history import DrillMove, DrillReport, GroupHistories, StartedBy
from holdfast.services.groups.moves import POLL_S, GroupMoves, explained
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

log = logging.getLogger(__name__)

READY_WITHIN_S = 60.0
# A monitor writes its decisions apart from its work.
DECISIONS_WITHIN_S = 5.0
LONGEST_S = 600.0


class Drills:
    """Defines the job `group.drill`."""

    def __init__(
        self,
        groups: Groups,
        moves: GroupMoves,
        histories: GroupHistories,
        jobs: Jobs,
        partner: PartnerLink,
        events: Events,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._groups = groups
        self._moves = moves
        self._histories = histories
        self._jobs = jobs
        self._partner = partner
        self._events = events
        self._clock = clock
        self._node = node
        self._daemon = uuid.uuid4().hex
        steps = (
            Step("move it to the other node", self._there),
            Step("move it back", self._back),
            Step("keep the report", self._report),
        )
        jobs.define(JobDefinition("group.drill", steps, LONGEST_S, self._note_failure))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {
            "drill.decisions": self._on_decisions,
            "group.note-drill": self._on_note_drill,
            "group.note-drill-begun": self._on_note_drill_begun,
        }

    async def reports(self, name: str) -> tuple[DrillReport, ...]:
        """The last drills, the newest first. Raises NotFoundError."""
        await self._groups.document(name)
        return (await self._histories.get(name)).drills

    async def drill(
        self, name: str, *, and_back: bool, started_by: StartedBy = StartedBy.PERSON, validate_only: bool = False
    ) -> str | None:
        """Move the group to the other node, and back. Refused with every reason unless both nodes are in order."""

        async def check() -> None:
            if reasons := await self._against(name):
                raise RefusedError(f"no drill of {name} now: {len(reasons)} reasons", reasons=reasons)

        await self._groups.document(name)
        if validate_only:
            await check()
            return None
        parameters = {"name": name, "and_back": and_back, "started_by": started_by}
        return await self._jobs.start("group.drill", f"group:{name}", parameters, check=check)

    async def _against(self, name: str) -> list[Reason]:
        view = await self._groups.get(name)
        if view.active_node is None:
            text = f"no node serves the group {name}"
            return [Reason("not-active", text, "start the group")]
        found = [
            Reason(unmet.code, f"{node}: {unmet.text}", unmet.remedy)
            for node, unmet in await self._groups.preflight(name)
        ]
        if not _is_well(view):
            states = {s.state for s in (view.this_node, view.other_node) if s is not None}
            text = f"the group {name} is {' and '.join(sorted(states))} on its nodes"
            found.append(Reason("not-in-sync", text, "wait until one serves in sync and the other stands by"))
        return found

    # --- the moves ---

    async def _there(self, job: JobContext) -> None:
        name = job.parameters["name"]
        job.facts.setdefault("started_at", self._clock.now().isoformat())
        if "source" not in job.facts:
            view = await self._groups.get(name)
            if view.active_node is None:
                raise UnavailableError(f"no node serves the group {name}")
            job.facts["source"] = view.active_node
            job.facts["is_held"] = await self._moves.is_held(view)
        # Where the group comes to be served in the middle of it, it must not be taken for due.
        await self.note_begun(name, job.facts["started_at"])
        other = self._partner.name if job.facts["source"] == self._node else self._node
        await self._move(job, job.facts["source"], other)

    async def note_begun(self, name: str, at: str) -> None:
        """Remember on both nodes when the last drill began, or did not though it was due."""
        await self._histories.note_drill(name, at)
        try:
            await self._partner.call("group.note-drill-begun", {"name": name, "at": at})
        except HoldfastError as unheard:
            log.info("the partner was not told of a drill of %s: %s", name, unheard)

    async def _back(self, job: JobContext) -> None:
        self._look_for_interruption(job)
        if not job.parameters["and_back"]:
            return
        other = self._partner.name if job.facts["source"] == self._node else self._node
        view = await self._move(job, other, job.facts["source"])
        if job.facts["is_held"]:
            await self._moves.note_hold(job, view)

    async def _move(self, job: JobContext, source: str, destination: str) -> GroupView:
        """Repeated after a restart, it goes on from the same place in both journals."""
        self._look_for_interruption(job)
        name = job.parameters["name"]
        moves: list[Any] = job.facts.setdefault("moves", [])
        marks = f"decisions before the move to {destination}"
        if marks not in job.facts:
            job.facts[marks] = {node: await self._last_decision(node) for node in (source, destination)}
        await job.keep_facts()
        await job.progress(None, f"moving it from {source} to {destination}")
        failure: HoldfastError | None = None
        try:
            await self._moves.move(job, name, destination)
            view = await self._ready(name)
        except HoldfastError as reason:
            failure, job.facts["failure"] = reason, explained(reason)
        within_s = 0.0 if failure else DECISIONS_WITHIN_S
        decisions = await self._decisions(name, job.facts[marks], (source, destination), within_s)
        moves.append(to_plain(DrillMove(source, destination, decisions, gap_ms(decisions))))
        if failure is not None:
            raise failure
        await job.log(f"moved from {source} to {destination}: {moves[-1]['gap_ms']} ms between the two")
        return view

    async def _ready(self, name: str) -> GroupView:
        """The group once the node that let go stands by again: only then has the move come to its end."""
        deadline_s = self._clock.boot_s() + READY_WITHIN_S
        while not _is_well(view := await self._groups.get(name)):
            if self._clock.boot_s() > deadline_s:
                seen = to_plain({"this_node": view.this_node, "other_node": view.other_node})
                raise UnavailableError(f"after the move of {name} the other node does not stand by: {seen}")
            await self._clock.sleep(POLL_S)
        return view

    async def _last_decision(self, node: str) -> int:
        return max((number for number, _ in await self._decisions_of(node, 0)), default=0)

    async def _decisions(
        self, name: str, marks: Mapping[str, int], nodes: tuple[str, str], within_s: float
    ) -> tuple[Decision, ...]:
        """What both monitors have decided about the group since, once they have written down how long it took."""
        deadline_s = self._clock.boot_s() + within_s
        while True:
            found: list[Decision] = []
            for node in nodes:
                try:
                    found += [d for _, d in await self._decisions_of(node, marks[node]) if d.group == name]
                except HoldfastError as reason:
                    log.info("the decisions of %s cannot be read: %s", node, reason)
            timed = {decision.node for decision in found if decision.timeline_ms}
            if timed.issuperset(nodes) or self._clock.boot_s() >= deadline_s:
                return tuple(found)
            await self._clock.sleep(POLL_S)

    async def _decisions_of(self, node: str, after: int) -> tuple[tuple[int, Decision], ...]:
        if node == self._node:
            return await self._groups.decisions(after)
        plain = await self._partner.call("drill.decisions", {"after": after})
        return tuple((number, from_plain(Decision, decision)) for number, decision in plain)

    def _look_for_interruption(self, job: JobContext) -> None:
        if job.facts.setdefault("daemon", self._daemon) != self._daemon:
            job.facts["was_interrupted"] = True

    # --- the report ---

    async def _report(self, job: JobContext) -> None:
        self._look_for_interruption(job)
        report = await self._keep(job, None)
        job.result = report

    async def _note_failure(self, job: JobContext, reason: HoldfastError) -> None:
        self._look_for_interruption(job)
        await self._keep(job, str(job.facts.get("failure", reason.message)))

    async def _keep(self, job: JobContext, reason: str | None) -> DrillReport:
        now = self._clock.now().isoformat()
        report = DrillReport(
            job=job.job_id,
            started_by=StartedBy(job.parameters["started_by"]),
            and_back=job.parameters["and_back"],
            started_at=str(job.facts.get("started_at", now)),
            ended_at=now,
            moves=from_plain(tuple[DrillMove, ...], job.facts.get("moves", [])),
            is_ok=reason is None,
            reason=reason,
            was_interrupted=bool(job.facts.get("was_interrupted", False)),
        )
        await self.add(job.parameters["name"], report)
        return report

    async def add(self, name: str, report: DrillReport) -> None:
        """Keep a report on both nodes, and tell of it."""
        await self._histories.add_drill(name, report)
        try:
            await self._partner.call("group.note-drill", {"name": name, "report": to_plain(report)})
        except HoldfastError as unheard:
            log.info("the partner did not take the report of a drill of %s: %s", name, unheard)
        kind = "group.drilled" if report.is_ok else "group.drill-failed"
        gaps = [move.gap_ms for move in report.moves]
        await self._events.emit(kind, f"group:{name}", {"gaps_ms": gaps, "reason": report.reason})

    # --- what the partner asks ---

    async def _on_decisions(self, body: dict[str, Any], job_id: str | None) -> Any:
        return [[number, to_plain(decision)] for number, decision in await self._groups.decisions(body["after"])]

    async def _on_note_drill(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._histories.add_drill(body["name"], from_plain(DrillReport, body["report"]))

    async def _on_note_drill_begun(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._histories.note_drill(body["name"], body["at"])


def _is_well(view: GroupView) -> bool:
    states = {s.state for s in (view.this_node, view.other_node) if s is not None}
    return states == {GroupState.ACTIVE_SYNC, GroupState.STANDBY_OK}
