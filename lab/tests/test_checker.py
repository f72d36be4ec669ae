"""Every fault the checker is for is shown to it, and a healthy run as the control."""

import pytest

from lab.checker import Loss, check

# Three writes to two blocks, 10 ms apart; the last one to block 0 follows a pause of 400 ms.
LOG = [
    "issue 1 0 10.000",
    "ack 1 0 10.005",
    "issue 2 1 10.010",
    "ack 2 1 10.015",
    "issue 3 0 10.020",
    "ack 3 0 10.415",
    "end 10.500",
]
GOOD = ["holds 0 3", "holds 1 2"]


def test_a_healthy_run_is_clean() -> None:
    verdict = check(LOG, GOOD)
    assert verdict.is_clean
    assert (verdict.issued, verdict.acknowledged) == (3, 3)


def test_the_longest_pause_between_acknowledgements_is_measured() -> None:
    verdict = check(LOG, GOOD)
    assert verdict.longest_gap_ms == pytest.approx(400.0)
    assert verdict.gap_started_s == pytest.approx(10.015)


@pytest.mark.parametrize(
    ("readback", "lost"),
    [
        (["holds 0 1", "holds 1 2"], (Loss(0, 3, 1),)),
        (["holds 0 3", "blank 1"], (Loss(1, 2, None),)),
    ],
    ids=["an older write came back", "the block is blank"],
)
def test_a_lost_acknowledged_write_is_found(readback: list[str], lost: tuple[Loss, ...]) -> None:
    verdict = check(LOG, readback)
    assert verdict.lost == lost
    assert not verdict.is_clean


@pytest.mark.parametrize(
    "line",
    ["corrupt 0", "unreadable 0 5", "holds 0 2", "holds 0 9"],
    ids=["wrong sum", "read error", "a write meant for another block", "a write never issued"],
)
def test_a_block_that_cannot_be_right_is_corrupt(line: str) -> None:
    verdict = check(LOG, [line, "holds 1 2"])
    assert verdict.corrupt == (0,)
    assert not verdict.is_clean


def test_a_block_that_was_not_read_back_is_not_taken_for_good() -> None:
    verdict = check(LOG, ["holds 0 3"])
    assert verdict.unchecked == (1,)
    assert not verdict.is_clean


@pytest.mark.parametrize("found", ["holds 0 3", "holds 0 4"], ids=["it did not arrive", "it arrived"])
def test_a_write_without_an_answer_may_have_arrived_or_not(found: str) -> None:
    assert check([*LOG, "issue 4 0 10.450"], [found, "holds 1 2"]).is_clean


def test_a_failed_write_is_reported() -> None:
    verdict = check([*LOG, "issue 4 0 10.450", "fail 4 0 10.460 5"], GOOD)
    assert verdict.failed == (4,)
    assert not verdict.is_clean


def test_a_run_that_ends_in_a_stall_shows_it() -> None:
    stalled = [*LOG, "issue 4 1 11.000", "issue 5 0 13.000"]
    assert check(stalled, GOOD).longest_gap_ms == pytest.approx(2585.0)


def test_a_line_nobody_printed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not a line of lab\.writer"):
        check(["ack 1"], [])
    with pytest.raises(ValueError, match=r"not a line of lab\.writer"):
        check([], ["holds 1"])
    with pytest.raises(ValueError, match="not a line of the read-back"):
        check(LOG, [*GOOD, "ack 3 0 10.415"])


# Block 1 is looked at and written again: whatever was lost of it is not there to be read back in the end.
AGAIN = ["issue 4 1 10.450", "ack 4 1 10.460"]
GOOD_AGAIN = ["holds 0 3", "holds 1 4"]


def test_a_block_that_was_sound_before_it_was_written_again_is_clean() -> None:
    assert check([*LOG, "holds 1 2", *AGAIN], GOOD_AGAIN).is_clean


@pytest.mark.parametrize(
    ("line", "lost", "corrupt"),
    [("blank 1", (Loss(1, 2, None),), ()), ("holds 1 4", (), (1,)), ("unreadable 1 5", (), (1,))],
    ids=["lost", "a write that was issued only later", "read error"],
)
def test_what_was_wrong_with_a_block_before_it_was_written_again_is_found(
    line: str, lost: tuple[Loss, ...], corrupt: tuple[int, ...]
) -> None:
    verdict = check([*LOG, line, *AGAIN], GOOD_AGAIN)
    assert (verdict.lost, verdict.corrupt) == (lost, corrupt)
    assert check([*LOG, *AGAIN], GOOD_AGAIN).is_clean  # nobody looked
