"""One group on one node: what `decide` says of it, done one action after the other, and the kernel's question."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from holdfast.errors import HoldfastError, VerificationError
from holdfast.hooks.failover import GroupStack, GroupState
from holdfast.hooks.replication import FenceAnswer
from holdfast_failover_vip import actions as do
from holdfast_failover_vip.address import VirtualAddresses
from holdfast_failover_vip.answers import answer_own_promotion
from holdfast_failover_vip.decide import decide
from holdfast_failover_vip.facts import NodeFacts
from holdfast_failover_vip.serving import Serving

log = logging.getLogger(__name__)

S = GroupState
# States that others, and the kernel's questions, must see before the first action begins.
_SEEN_FIRST = (S.PROMOTING, S.DEMOTING, S.FROZEN, S.SELF_FENCE)
_SKIPPED_IF_REPEATED_S = 0.06
# After actions that failed, and failed again: not the disk of a node that boots is to be asked ten times a second.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0


class Group(Serving):
    """See the module."""

    @property
    def is_idle(self) -> bool:
        """Whether no action is under way."""
        return self._acting is None or self._acting.done()

    def step(self, net: NodeFacts) -> None:
        """Decide by what was heard up to this turn, and begin to carry out.

        Quick; called again whenever anything may have changed.
        """
        if not self._found or not self.is_idle:
            return
        if self.state is S.STOPPED:
            self._exchange()
        before = self.state
        step = decide(self.view(net), self._around.timers)
        self._is_current = step.is_current
        wanted = tuple(action for action in step.actions if not self._was_just_done(action))
        if before is step.state and not wanted:
            return
        if step.sentence and (step.state is not before or any(isinstance(a, do.Answer) for a in wanted)):
            self._tell(step.sentence, self.handed_over() if step.state is S.STANDBY_NOT else None)
        if not wanted:
            self._enter(step.state)
            return
        if step.state in _SEEN_FIRST:
            self._enter(step.state)
        self._question = self._fence
        self._acting = asyncio.create_task(self._carry_out(step.state, wanted), name=f"group {self.plan.name}")

    def _was_just_done(self, action: do.Action) -> bool:
        if not isinstance(
            action, do.AskPeer | do.Claim | do.OfferAgain | do.Connect | do.DropAddress | do.RaiseAddress
        ):
            return False
        return self._around.boot_s() - self._tried_s.get(type(action), -1e9) < _SKIPPED_IF_REPEATED_S

    async def _carry_out(self, state: GroupState, wanted: tuple[do.Action, ...]) -> None:
        if await self._succeeds(state, wanted):
            self._failed_in_a_row = 0
        else:
            # Apart from the lock: the partner may ask meanwhile to be told "outdated".
            await asyncio.sleep(min(_FIRST_PAUSE_S * 2**self._failed_in_a_row, _LONGEST_PAUSE_S))
            self._failed_in_a_row = min(self._failed_in_a_row + 1, 10)
        self._around.wake()

    async def _succeeds(self, state: GroupState, wanted: tuple[do.Action, ...]) -> bool:
        async with self._lock:
            try:
                for action in wanted:
                    self._tried_s[type(action)] = self._around.boot_s()
                    await self._do(action)
            except Exception as reason:
                # Nothing may end the monitor: what failed is decided about again, with fresh facts.
                if not isinstance(reason, HoldfastError | OSError):
                    log.exception("an action of the group %s failed unexpectedly", self.plan.name)
                self.trouble = f"{type(action).__name__} failed: {reason}"
                log.warning("%s: %s", self.plan.name, self.trouble)
                return False
            self.trouble = None
            if not any(isinstance(a, do.TakeOver | do.HandOver) for a in wanted):
                self._enter(state)
            return True

    async def _do(self, action: do.Action) -> None:
        match action:
            case do.TakeOver():
                await self._take_over(action)
            case do.HandOver():
                await self._hand_over(action.epoch)
            case do.StopServing():
                await self._stop_serving()
            case do.Clear():
                await self._stop_serving()
                await self._stack.mirror.connect()
                await self._addresses.prepare()
                for resource in self._stack.resources:
                    await resource.prepare()
            case do.Adopt():
                if not self.mirror.is_suspended:
                    await self._stack.mirror.take_up()
                for resource in self._stack.resources:
                    await resource.activate()
                await self._raise_address()
            case do.Outdate():
                if not await self._stack.mirror.outdate():
                    raise VerificationError(f"the mirror {self.plan.mirror} did not read back as outdated")
                self._is_current = False
            case do.LeavePeer():
                await self._stack.mirror.leave_peer()
            case do.Connect():
                await self._stack.mirror.connect()
            case do.DropAddress():
                await self._drop_address()
            case do.RaiseAddress():
                await self._raise_address()
            case do.AskPeer():
                self._around.ask_fence(self.plan.mirror, self.record.held_epoch)
            case do.Claim():
                if (witness := self._around.witness()) is not None:
                    witness.claim(self.plan.name)
            case do.Release():
                if (witness := self._around.witness()) is not None:
                    witness.release(self.plan.name)
            case do.OfferAgain():
                self._around.offer(self.plan.name, self._handed_epoch, self.plan.revision)
            case do.Answer():
                self._answer(action.answer)
            case do.Note():
                kept = replace(self.record, epoch=action.epoch, last_active=action.last_active, refuses_outdate=False)
                await self._write(kept)
            case do.Reboot():
                await self._around.reboot()

    async def take_up(self) -> None:
        """Serve what the mirror has gained by a changed plan, if this node serves: beside no other action."""
        async with self._lock:
            if self.state in (S.ACTIVE_SYNC, S.ACTIVE_ALONE):
                try:
                    await self._stack.mirror.take_up()
                except (HoldfastError, OSError) as reason:  # tried again with the next look at the plan
                    log.warning("%s: what its mirror has gained is not served yet: %s", self.plan.name, reason)
        self.mirror_changed()

    def take_offer(self, epoch: int) -> None:
        """Serve a group that the partner let go of."""
        if self.is_idle:
            self._tell(f"{self._around.node} takes {self.plan.name} over from {self._around.partner}, which handed it")
            self._enter(S.PROMOTING)
            wanted = (do.TakeOver(epoch, leaves_peer=False),)
            self._acting = asyncio.create_task(self._carry_out(S.PROMOTING, wanted))

    async def fence_peer(self) -> FenceAnswer:
        """See FenceArbiter.fence_peer."""
        if self.state is S.PROMOTING and self.taken_epoch is not None:
            return await self._answer_own_promotion(self.taken_epoch)
        asked: asyncio.Future[FenceAnswer] = asyncio.get_running_loop().create_future()
        self._fence, self.fence_say = asked, None
        self._around.wake()
        try:
            return await asked
        finally:
            if self._fence is asked:
                self._fence = None
            self.mirror_changed()

    async def _answer_own_promotion(self, action: do.TakeOver) -> FenceAnswer:
        """Our own promotion asks, with the resource locked: it was decided and persisted, and this is the last gate."""
        around = self._around
        while True:
            answer = answer_own_promotion(self.view(), around.timers, is_granted=action.is_granted)
            # Had this machine slept since, its partner may have gone on alone.
            if answer is not None and around.is_punctual():
                return answer
            await asyncio.sleep(0.01)

    def _answer(self, answer: FenceAnswer) -> None:
        if self._fence is None or self._fence is not self._question:
            return  # the kernel was connected in between, and asks anew: that is to be decided about anew, too
        if not self._fence.done():
            self._fence.set_result(answer)
        self._fence = None
        self.mirror_changed()

    def rebuild(self, stack: GroupStack, addresses: VirtualAddresses) -> None:
        """Take a changed plan: what it consists of changes only while it is stopped."""
        self.plan = stack.plan
        self._next = (stack, addresses)
        if self.state is S.STOPPED:
            self._exchange()

    def _exchange(self) -> None:
        if self._next is not None and self.is_idle:
            (self._stack, self._addresses), self._next = self._next, None

    async def close(self) -> None:
        """Stop acting; what is served stays served."""
        if self._acting is not None:
            self._acting.cancel()
            await asyncio.gather(self._acting, return_exceptions=True)
        await self._addresses.close()
