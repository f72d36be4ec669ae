"""Bringing groups back to their preferred nodes, where they ask for it. The node that serves one does it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.errors import HoldfastError, RefusedError
from holdfast.hooks.failover import GroupStatus
from holdfast.planning.failback import Failback, FailbackFacts, Quiet, look, why_not
from holdfast.services.documents import GroupDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.groups.groups import Groups
from holdfast.services.groups.history import GroupHistories
from holdfast.services.jobs import Jobs
from holdfast.services.nodes.maintenance_marks import MaintenanceMarks
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
# A look waits for the partner, for up to 10 s.
LOOKS_AT_LEAST_EVERY_S = 30.0


@dataclass(frozen=True)
class Side:
    """What one node says of a group: the same on both."""

    status: GroupStatus | None
    held_epoch: int | None
    last_decision: int
    """The number of the last one about this group; 0 for none."""


class AutomaticFailback:
    """Looks again and again, and starts the job `group.switch-over` once it is time."""

    def __init__(
        self,
        kept: Intents[GroupDocument],
        groups: Groups,
        histories: GroupHistories,
        marks: MaintenanceMarks,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        events: Events,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._groups = groups
        self._histories = histories
        self._marks = marks
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._events = events
        self._clock = clock
        self._node = node
        self._quiet: dict[str, Quiet] = {}

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {"group.side": self._on_side}

    async def forever(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                if self._drivers.has("failover"):
                    await self.look()
            except Exception:  # it is no reason for the daemon to end
                log.exception("groups that may fail back could not be looked at")

    async def look(self) -> None:
        """Look at every group once, and start what is due."""
        for name, document in (await self._kept.all()).items():
            try:
                await self._look_at(name, document)
            except HoldfastError as reason:
                log.info("the group %s is not failed back now: %s", name, reason)

    async def _look_at(self, name: str, document: GroupDocument) -> None:
        if document.failback is not Failback.AUTOMATIC:
            self._quiet.pop(name, None)
            return
        status = await self._groups.status(name)
        is_here = status is not None and status.state.is_active
        if document.preferred == (status.active_node if status else None):
            await self._histories.note_failback(name, has_failed=False)
        if not is_here or document.preferred == self._node:
            self._quiet.pop(name, None)
            return
        if why_not(await self._facts(document)):
            return

        async def still_so() -> None:
            reasons = why_not(await self._facts(await self._groups.document(name)))
            if reasons:
                raise RefusedError("; ".join(reasons))

        why = (
            f"{name} goes back to {document.preferred}, its preferred node: both nodes are in sync, and nothing has "
            f"changed for {document.failback_after_s} s or more"
        )
        parameters = {"name": name, "to": document.preferred, "why": why}
        await self._jobs.start("group.switch-over", f"group:{name}", parameters, check=still_so)
        # Once: what comes of it is a change, and it has to be quiet again before the next one.
        self._quiet.pop(name, None)
        log.info("%s", why)
        await self._events.emit("group.failback", f"group:{name}", {"to": document.preferred, "why": why})

    async def _facts(self, document: GroupDocument) -> FailbackFacts:
        name = document.name
        here = await self._side(name)
        there = await self._ask_partner(name)
        links = (await self._drivers.failover().status()).links
        picture = (
            _picture(here),
            None if there is None else _picture(there),
            tuple((link.name, link.is_up) for link in links),
        )
        now_s = self._clock.boot_s()
        quiet = look(self._quiet.get(name), picture, now_s, at_least_every_s=LOOKS_AT_LEAST_EVERY_S)
        self._quiet[name] = quiet
        assert here.status is not None
        statuses = [here.status] if there is None or there.status is None else [here.status, there.status]
        return FailbackFacts(
            here=here.status.state,
            there=None if there is None or there.status is None else there.status.state,
            troubles=tuple(reason for status in statuses for reason in status.reasons),
            in_maintenance=await self._marks.nodes(),
            # Each node may have been told what the other one was not.
            is_held=here.status.epoch in {here.held_epoch, None if there is None else there.held_epoch},
            quiet_s=now_s - quiet.since_s,
            after_s=document.failback_after_s,
            failures=(await self._histories.get(name)).failed_failbacks,
        )

    async def _ask_partner(self, name: str) -> Side | None:
        try:
            return from_plain(Side, await self._partner.call("group.side", {"name": name}))
        except HoldfastError:
            return None

    async def _side(self, name: str) -> Side:
        status = await self._groups.status(name)
        history = await self._histories.get(name)
        numbers = [n for n, decision in await self._drivers.failover().decisions() if decision.group == name]
        return Side(status, history.held_epoch, max(numbers, default=0))

    async def _on_side(self, body: dict[str, Any], job_id: str | None) -> Any:
        return to_plain(await self._side(body["name"]))


def _picture(side: Side) -> tuple[object, ...]:
    status = side.status
    return side.last_decision, None if status is None else (status.state, status.epoch, status.reasons)
