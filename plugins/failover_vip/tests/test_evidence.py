"""What was seen becomes facts: ages, runs of pings, and what a pause of our own voids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_failover_vip.evidence import Evidence
from holdfast_failover_vip.facts import PingFacts, PingNodeFacts
from holdfast_failover_vip.timers import Timers

T = Timers()
LINKS = ("one", "two")


class World:
    """Feeds a collector, tick by tick of 10 ms, as the monitor does."""

    def __init__(self, *, ping_nodes: tuple[str, ...] = ("p",)) -> None:
        self.now_ms = 1_000_000
        self.evidence = Evidence(T, LINKS, ping_nodes=ping_nodes, now_s=self.now_s)
        self.ping_nodes = ping_nodes
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
        pings: bool | tuple[str, ...] = True,
        both: bool = True,
    ) -> None:
        """Let time pass: who is heard on which links, which links echo, which ping nodes answer: True is all."""
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
                answering = pings if isinstance(pings, tuple) else self.ping_nodes if pings else ()
                for node in self.ping_nodes:
                    self.evidence.pinged(node, self.ping, self.now_s)
                    if node in answering:
                        self.evidence.ping_answered(node, self.ping, self.now_s)
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
    world.evidence.ping_answered("p", world.ping, world.now_s)
    world.run(200)
    assert world.evidence.facts(world.now_s).ping.is_continuous


def test_without_a_ping_node_there_is_always_a_gap() -> None:
    world = World(ping_nodes=())
    world.run(1000, beats=LINKS)
    ping = world.evidence.facts(world.now_s).ping
    assert ping.has_gap
    assert not ping.is_continuous


def test_an_answer_to_a_ping_never_sent_proves_nothing() -> None:
    world = World()
    world.evidence.ping_answered("p", 77, world.now_s)
    world.evidence.ping_answered("nobody", 1, world.now_s)
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
    evidence = Evidence(timers, ["one", "two"], ping_nodes=("p",), now_s=0.0)
    evidence.heartbeat("one", 1, hears_this_link=True, now_s=1.0)
    evidence.echo("one", 1.0 + (timers.isolated_ms - 1) / 1000)
    assert not evidence.facts(2.0).was_silent
    evidence.echo("two", 3.0)
    assert evidence.facts(3.0).was_silent
    evidence.echo("two", 3.1)
    assert evidence.facts(3.1).was_silent
    evidence.heartbeat("two", 1, hears_this_link=True, now_s=3.2)
    assert not evidence.facts(3.2).was_silent


# --- several ping nodes ---

THREE = ("p", "q", "r")


def ping_of(world: World) -> PingFacts:
    return world.evidence.facts(world.now_s).ping


@pytest.mark.parametrize(
    ("answering", "is_continuous"),
    [(THREE, True), (("p", "q"), True), (("q", "r"), True), (("p",), False), (("r",), False), ((), False)],
)
def test_of_three_ping_nodes_two_must_answer_without_a_gap(answering: tuple[str, ...], is_continuous: bool) -> None:
    world = World(ping_nodes=THREE)
    world.run(1000, beats=LINKS)
    world.run(400, pings=answering)
    ping = ping_of(world)
    assert (ping.is_continuous, ping.has_gap) == (is_continuous, not is_continuous)
    assert {node.address for node in ping.nodes if node.is_continuous} == set(answering)


def test_two_halves_of_an_answer_by_different_ping_nodes_make_no_whole_one() -> None:
    """At each moment two of three answer, but only one of them all the while."""
    world = World(ping_nodes=THREE)
    world.run(1000, beats=LINKS)
    world.run(400, pings=("p", "q"))
    assert ping_of(world).is_continuous
    world.run(400, pings=("p", "r"))
    ping = ping_of(world)
    assert not ping.is_continuous
    assert ping.has_gap


def test_a_majority_that_answers_again_only_after_the_silence_began_is_none() -> None:
    world = World(ping_nodes=THREE)
    world.run(1000, beats=LINKS)
    world.run(T.gap_ms + T.burst_ms, pings=("p",))
    world.run(1000)
    assert ping_of(world).has_gap
    world.run(T.heartbeat_ms, beats=LINKS)
    world.run(400)
    assert ping_of(world).is_continuous, "the partner was heard meanwhile, and the run began before that"


def test_a_pause_of_our_own_voids_every_ping_node() -> None:
    world = World(ping_nodes=THREE)
    world.run(1000, beats=LINKS)
    world.now_ms += 5000
    world.evidence.stalled(world.now_s)
    assert all(node.has_gap and node.silent_ms is None for node in ping_of(world).nodes)


@pytest.mark.parametrize(
    ("silences_ms", "silent_ms"),
    [
        ((20,), 20),
        ((None,), None),
        ((), None),
        ((20, 5000, 30), 30),
        ((20, 5000, 6000), 5000),
        ((None, 20, 30), 30),
        ((None, None, 30), None),
        ((20, 20, 20, 900, 1000), 20),
        ((20, 20, 800, 900, 1000), 800),
    ],
)
def test_a_majority_has_been_silent_for_as_long_as_the_last_of_it(
    silences_ms: tuple[int | None, ...], silent_ms: int | None
) -> None:
    """What tells an active node that it lost its clients' network follows the majority, too."""
    nodes = tuple(PingNodeFacts(str(n), silent_ms=silent) for n, silent in enumerate(silences_ms))
    assert PingFacts.of(nodes).silent_ms == silent_ms


def test_a_majority_runs_for_as_long_as_its_youngest_run() -> None:
    nodes = tuple(PingNodeFacts(str(n), run_ms=run_ms) for n, run_ms in enumerate((100, 60_000, 7000)))
    assert PingFacts.of(nodes).run_ms == 7000


@given(
    count=st.integers(1, 9),
    ours=st.sets(st.integers(0, 8)),
    theirs=st.sets(st.integers(0, 8)),
)
def test_of_two_nodes_that_share_no_ping_node_at_most_one_finds_the_pings_continuous(
    count: int, ours: set[int], theirs: set[int]
) -> None:
    def found_by(reached: set[int]) -> bool:
        of_each = (PingNodeFacts(str(n), is_continuous=n in reached, has_gap=n not in reached) for n in range(count))
        ping = PingFacts.of(tuple(of_each))
        assert ping.has_gap is not ping.is_continuous
        return ping.is_continuous

    if found_by(ours) and found_by(theirs):
        assert ours & theirs & set(range(count))


def test_the_status_shows_each_ping_node_whether_it_answers_and_since_when() -> None:
    world = World(ping_nodes=THREE)
    world.run(300, beats=LINKS, pings=("p", "q"))
    world.run(T.ping_lost_ms, beats=LINKS, pings=("p",))
    p, q, r = world.evidence.ping_statuses(world.now_s)
    assert (p.address, p.answers) == ("p", True)
    assert p.since_ms is not None
    assert 0 <= T.ping_lost_ms + 300 - p.since_ms <= T.burst_ms
    assert (q.address, q.answers) == ("q", False)
    assert q.since_ms is not None
    assert 0 <= q.since_ms - T.ping_lost_ms <= T.burst_ms
    assert (r.address, r.answers, r.since_ms) == ("r", False, None)


def test_the_partner_reaches_the_ping_nodes_once_it_has_for_as_long_as_a_lost_network_takes() -> None:
    """Of a network that both nodes lost, each gets it back at a moment of its own: nothing is to move for that."""
    evidence, lost_s = World().evidence, T.client_lost_ms / 1000
    assert not evidence.partner_pings(100.0, is_answered=True)
    assert not evidence.partner_pings(100.0 + lost_s - 0.01, is_answered=True)
    assert evidence.partner_pings(100.0 + lost_s, is_answered=True)
    assert not evidence.partner_pings(200.0, is_answered=False)
    assert not evidence.partner_pings(200.1, is_answered=True)
    assert evidence.partner_pings(300.0, is_answered=True)
    evidence.new_session()
    assert not evidence.partner_pings(300.1, is_answered=True)
