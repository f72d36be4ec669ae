"""Sessions between two looks, and the carrying of reservations when things fail."""

from __future__ import annotations

import pytest

from holdfast.hooks.target import TargetSession
from holdfast.services.targets.watch import rates_of

BEFORE = TargetSession("i", "10.0.0.7", 1, "1.1", 100, 1000, 5000)


@pytest.mark.parametrize(
    ("now", "over_s", "expected"),
    [
        (TargetSession("i", "10.0.0.7", 1, "1.1", 300, 1000, 7000), 2.0, (100.0, 0.0, 1000.0)),
        (TargetSession("i", "10.0.0.7", 1, "1.1", 100, 1000, 5000), 1.0, (0.0, 0.0, 0.0)),
        # Begun anew by the kernel, as after a takeover back and forth.
        (TargetSession("i", "10.0.0.7", 1, "1.1", 3, 10, 20), 1.0, (None, None, None)),
        (TargetSession("i", "10.0.0.7", 1, "1.1", None, None, None), 1.0, (None, None, None)),
    ],
)
def test_rates_are_what_was_counted_between_two_looks(
    now: TargetSession, over_s: float, expected: tuple[float | None, ...]
) -> None:
    assert rates_of(BEFORE, now, over_s) == expected
