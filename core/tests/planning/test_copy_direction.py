"""Which way a task may copy, by tables; and that no order of turns and messages lets both ways be open."""

from __future__ import annotations

import itertools

import pytest

from holdfast.errors import ConflictError
from holdfast.planning.copy_direction import Direction, adopted, refuse_to_fail_back, refuse_to_send, turned

F0, R1, F2, R3 = Direction(0, False), Direction(1, True), Direction(2, False), Direction(3, True)


@pytest.mark.parametrize(
    ("before", "is_reversed", "after"),
    [(F0, True, R1), (R1, True, R1), (R1, False, F2), (F2, False, F2), (F2, True, R3)],
)
def test_a_turn_raises_the_generation_and_repeating_it_does_not(
    before: Direction, is_reversed: bool, after: Direction
) -> None:
    assert turned(before, is_reversed=is_reversed) == after


@pytest.mark.parametrize(
    ("mine", "theirs", "is_adopted"),
    [
        (F0, R1, True),
        (R1, R1, True),
        (F0, R3, True),
        (R1, F2, True),
        (R1, F0, False),
        (R3, R1, False),
        (F2, Direction(2, True), False),
        (F0, Direction(0, True), False),
    ],
)
def test_only_the_higher_generation_is_adopted(mine: Direction, theirs: Direction, is_adopted: bool) -> None:
    if is_adopted:
        assert adopted(mine, theirs, other="b") == theirs
        return
    with pytest.raises(ConflictError, match="generation") as refused:
        adopted(mine, theirs, other="b")
    assert refused.value.reasons[0].remedy


def test_each_end_refuses_the_wrong_way() -> None:
    for direction in (F0, F2):
        refuse_to_send("t", direction)
        with pytest.raises(ConflictError, match="not reversed"):
            refuse_to_fail_back("r", direction)
    for direction in (R1, R3):
        refuse_to_fail_back("r", direction)
        with pytest.raises(ConflictError, match="reversed"):
            refuse_to_send("t", direction)


def sends(source: Direction) -> bool:
    return not source.is_reversed


def is_open(destination: Direction) -> bool:
    return not destination.is_reversed


def is_failed_back_to(source: Direction, destination: Direction) -> bool:
    """A fail back begins with the destination's word, which the source adopts or refuses."""
    try:
        refuse_to_fail_back("r", destination)
        adopted(source, destination, other="b")
    except ConflictError:
        return False
    return True


def test_whatever_messages_are_lost_and_whichever_end_is_set_back_the_ways_are_never_both_open() -> None:
    """Every sequence of five: take over, tell, hand over there, hand over here, and either end set back to a backup."""

    def step(source: Direction, destination: Direction, word: str) -> tuple[Direction, Direction]:
        if word == "take over":
            return source, turned(destination, is_reversed=True)
        if word in ("tell", "hand over there"):
            if word == "hand over there" and not (destination.is_reversed and source == destination):
                return source, destination
            told = destination if word == "tell" else turned(destination, is_reversed=False)
            try:
                return adopted(source, told, other="b"), destination
            except ConflictError:
                return source, destination
        if word == "hand over here" and destination.is_reversed and source == turned(destination, is_reversed=False):
            return source, source
        if word == "source set back":
            return F0, destination
        return source, destination

    words = ("take over", "tell", "hand over there", "hand over here", "source set back")
    seen = 0
    for sequence in itertools.product(words, repeat=5):
        source, destination = F0, F0
        for word in sequence:
            source, destination = step(source, destination, word)
            forth = sends(source) and is_open(destination)
            back = is_failed_back_to(source, destination)
            assert not (forth and back), (sequence, source, destination)
            seen += forth or back
    assert seen > 5**5, "the search sees both ways open, one at a time"
