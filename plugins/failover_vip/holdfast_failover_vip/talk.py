"""What the partner's messages mean, and the kernel's question whether a mirror may go on alone."""

from __future__ import annotations

import asyncio
import logging
import secrets

from holdfast.errors import HoldfastError
from holdfast.hooks.failover import (
    GroupState,
)
from holdfast.hooks.replication import FenceAnswer, FenceArbiter, Role
from holdfast_failover_vip import wire
from holdfast_failover_vip.answers import answer_fence, refuse_handover
from holdfast_failover_vip.facts import FenceSay, PeerFacts, Verdict
from holdfast_failover_vip.group import Group
from holdfast_failover_vip.lone import answer_lone
from holdfast_failover_vip.senses import Senses
from holdfast_failover_vip.wire import Beat, Clients, FenceAsk, FenceReply, Judgement, Offer, OfferRefused

log = logging.getLogger(__name__)

S = GroupState
CLIENTS_EVERY_S = 0.5
CLIENTS_GROUPS_A_S = 20
"""Of so many groups a second the clients are read: of more than ten groups, each more seldom."""
ASK_EVERY_S = 0.06
GRANT_S = 60.0


class Talk(Senses, FenceArbiter):
    """Listens to the partner and to the kernel."""

    def _on_datagram(self, link: str, data: bytes) -> None:
        if not self._is_punctual():
            return  # after a pause the loop looks first how long it was, and what waited meanwhile is old
        try:
            envelope = wire.decode(data, self._plan.key)
        except HoldfastError as reason:
            self._refuse(link, reason.message)
            return
        if envelope.sender != self._plan.partner:
            self._refuse(link, f"it names {envelope.sender!r} as its sender")
            return
        before = self._freshness.boot
        judgement = self._freshness.judge(envelope, link, is_live=self._net().is_heard)
        if judgement is not Judgement.NEW:
            if judgement is not Judgement.GREETING:
                self._refuse(link, judgement)
            return
        if before not in ("", self._freshness.boot):
            self._evidence.new_session()
        if not isinstance(envelope.message, Beat):
            self._evidence.arrived(link, envelope.sequence)
        match envelope.message:
            case Beat():
                if not self._on_beat(link, envelope.sequence, envelope.message):
                    return
            case FenceAsk():
                self._on_fence_ask(envelope.message)
            case FenceReply():
                self._on_fence_reply(envelope.message)
            case Offer():
                self._on_offer(envelope.message)
            case OfferRefused():
                if group := self._groups.get(envelope.message.group):
                    group.handover_refusal = envelope.message.reason
            case Clients():
                if group := self._groups.get(envelope.message.group):
                    group.clients = envelope.message.connections
            case _:
                log.debug("the partner sent a message that asks nothing of this version")
        self._news.set()

    def _on_beat(self, link: str, sequence: int, beat: Beat) -> bool:
        """Take a heartbeat in; whether it says anything that the one before it did not, on whichever link."""
        now_s = self._now_s()
        was_missed = self._evidence.suspects(now_s)
        self._evidence.heartbeat(link, sequence, hears_this_link=link in beat.hears, now_s=now_s)
        reaches_ping_nodes = self._evidence.partner_pings(now_s, is_answered=beat.ping_answers)
        told = beat, reaches_ping_nodes, tuple(self._groups.values())
        if told == self._told:
            # The loop's own turn, some milliseconds away, is soon enough for that. Each wakes all groups.
            return was_missed
        self._told = told
        named = {item.name for item in beat.groups}
        for group in self._groups.values():
            if group.plan.name not in named:
                group.peer = None  # it does not have the group (any more): what it said of it once is void
        for item in beat.groups:
            if known := self._groups.get(item.name):
                known.peer = PeerFacts(
                    state=item.state,
                    epoch=item.epoch,
                    held_epoch=item.held_epoch,
                    last_active=item.last_active,
                    revision=item.revision,
                    ping_answers=reaches_ping_nodes,
                    hears_us=beat.has_sign,
                    disk=item.disk,
                )
        return True

    def _group_of(self, mirror: str) -> Group | None:
        return next((group for group in self._groups.values() if group.plan.mirror == mirror), None)

    def _on_fence_ask(self, asked: FenceAsk) -> None:
        group = self._group_of(asked.mirror)
        if group is not None:
            say = answer_fence(group.state, group.record, group.mirror, asked.epoch)
            if say is not None:
                self._send(FenceReply(asked.mirror, asked.nonce, say.verdict, say.epoch))
                return
        elif asked.mirror not in self._plan.lone_mirrors:
            return
        running = self._outdating.get(asked.mirror)
        if running is None or running.done():
            # One at a time for each mirror, and its answer goes to the newest question.
            self._outdating[asked.mirror] = asyncio.create_task(self._outdate(asked, group))

    async def _outdate(self, asked: FenceAsk, group: Group | None) -> None:
        """Declare our side stale, and say so only once that was read back."""
        if group is not None:
            doing = asyncio.ensure_future(group.outdate_for_partner(asked.epoch))
        else:
            doing = asyncio.ensure_future(self._outdate_lone(asked.mirror))
        try:
            await asyncio.wait((doing,), timeout=self._timers.outdate_ms / 1000)
            if not doing.done() and group is not None:
                await self._make_way(group)
            say = await doing
        except HoldfastError as reason:
            log.warning("the mirror %s could not be outdated for the partner: %s", asked.mirror, reason)
            return
        finally:
            doing.cancel()  # with this, if this is; else it is done
        if say is None:
            return
        if say.verdict is Verdict.OUTDATED:
            log.info("node %s declared its data of %s stale, as its partner asked", self._plan.node, asked.mirror)
        self._send(FenceReply(asked.mirror, asked.nonce, say.verdict, say.epoch))

    async def _make_way(self, group: Group) -> None:
        """Restart this node if its partner still stands still for want of our word: our disk hangs, most likely.

        The partner then goes on as after a loss of power, and this side is Consistent at most: L2 of docs/failover.md.
        A node that serves another group stays.
        """
        if not self._net().is_heard or group.peer is None or group.peer.state is not S.FROZEN:
            return
        served = [each.plan.name for each in self._groups.values() if each.state.is_active or each.state is S.PROMOTING]
        if served:
            log.error("%s hangs and is not restarted, for it serves %s", group.plan.mirror, ", ".join(served))
            return
        await group.restart_for_partner(f"its data did not become stale within {self._timers.outdate_ms} ms")

    async def _outdate_lone(self, name: str) -> FenceSay | None:
        mirror = self._host.lone_mirror(name)
        if (await mirror.status()).role is Role.PRIMARY:
            return FenceSay(Verdict.PRIMARY, 0)
        return FenceSay(Verdict.OUTDATED, 0) if await mirror.outdate() else None

    def _on_fence_reply(self, reply: FenceReply) -> None:
        if self._asked.get(reply.mirror) != reply.nonce:
            return
        say = FenceSay(reply.verdict, reply.epoch)
        group = self._group_of(reply.mirror)
        if group is not None:
            group.fence_say = say
        else:
            self._lone_says[reply.mirror] = say

    def _ask_fence(self, mirror: str, epoch: int) -> None:
        nonce = self._asked.setdefault(mirror, secrets.token_hex(8))
        self._send(FenceAsk(mirror, epoch, nonce))

    def _on_offer(self, offer: Offer) -> None:
        group = self._groups.get(offer.group)
        if group is None or group.state in (S.PROMOTING, S.ACTIVE_SYNC, S.ACTIVE_ALONE):
            return  # taken already: the heartbeat says so
        reason = refuse_handover(group.view(), offer.epoch, offer.revision)
        if reason is not None:
            self._send(OfferRefused(offer.group, offer.epoch, reason))
        else:
            group.take_offer(offer.epoch)

    async def _send_clients(self) -> None:
        """Tell the partner who is connected, so that it can wake them after a takeover."""
        while True:
            groups = tuple(self._groups.values())
            pause_s = max(CLIENTS_EVERY_S / max(len(groups), 1), 1 / CLIENTS_GROUPS_A_S)
            for group in groups:
                await asyncio.sleep(pause_s)
                await self._send_clients_of(group)
            if not groups:
                await asyncio.sleep(pause_s)

    async def _send_clients_of(self, group: Group) -> None:
        def is_served() -> bool:
            return group.state.is_active and group.is_idle

        if not is_served():
            return
        try:
            found = await group.refresh_clients()
        except HoldfastError as reason:
            log.debug("the clients of %s cannot be read: %s", group.plan.name, reason)
            return
        # Read while the group was being let go, they are fewer than the partner has to wake.
        if is_served():
            self._send(Clients(group.plan.name, found[:500]))

    async def fence_peer(self, mirror: str) -> FenceAnswer:
        """See FenceArbiter."""
        self._asked.pop(mirror, None)
        group = self._group_of(mirror)
        if group is not None:
            return await group.fence_peer()
        self._lone_says.pop(mirror, None)
        try:
            is_source = (await self._host.lone_mirror(mirror).status()).role is Role.PRIMARY
        except HoldfastError:
            is_source = True
        if not is_source and not self._is_granted(mirror):
            # A promotion that nobody allowed. Any answer would mark this side stale; without one the helper gives up.
            await asyncio.get_running_loop().create_future()
        while True:
            granted = self._is_granted(mirror)
            answer = answer_lone(self._lone_says.get(mirror), self._net(), self._timers, is_granted=granted)
            if answer is not None and self._is_punctual():
                self._lone_granted.pop(mirror, None)
                return answer
            if is_source:
                self._ask_fence(mirror, 0)
            await asyncio.sleep(ASK_EVERY_S)

    def _is_granted(self, mirror: str) -> bool:
        """Whether a person's word for a lone mirror is given and still fresh."""
        return self._now_s() - self._lone_granted.get(mirror, -1e9) < GRANT_S

    async def mirror_event(self, mirror: str, event: str) -> None:
        """See FenceArbiter."""
        if "split-brain" in event and (group := self._group_of(mirror)):
            group.has_split_brain = True
            log.error("the mirror %s has a split brain: nothing is done until a person chooses a side", mirror)
