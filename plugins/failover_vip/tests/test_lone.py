"""A mirror without a group goes on alone only on proof, and is never promoted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.hooks.replication import FenceAnswer
from holdfast_failover_vip.facts import FenceSay, NodeFacts, PingFacts, Verdict
from holdfast_failover_vip.lone import answer_lone
from holdfast_failover_vip.timers import Timers

T = Timers()
DEAD = NodeFacts(
    heartbeat_ms=400,
    silent_ms=T.dead_ms,
    is_probed=True,
    links_up_before=2,
    links=2,
    ping=PingFacts(is_continuous=True),
)


@pytest.mark.parametrize(
    ("verdict", "answer"),
    [
        (Verdict.OUTDATED, FenceAnswer.PEER_OUTDATED),
        (Verdict.INCONSISTENT, FenceAnswer.PEER_INCONSISTENT),
        # Told that its partner is Primary a frozen source would never ask again: it waits instead.
        (Verdict.PRIMARY, None),
        (Verdict.PROMOTING, None),
        (Verdict.NEWER, None),
    ],
)
def test_the_partners_word_comes_before_all_else(verdict: Verdict, answer: FenceAnswer | None) -> None:
    for is_granted in (True, False):
        assert answer_lone(FenceSay(verdict, 5), DEAD, T, is_granted=is_granted) is answer


def test_a_partner_that_is_provably_dead_lets_the_source_go_on() -> None:
    assert answer_lone(None, DEAD, T, is_granted=False) is FenceAnswer.PEER_UNREACHABLE


@pytest.mark.parametrize(
    "net",
    [
        NodeFacts(is_heard=True, links=2),
        NodeFacts(),
        replace(DEAD, silent_ms=T.dead_ms - 1),
        replace(DEAD, is_probed=False),
        replace(DEAD, links=0),
        replace(DEAD, is_flapping=True),
        replace(DEAD, ping=PingFacts()),
        replace(DEAD, is_heard=True),
    ],
)
def test_without_one_proof_the_source_stays_frozen(net: NodeFacts) -> None:
    assert answer_lone(None, net, T, is_granted=False) is None


def test_a_persons_word_replaces_the_ping_node_but_not_the_silence() -> None:
    assert answer_lone(None, replace(DEAD, ping=PingFacts()), T, is_granted=True) is FenceAnswer.PEER_FENCED
    for alive in (replace(DEAD, is_heard=True), replace(DEAD, silent_ms=0), replace(DEAD, is_probed=False)):
        assert answer_lone(None, alive, T, is_granted=True) is None
