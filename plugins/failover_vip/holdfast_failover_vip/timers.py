"""The one timer table. Everything that waits, waits for a figure of this table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timers:
    """All durations, in milliseconds, and what must hold between them (`violations`)."""

    heartbeat_ms: int = 50
    """Between two heartbeats on each link."""
    suspect_ms: int = 150
    """Without a heartbeat on any link for this long, bursts of echo, ping and ARP start."""
    burst_ms: int = 30
    """Between two probes while suspecting."""
    calm_probe_ms: int = 200
    """Between two pings of the ping node otherwise, and between echoes to a partner long gone."""
    gap_probes: int = 3
    """Pings lost in a row that make a gap: one lost packet is none."""
    dead_ms: int = 350
    """T_dead: no heartbeat and no kernel echo on any link for this long."""
    promote_margin_ms: int = 50
    """A standby promotes only this much after T_dead; an isolated active has let go by then."""
    stall_ms: int = 150
    """The own loop slept longer than this: what it believes about silence and pings is void."""
    jitter_ms: int = 50
    """What a loaded machine adds to a round trip."""
    unsteady_dead_ms: int = 2000
    """T_dead of a partner that came and went too often, or whose monitor was gone before its kernel fell silent."""
    flapping_count: int = 5
    """Returns from a silence of `isolated_ms` or more, within `flapping_window_ms`, that make a flapping partner."""
    flapping_window_ms: int = 60_000
    alone_ms: int = 5000
    """A node that started and hears nobody waits this long before it judges itself alone."""
    reconnect_ms: int = 1000
    """Between two attempts to connect the mirror."""
    client_lost_ms: int = 3000
    """An active node without its ping node for this long, while the partner has it, hands over."""
    handover_ms: int = 10_000
    """A handed-over group not served by the partner after this long is taken back."""
    retry_ms: int = 2000
    """After a promotion that failed and was undone."""
    outdate_ms: int = 4000
    """A passive node that has not become stale for so long, while its partner waits for that, restarts itself."""

    @property
    def gap_ms(self) -> int:
        """How old the oldest of `gap_probes` unanswered pings must be to make a gap."""
        return self.gap_probes * self.burst_ms + self.jitter_ms

    @property
    def ping_lost_ms(self) -> int:
        """A ping node that has been silent for this long is said not to answer."""
        return 5 * self.calm_probe_ms

    @property
    def isolated_ms(self) -> int:
        """When an isolated active has begun to let go of its address."""
        return self.dead_ms - self.promote_margin_ms

    @property
    def promote_ms(self) -> int:
        """The shortest silence after which a standby may promote."""
        return self.dead_ms + self.promote_margin_ms

    def violations(self) -> tuple[str, ...]:
        """Every inequality that does not hold, as a sentence."""
        rules = (
            (self.heartbeat_ms >= 10, "heartbeat_ms >= 10"),
            (self.burst_ms >= 10, "burst_ms >= 10"),
            (self.gap_probes >= 2, "gap_probes >= 2, for one lost packet is no gap"),
            # Two lost heartbeats in a row are no suspicion yet.
            (self.suspect_ms >= 3 * self.heartbeat_ms, "suspect_ms >= 3 * heartbeat_ms"),
            # Three echoes must have gone unanswered before the partner counts as dead.
            (
                self.suspect_ms + self.gap_ms <= self.isolated_ms,
                "suspect_ms + gap_probes * burst_ms + jitter_ms <= dead_ms - promote_margin_ms",
            ),
            # An isolated active drops its address before the standby promotes.
            (self.promote_margin_ms >= self.heartbeat_ms, "promote_margin_ms >= heartbeat_ms"),
            # A pause of ours that we overlook is too short for the partner to have thawed in it.
            (
                self.stall_ms + 2 * self.heartbeat_ms + self.jitter_ms <= self.dead_ms,
                "stall_ms + 2 * heartbeat_ms + jitter_ms <= dead_ms",
            ),
            (self.stall_ms >= 2 * self.heartbeat_ms, "stall_ms >= 2 * heartbeat_ms"),
            (self.unsteady_dead_ms >= self.dead_ms, "unsteady_dead_ms >= dead_ms"),
            (self.alone_ms >= 4 * self.dead_ms, "alone_ms >= 4 * dead_ms"),
            (self.client_lost_ms >= 4 * self.calm_probe_ms, "client_lost_ms >= 4 * calm_probe_ms"),
            (self.handover_ms >= 4 * self.dead_ms, "handover_ms >= 4 * dead_ms"),
            (self.outdate_ms >= 4 * self.dead_ms, "outdate_ms >= 4 * dead_ms"),
        )
        return tuple(f"it must hold that {text}" for holds, text in rules if not holds)
