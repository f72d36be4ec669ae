"""The order of a growth, tried against a takeover at every moment of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from holdfast.planning.unit_growth import in_turn_of_record

OLD, NEW = 1, 2


@pytest.mark.parametrize(
    ("is_served_here", "expected"),
    [(True, ("b", "a")), (False, ("a", "b"))],
    ids=["the partner notes it first", "this node notes it first"],
)
def test_who_serves_notes_it_last(is_served_here: bool, expected: tuple[str, str]) -> None:
    assert in_turn_of_record("a", "b", is_served_here=is_served_here) == expected


@dataclass
class Pair:
    """Two nodes, one file that the mirror keeps equal, and what the initiator has seen of the unit."""

    serving: str
    file: int = OLD
    noted: dict[str, int] = field(default_factory=lambda: {"a": OLD, "b": OLD})
    seen: int = OLD

    def take(self, step: str) -> None:
        if step == "file":
            self.file = NEW
        elif step == "takeover":
            self.serving = {"a": "b", "b": "a"}[self.serving]
        else:
            self.noted[step] = NEW
        unit = self.noted[self.serving]
        assert unit <= self.file, "a unit is larger than its file"
        assert unit >= self.seen, "a unit became smaller than it was seen"
        self.seen = unit


def steps(turn: tuple[str, str]) -> tuple[str, ...]:
    return ("file", *turn)


@pytest.mark.parametrize("serving", ["a", "b"])
@pytest.mark.parametrize("moment", range(4))
def test_a_takeover_at_any_moment_finds_a_unit_that_fits(serving: str, moment: int) -> None:
    pair = Pair(serving)
    wanted = list(steps(in_turn_of_record("a", "b", is_served_here=serving == "a")))
    for step in [*wanted[:moment], "takeover"]:
        pair.take(step)
    # The job goes on: the file is that of the mirror, and whoever serves now is the last to note it.
    for step in steps(in_turn_of_record("a", "b", is_served_here=pair.serving == "a")):
        pair.take(step)
    pair.take("takeover")
    assert (pair.noted, pair.seen) == ({"a": NEW, "b": NEW}, NEW)


@pytest.mark.parametrize("order", [o for o in itertools.permutations(("a", "b", "file")) if o != ("file", "b", "a")])
def test_any_other_order_is_found_out(order: tuple[str, ...]) -> None:
    broken = 0
    for moment in range(4):
        pair = Pair("a")
        try:
            for step in [*order[:moment], "takeover"]:
                pair.take(step)
        except AssertionError:
            broken += 1
    assert broken > 0
