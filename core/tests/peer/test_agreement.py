from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from holdfast.errors import DeniedError
from holdfast.peer.agreement import Agreement, Keys, Role, transcript_of
from holdfast.values import Secret

CODE = Secret("7Q2ZKM41XC")
Transcript = Callable[..., bytes]


def agree(
    joiner_code: Secret = CODE, offer_transcript: bytes = b"t", join_transcript: bytes = b"t"
) -> tuple[Keys, Keys]:
    offer, join = Agreement(Role.OFFER, CODE), Agreement(Role.JOIN, joiner_code)
    return offer.conclude(join.element, offer_transcript), join.conclude(offer.element, join_transcript)


def test_the_same_code_and_transcript_give_the_same_key() -> None:
    offer, join = agree()
    assert offer.heartbeat_key.reveal() == join.heartbeat_key.reveal()
    assert len(bytes.fromhex(offer.heartbeat_key.reveal())) == 32
    assert offer.unseal("x", json.loads(join.seal("x", {"is": 1}))) == {"is": 1}


def test_each_exchange_gives_another_key() -> None:
    assert agree()[0].heartbeat_key.reveal() != agree()[0].heartbeat_key.reveal()


@pytest.mark.parametrize(
    ("code", "transcript"), [(Secret("7Q2ZKM41XD"), b"t"), (CODE, b"u")], ids=["another code", "another transcript"]
)
def test_anything_unlike_gives_another_key_and_no_seal_holds(code: Secret, transcript: bytes) -> None:
    offer, join = agree(code, join_transcript=transcript)
    assert offer.heartbeat_key.reveal() != join.heartbeat_key.reveal()
    with pytest.raises(DeniedError):
        offer.unseal("x", json.loads(join.seal("x", {})))


def test_a_seal_holds_for_its_side_its_label_and_its_body_only() -> None:
    offer, join = agree()
    frame = json.loads(join.seal("confirm", {"held": None}))
    for label, changed, reader in (
        ("end", frame, offer),
        ("confirm", {**frame, "body": '{"held": 1}'}, offer),
        ("confirm", {**frame, "mac": "ä"}, offer),
        ("confirm", {**frame, "mac": None}, offer),
        ("confirm", {**frame, "body": "\ud800"}, offer),
        ("confirm", {}, offer),
        ("confirm", frame, join),
    ):
        with pytest.raises(DeniedError):
            reader.unseal(label, changed)


@pytest.mark.parametrize("element", [b"", b"B", b"B" + b"\xff" * 32, b"B" + b"\0" * 32, b"Z" * 33, b"B" * 1000])
def test_an_element_that_is_none_is_refused(element: bytes) -> None:
    with pytest.raises(DeniedError):
        Agreement(Role.OFFER, CODE).conclude(element, b"t")


def test_an_element_sent_back_is_refused() -> None:
    offer = Agreement(Role.OFFER, CODE)
    with pytest.raises(DeniedError):
        offer.conclude(offer.element, b"t")
    reflected = Agreement(Role.OFFER, CODE)
    with pytest.raises(DeniedError):
        reflected.conclude(b"B" + reflected.element[1:], b"t")


def relay_with_swapped_certificates(transcript: Transcript) -> None:
    """A man in the middle who relays the elements as they are, and puts his own certificate into each greeting.

    Each side proves the code to the other. Raises DeniedError when one of them notices.
    """
    offer, join = Agreement(Role.OFFER, CODE), Agreement(Role.JOIN, CODE)
    offer_sees = {"join_hello": b"mallory", "offer_hello": b"a", "offer_certificate": b"a"}
    join_sees = {"join_hello": b"b", "offer_hello": b"mallory", "offer_certificate": b"mallory"}
    offer_keys = offer.conclude(join.element, transcript(**offer_sees))
    join_keys = join.conclude(offer.element, transcript(**join_sees))
    offer_keys.unseal("confirm", json.loads(join_keys.seal("confirm", {})))
    join_keys.unseal("confirm", json.loads(offer_keys.seal("confirm", {})))


def test_a_man_in_the_middle_with_swapped_certificates_is_caught() -> None:
    with pytest.raises(DeniedError):
        relay_with_swapped_certificates(transcript_of)


def test_without_the_certificates_in_the_transcript_he_would_not_be() -> None:
    relay_with_swapped_certificates(lambda **seen: b"holdfast pairing")


@pytest.mark.parametrize("part", ["join_hello", "offer_hello", "offer_certificate"])
def test_the_transcript_holds_each_part_and_where_it_ends(part: str) -> None:
    seen = {"join_hello": b"j", "offer_hello": b"o", "offer_certificate": b"c"}
    assert transcript_of(**seen) != transcript_of(**{**seen, part: b"m"})
    assert transcript_of(**{**seen, "join_hello": b"jo", "offer_hello": b""}) != transcript_of(**seen)


def test_a_held_key_is_proved_for_one_side_and_one_exchange() -> None:
    offer, join = agree()
    held = Secret("ab" * 32)
    assert offer.proof_of(held, Role.JOIN) == join.proof_of(held, Role.JOIN)
    assert offer.proof_of(held, Role.JOIN) != offer.proof_of(held, Role.OFFER)
    assert offer.proof_of(held, Role.JOIN) != agree(offer_transcript=b"u")[0].proof_of(held, Role.JOIN)
