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
        (Verdict.PRIMARY, FenceAnswer.PEER_PRIMARY),
        (Verdict.PROMOTING, FenceAnswer.PEER_PRIMARY),
        (Verdict.NEWER, FenceAnswer.PEER_PRIMARY),
    ],
)
def test_the_partners_word_is_the_answer_whatever_else_is_known(verdict: Verdict, answer: FenceAnswer) -> None:
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


def test_a_persons_word_lets_the_source_go_on() -> None:
    assert answer_lone(None, NodeFacts(links=2), T, is_granted=True) is FenceAnswer.PEER_FENCED
