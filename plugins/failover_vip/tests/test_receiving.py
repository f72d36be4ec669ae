"""Whatever comes in on a link, forged, replayed, mutilated or in floods: it is refused, counted, and does no harm."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.hooks.failover import GroupState, MonitorPlan
from holdfast.hooks.links import Link, LinkStatus
from holdfast.hooks.replication import DiskState
from holdfast.values import Secret
from holdfast_failover_vip.refusals import LONGEST_REASON, TOLD_EVERY_S, Refusals
from holdfast_failover_vip.settings import Settings
from holdfast_failover_vip.talk import Talk
from holdfast_failover_vip.wire import MAX_BYTES, Beat, Clients, Envelope, FenceAsk, GroupBeat, Message, encode

KEY, OTHER_KEY = Secret("0b" * 32), Secret("0c" * 32)
LINKS = (Link("one", "eth0", "192.0.2.2", "192.0.2.1"), Link("two", "eth1", "198.51.100.2", "198.51.100.1"))
PLAN = MonitorPlan(2, "b", "a", KEY, LINKS, ("192.0.2.9",), (), ())
GROUP = GroupBeat("g", GroupState.ACTIVE_SYNC, 5, 5, "a", 3, DiskState.UP_TO_DATE)
BEAT = Beat(("one", "two"), has_sign=True, ping_answers=True, groups=(GROUP,))


def sign(body: bytes, key: Secret = KEY) -> bytes:
    return hmac.new(bytes.fromhex(key.reveal()), body, hashlib.sha256).digest() + body


class Node(Talk):
    """The receiving half of a monitor, without sockets: node b, which hears node a."""

    def __init__(self) -> None:
        self.boot_s = 1000.0
        machine: Any = SimpleNamespace(clock=SimpleNamespace(boot_s=lambda: self.boot_s))
        host: Any = SimpleNamespace(plan=lambda: PLAN)
        journal: Any = None
        super().__init__(Settings(), machine, host, journal)
        self.heard: list[tuple[str, int]] = []

    def _on_beat(self, link: str, sequence: int, beat: Beat) -> bool:
        self.heard.append((link, sequence))
        return super()._on_beat(link, sequence, beat)

    def receive(self, link: str, datagram: bytes) -> None:
        self.boot_s += 0.001
        self._turned_s = self.boot_s
        self._on_datagram(link, datagram)

    @property
    def own_boot(self) -> str:
        return self._boot

    def status(self, link: str = "one") -> LinkStatus:
        return next(each for each in self._link_statuses() if each.name == link)

    @property
    def believed_boot(self) -> str:
        return self._freshness.boot

    @property
    def silent_ms(self) -> int | None:
        return self._net().heartbeat_ms


class Partner:
    """Node a: what it sends, and what was recorded of it."""

    def __init__(self, node: Node, boot: str = "boot-a") -> None:
        self.node = node
        self.boot = boot
        self.sequence = 0

    def datagram(self, *, key: Secret = KEY, message: Message = BEAT, **changes: Any) -> bytes:
        self.sequence += 1
        known = {"sender": "a", "boot": self.boot, "heard_boot": self.node.own_boot, "link": "one"}
        return encode(Envelope(**{**known, "sequence": self.sequence, "message": message, **changes}), key)

    def signed(self, **changes: Any) -> bytes:
        body = json.loads(self.datagram()[32:])
        return sign(json.dumps({**body, **changes}).encode())


@pytest.fixture
async def node() -> Node:
    return Node()


@pytest.fixture
async def partner(node: Node) -> Partner:
    """One that is heard."""
    made = Partner(node)
    node.receive("one", made.datagram())
    assert node.heard == [("one", 1)]
    return made


async def test_a_heartbeat_is_heard_and_nothing_is_refused(node: Node, partner: Partner) -> None:
    assert (node.status().refused, node.status().last_refusal) == (0, None)


async def test_messages_of_another_kind_are_no_lost_heartbeats(node: Node, partner: Partner) -> None:
    """An active partner tells of its clients twice a second and more: a sound link showed a loss of 9 to 90 %."""
    for _ in range(20):
        node.receive("one", partner.datagram(message=Clients("g", ())))
        node.receive("one", partner.datagram())
    assert node.status().loss_percent == 0
    partner.datagram()  # this one is lost
    node.receive("one", partner.datagram(message=Clients("g", ())))
    assert node.status().loss_percent == 2.3


async def test_a_greeting_is_answered_and_neither_believed_nor_refused(node: Node) -> None:
    node.receive("one", Partner(node).datagram(heard_boot=""))
    assert (node.heard, node.status().refused) == ([], 0)


def forgeries(partner: Partner) -> Iterator[tuple[str, bytes, str]]:
    """What an attacker or a fault may send, and what the status says of it."""
    good = partner.datagram()
    yield "wrong key", partner.datagram(key=OTHER_KEY), "wrong signature"
    yield "truncated", good[:-1], "wrong signature"
    yield "of a signature only", good[:32], "none of ours"
    yield "empty", b"", "none of ours"
    yield "longer", good + b" ", "wrong signature"
    yield "far too long", good + bytes(MAX_BYTES), "none of ours"
    yield "a flipped bit", good[:40] + bytes([good[40] ^ 4]) + good[41:], "wrong signature"
    yield "the right key, another node's name", partner.datagram(sender="c"), "names 'c'"
    yield "our own, sent back", partner.datagram(sender="b"), "names 'b'"
    yield "a later version", partner.signed(version=2), "version 2"
    yield "no version", partner.signed(version=None), "version None"
    yield "unknown features", partner.signed(features=["later"]), "later"
    yield "features of a strange form", partner.signed(features=[{}, 3]), "needs"
    yield "features that are no list", partner.signed(features=7), "a list"
    yield "an unknown message", partner.signed(kind="later"), "'later'"
    yield "no message", partner.signed(message=None), "an object is needed"
    yield "an unknown field", partner.signed(message={"x": 1}), "unknown field"
    yield "nested without end", sign(b"[" * 16_000), "no JSON"
    yield "a number without end", sign(b"9" * 16_000), "no JSON"
    yield "no text", sign(b"\xff\xfe"), "no JSON"
    yield "of another link", partner.datagram(link="two"), "another link"
    yield "meant for our former session", partner.datagram(heard_boot="before"), "former session of this node"


async def test_each_forgery_is_refused_with_its_reason_and_shown_with_its_link(node: Node, partner: Partner) -> None:
    for number, (name, datagram, why) in enumerate(forgeries(partner), 1):
        node.receive("one", datagram)
        assert why in str(node.status().last_refusal), name
        assert node.status().refused == number, name
    assert node.heard == [("one", 1)]
    assert node.status("two").refused == 0
    node.receive("one", partner.datagram())
    assert len(node.heard) == 2, "and the partner is heard as before"


async def test_what_is_refused_is_no_sign_of_life(node: Node, partner: Partner) -> None:
    before_s = node.boot_s
    for _, datagram, _ in forgeries(partner):
        node.boot_s += 0.1
        node.receive("one", datagram)
    assert node.silent_ms == round((node.boot_s - before_s) * 1000)


async def test_a_recorded_heartbeat_sent_again_counts_once(node: Node, partner: Partner) -> None:
    recorded = [partner.datagram() for _ in range(3)]
    for datagram in (*recorded, *recorded, recorded[0]):
        node.receive("one", datagram)
    assert node.heard == [("one", 1), ("one", 2), ("one", 3), ("one", 4)]
    assert node.status().refused == 4
    assert "repeated" in str(node.status().last_refusal)


async def test_a_heartbeat_of_the_partners_former_session_stays_refused(node: Node, partner: Partner) -> None:
    recorded = [partner.datagram() for _ in range(3)]
    again = Partner(node, "boot-a2")
    node.receive("one", again.datagram())
    for datagram in recorded:
        node.receive("one", datagram)
    assert node.heard == [("one", 1), ("one", 1)]
    assert "former session of the partner" in str(node.status().last_refusal)
    node.receive("one", again.datagram())
    assert node.heard[-1] == ("one", 2)


async def test_a_recording_brings_no_dead_partner_back(node: Node, partner: Partner) -> None:
    """Its last heartbeats are repeated while it is silent for good, and what was said to an earlier monitor of ours."""
    recorded = [partner.datagram(), partner.datagram(heard_boot="before"), partner.datagram(boot="older")]
    for datagram in recorded[:1]:
        node.receive("one", datagram)
    for _ in range(20):
        node.boot_s += 0.1
        for datagram in recorded[:2]:
            node.receive("one", datagram)
    assert node.heard == [("one", 1), ("one", 2)]
    assert (node.silent_ms or 0) > 1900
    assert node.status().refused == 40


async def test_a_flood_of_forgeries_is_counted_and_fills_no_log(
    node: Node, partner: Partner, caplog: pytest.LogCaptureFixture
) -> None:
    forged = partner.datagram(key=OTHER_KEY)
    with caplog.at_level(logging.DEBUG):
        for number in range(10_000):
            node.receive("one", forged)
            if number % 1000 == 0:
                node.receive("one", partner.datagram())
    assert node.status().refused == 10_000
    assert len(node.heard) == 11
    assert [record.getMessage() for record in caplog.records if "refused" in record.getMessage()] == [
        "a datagram on the link one was refused: a datagram has a wrong signature"
    ]


def test_the_log_is_told_once_a_minute_of_each_link_and_how_many_there_were() -> None:
    refusals = Refusals()
    assert refusals.note("one", "why", 0.0)
    assert refusals.note("two", "why", 0.0)
    assert refusals.note("one", "why", TOLD_EVERY_S - 1) is None
    told = refusals.note("one", "another", TOLD_EVERY_S)
    assert told == "a datagram on the link one was refused, and 1 before it: another"
    assert refusals.of("one") == (3, "another")
    assert refusals.of("absent") == (0, None)


def test_a_reason_that_quotes_a_stranger_is_kept_short() -> None:
    refusals = Refusals()
    refusals.note("one", "x" * 10_000, 0.0)
    assert len(refusals.of("one")[1] or "") == LONGEST_REASON + 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("version", "features", "sender", "boot", "heard_boot", "link", "sequence", "kind", "message")
FAULTS = st.one_of(
    st.tuples(st.just("bytes"), st.binary(max_size=200)),
    st.tuples(st.just("signed"), st.binary(max_size=200)),
    st.tuples(st.just("field"), st.tuples(st.sampled_from(FIELDS), JSON)),
    st.tuples(st.just("in message"), st.tuples(st.sampled_from(("hears", "has_sign", "ping_answers", "groups")), JSON)),
    st.tuples(st.just("flip"), st.integers(0, 10_000)),
    st.tuples(st.just("cut"), st.integers(0, 10_000)),
    st.tuples(st.just("again"), st.integers(0, 10_000)),
    st.tuples(st.just("good"), st.none()),
)


def faulty(partner: Partner, kind: str, detail: Any, recorded: list[bytes]) -> bytes:
    """A datagram with one fault."""
    if kind == "bytes":
        return bytes(detail)
    if kind == "signed":
        return sign(detail)
    if kind == "again":
        return recorded[int(detail) % len(recorded)]
    good = partner.datagram()
    if kind == "good":
        return good
    if kind == "field":
        return partner.signed(**{detail[0]: detail[1]})
    if kind == "in message":
        body = json.loads(good[32:])
        return sign(json.dumps({**body, "message": {**body["message"], detail[0]: detail[1]}}).encode())
    at = detail % len(good)
    return good[:at] if kind == "cut" else good[:at] + bytes([good[at] ^ 1 << detail % 8]) + good[at + 1 :]


@settings(max_examples=200, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(faults=st.lists(FAULTS, max_size=12))
async def test_whatever_comes_in_the_partner_is_heard_as_if_it_had_not(faults: list[tuple[str, Any]]) -> None:
    node = Node()
    partner = Partner(node)
    recorded = [partner.datagram()]
    node.receive("one", recorded[0])
    for kind, detail in faults:
        before = len(node.heard), node.status().refused
        datagram = faulty(partner, kind, detail, recorded)
        node.receive("one", datagram)
        after = len(node.heard), node.status().refused
        if kind == "good":
            recorded.append(datagram)
            assert after == (before[0] + 1, before[1])
        elif kind in ("bytes", "signed", "flip", "cut", "again"):
            assert after == (before[0], before[1] + 1), "refused, and counted"
        else:
            # A field may have become one that a healthy partner sends, or a greeting.
            assert after[0] - before[0] + after[1] - before[1] <= 1
    if len(node.heard) > 1 and node.heard[-1][1] > partner.sequence:
        return  # signed by the partner itself, with a sequence far ahead
    node.receive("one", partner.datagram(boot=node.believed_boot))
    assert node.heard[-1] == ("one", partner.sequence)


@pytest.mark.parametrize(
    "message",
    [
        FenceAsk("no such mirror", 10**30, ""),
        Clients("no such group", (("nobody", -1),) * 100),
        Beat((), has_sign=False, ping_answers=False, groups=(GROUP,) * 50),
    ],
    ids=lambda message: type(message).__name__,
)
async def test_a_new_message_about_what_is_not_there_changes_nothing(
    node: Node, partner: Partner, message: Message
) -> None:
    node.receive("one", partner.datagram(message=message))
    assert node.status().refused == 0
    node.receive("one", partner.datagram())
    assert node.heard[-1] == ("one", partner.sequence)
