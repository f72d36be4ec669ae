"""One group on one node: what is known of it, what `decide` says, and carrying that out, one action after the other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from holdfast.errors import HoldfastError, UnavailableError, VerificationError
from holdfast.hooks.failover import Decision, GroupPlan, GroupStack, GroupState, GroupStatus
from holdfast.hooks.replication import ConnectionState, FenceAnswer, Role
from holdfast_failover_vip import actions as do
from holdfast_failover_vip.active import higher_epoch_elsewhere
from holdfast_failover_vip.address import VirtualAddresses
from holdfast_failover_vip.decide import decide
from holdfast_failover_vip.epoch import EpochFile
from holdfast_failover_vip.facts import FenceSay, GroupView, MirrorFacts, NodeFacts, PeerFacts, Record
from holdfast_failover_vip.reasons import explain
from holdfast_failover_vip.tickle import tickle
from holdfast_failover_vip.timers import Timers
from holdfast_failover_vip.wire import GroupBeat

log = logging.getLogger(__name__)

S = GroupState
# States that others, and the kernel's questions, must see before the first action begins.
_SEEN_FIRST = (S.PROMOTING, S.DEMOTING, S.FROZEN, S.SELF_FENCE)
_SKIPPED_IF_REPEATED_S = 0.06
ISCSI_PORT = 3260

Tell = Callable[[Decision, bool], None]


@dataclass(frozen=True)
class Surroundings:
    """What a group needs of its monitor."""

    node: str
    partner: str
    timers: Timers
    boot_s: Callable[[], float]
    wall: Callable[[], str]
    net: Callable[[], NodeFacts]
    link_silent_ms: Callable[[str], int | None]
    is_punctual: Callable[[], bool]
    wake: Callable[[], None]
    tell: Tell
    reboot: Callable[[], Awaitable[None]]
    ask_fence: Callable[[str, int], None]
    offer: Callable[[str, int, int], None]
    refuse_offer: Callable[[str, int, str], None]


class Group:
    """See the module."""

    def __init__(self, stack: GroupStack, addresses: VirtualAddresses, epoch: EpochFile, around: Surroundings) -> None:
        self.plan: GroupPlan = stack.plan
        self.state = S.STOPPED
        self.record: Record = epoch.load()
        self.mirror = MirrorFacts(is_fresh=False)
        self.peer: PeerFacts | None = None
        self.clients: tuple[tuple[str, int], ...] = ()
        self.fence_say: FenceSay | None = None
        self.switch_to: str | None = None
        self.is_granted = False
        self.has_split_brain = False
        self.handover_refusal: str | None = None
        self.claimed_s: float | None = None
        self.trouble: str | None = None
        self.taken_epoch: do.TakeOver | None = None
        self._stack = stack
        self._addresses = addresses
        self._epoch = epoch
        self._around = around
        self._since_s = around.boot_s()
        self._is_current = False
        self._is_serving = False
        self._address_is_up = False
        self._fence: asyncio.Future[FenceAnswer] | None = None
        self._handed_epoch = 0
        self._failures = 0
        self._failed_s = -1e9
        self._tried_s: dict[type, float] = {}
        self._losses: list[float] = []
        self._connect_after_s = 0.0
        self._acting: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._stale = asyncio.Event()
        self._stale.set()
        self._found = False
        self._next: tuple[GroupStack, VirtualAddresses] | None = None

    # --- what is known ---

    async def look(self) -> None:
        """Read at the start what an earlier monitor may have left serving."""
        await self._read_mirror()
        self._address_is_up = await self._addresses.any_is_up()
        if self.mirror.role is Role.PRIMARY and self._address_is_up:
            active = [await resource.is_active() for resource in self._stack.resources]
            self._is_serving = all(active) and await self._addresses.are_up()
        if not self.plan.is_started and self._address_is_up:
            # Its mirror may serve something else; an address of a stopped group serves nobody.
            await self._drop_address()
        self._found = True

    def grant(self) -> None:
        """A person said that the partner is down, and that earlier failures are looked after."""
        self.is_granted, self._failures = True, 0

    def look_again(self) -> None:
        """The first look failed: the next reading of the mirror makes up for it."""
        self._stale.set()

    def mirror_changed(self) -> None:
        """The kernel said that something changed: what is known of the mirror is to be read again."""
        self.mirror = replace(self.mirror, is_fresh=False)
        self._stale.set()

    async def follow_mirror(self) -> None:
        """Read the mirror after each change, and once a second, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(1.0):
                    await self._stale.wait()
            except TimeoutError:
                pass
            try:
                if not self._found:
                    await self.look()
                await self._read_mirror()
            except (HoldfastError, OSError) as reason:
                log.warning("the mirror %s cannot be read: %s", self.plan.mirror, reason)
                await asyncio.sleep(0.1)
            self._around.wake()

    async def _read_mirror(self) -> None:
        self._stale.clear()
        facts = MirrorFacts.of(await self._stack.mirror.status())
        if self.mirror.is_connected and not facts.is_connected:
            self._hold_down()
        self.mirror = replace(facts, is_fresh=not self._stale.is_set())

    def _hold_down(self) -> None:
        """After each further loss of the connection within a minute wait longer before it is tried again."""
        now_s = self._around.boot_s()
        self._losses = [*(loss for loss in self._losses if now_s - loss < 60), now_s]
        waits_s = (0.0, 0.0, 5.0, 10.0, 30.0)
        self._connect_after_s = now_s + waits_s[min(len(self._losses), len(waits_s) - 1)]

    def _may_connect(self) -> bool:
        last_s = self._tried_s.get(do.Connect, -1e9)
        now_s = self._around.boot_s()
        return now_s >= self._connect_after_s and now_s - last_s >= self._around.timers.reconnect_ms / 1000

    def view(self) -> GroupView:
        """Everything a decision rests on."""
        around, now_s = self._around, self._around.boot_s()
        return GroupView(
            node=around.node,
            partner=around.partner,
            plan=self.plan,
            state=self.state,
            record=self.record,
            mirror=self.mirror,
            peer=self.peer,
            net=around.net(),
            mirror_link_silent_ms=around.link_silent_ms(self.plan.mirror_link) if self.plan.mirror_link else None,
            since_ms=round((now_s - self._since_s) * 1000),
            address_is_up=self._address_is_up,
            address_claimed_ms=None if self.claimed_s is None else round((now_s - self.claimed_s) * 1000),
            is_serving=self._is_serving,
            is_current=self._is_current,
            fence_pending=self._fence is not None,
            fence_say=self.fence_say,
            may_connect=self._may_connect(),
            has_split_brain=self.has_split_brain,
            switch_to=self.switch_to,
            handed_epoch=self._handed_epoch,
            handover_refusal=self.handover_refusal,
            is_granted=self.is_granted,
            failures=self._failures,
            may_retry=(now_s - self._failed_s) * 1000 >= around.timers.retry_ms,
        )

    def beat(self) -> GroupBeat:
        """This group in a heartbeat."""
        r = self.record
        return GroupBeat(
            self.plan.name, self.state, r.epoch, r.held_epoch, r.last_active, self.plan.revision, self.mirror.disk
        )

    def status(self) -> GroupStatus:
        """This group for people."""
        view = self.view()
        active = self._around.node if self.state.is_active else None
        if active is None and self.peer is not None and view.net.is_heard and self.peer.state.is_active:
            active = self._around.partner
        troubles = (self.trouble,) if self.trouble else ()
        reasons = explain(view, self._around.timers, troubles)
        peer_state = self.peer.state if self.peer else None
        return GroupStatus(
            self.plan.name, self.state, active, self.record.epoch, self.plan.revision, reasons, peer_state
        )

    @property
    def is_idle(self) -> bool:
        """Whether no action is under way."""
        return self._acting is None or self._acting.done()

    # --- deciding ---

    def step(self) -> None:
        """Decide, and begin to carry out. Quick; called again whenever anything may have changed."""
        if not self._found or not self.is_idle:
            return
        if self.state is S.STOPPED:
            self._exchange()
        before = self.state
        step = decide(self.view(), self._around.timers)
        self._is_current = step.is_current
        wanted = tuple(action for action in step.actions if not self._was_just_done(action))
        if before is step.state and not wanted:
            return
        if step.sentence and (step.state is not before or any(isinstance(a, do.Answer) for a in wanted)):
            self._tell(step.sentence)
        if not wanted:
            self._enter(step.state)
            return
        if step.state in _SEEN_FIRST:
            self._enter(step.state)
        self._acting = asyncio.create_task(self._carry_out(step.state, wanted), name=f"group {self.plan.name}")

    def _was_just_done(self, action: do.Action) -> bool:
        if not isinstance(action, do.AskPeer | do.OfferAgain | do.Connect | do.DropAddress | do.RaiseAddress):
            return False
        return self._around.boot_s() - self._tried_s.get(type(action), -1e9) < _SKIPPED_IF_REPEATED_S

    def _enter(self, state: GroupState) -> None:
        if state is self.state:
            return
        self.state = state
        self._since_s = self._around.boot_s()
        if state is S.FROZEN:
            self.fence_say = None
        if state.is_active or state is S.STANDBY_OK:
            self._failures = 0
        if state.is_active:
            self.is_granted = False
        self._around.wake()

    def _tell(self, sentence: str, timeline_ms: dict[str, int] | None = None, *, is_durable: bool = False) -> None:
        view = self.view()
        facts = {
            "state": self.state.value,
            "mirror": f"{view.mirror.connection}, {view.mirror.disk} here, {view.mirror.peer_disk} there",
            "partner_silent_ms": str(view.net.silent_ms),
            "ping_continuous": str(view.net.ping.is_continuous),
            "epoch": str(self.record.epoch),
        }
        around = self._around
        decision = Decision(around.wall(), around.node, self.plan.name, sentence, facts, timeline_ms or {})
        log.info("%s", sentence)
        around.tell(decision, is_durable)

    # --- acting ---

    async def _carry_out(self, state: GroupState, wanted: tuple[do.Action, ...]) -> None:
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
                await asyncio.sleep(0.1)
            else:
                self.trouble = None
                if not any(isinstance(a, do.TakeOver | do.HandOver) for a in wanted):
                    self._enter(state)
            finally:
                self._around.wake()

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
            case do.OfferAgain():
                self._around.offer(self.plan.name, self._handed_epoch, self.plan.revision)
            case do.Answer():
                self._answer(action.answer)
            case do.Note():
                kept = replace(self.record, epoch=action.epoch, last_active=action.last_active, refuses_outdate=False)
                await self._write(kept)
            case do.Reboot():
                await self._around.reboot()

    async def _write(self, record: Record) -> None:
        if record != self.record:
            await asyncio.to_thread(self._epoch.write, record)
            self.record = record

    async def _raise_address(self) -> None:
        await self._addresses.raise_()
        self._address_is_up = True

    async def _drop_address(self) -> None:
        await self._addresses.drop()
        self._address_is_up = False

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

    def take_offer(self, epoch: int) -> None:
        """Serve a group that the partner let go of."""
        if self.is_idle:
            self._tell(f"{self._around.node} takes {self.plan.name} over from {self._around.partner}, which handed it")
            self._enter(S.PROMOTING)
            wanted = (do.TakeOver(epoch, leaves_peer=False),)
            self._acting = asyncio.create_task(self._carry_out(S.PROMOTING, wanted))

    async def outdate_for_partner(self) -> bool:
        """Declare this side stale on the partner's word; True once that was read back. Never beside an action."""
        async with self._lock:
            if self.state.is_active or self.state is S.PROMOTING or self.mirror.role is Role.PRIMARY:
                return False
            self._is_current = False
            done = await self._stack.mirror.outdate()
            self.mirror_changed()
            return done

    # --- the kernel's question ---

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
        """Our own promotion asks, with the resource locked: it was decided and persisted, and this is the last gate.

        Had this machine slept since, its partner may have gone on alone. While the evidence does not hold there is no
        answer; then the kernel's helper gives up, the promotion fails, and it is decided anew.
        """
        around = self._around
        while True:
            net = around.net()
            is_silent = not net.is_heard and net.silent_ms >= around.timers.promote_ms
            if around.is_punctual() and is_silent and (action.is_granted or net.ping.is_continuous):
                return FenceAnswer.PEER_FENCED if action.is_granted else FenceAnswer.PEER_UNREACHABLE
            await asyncio.sleep(0.01)

    def _answer(self, answer: FenceAnswer) -> None:
        if self._fence is not None and not self._fence.done():
            self._fence.set_result(answer)
        self._fence = None
        self.mirror_changed()

    async def refresh_clients(self) -> tuple[tuple[str, int], ...]:
        """Who is connected to the addresses now."""
        found = [await resource.client_connections() for resource in self._stack.resources]
        return tuple(client for clients in found for client in clients)

    @property
    def is_disconnected(self) -> bool:
        """Whether the mirror has no connection."""
        return self.mirror.connection is not ConnectionState.CONNECTED

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
