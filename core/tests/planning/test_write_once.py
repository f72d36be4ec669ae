from __future__ import annotations

import pytest

from holdfast.planning.write_once import (
    DAY_S,
    Act,
    FileMark,
    FileSeen,
    Held,
    Settle,
    VolumeClock,
    advanced,
    asks_for_held,
    change_of,
    left_s,
    refuse_act,
    settle,
)

AT_S, FOR_S = 1000.0, 100
NOW, OVER = AT_S + FOR_S - 1, AT_S + FOR_S
MARK = FileMark(AT_S, 5)


@pytest.mark.parametrize(
    ("size_bytes", "modified_ns", "is_immutable", "mark", "clock_s", "expected"),
    [
        # Just closed, or closed while nobody looked.
        (1, 5, False, None, NOW, Settle.COMMIT),
        (0, 5, False, None, NOW, Settle.LEAVE),
        # Somebody else's flag is his.
        (1, 5, True, None, NOW, Settle.LEAVE),
        (0, 5, True, None, NOW, Settle.LEAVE),
        # As it should be, until the very end.
        (1, 5, True, MARK, AT_S, Settle.KEEP),
        (1, 5, True, MARK, NOW, Settle.KEEP),
        (1, 6, True, MARK, NOW, Settle.KEEP),
        (1, 5, True, MARK, OVER, Settle.RELEASE),
        (1, 6, True, MARK, OVER, Settle.RELEASE),
        # Killed between mark and flag, or the flag was taken away.
        (1, 5, False, MARK, NOW, Settle.FINISH),
        (1, 6, False, MARK, NOW, Settle.COMMIT),
        # Released, and then left alone, written anew, or emptied.
        (1, 5, False, MARK, OVER, Settle.LEAVE),
        (1, 6, False, MARK, OVER, Settle.COMMIT),
        (0, 6, False, MARK, OVER, Settle.LEAVE),
        # A clock that was lost began anew: longer, and never shorter.
        (1, 5, True, MARK, 0.0, Settle.KEEP),
    ],
)
def test_what_becomes_of_a_file(
    size_bytes: int, modified_ns: int, is_immutable: bool, mark: FileMark | None, clock_s: float, expected: Settle
) -> None:
    assert settle(FileSeen(size_bytes, modified_ns, is_immutable, mark), clock_s, FOR_S) is expected


def test_a_longer_retention_holds_a_released_file_that_is_still_there() -> None:
    released = FileSeen(1, 5, is_immutable=False, mark=MARK)
    assert settle(released, OVER, FOR_S) is Settle.LEAVE
    assert settle(released, OVER, FOR_S + 1) is Settle.FINISH
    assert left_s(MARK, OVER, FOR_S + 1) == 1


def test_only_what_must_stay_counts_as_retained() -> None:
    assert {what for what in Settle if what.is_retained} == {Settle.COMMIT, Settle.KEEP, Settle.FINISH}


@pytest.mark.parametrize(
    ("boot_id", "boot_s", "expected_s"),
    [
        ("one", 30.0, 110.0),
        ("one", 20.0, 100.0),
        ("one", 19.0, 100.0),  # never back
        # Started anew, or another machine: how long that took nobody knows who cannot be deceived.
        ("two", 5.0, 100.0),
        ("two", 5_000_000.0, 100.0),
    ],
)
def test_the_clock_goes_on_by_what_really_passed(boot_id: str, boot_s: float, expected_s: float) -> None:
    found = advanced(VolumeClock(100.0, "one", 20.0), boot_id, boot_s)
    assert found == VolumeClock(expected_s, boot_id, boot_s)


HELD = Held("a/b", 29.5 * DAY_S)


@pytest.mark.parametrize("act", Act)
def test_what_is_refused_with_a_retained_file_and_without(act: Act) -> None:
    with_one, without = refuse_act("v1", act, HELD, "field"), refuse_act("v1", act, None, "field")
    assert bool(with_one) is (act is not Act.LENGTHEN)
    assert bool(without) is (act in {Act.RESTORE_INTO, Act.COPY_INTO, Act.MIRROR, Act.GIVE_UP})
    assert asks_for_held(act) is (bool(with_one) and not without)
    for reason in (*with_one, *without):
        assert act.value in reason.text
        assert reason.remedy
        assert reason.field == "field"


def test_a_refusal_names_a_file_and_the_time() -> None:
    (reason,) = refuse_act("v1", Act.DELETE, HELD)
    assert "the file a/b is retained for another 29.5 days" in reason.text
    (reason,) = refuse_act("v1", Act.DELETE, Held("a/b", 59.6))
    assert "60 s" in reason.text


@pytest.mark.parametrize(
    ("wanted_s", "expected"),
    [(None, Act.SWITCH_OFF), (99, Act.SHORTEN), (100, None), (101, Act.LENGTHEN)],
)
def test_what_it_is_to_change_a_retention(wanted_s: int | None, expected: Act | None) -> None:
    assert change_of(100, wanted_s) is expected
