"""When a run is believed, and what is told of its two ends, by tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.errors import VerificationError
from holdfast.planning.run_truth import (
    EndsCompared,
    FullVerification,
    end_alerts,
    is_full_due,
    refuse_counts,
    refuse_differences,
    verification_alerts,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GB = 10**9


def verified(days_ago: float, differences: int = 0) -> FullVerification:
    at = NOW - timedelta(days=days_ago)
    return FullVerification(at, at, 100, differences, ("x differs in content",) if differences else ())


def test_counts_that_disagree_are_no_success() -> None:
    refuse_counts(7, 7)
    for considered in (6, 8):
        with pytest.raises(VerificationError, match=f"considered {considered} names, and the source has 7"):
            refuse_counts(considered, 7)


def test_differences_are_no_success_and_some_are_named() -> None:
    refuse_differences((), is_full=True)
    with pytest.raises(VerificationError, match=r"in 9 places: 0; 1; 2; 3; 4\Z"):
        refuse_differences([str(number) for number in range(9)], is_full=False)


@pytest.mark.parametrize(
    ("every_days", "last", "is_due"),
    [
        (None, None, False),
        (None, verified(900), False),
        (None, verified(0, differences=1), True),
        (7, None, True),
        (7, verified(6.9), False),
        (7, verified(7), True),
        (7, verified(1, differences=2), True),
    ],
)
def test_every_file_is_compared_when_it_is_due_and_until_what_differs_is_mended(
    every_days: int | None, last: FullVerification | None, is_due: bool
) -> None:
    assert is_full_due(every_days, last, NOW) is is_due


def test_an_alert_stands_while_what_differs_is_not_mended() -> None:
    assert verification_alerts("t", None) == ()
    assert verification_alerts("t", verified(1)) == ()
    (alert,) = verification_alerts("t", verified(1, differences=3))
    assert alert.text.startswith("3 paths")
    assert "x differs in content" in alert.text


@pytest.mark.parametrize(
    ("source", "used", "destination", "clock_s", "told"),
    [
        (10, 5, 10, 0.0, []),
        (10, 5, 12, 5.0, []),
        (10, 5, 9, -5.0, [("destination-smaller", f"{GB} bytes smaller")]),
        (10, 9, 7, 0.0, [("destination-too-small", f"{2 * GB} bytes more")]),
        (10, 5, 10, 3600.0, [("clocks", "+3600.0 s")]),
        (10, 5, 10, -5.1, [("clocks", "-5.1 s")]),
        (10, 9, 7, 9.0, [("destination-too-small", "bytes"), ("clocks", "+9.0 s")]),
    ],
)
def test_capacities_and_clocks_are_told_by_how_much_they_differ(
    source: int, used: int, destination: int, clock_s: float, told: list[tuple[str, str]]
) -> None:
    ends = EndsCompared(NOW, source * GB, used * GB, destination * GB, GB, clock_s)
    alerts = end_alerts(ends)
    assert [alert.code for alert in alerts] == [code for code, _ in told]
    for alert, (_, text) in zip(alerts, told, strict=True):
        assert text in alert.text
        assert alert.remedy


def test_what_was_never_compared_is_no_alert() -> None:
    assert end_alerts(None) == ()
