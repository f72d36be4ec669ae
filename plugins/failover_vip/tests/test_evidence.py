"""What was seen becomes facts: ages, runs of pings, and what a pause of our own voids."""

from __future__ import annotations

from holdfast_failover_vip.evidence import Evidence
from holdfast_failover_vip.timers import Timers

T = Timers()
LINKS = ("one", "two")


class World:
    """Feeds a collector, tick by tick of 10 ms, as the monitor does."""

    def __init__(self, *, has_ping_node: bool = True) -> None:
        self.now_ms = 1_000_000
        self.evidence = Evidence(T, LINKS, has_ping_node=has_ping_node, now_s=self.now_s)
        self.sequence = 0
        self.ping = 0

    @property
    def now_s(self) -> float:
        return self.now_ms / 1000

    def run(
        self,
        ms: int,
        *,
        beats: tuple[str, ...] = (),
        echoes: tuple[str, ...] = (),
        pings: bool = True,
        both: bool = True,
    ) -> None:
        """Let time pass: who is heard on which links, which links echo, whether the ping node answers."""
        for _ in range(ms // 10):
            self.now_ms += 10
            if self.now_ms % T.heartbeat_ms == 0:
                for link in beats:
                    self.sequence += 1
                    self.evidence.heartbeat(link, self.sequence, hears_this_link=both, now_s=self.now_s)
            if self.now_ms % T.burst_ms == 0 and self.evidence.suspects(self.now_s):
                for link in LINKS:
                    self.evidence.probed(link, self.now_s)
                    if link in echoes:
                        self.evidence.echo(link, self.now_s)
            if self.now_ms % T.burst_ms == 0:
                self.ping += 1
                self.evidence.pinged(self.ping, self.now_s)
                if pings:
                    self.evidence.ping_answered(self.ping, self.now_s)
            self.evidence.tick(self.now_s)


def test_nobody_is_heard_at_first() -> None:
    facts = World().evidence.facts(World().now_s)
    assert (facts.is_heard, facts.heartbeat_ms, facts.silent_ms, facts.links_up_before) == (False, None, 0, 0)
    assert not facts.ping.is_continuous


def test_a_heartbeat_on_one_link_is_enough_to_be_heard() -> None:
    world = World()
    world.run(1000, beats=("one",))
    facts = world.evidence.facts(world.now_s)
    assert (facts.is_heard, facts.heartbeat_ms, facts.silent_ms, facts.links_up_before) == (True, 0, 0, 1)


def test_a_power_cut_ages_everything_and_leaves_the_pings_continuous() -> None:
    world = World()
    world.run(1000, beats=LINKS)
    world.run(400)
    facts = world.evidence.facts(world.now_s)
    assert (facts.is_heard, facts.heartbeat_ms, facts.silent_ms) == (False, 400, 400)
    assert (facts.is_probed, facts.links_up_before, facts.links) == (True, 2, 2)
    assert facts.ping.is_continuous
    assert not facts.ping.has_gap


def test_nothing_is_probed_before_three_echoes_went_unanswered_on_each_link() -> None:
    world = World()
    world.run(1000, beats=LINKS)
    world.run(150 + 60)
    assert not world.evidence.facts(world.now_s).is_probed


def test_an_echo_is_a_sign_of_life_and_no_heartbeat() -> None:
    world = World()
    world.run(1000, beats=LINKS)
    world.run(2000, echoes=("two",))
    facts = world.evidence.facts(world.now_s)
    assert not facts.is_heard
    assert facts.heartbeat_ms == 2000
    assert facts.silent_ms < T.suspect_ms
    assert not facts.is_probed


def test_links_that_failed_earlier_do_not_count_as_up_before_the_silence() -> None:
    world = World()
    world.run(1000, beats=LINKS)
    world.run(1000, beats=("one",))
    world.run(400)
    assert world.evidence.facts(world.now_s).links_up_before == 1


def test_a_link_that_carries_one_direction_only_does_not_count() -> None:
    world = World()
    world.run(1000, beats=LINKS, both=False)
    assert world.evidence.facts(world.now_s).links_up_before == 0
    assert not any(link.is_up for link in world.evidence.link_statuses(world.now_s))


def test_three_lost_pings_are_a_gap_and_two_are_none() -> None:
    world = World()
    world.run(1000, beats=LINKS)
    world.run(60, pings=False)
    world.run(340)
    assert world.evidence.facts(world.now_s).ping.is_continuous
    world.run(T.gap_ms + T.burst_ms, pings=False)
    facts = world.evidence.facts(world.now_s)
    assert facts.ping.has_gap
    world.run(1000)
    assert world.evidence.facts(world.now_s).ping.has_gap, "a run that began in the silence does not cover it"


def test_pings_that_stopped_with_the_partner_are_not_continuous() -> None:
    world = World()
    world.run(1000, beats=LINKS)
    world.run(400, pings=False)
    assert not world.evidence.facts(world.now_s).ping.is_continuous


def test_answers_that_are_read_late_are_no_gap() -> None:
    world = World()
    world.run(1000, beats=LINKS)
    world.run(T.gap_ms - T.burst_ms, pings=False)
    world.evidence.ping_answered(world.ping, world.now_s)
    world.run(200)
    assert world.evidence.facts(world.now_s).ping.is_continuous


def test_without_a_ping_node_there_is_always_a_gap() -> None:
    world = World(has_ping_node=False)
    world.run(1000, beats=LINKS)
    ping = world.evidence.facts(world.now_s).ping
    assert ping.has_gap
    assert not ping.is_continuous


def test_an_answer_to_a_ping_never_sent_proves_nothing() -> None:
    world = World()
    world.evidence.ping_answered(77, world.now_s)
    assert world.evidence.facts(world.now_s).ping.silent_ms is None


def test_a_pause_of_our_own_voids_silence_probes_and_pings() -> None:
    world = World()
    world.run(1000, beats=LINKS)
    world.run(400)
    world.now_ms += 5000
    world.evidence.stalled(world.now_s)
    facts = world.evidence.facts(world.now_s)
    assert facts.silent_ms == 0
    assert not facts.is_probed
    assert facts.ping.has_gap
    assert facts.links_up_before == 0
    world.run(400)
    assert not world.evidence.facts(world.now_s).ping.is_continuous


def test_a_partner_that_comes_and_goes_is_flapping_and_is_forgiven_later() -> None:
    world = World()
    world.run(200, beats=LINKS)
    for _ in range(T.flapping_count + 1):
        assert not world.evidence.facts(world.now_s).is_flapping
        world.run(T.isolated_ms)
        world.run(200, beats=LINKS)
    assert world.evidence.facts(world.now_s).is_flapping
    world.run(T.flapping_window_ms, beats=LINKS)
    assert not world.evidence.facts(world.now_s).is_flapping


def test_a_partner_that_is_late_while_its_kernel_echoes_does_not_flap() -> None:
    world = World()
    for _ in range(3 * T.flapping_count):
        world.run(200, beats=LINKS)
        world.run(T.suspect_ms + 100)
        world.run(200, echoes=LINKS)
        world.run(T.suspect_ms + 50)
    assert not world.evidence.facts(world.now_s).is_flapping


def test_a_partner_never_heard_does_not_flap() -> None:
    world = World()
    world.run(3000)
    assert not world.evidence.facts(world.now_s).is_flapping


def test_a_link_is_silent_from_when_it_last_carried_both_directions() -> None:
    world = World()
    assert world.evidence.link_silent_ms("one", world.now_s) is None
    world.run(200, beats=LINKS)
    world.run(400, beats=("two",))
    assert world.evidence.link_silent_ms("one", world.now_s) == 400
    assert world.evidence.link_silent_ms("two", world.now_s) == 0
    world.run(300, beats=LINKS, both=False)
    assert world.evidence.link_silent_ms("one", world.now_s) == 700
    assert world.evidence.link_silent_ms("absent", world.now_s) is None


def test_a_monitor_that_starts_again_says_nothing_of_the_link_on_which_it_is_heard_last() -> None:
    world = World()
    world.run(200, beats=LINKS)
    world.run(3000, echoes=LINKS)
    world.run(T.heartbeat_ms, beats=("two",))
    silent_ms = world.evidence.link_silent_ms("one", world.now_s)
    assert silent_ms is not None
    assert silent_ms < T.dead_ms
    world.run(T.dead_ms, beats=("two",))
    silent_ms = world.evidence.link_silent_ms("one", world.now_s)
    assert silent_ms is not None
    assert silent_ms >= T.dead_ms


def test_an_own_stall_says_nothing_of_a_link() -> None:
    world = World()
    world.run(200, beats=LINKS)
    world.now_ms += 5000
    world.evidence.stalled(world.now_s)
    assert world.evidence.link_silent_ms("one", world.now_s) == 0


def test_an_own_stall_says_nothing_of_the_ping_node() -> None:
    """Awake again, a node must not believe that its ping node was silent while it slept itself."""
    world = World()
    world.run(200, beats=LINKS)
    world.now_ms += 5000
    world.evidence.stalled(world.now_s)
    assert world.evidence.facts(world.now_s).ping.silent_ms is None
    world.run(100, beats=LINKS)
    assert world.evidence.facts(world.now_s).ping.silent_ms is not None


def test_losses_show_in_the_status_of_their_link_only() -> None:
    world = World()
    for sequence in (1, 2, 4, 5):
        world.evidence.heartbeat("one", sequence, hears_this_link=True, now_s=world.now_s)
        world.evidence.heartbeat("two", sequence, hears_this_link=True, now_s=world.now_s)
    world.evidence.new_session()
    world.evidence.heartbeat("two", 900, hears_this_link=True, now_s=world.now_s)
    one, two = world.evidence.link_statuses(world.now_s)
    assert (one.name, one.loss_percent, one.is_up, one.heard_ms_ago) == ("one", 20.0, True, 0)
    assert two.loss_percent == 16.7
    assert world.evidence.fresh_links(world.now_s) == LINKS


def test_a_link_that_is_not_in_the_plan_is_no_evidence() -> None:
    world = World()
    world.evidence.heartbeat("three", 1, hears_this_link=True, now_s=world.now_s)
    world.evidence.echo("three", world.now_s)
    world.evidence.probed("three", world.now_s)
    assert world.evidence.facts(world.now_s).heartbeat_ms is None


def test_a_silence_that_only_an_echo_ended_is_remembered_until_a_heartbeat() -> None:
    timers = Timers()
    evidence = Evidence(timers, ["one", "two"], has_ping_node=True, now_s=0.0)
    evidence.heartbeat("one", 1, hears_this_link=True, now_s=1.0)
    evidence.echo("one", 1.0 + (timers.isolated_ms - 1) / 1000)
    assert not evidence.facts(2.0).was_silent
    evidence.echo("two", 3.0)
    assert evidence.facts(3.0).was_silent
    evidence.echo("two", 3.1)
    assert evidence.facts(3.1).was_silent
    evidence.heartbeat("two", 1, hears_this_link=True, now_s=3.2)
    assert not evidence.facts(3.2).was_silent
