"""What this node knows of one group: read from the kernel, heard from the partner, kept on disk; and its state."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from holdfast.errors import HoldfastError
from holdfast.hooks.failover import Decision, GroupPlan, GroupStack, GroupState, GroupStatus
from holdfast.hooks.replication import ConnectionState, FenceAnswer, Role
from holdfast_failover_vip import actions as do
from holdfast_failover_vip.address import VirtualAddresses
from holdfast_failover_vip.epoch import EpochFile
from holdfast_failover_vip.facts import FenceSay, GroupView, MirrorFacts, NodeFacts, PeerFacts, Record
from holdfast_failover_vip.reasons import explain
from holdfast_failover_vip.surroundings import Surroundings
from holdfast_failover_vip.wire import GroupBeat

log = logging.getLogger(__name__)

S = GroupState


class Known:
    """The knowledge of one group on one node. `Serving` adds how it is served, `Group` what is decided."""

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
        self._question: asyncio.Future[FenceAnswer] | None = None
        """The one that was open when what is acted upon was decided."""
        self._handed_epoch = 0
        self._handing: tuple[float, dict[str, int]] | None = None
        self._failures = 0
        self._failed_in_a_row = 0
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
        """Read the mirror after each change, and once a second, until cancelled.

        All groups do so in the same moment: a driver can answer them by one look at the kernel.
        """
        while True:
            try:
                async with asyncio.timeout(1.0 - self._around.boot_s() % 1.0):
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

    def view(self, net: NodeFacts | None = None) -> GroupView:
        """Everything a decision rests on; `net` if what was heard is known already."""
        around, now_s = self._around, self._around.boot_s()
        witness = around.witness()
        return GroupView(
            node=around.node,
            partner=around.partner,
            plan=self.plan,
            state=self.state,
            record=self.record,
            mirror=self.mirror,
            peer=self.peer,
            net=net or around.net(),
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
            witness=None if witness is None else witness.facts(self.plan.name),
            in_maintenance=around.in_maintenance(),
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
    def is_disconnected(self) -> bool:
        """Whether the mirror has no connection."""
        return self.mirror.connection is not ConnectionState.CONNECTED

    async def refresh_clients(self) -> tuple[tuple[str, int], ...]:
        """Who is connected to the addresses now."""
        found = [await resource.client_connections() for resource in self._stack.resources]
        return tuple(client for clients in found for client in clients)

    # --- what changes what is known ---

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

    def _tell(self, sentence: str, timeline_ms: dict[str, int] | None = None) -> None:
        view = self.view()
        facts = {
            "state": self.state.value,
            "mirror": f"{view.mirror.connection}, {view.mirror.disk} here, {view.mirror.peer_disk} there",
            "partner_silent_ms": str(view.net.silent_ms),
            "ping_continuous": str(view.net.ping.is_continuous),
            "ping_nodes_continuous": ", ".join(n.address for n in view.net.ping.nodes if n.is_continuous) or "none",
            "epoch": str(self.record.epoch),
        }
        if view.witness is not None:
            facts["witness"] = "granted it" if view.witness.holds else "has not granted it"
        around = self._around
        decision = Decision(around.wall(), around.node, self.plan.name, sentence, facts, timeline_ms or {})
        log.info("%s", sentence)
        around.tell(decision)

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
