"""Who serves, as the tests of groups see it by asking one node after the other: without a lab."""

from __future__ import annotations

import pytest

from tests.lab.serving import look


@pytest.mark.parametrize(
    ("answers", "seen"),
    [
        (("a", "-"), {("a",)}),
        (("-", "b"), {("b",)}),
        (("-", "-"), {()}),
        # It moved while it was asked for.
        (("a", "b", "-"), {("a",), ("b",)}),
        # It did not: both serve.
        (("a", "b", "a"), {("a", "b")}),
    ],
)
def test_both_serve_where_one_does_before_and_after_the_other_was_asked(
    answers: tuple[str, ...], seen: set[tuple[str, ...]]
) -> None:
    left = list(answers)
    assert look(lambda name: left.pop(0) == name) == seen
    assert left == []
