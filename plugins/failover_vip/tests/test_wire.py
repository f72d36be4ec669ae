"""Messages are authenticated before they are read, versioned, bounded, and never replayed."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace

import pytest

from holdfast.errors import InvalidError
from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import DiskState
from holdfast.values import Secret
from holdfast_failover_vip.facts import Verdict
from holdfast_failover_vip.wire import (
    MAX_BYTES,
    Beat,
    Clients,
    Envelope,
    FenceAsk,
    FenceReply,
    ForeignVersionError,
    ForgedError,
    Freshness,
    GroupBeat,
    Judgement,
    Message,
    Offer,
    OfferRefused,
    decode,
    encode,
)

KEY = Secret("0b" * 32)
OTHER_KEY = Secret("0c" * 32)
GROUP = GroupBeat("g", GroupState.ACTIVE_SYNC, 5, 5, "a", 3, DiskState.UP_TO_DATE)
BEAT = Beat(("one",), has_sign=True, ping_answers=False, groups=(GROUP,))
ENVELOPE = Envelope("a", "boot-a", "boot-b", "one", 1, BEAT)


def sign(body: bytes, key: Secret = KEY) -> bytes:
    return hmac.new(bytes.fromhex(key.reveal()), body, hashlib.sha256).digest() + body


def changed(**changes: object) -> bytes:
    body = json.loads(encode(ENVELOPE, KEY)[32:])
    return sign(json.dumps({**body, **changes}).encode())


@pytest.mark.parametrize(
    "message",
    [
        BEAT,
        FenceAsk("m", 5, "n"),
        FenceReply("m", "n", Verdict.OUTDATED, 5),
        Offer("g", 6, 3),
        OfferRefused("g", 6, "no"),
        Clients("g", (("192.0.2.7", 40_000),)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_message_reads_as_it_was_written(message: Message) -> None:
    envelope = replace(ENVELOPE, message=message)
    assert decode(encode(envelope, KEY), KEY) == envelope


def test_a_wrong_key_is_noticed_before_anything_is_parsed() -> None:
    # Parsing this would raise another error.
    with pytest.raises(ForgedError):
        decode(sign(b"{no json", OTHER_KEY), KEY)


@pytest.mark.parametrize("datagram", [b"", b"x" * 32, b"x" * (MAX_BYTES + 1)])
def test_datagrams_of_impossible_sizes_are_forged(datagram: bytes) -> None:
    with pytest.raises(ForgedError):
        decode(datagram, KEY)


@pytest.mark.parametrize("position", [0, 31, 32, 60, -1])
def test_one_changed_byte_is_a_forgery(position: int) -> None:
    datagram = bytearray(encode(ENVELOPE, KEY))
    datagram[position] ^= 1
    with pytest.raises(ForgedError):
        decode(bytes(datagram), KEY)


@pytest.mark.parametrize("changes", [{"version": 2}, {"features": ["later"]}, {"kind": "later"}])
def test_what_this_version_does_not_know_is_foreign(changes: dict[str, object]) -> None:
    with pytest.raises(ForeignVersionError):
        decode(changed(**changes), KEY)


@pytest.mark.parametrize("body", [b"[]", b'"a"', b"{no json", b"\xff"])
def test_an_authentic_message_that_is_no_object_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidError):
        decode(sign(body), KEY)


@pytest.mark.parametrize("changes", [{"sequence": "x"}, {"message": {}}, {"message": 3}, {"sender": None}])
def test_an_authentic_message_of_wrong_form_is_invalid(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        decode(changed(**changes), KEY)


def test_a_message_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(InvalidError):
        encode(replace(ENVELOPE, message=OfferRefused("g", 1, "x" * MAX_BYTES)), KEY)


def admits(freshness: Freshness, *, boot: str = "boot-a", heard: str = "boot-b", sequence: int = 1) -> bool:
    envelope = replace(ENVELOPE, boot=boot, heard_boot=heard, sequence=sequence)
    return freshness.judge(envelope, "one", is_live=bool(freshness.boot)) is Judgement.NEW


def test_a_message_counts_once() -> None:
    freshness = Freshness("boot-b")
    assert admits(freshness)
    assert not admits(freshness)
    assert not admits(freshness, sequence=0)
    assert admits(freshness, sequence=2)


def test_a_message_of_another_link_does_not_count() -> None:
    assert Freshness("boot-b").judge(ENVELOPE, "two", is_live=False) is Judgement.OTHER_LINK


def test_a_sender_that_has_not_heard_us_is_answered_and_not_believed() -> None:
    freshness = Freshness("boot-b")
    assert not admits(freshness, heard="")
    assert (freshness.boot, freshness.candidate) == ("", "boot-a")


def test_what_was_recorded_before_we_started_does_not_count() -> None:
    freshness = Freshness("boot-b")
    assert not admits(freshness, heard="our former boot")


def test_a_new_boot_of_the_partner_counts_and_retires_the_former() -> None:
    freshness = Freshness("boot-b")
    assert admits(freshness, sequence=900)
    assert admits(freshness, boot="boot-a2", sequence=1)
    assert not admits(freshness, sequence=901)
    assert freshness.boot == "boot-a2"


def test_recorded_messages_do_not_divert_our_answers_from_a_live_partner() -> None:
    freshness = Freshness("boot-b")
    assert admits(freshness)
    assert not admits(freshness, boot="recorded", heard="other")
    assert freshness.candidate == "boot-a"


MOST_GROUPS, LONGEST_NAME, MOST_CLIENTS = 200, 63, 500
"""Ports for mirrors, letters in a name, connections that are told."""


def test_all_that_a_pair_can_have_fits_into_a_message() -> None:
    """One that does not fit cannot be sent, and the monitor would end of it, again and again."""
    names = [f"{number:0{LONGEST_NAME}d}" for number in range(MOST_GROUPS)]
    state, disk = max(GroupState, key=len), max(DiskState, key=len)
    groups = tuple(GroupBeat(name, state, 10**9, 10**9, "n" * LONGEST_NAME, 10**9, disk) for name in names)
    beat = Beat(("l" * LONGEST_NAME,) * 8, has_sign=True, ping_answers=True, groups=groups)
    clients = Clients(
        names[0], tuple((f"fd00:1111:2222:3333:4444:5555:6666:{n:04x}", 65_535) for n in range(MOST_CLIENTS))
    )
    for message in (beat, clients):
        envelope = replace(ENVELOPE, message=message)
        assert decode(encode(envelope, KEY), KEY) == envelope


def test_what_was_put_into_words_before_is_said_of_no_other_message() -> None:
    """Equal in Python is not the same in words: 1, 1.0 and true."""
    one = decode(encode(ENVELOPE, KEY), KEY)
    assert decode(encode(replace(ENVELOPE, sequence=2), KEY), KEY).message is one.message
    other = replace(BEAT, groups=(replace(GROUP, epoch=6),))
    assert decode(encode(replace(ENVELOPE, message=other), KEY), KEY).message == other
    plain = json.loads(encode(ENVELOPE, KEY)[32:])["message"]
    for epoch in (True, 5.0, "5"):
        wrong = {**plain, "groups": [{**plain["groups"][0], "epoch": epoch}]}
        with pytest.raises(InvalidError):
            decode(changed(message=wrong), KEY)
