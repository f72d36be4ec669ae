"""Moving a group to a node orderly, and noting that a person wanted it there. Jobs of several kinds do it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from holdfast.errors import HoldfastError, RefusedError
from holdfast.hooks.failover import GroupState
from holdfast.loading.discovery import PluginHooks
from holdfast.services.drivers import Drivers
from holdfast.services.groups.groups import Groups, GroupView
from holdfast.services.groups.history import GroupHistories
from holdfast.services.partner import SLOW_S, PartnerLink, PeerHandler
from holdfast.services.steps import JobContext
from holdfast.system.clock import Clock

log = logging.getLogger(__name__)

MOVE_WITHIN_S = 30.0
POLL_S = 0.2
_IN_BETWEEN = (GroupState.DEMOTING, GroupState.PROMOTING)


class GroupMoves:
    """Asks the monitor that serves a group to hand it over, and waits until the other one serves."""

    def __init__(
        self,
        groups: Groups,
        histories: GroupHistories,
        drivers: Drivers,
        partner: PartnerLink,
        hooks: PluginHooks,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._groups = groups
        self._histories = histories
        self._drivers = drivers
        self._partner = partner
        self._hooks = hooks
        self._clock = clock
        self._node = node

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {"group.note-hold": self._on_note_hold}

    async def settled(self, name: str, within_s: float) -> GroupView:
        """The group once it is not just being handed over, or as it is after `within_s`."""
        deadline_s = self._clock.boot_s() + within_s
        while True:
            view = await self._groups.get(name)
            states = {s.state for s in (view.this_node, view.other_node) if s is not None}
            if view.active_node is not None or not states.intersection(_IN_BETWEEN):
                return view
            if self._clock.boot_s() > deadline_s:
                return view
            await self._clock.sleep(POLL_S)

    async def move(self, job: JobContext, name: str, to: str, within_s: float = MOVE_WITHIN_S) -> GroupView:
        """Have `to` serve the group; it may do so already, or be about to after an earlier try.

        Raises RefusedError with every reason, or UnavailableError.
        """
        view = await self.settled(name, within_s)
        if view.active_node == to:
            return view
        if view.active_node == self._node:
            await self._drivers.failover().switch_over(name, to=to, deadline_s=within_s)
        else:
            body: dict[str, Any] = {"name": name, "to": to, "deadline_s": within_s}
            await self._partner.call("group.switch-over", body, timeout_s=SLOW_S, job_id=job.job_id)
        deadline_s = self._clock.boot_s() + within_s
        while (view := await self._groups.get(name)).active_node != to:
            if self._clock.boot_s() > deadline_s:
                raise RefusedError(f"the group {name} is served by {view.active_node}, not by {to}")
            await self._clock.sleep(POLL_S)
        await self._hooks.tell("group_changed", group=name, what=f"moved to {to}")
        return view

    # --- what a person wanted ---

    async def note_hold(self, job: JobContext, view: GroupView) -> None:
        """Remember on both nodes that a person wants the group where it is served now, away from its preferred node."""
        name, epoch = view.document.name, epoch_of(view)
        await self._histories.hold(name, epoch)
        try:
            await self._partner.call("group.note-hold", {"name": name, "epoch": epoch}, job_id=job.job_id)
        except HoldfastError as unheard:
            # Before it fails back by itself, the partner asks this node.
            log.info("the partner was not told that %s is to stay: %s", name, unheard)

    async def is_held(self, view: GroupView) -> bool:
        """Whether a person wanted the group to be where it is served now, as far as this node knows."""
        return (await self._histories.get(view.document.name)).held_epoch == epoch_of(view)

    async def _on_note_hold(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._histories.hold(body["name"], body["epoch"])


def epoch_of(view: GroupView) -> int | None:
    """The epoch under which a group is served; None if nobody is known to serve it."""
    statuses = [s for s in (view.this_node, view.other_node) if s is not None and s.state.is_active]
    return max((status.epoch for status in statuses), default=None)


def explained(reason: HoldfastError) -> str:
    """An error and all its reasons, in one sentence for people."""
    texts = [each.text for each in reason.reasons if each.text != reason.message]
    return f"{reason.message}: {'; '.join(texts)}" if texts else reason.message
