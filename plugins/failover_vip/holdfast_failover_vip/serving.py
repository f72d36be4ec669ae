"""How one group comes to be served on this node, and how it is let go: each order of steps that must hold."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from holdfast.errors import UnavailableError
from holdfast.hooks.failover import ADDRESS_DOWN, PARTNER_SERVES, GroupState
from holdfast.hooks.replication import Role
from holdfast_failover_vip import actions as do
from holdfast_failover_vip.active import higher_epoch_elsewhere
from holdfast_failover_vip.answers import answer_fence
from holdfast_failover_vip.facts import FenceSay, Record, Verdict
from holdfast_failover_vip.known import Known
from holdfast_failover_vip.tickle import tickle

log = logging.getLogger(__name__)

S = GroupState
ISCSI_PORT = 3260


class Serving(Known):
    """Taking over, handing over, and stopping."""

    async def _stop_serving(self, passed: Callable[[str], None] = lambda what: None) -> None:
        """The address first, so that clients meet silence and not a refusal, which would cost them a retry.

        `passed` is told of each step that is done.
        """
        await self._drop_address()
        passed(ADDRESS_DOWN)
        for resource in reversed(self._stack.resources):
            await resource.deactivate()
        passed("targets inactive")
        if (await self._stack.mirror.status()).role is Role.PRIMARY:
            await self._stack.mirror.deactivate()
        passed("mirror demoted")
        self._is_serving = False
        await self._write(replace(self.record, refuses_outdate=False))
        self.mirror_changed()

    async def _take_over(self, action: do.TakeOver) -> None:
        # What is decided is decided: the last gate, when the kernel asks, looks at the evidence of that moment.
        asked_s = time.monotonic()
        async with self._around.turns.one():
            await self._take_over_now(action, asked_s)

    async def _take_over_now(self, action: do.TakeOver, began_s: float) -> None:
        timeline: dict[str, int] = {}
        before = self.record
        self.taken_epoch = action

        def passed(what: str) -> None:
            timeline[what] = round((time.monotonic() - began_s) * 1000)

        try:
            # Durable before the first act: from here on whoever asks to be told "outdated" hears no.
            await self._write(replace(before, epoch=action.epoch, refuses_outdate=True))
            passed("epoch persisted")
            if action.leaves_peer:
                await self._stack.mirror.leave_peer()
                passed("peer left")
                if self._around.net().is_heard:
                    raise UnavailableError(f"{self._around.partner} is heard again")
            await self._stack.mirror.activate()
            passed("mirror promoted")
            held = replace(self.record, held_epoch=action.epoch, last_active=self._around.node, refuses_outdate=True)
            # All of them end before an undo may begin.
            acts = [resource.activate() for resource in self._stack.resources]
            ended = await asyncio.gather(*acts, self._write(held), return_exceptions=True)
            if failures := [item for item in ended if isinstance(item, BaseException)]:
                raise failures[0]
            passed("targets active")
            await self._raise_address()
            passed("address up")
        except Exception as reason:
            self._tell(f"{self._around.node} could not serve {self.plan.name}: {reason}", timeline)
            await self._undo_take_over(before, action, reason)
            return
        finally:
            self.taken_epoch = None
        await self._read_mirror()
        self._enter(S.ACTIVE_SYNC if self.mirror.is_in_sync else S.ACTIVE_ALONE)
        self._is_current = True
        self._tell(f"{self._around.node} serves {self.plan.name}, epoch {action.epoch}", timeline)
        clients, self.clients = self.clients, ()
        log.info("%d connections of clients of %s are woken", len(clients), self.plan.name)
        if clients:
            addresses = tuple(item.address for item in self.plan.addresses)
            self._waking = asyncio.create_task(tickle(addresses, ISCSI_PORT, clients))

    async def _undo_take_over(self, before: Record, action: do.TakeOver, reason: Exception) -> None:
        self._failures += 1
        self._failed_s = self._around.boot_s()
        self.trouble = f"the promotion failed: {reason}"
        was_current = self._is_current
        try:
            await self._stop_serving()
        except Exception as stuck:
            self._tell(f"{self._around.node} restarts itself: what it began for {self.plan.name} is stuck: {stuck}")
            self._enter(S.SELF_FENCE)
            return
        await self._write(replace(before, epoch=action.epoch, refuses_outdate=False))
        self._is_current = was_current and action.leaves_peer
        self._around.refuse_offer(self.plan.name, action.epoch, str(reason))
        self._enter(S.STANDBY_NOT)

    async def _hand_over(self, epoch: int) -> None:
        self.handover_refusal = None
        began_s = time.monotonic()
        timeline: dict[str, int] = {}

        def passed(what: str) -> None:
            timeline[what] = round((time.monotonic() - began_s) * 1000)

        try:
            await self._stop_serving(passed)
        except Exception as reason:
            self._tell(f"{self._around.node} keeps {self.plan.name}: it could not let go: {reason}")
            self.trouble = f"the handover failed: {reason}"
            self.switch_to = None
            self._failed_s = self._around.boot_s()
            if higher_epoch_elsewhere(self.view()):
                # It serves already: nothing of ours may come back, and the next decision gives way.
                self._enter(S.FROZEN)
                return
            # Should this fail too, the refusal makes the next decision take the group back at once.
            self.handover_refusal = str(reason)
            await self._stack.mirror.activate()
            for resource in self._stack.resources:
                await resource.activate()
            await self._raise_address()
            self._enter(S.ACTIVE_SYNC)
            return
        self._handed_epoch = epoch
        self._handing = began_s, timeline
        self.switch_to = None
        self._around.offer(self.plan.name, epoch, self.plan.revision)

    def handed_over(self) -> dict[str, int] | None:
        """How long each step of handing the group over took until the partner said that it serves; None if it did not.

        By one clock, this node's: the address was up at the partner a little before it said so, by up to a heartbeat.
        """
        if self.state is not S.DEMOTING or self._handing is None or self.peer is None or not self.peer.state.is_active:
            return None
        began_s, timeline = self._handing
        return {**timeline, PARTNER_SERVES: round((time.monotonic() - began_s) * 1000)}

    async def outdate_for_partner(self, asked_epoch: int) -> FenceSay | None:
        """Declare this side stale on the partner's word, never beside an action; None if it did not read back so."""
        async with self._lock:
            if not (self.mirror.is_fresh and self.mirror.is_up):
                await self._read_mirror()
            # What was under way when the question came may have changed the answer.
            say = answer_fence(self.state, self.record, self.mirror, asked_epoch)
            if say is not None:
                return say
            self._is_current = False
            done = await self._stack.mirror.outdate()
            self.mirror_changed()
            return FenceSay(Verdict.OUTDATED, self.record.held_epoch) if done else None

    async def restart_for_partner(self, why: str) -> None:
        """Restart this node, beside whatever hangs in it: its partner waits until it knows us stale or dead."""
        partner = self._around.partner
        self._tell(f"{self._around.node} restarts itself: {partner} waits with {self.plan.name}, and {why}")
        await self._around.reboot()
