"""The register: to whom the right is granted, in every order of what two nodes say."""

from __future__ import annotations

from itertools import product

import pytest

from holdfast.witness.register import MOST_GROUPS, Register

NODES = ("a", "b")


def open_register() -> Register:
    register = Register(NODES)
    for node in NODES:
        assert register.release(node, "g", 0)
    return register


def test_a_register_that_starts_grants_nothing_until_the_partner_has_released() -> None:
    register = Register(NODES)
    assert not register.claim("a", "g")
    assert register.release("b", "g", 0)
    assert not register.claim("b", "g")
    assert register.claim("a", "g")


def test_of_two_claims_the_second_is_refused_until_the_first_one_is_given_back() -> None:
    register = open_register()
    assert register.claim("b", "g")
    assert not register.claim("a", "g")
    assert register.claim("b", "g")
    assert register.release("b", "g", register.word("b", "g").version)
    assert register.claim("a", "g")


def test_a_release_is_worth_nothing_once_the_right_was_claimed_since_it_was_read() -> None:
    for claims in (1, 2):
        register = open_register()
        read = register.word("a", "g").version
        for _ in range(claims):
            assert register.claim("a", "g")
        assert not register.release("a", "g", read)
        assert not register.claim("b", "g")


def test_groups_are_apart_and_have_an_end() -> None:
    register = open_register()
    assert register.claim("a", "g")
    assert not register.claim("b", "other")
    assert [register.release("a", f"g{n}", 0) for n in range(2 * MOST_GROUPS)].count(False) == 2
    assert register.claim("a", "g")


@pytest.mark.parametrize("length", [6])
def test_in_no_order_of_words_do_both_hold_the_right(length: int) -> None:
    """Each node holds what it was granted until it releases by the version it read last, as `client.py` does."""
    steps = [(node, what) for node in NODES for what in ("read", "claim", "release")]
    both_could = False
    for order in product(steps, repeat=length):
        register, held, read = open_register(), set[str](), {"a": 0, "b": 0}
        for node, what in order:
            match what:
                case "read":
                    read[node] = register.word(node, "g").version
                case "claim":
                    held |= {node} if register.claim(node, "g") else set()
                case _:
                    held.discard(node)
                    register.release(node, "g", read[node])
            assert len(held) < 2, order
        both_could = both_could or bool(held)
    assert both_could
