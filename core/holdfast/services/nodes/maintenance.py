"""Maintenance of this node: what it serves goes to the partner, and then nothing comes back by itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.errors import ConflictError, HoldfastError, Reason
from holdfast.services.documents import GroupDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.groups.moves import MOVE_WITHIN_S, GroupMoves, explained
from holdfast.services.groups.plans import Plans
from holdfast.services.jobs import Jobs
from holdfast.services.nodes.maintenance_marks import MaintenanceMark, MaintenanceMarks
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """A group that this node goes on serving, and why it could not be moved."""

    group: str
    reason: str


@dataclass(frozen=True)
class Drained:
    """What became of the groups that this node served."""

    moved: tuple[str, ...]
    kept: tuple[Kept, ...]


class Maintenance:
    """Defines the jobs `node.maintenance`, `node.end-maintenance` and `node.drain`."""

    def __init__(
        self,
        marks: MaintenanceMarks,
        kept: Intents[GroupDocument],
        moves: GroupMoves,
        plans: Plans,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        events: Events,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._marks = marks
        self._kept = kept
        self._moves = moves
        self._plans = plans
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._events = events
        self._clock = clock
        self._node = node
        drain = Step("hand over what is served here", self._drain)
        # The mark comes after the moves: a node that is marked would not take back what its partner could not serve.
        begin = (drain, Step("mark the node", self._mark, self._unmark), Step("tell what came of it", self._tell_begun))
        jobs.define(JobDefinition("node.maintenance", begin, deadline_s=None))
        end = (Step("take the mark away", self._unmark), Step("tell it", self._tell_ended))
        jobs.define(JobDefinition("node.end-maintenance", end))
        jobs.define(JobDefinition("node.drain", (drain,), deadline_s=None))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {"maintenance.mark": self._on_mark, "maintenance.note": self._on_note}

    async def marks(self) -> tuple[MaintenanceMark, ...]:
        """The nodes in maintenance, this one and its partner."""
        return await self._marks.all()

    # --- asking for it ---

    async def begin(self, reason: str, *, validate_only: bool) -> str | None:
        """Hand over every group that is served here, and mark the node."""

        async def check() -> None:
            self._drivers.failover()
            _refuse_if_marked(await self._marks.all())

        return await self._start("node.maintenance", {"reason": reason}, check, validate_only=validate_only)

    async def end(self, *, validate_only: bool) -> str | None:
        """Take the mark away. Nothing else changes."""

        async def check() -> None:
            if await self._marks.find(self._node) is None:
                text = f"{self._node} is not in maintenance"
                raise ConflictError(text, reasons=[Reason("not-in-maintenance", text, "ask the node that is")])

        return await self._start("node.end-maintenance", {}, check, validate_only=validate_only)

    async def drain(self, within_s: float, *, validate_only: bool) -> str | None:
        """Hand over every group that is served here, and no more than that; begin with none after `within_s`."""

        async def check() -> None:
            self._drivers.failover()

        return await self._start("node.drain", {"within_s": within_s}, check, validate_only=validate_only)

    async def _start(self, kind: str, parameters: Mapping[str, Any], check: Any, *, validate_only: bool) -> str | None:
        if validate_only:
            await check()
            return None
        locks = [] if kind == "node.end-maintenance" else [f"group:{name}" for name in await self._started()]
        return await self._jobs.start(kind, f"node:{self._node}", parameters, locks=locks, check=check)

    async def _started(self) -> list[str]:
        return [name for name, group in (await self._kept.all()).items() if group.is_started]

    # --- the steps ---

    async def _drain(self, job: JobContext) -> None:
        """Repeated, it finds what was moved before, and tries again what was not."""
        within_s = job.parameters.get("within_s")
        ends_s = None if within_s is None else self._clock.boot_s() + within_s
        moved: list[str] = job.facts.setdefault("moved", [])
        kept: list[Kept] = []
        for name in await self._started():
            left_s = MOVE_WITHIN_S if ends_s is None else min(MOVE_WITHIN_S, ends_s - self._clock.boot_s())
            view = await self._moves.settled(name, max(left_s, 0.0))
            if view.active_node != self._node:
                continue
            try:
                if left_s <= 0:
                    raise HoldfastError("there was no time left for it")
                await self._moves.move(job, name, self._partner.name, left_s)
            except HoldfastError as reason:
                kept.append(Kept(name, explained(reason)))
                await job.log(f"{self._node} goes on serving {name}: {kept[-1].reason}")
            else:
                moved.append(name)
                await job.keep_facts()
                await job.log(f"{name} was handed over to {self._partner.name}")
        job.facts["kept"] = to_plain(kept)
        job.result = self._drained(job)

    def _drained(self, job: JobContext) -> Drained:
        return Drained(tuple(job.facts["moved"]), from_plain(tuple[Kept, ...], job.facts["kept"]))

    async def _mark(self, job: JobContext) -> None:
        # The partner's may have come meanwhile.
        _refuse_if_marked(tuple(mark for mark in await self._marks.all() if mark.node != self._node))
        since = job.facts.setdefault("since", self._clock.now().isoformat())
        await self._set(job, MaintenanceMark(self._node, since, job.parameters["reason"]))

    async def _unmark(self, job: JobContext) -> None:
        await self._set(job, None)

    async def _set(self, job: JobContext, mark: MaintenanceMark | None) -> None:
        await self._marks.set(self._node, mark)
        # A monitor that is away reads it at its start, before it decides anything.
        await self._plans.write_if_possible()
        try:
            body = {"node": self._node, "mark": None if mark is None else to_plain(mark)}
            await self._partner.call("maintenance.note", body, job_id=job.job_id)
        except HoldfastError as unheard:
            await job.log(f"the partner was not told, and asks for it when it is back: {unheard.message}")

    async def _tell_begun(self, job: JobContext) -> None:
        drained = self._drained(job)
        body = {**to_plain(drained), "reason": job.parameters["reason"]}
        await self._events.emit("node.maintenance-began", f"node:{self._node}", body)
        job.result = drained

    async def _tell_ended(self, job: JobContext) -> None:
        await self._events.emit("node.maintenance-ended", f"node:{self._node}", {})

    # --- the partner's mark ---

    async def refresh(self) -> None:
        """Ask the partner whether it is in maintenance: what it said while this node was away is made up for."""
        await self._note(self._partner.name, await self._partner.call("maintenance.mark", {}))

    async def _note(self, node: str, plain: Any) -> None:
        await self._marks.set(node, None if plain is None else from_plain(MaintenanceMark, plain))

    async def _on_mark(self, body: dict[str, Any], job_id: str | None) -> Any:
        mark = await self._marks.find(self._node)
        return None if mark is None else to_plain(mark)

    async def _on_note(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._note(body["node"], body["mark"])
        await self._plans.write_if_possible()


def _refuse_if_marked(marks: tuple[MaintenanceMark, ...]) -> None:
    for mark in marks:
        text = f"{mark.node} is in maintenance since {mark.since}, and one node of a pair must be able to take over"
        remedy = f"end that first, on {mark.node}: POST /v1/node/maintenance/end"
        raise ConflictError(text, reasons=[Reason("in-maintenance", text, remedy)])
