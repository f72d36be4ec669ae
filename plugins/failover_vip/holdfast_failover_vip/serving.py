"""How one group comes to be served on this node, and how it is let go: each order of steps that must hold."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from holdfast.errors import UnavailableError
from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import Role
from holdfast_failover_vip import actions as do
from holdfast_failover_vip.active import higher_epoch_elsewhere
from holdfast_failover_vip.facts import Record
from holdfast_failover_vip.known import Known
from holdfast_failover_vip.tickle import tickle

log = logging.getLogger(__name__)

S = GroupState
ISCSI_PORT = 3260


class Serving(Known):
    """Taking over, handing over, and stopping."""

    async def _stop_serving(self) -> None:
        """The address first, so that clients meet silence and not a refusal, which would cost them a retry."""
        await self._drop_address()
        for resource in reversed(self._stack.resources):
            await resource.deactivate()
        if (await self._stack.mirror.status()).role is Role.PRIMARY:
            await self._stack.mirror.deactivate()
        self._is_serving = False
        await self._write(replace(self.record, refuses_outdate=False))
        self.mirror_changed()

    async def _take_over(self, action: do.TakeOver) -> None:
        began_s = time.monotonic()
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
        try:
            await self._stop_serving()
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
        self.switch_to = None
        self._around.offer(self.plan.name, epoch, self.plan.revision)

    async def outdate_for_partner(self) -> bool:
        """Declare this side stale on the partner's word; True once that was read back. Never beside an action."""
        async with self._lock:
            if self.state.is_active or self.state is S.PROMOTING or self.mirror.role is Role.PRIMARY:
                return False
            self._is_current = False
            done = await self._stack.mirror.outdate()
            self.mirror_changed()
            return done
