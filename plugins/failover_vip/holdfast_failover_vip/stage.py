"""Where two nodes are played forward: what each hears of the other, and the time that passes. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from typing import Any

from holdfast.hooks.replication import ConnectionState
from holdfast_failover_vip.facts import GroupView, PeerFacts, PingFacts
from holdfast_failover_vip.sides import Side, own, partners
from holdfast_failover_vip.timers import Timers

C = ConnectionState


@dataclass(frozen=True)
class Told:
    """A decision's sentence."""

    node: str
    sentence: str
    settles: bool
    """It is that of a takeover, a handover, an adoption, or of the answer that lets a frozen mirror go on."""


class Stage:
    """The two nodes of a group, and the wires between them. `Play` adds what they do."""

    def __init__(self, view: GroupView, timers: Timers) -> None:
        self.timers = timers
        self.here, self.there = own(view, timers), partners(view, timers)
        self.links_carry = view.net.is_heard or view.net.silent_ms < timers.suspect_ms
        """Heartbeats and echoes, on one link at least."""
        link_ms = view.mirror_link_silent_ms
        self.mirror_carries = view.mirror.is_connected or (
            self.links_carry and link_ms is not None and link_ms < timers.dead_ms
        )
        self.mirror_link_is_cut = False
        self.held_ms = 0
        self.holds_writes = False
        self.told: list[Told] = []
        self._probed_ms = timers.suspect_ms + timers.gap_ms
        calm_gap_ms = (timers.gap_probes + 1) * timers.calm_probe_ms
        derived = {self._probed_ms, timers.promote_ms, timers.isolated_ms, timers.gap_ms, calm_gap_ms}
        self._calm_gap_ms = calm_gap_ms
        self._limits = ({*astuple(timers)} - {timers.flapping_window_ms}) | derived
        self.hear()

    @property
    def sides(self) -> tuple[tuple[Side, Side], ...]:
        """Each side with its other one."""
        return (self.here, self.there), (self.there, self.here)

    def of(self, node: str) -> Side:
        """The side of a node."""
        return self.here if self.here.view.node == node else self.there

    def serving(self) -> Side | None:
        """The side that serves the clients now."""
        return next((side for side, other in self.sides if self._is_answered(side, other)), None)

    def _shown(self) -> tuple[Any, ...]:
        """All that is not an age."""
        return tuple(
            (
                v.state,
                v.mirror,
                v.record,
                v.peer,
                v.address_is_up,
                v.is_current,
                v.fence_pending,
                v.fence_say,
                v.witness,
                v.handover_refusal,
                v.failures,
                v.may_retry,
                side.decides,
            )
            for side, _ in self.sides
            for v in (side.view,)
        )

    # --- what is heard ---

    def hear(self) -> None:
        """Let each side know what it hears now."""
        for side, other in self.sides:
            self._hear(side, other)

    def _beats(self, side: Side, other: Side) -> bool:
        """Whether the other's heartbeats arrive."""
        return self.links_carry and side.hears_other and other.decides

    def _echoes(self, side: Side, other: Side) -> bool:
        """Whether its kernel answers: that takes both directions, and a heartbeat is a sign of life, too."""
        both_ways = self.links_carry and side.hears_other and other.hears_other and other.has_power
        return both_ways or self._beats(side, other)

    def _hear(self, side: Side, other: Side) -> None:
        timers, net = self.timers, side.view.net
        beats, echoes = self._beats(side, other), self._echoes(side, other)
        heartbeat_ms = timers.heartbeat_ms if beats else net.heartbeat_ms
        silent_ms = timers.heartbeat_ms if echoes else net.silent_ms
        heard = replace(
            net,
            is_heard=heartbeat_ms is not None and heartbeat_ms < timers.suspect_ms,
            heartbeat_ms=heartbeat_ms,
            silent_ms=silent_ms,
            was_silent=net.was_silent and not beats,
            is_probed=net.links > 0 and silent_ms >= self._probed_ms,
            ping=self._pinged(side, silent_ms, has_sign=echoes),
        )
        side.know(net=heard, peer=self._said(other, side) if beats else side.view.peer)

    def _pinged(self, side: Side, silent_ms: int, *, has_sign: bool) -> PingFacts:
        ping, timers = side.view.net.ping, self.timers
        if side.reaches_ping:
            has_gap = ping.has_gap and not has_sign
            is_continuous = not has_gap and silent_ms >= self._probed_ms
            return replace(ping, is_continuous=is_continuous, has_gap=has_gap, silent_ms=timers.calm_probe_ms)
        if ping.silent_ms is None:
            return PingFacts(has_gap=True)
        bursts_lost = silent_ms >= self._probed_ms and ping.silent_ms >= timers.gap_ms
        has_gap = ping.has_gap or bursts_lost or ping.silent_ms >= self._calm_gap_ms
        return PingFacts(has_gap=has_gap, silent_ms=ping.silent_ms)

    def _said(self, speaker: Side, hearer: Side) -> PeerFacts:
        v = speaker.view
        return PeerFacts(
            v.state,
            v.record.epoch,
            v.record.held_epoch,
            v.record.last_active,
            v.plan.revision,
            ping_answers=speaker.reaches_ping,
            hears_us=self._echoes(speaker, hearer),
            disk=v.mirror.disk,
        )

    # --- time ---

    def _is_answered(self, side: Side, other: Side) -> bool:
        """Whether what clients write there is acknowledged; while the kernel takes its peer for connected, by both."""
        peer_answers = self.mirror_carries and other.has_power and other.mirror.is_connected
        return side.serves and (peer_answers or not side.mirror.is_connected)

    def _acknowledges(self) -> bool:
        return self.serving() is not None

    def _ages(self, side: Side, other: Side) -> Iterator[tuple[str, int]]:
        """Every age that grows, by its name."""
        net = side.view.net
        yield "since", side.view.since_ms
        if not self._echoes(side, other):
            yield "silent", net.silent_ms
        if not self._beats(side, other) and net.heartbeat_ms is not None:
            yield "heartbeat", net.heartbeat_ms
        if side.reaches_ping:
            yield "run", net.ping.run_ms
        elif net.ping.silent_ms is not None:
            yield "ping", net.ping.silent_ms
        if self.mirror_link_is_cut and side.view.mirror_link_silent_ms is not None:
            yield "link", side.view.mirror_link_silent_ms

    def _wait(self) -> bool:
        """Let time pass until the next age reaches a timer; False if none does."""
        ages = [dict(self._ages(side, other)) if side.decides else {} for side, other in self.sides]
        waits = [limit - age for each in ages for age in each.values() for limit in self._limits if limit > age]
        if not waits:
            return False
        waited_ms = min(waits)
        if not self._acknowledges():
            self.held_ms += waited_ms
        for (side, _), known in zip(self.sides, ages, strict=True):
            grown = {name: age + waited_ms for name, age in known.items()}
            net = side.view.net
            ping = replace(
                net.ping, silent_ms=grown.get("ping", net.ping.silent_ms), run_ms=grown.get("run", net.ping.run_ms)
            )
            net = replace(
                net,
                silent_ms=grown.get("silent", net.silent_ms),
                heartbeat_ms=grown.get("heartbeat", net.heartbeat_ms),
                ping=ping,
            )
            since_ms = grown.get("since", side.view.since_ms)
            side.know(
                net=net,
                since_ms=since_ms,
                mirror_link_silent_ms=grown.get("link", side.view.mirror_link_silent_ms),
                may_retry=side.view.may_retry or since_ms >= self.timers.retry_ms,
            )
        return True

    def _kernels_notice(self) -> bool:
        """What no monitor decided about, the kernels notice by timers of their own: from then on is counted."""
        found = False
        for side, other in self.sides:
            peer_is_there = self.mirror_carries and other.has_power and other.mirror.is_connected
            if side.has_power and side.mirror.is_connected and not peer_is_there:
                self.held_ms = 0 if not self._acknowledges() else self.held_ms
                side.lose_peer(C.CONNECTING)
                found = True
        return found
