"""Decisions are kept in order, survive torn lines, and do not grow for ever."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from holdfast.hooks.failover import Decision
from holdfast_failover_vip import journal
from holdfast_failover_vip.journal import Journal


def decision(sentence: str) -> Decision:
    return Decision("2026-01-01T00:00:00Z", "a", "g", sentence, {"silent_ms": "410"}, {"promoted": 12})


def test_nothing_was_decided_at_first(tmp_path: Path) -> None:
    assert Journal(tmp_path / "decisions").read() == ()


def test_decisions_are_numbered_and_read_back(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "decisions")
    assert [kept.append(decision(text)) for text in ("one", "two")] == [1, 2]
    assert kept.read() == ((1, decision("one")), (2, decision("two")))
    assert kept.read(after=1) == ((2, decision("two")),)
    assert (tmp_path / "decisions").stat().st_mode & 0o777 == 0o600


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    Journal(tmp_path / "decisions").append(decision("one"))
    assert Journal(tmp_path / "decisions").append(decision("two")) == 2


def test_a_torn_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "decisions"
    Journal(path).append(decision("one"))
    with path.open("ab") as file:
        file.write(b'\n{"number": 2, "decis')
    Journal(path).append(decision("two"))
    assert [item.sentence for _, item in Journal(path).read()] == ["one", "two"]


def test_a_long_file_keeps_its_newest_decisions(tmp_path: Path) -> None:
    path = tmp_path / "decisions"
    kept = Journal(path)
    text = "x" * 800
    count = journal.MAX_BYTES // 800 + journal.KEPT
    for _ in range(count):
        kept.append(decision(text))
    assert path.stat().st_size <= journal.MAX_BYTES + 2000
    numbers = [number for number, _ in kept.read()]
    assert numbers[-1] == count
    assert numbers == list(range(numbers[0], count + 1))


def test_one_for_which_there_was_no_room_is_kept_later_and_the_rest_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "decisions"
    kept = Journal(path)
    kept.append(decision("one"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))  # room for half a line
    try:
        for _ in range(2):
            with pytest.raises(OSError, match=r"no room|too large"):
                kept.append(decision("two"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [kept.append(decision("two")), kept.append(decision("three"))] == [2, 3]
    assert [(number, item.sentence) for number, item in Journal(path).read()] == [(1, "one"), (2, "two"), (3, "three")]
