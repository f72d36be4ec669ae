"""The waits between attempts, and when a run stops to ask before it deletes."""

from __future__ import annotations

import pytest

from holdfast.hooks.copying import CopyPreview
from holdfast.planning.copy_attempts import retry_delay_s, too_many_deleted


def preview(there: int, gone: int, new: int = 0) -> CopyPreview:
    return CopyPreview(there - gone + new, new, new, gone, 0, (), is_whole=True)


@pytest.mark.parametrize(
    ("attempt", "first_s", "wanted_s"),
    [(1, 30, 30), (2, 30, 60), (3, 30, 120), (7, 30, 1800), (100, 30, 1800), (1, 1800, 1800), (5, 1, 16)],
)
def test_the_waits_double_up_to_half_an_hour(attempt: int, first_s: int, wanted_s: int) -> None:
    assert retry_delay_s(attempt, first_s) == wanted_s


@pytest.mark.parametrize(
    ("there", "gone", "new", "most_percent", "is_asked"),
    [
        (1000, 500, 0, 50, False),
        (1000, 501, 0, 50, True),
        (1000, 501, 5000, 50, True),
        (1000, 1000, 0, 50, True),
        (1000, 11, 0, 1, True),
        (1000, 10, 0, 0, False),
        (1000, 11, 0, 0, True),
        (1000, 1000, 0, 100, False),
        (1000, 1000, 0, None, False),
        (10, 10, 0, 50, False),
        (0, 0, 100, 50, False),
    ],
)
def test_a_run_asks_before_more_than_its_share_is_deleted(
    there: int, gone: int, new: int, most_percent: int | None, is_asked: bool
) -> None:
    seen = preview(there, gone, new)
    assert seen.files_in_replica == there
    text = too_many_deleted(seen, most_percent)
    assert (text is not None) is is_asked
    if text is not None:
        assert f"{gone} of the {there} files" in text
