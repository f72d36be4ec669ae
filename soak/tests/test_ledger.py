"""The ledger remembers from one part of a run to the next, and sees what went missing meanwhile."""

from __future__ import annotations

from soak.ledger import Ledger


def part(first: int, lbas: range, at_s: float = 0.0) -> list[str]:
    lines: list[str] = []
    for sequence, lba in enumerate(lbas, first):
        lines += [f"issue {sequence} {lba} {at_s + sequence / 100}", f"ack {sequence} {lba} {at_s + sequence / 100}"]
    return lines


def held(*sequences: int | None) -> list[str]:
    return [f"blank {lba}" if held is None else f"holds {lba} {held}" for lba, held in enumerate(sequences)]


def begun() -> Ledger:
    ledger = Ledger()
    assert ledger.judge(part(1, range(3)), held(1, 2, 3, None)).is_clean
    return ledger


def test_blocks_of_an_earlier_part_are_as_they_were() -> None:
    ledger = begun()
    assert (ledger.last_sequence, ledger.blocks) == (3, 3)
    verdict = ledger.judge(part(4, range(1)), held(4, 2, 3, None))
    assert verdict.is_clean
    assert (ledger.last_sequence, ledger.blocks) == (4, 3)


def test_a_write_of_an_earlier_part_that_is_gone_now_is_lost() -> None:
    verdict = begun().judge(part(4, range(1)), held(4, 2, None, None))
    assert [(loss.lba, loss.acknowledged, loss.found) for loss in verdict.lost] == [(2, 3, None)]


def test_a_write_that_nobody_answered_is_kept_once_it_was_seen() -> None:
    ledger = begun()
    assert ledger.judge(["issue 4 0 9.0"], held(4, 2, 3)).is_clean
    assert ledger.judge(part(5, range(1, 2)), held(1, 5, 3)).corrupt == (0,)


def test_a_block_that_holds_what_was_replaced_long_ago_is_corrupt_or_lost() -> None:
    ledger = begun()
    ledger.judge(part(4, range(3)), held(4, 5, 6))
    assert not ledger.judge(part(7, range(1)), held(7, 2, 6)).is_clean


def test_the_time_between_two_parts_is_no_gap() -> None:
    ledger = begun()
    assert ledger.judge(part(4, range(3), at_s=500.0), held(4, 5, 6)).longest_gap_ms < 20


def test_a_part_without_writes_still_sees_what_went_missing() -> None:
    ledger = begun()
    assert not ledger.judge([], held(1, 2, None)).is_clean
