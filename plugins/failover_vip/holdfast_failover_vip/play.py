"""Plays both nodes' decisions forward until they rest, over a time of its own in which commands take none.

Every step is one of `decide`, `answer_fence`, `answer_own_promotion` and `refuse_handover`: the rules of a takeover
stand there, and here is only what the world does meanwhile. No I/O, no clock.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from holdfast.errors import HoldfastError
from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import ConnectionState, DiskState, FenceAnswer, Role
from holdfast_failover_vip import actions as do
from holdfast_failover_vip.answers import answer_fence, answer_own_promotion, refuse_handover
from holdfast_failover_vip.decide import decide
from holdfast_failover_vip.facts import FenceSay, Verdict
from holdfast_failover_vip.sides import Side, connect
from holdfast_failover_vip.stage import Stage, Told

S, C, D = GroupState, ConnectionState, DiskState

_SETTLING = (do.TakeOver, do.HandOver, do.Answer, do.Adopt)
MOST_TURNS = 2000
"""Every pair rests long before that; one that does not is a fault of this module, and ends as an error."""


class Play(Stage):
    """See the module."""

    def run(self) -> None:
        """Let both decide until nothing changes any more, whatever time passes."""
        for _ in range(MOST_TURNS):
            before = self._shown()
            self.hear()
            self.holds_writes = self.holds_writes or not self._acknowledges()
            for side, other in self.sides:
                if side.decides:
                    self._decide(side, other)
            if self._shown() == before and not self._wait() and not self._kernels_notice():
                return
        raise HoldfastError(f"what becomes of {self.here.view.plan.name} cannot be foreseen: it does not come to rest")

    def _decide(self, side: Side, other: Side) -> None:
        before = side.view.state
        step = decide(side.view, self.timers)
        side.know(is_current=step.is_current)
        if step.sentence and (step.state is not before or any(isinstance(a, do.Answer) for a in step.actions)):
            self.told.append(Told(side.view.node, step.sentence, any(isinstance(a, _SETTLING) for a in step.actions)))
        for action in step.actions:
            self._carry_out(side, other, action)
        if not any(isinstance(action, do.TakeOver) for action in step.actions):  # which enters the state it leads to
            side.enter(step.state)
        if any(isinstance(action, do.HandOver | do.OfferAgain) for action in step.actions):
            self._offer(side, other)

    def _carry_out(self, side: Side, other: Side, action: do.Action) -> None:
        match action:
            case do.TakeOver():
                self._take_over(side, other, action)
            case do.OfferAgain():
                pass  # see `_decide`: an offer comes once the state is entered
            case do.Clear() | do.StopServing() | do.HandOver():
                self._let_go(side, other)
                if isinstance(action, do.HandOver):
                    side.know(handed_epoch=action.epoch, handover_refusal=None, switch_to=None)
                elif isinstance(action, do.Clear) and not side.mirror.is_connected:
                    self._connect(side, other)
            case do.Adopt():
                side.know(address_is_up=True, is_serving=True)
            case do.Outdate():
                self._outdate(side, other)
            case do.LeavePeer():
                self._leave(side, other)
            case do.Connect():
                self._connect(side, other)
            case do.DropAddress() | do.RaiseAddress():
                side.know(address_is_up=isinstance(action, do.RaiseAddress))
            case do.AskPeer():
                self._ask(side, other)
            case do.Claim():
                self._claim(side, other)
            case do.Release():
                self._say_released(side, other, is_released=True, holds=False)
            case do.Answer():
                self._answer(side, action.answer)
            case do.Note():
                side.know(record=replace(side.view.record, epoch=action.epoch, last_active=action.last_active))
            case do.Reboot():
                side.has_power = False
            case _:
                assert_never(action)

    def _let_go(self, side: Side, other: Side) -> None:
        self.holds_writes = self.holds_writes or side.serves
        side.know(address_is_up=False, is_serving=False)
        if not side.mirror.is_suspended:
            side.turn_mirror(role=Role.SECONDARY)
            if other.mirror.is_connected:
                other.turn_mirror(peer_role=Role.SECONDARY)

    def _leave(self, side: Side, other: Side) -> None:
        side.lose_peer(C.STANDALONE)
        if self.mirror_carries and other.mirror.is_connected:
            other.lose_peer(C.CONNECTING)

    def _connect(self, side: Side, other: Side) -> None:
        side.turn_mirror(connection=C.CONNECTING)
        if self.mirror_carries and other.has_power and other.mirror.connection is C.CONNECTING:
            connect(side, other)

    def _outdate(self, side: Side, other: Side) -> None:
        self._leave(side, other)
        side.turn_mirror(disk=D.OUTDATED if side.mirror.disk is D.UP_TO_DATE else side.mirror.disk)
        side.know(is_current=False)

    def _ask(self, side: Side, other: Side) -> None:
        if not (self._beats(side, other) and self._beats(other, side)):
            return
        say = answer_fence(other.view.state, other.view.record, other.mirror, side.view.record.held_epoch)
        if say is None:
            self._outdate(other, side)
            say = FenceSay(Verdict.OUTDATED, other.view.record.epoch)
        side.know(fence_say=say)

    def _answer(self, side: Side, answer: FenceAnswer) -> None:
        side.know(fence_pending=False)
        if answer is not FenceAnswer.PEER_PRIMARY:
            is_worse = answer is FenceAnswer.PEER_INCONSISTENT
            side.turn_mirror(is_suspended=False, peer_disk=D.INCONSISTENT if is_worse else D.OUTDATED)

    def _claim(self, side: Side, other: Side) -> None:
        witness = side.view.witness
        if witness is not None and witness.answers and witness.is_open:
            self._say_released(side, other, is_released=False, holds=True)

    def _say_released(self, side: Side, other: Side, *, is_released: bool, holds: bool) -> None:
        own, partners = side.view.witness, other.view.witness
        if own is not None and partners is not None:
            side.know(witness=replace(own, has_released=is_released, holds=holds))
            other.know(witness=replace(partners, is_open=is_released))

    def _offer(self, side: Side, other: Side) -> None:
        if not (self._beats(side, other) and self._beats(other, side)):
            return
        epoch = side.view.handed_epoch
        refusal = refuse_handover(other.view, epoch, side.view.plan.revision)
        side.know(handover_refusal=refusal)
        if refusal is None:
            self._take_over(other, side, do.TakeOver(epoch, leaves_peer=False))

    def _take_over(self, side: Side, other: Side, action: do.TakeOver) -> None:
        """What the kernel allows: connected to one who is no Primary, or alone with current data and our own answer."""
        if action.leaves_peer:
            self._leave(side, other)
        mirror, view = side.mirror, side.view
        is_recorded = mirror.peer_disk in (D.OUTDATED, D.INCONSISTENT)
        if mirror.is_connected:
            may = other.mirror.role is not Role.PRIMARY
        else:
            may = is_recorded or answer_own_promotion(view, self.timers, is_granted=action.is_granted) in (
                FenceAnswer.PEER_UNREACHABLE,
                FenceAnswer.PEER_FENCED,
            )
        if not may or mirror.disk is not D.UP_TO_DATE:
            side.know(failures=view.failures + 1, may_retry=False, record=replace(view.record, epoch=action.epoch))
            side.enter(S.STANDBY_NOT)
            return
        peer_disk = mirror.peer_disk if mirror.is_connected or is_recorded else D.OUTDATED
        side.turn_mirror(role=Role.PRIMARY, peer_disk=peer_disk)
        if mirror.is_connected:
            other.turn_mirror(peer_role=Role.PRIMARY)
        record = replace(view.record, epoch=action.epoch, held_epoch=action.epoch, last_active=view.node)
        side.know(record=record, address_is_up=True, is_serving=True, is_current=True)
        side.enter(S.ACTIVE_SYNC if side.mirror.is_in_sync else S.ACTIVE_ALONE)
