"""When a mirror's link is said to hold its disks back."""

from __future__ import annotations

import pytest

from holdfast.planning.mirror_link import LinkMeasurement, slow_link, slow_link_reason, slowest

MIB = 2**20


@pytest.mark.parametrize(
    ("link_bytes_s", "disk_bytes_s", "figures"),
    [
        (11 * MIB, 500 * MIB, ("11.0 MiB/s", "500 MiB/s")),
        (112 * MIB, 2000 * MIB, ("112 MiB/s", "2000 MiB/s")),
        (1100 * MIB, 500 * MIB, None),
        (500 * MIB, 500 * MIB, None),
        (400 * MIB, 500 * MIB, None),  # what measuring twice may differ by
        (399 * MIB, 500 * MIB, ("399 MiB/s", "500 MiB/s")),
        (0, 500 * MIB, ("0.0 MiB/s", "500 MiB/s")),
        (None, 500 * MIB, None),
        (11 * MIB, None, None),
        (None, None, None),
    ],
)
def test_a_link_slower_than_the_disks_is_told_with_both_figures(
    link_bytes_s: int | None, disk_bytes_s: int | None, figures: tuple[str, str] | None
) -> None:
    text = slow_link(link_bytes_s, disk_bytes_s)
    if figures is None:
        assert text is None
    else:
        assert text is not None
        assert all(figure in text for figure in figures)


def test_the_warning_comes_with_a_remedy_and_only_where_there_is_one() -> None:
    slow = LinkMeasurement("2026-01-01T00:00:00+00:00", "a", 1, 9, "the link is slow", None)
    (reason,) = slow_link_reason(slow)
    assert (reason.code, reason.text, bool(reason.remedy)) == ("slow-link", "the link is slow", True)
    assert slow_link_reason(LinkMeasurement("2026-01-01T00:00:00+00:00", "a", 9, 1, None, None)) == ()
    assert slow_link_reason(None) == ()


@pytest.mark.parametrize(("rates", "expected"), [((3, 2), 2), ((None, 2), 2), ((3, None), 3), ((None, None), None)])
def test_the_slower_disk_counts(rates: tuple[int | None, ...], expected: int | None) -> None:
    assert slowest(rates) == expected
