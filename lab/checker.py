"""Judges a run of lab.writer: was any acknowledged write lost, and how long did writing stand still.

Pure: it is given the lines the writer printed, and the lines of its read-back afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Loss:
    """A block that holds less than what was acknowledged; `found` is None for a blank one."""

    lba: int
    acknowledged: int
    found: int | None


@dataclass(frozen=True)
class Verdict:
    """What a run came to."""

    issued: int
    acknowledged: int
    failed: tuple[int, ...]  # sequences of writes that ended in an error
    lost: tuple[Loss, ...]
    corrupt: tuple[int, ...]  # blocks with a wrong sum, a foreign stamp, or an invented sequence
    unchecked: tuple[int, ...]  # blocks with acknowledged writes that were not read back
    longest_gap_ms: float
    gap_started_s: float | None  # CLOCK_MONOTONIC of the initiator

    @property
    def is_clean(self) -> bool:
        """No acknowledged write lost, nothing corrupt, nothing left unread, no write failed."""
        return not (self.failed or self.lost or self.corrupt or self.unchecked)


@dataclass(frozen=True)
class _Write:
    word: str
    sequence: int
    lba: int
    time_s: float


@dataclass(frozen=True)
class _Found:
    """What a block held when it was looked at; `sequence` is None for a blank one."""

    lba: int
    sequence: int | None
    is_corrupt: bool = False


def check(log: Iterable[str], readback: Iterable[str]) -> Verdict:
    """Compare what was acknowledged with what the blocks hold.

    A block must hold the last acknowledged write to it, or a later one that was at least issued:
    a write without an answer may have arrived or not. That holds in the end, and for each block that the writer
    looked at before it wrote there again: what was acknowledged by then counts.
    Raises ValueError for a line that lab.writer does not print.
    """
    said = _parse(log)
    issued = [each for each in said if isinstance(each, _Write) and each.word == "issue"]
    acked = [each for each in said if isinstance(each, _Write) and each.word == "ack"]
    last_acked: dict[int, int] = {}
    sequences: dict[int, set[int]] = {}
    lost: dict[Loss, None] = {}
    corrupt: dict[int, None] = {}
    seen: set[int] = set()

    def look(found: _Found) -> None:
        wanted = last_acked.get(found.lba, 0)
        if found.is_corrupt or (found.sequence is not None and found.sequence not in sequences.get(found.lba, set())):
            corrupt[found.lba] = None
        elif (found.sequence or 0) < wanted:
            lost[Loss(found.lba, wanted, found.sequence)] = None

    for each in said:
        if isinstance(each, _Found):
            look(each)
        elif each.word == "issue":
            sequences.setdefault(each.lba, set()).add(each.sequence)
        elif each.word == "ack":
            last_acked[each.lba] = max(each.sequence, last_acked.get(each.lba, 0))
    for each in _parse(readback):
        if not isinstance(each, _Found):
            raise ValueError(f"not a line of the read-back: {each}")
        seen.add(each.lba)
        look(each)
    gap_s, gap_started_s = _longest_gap(issued, acked)
    return Verdict(
        issued=len(issued),
        acknowledged=len(acked),
        failed=tuple(sorted(each.sequence for each in said if isinstance(each, _Write) and each.word == "fail")),
        lost=tuple(lost),
        corrupt=tuple(corrupt),
        unchecked=tuple(sorted(set(last_acked) - seen)),
        longest_gap_ms=round(gap_s * 1000, 3),
        gap_started_s=gap_started_s,
    )


def _longest_gap(issued: list[_Write], acked: list[_Write]) -> tuple[float, float | None]:
    """The longest time without an acknowledgement while there was something to acknowledge.

    It counts from the first issue, and up to the last issue: a run that ends in a stall shows it.
    """
    if not issued:
        return 0.0, None
    first, last = min(write.time_s for write in issued), max(write.time_s for write in issued)
    times = [first, *sorted(write.time_s for write in acked)]
    times.append(max(last, times[-1]))
    gaps = [(after - before, before) for before, after in pairwise(times)]
    return max(gaps, key=lambda gap: gap[0])


def _parse(lines: Iterable[str]) -> list[_Write | _Found]:
    said: list[_Write | _Found] = []
    for line in lines:
        match line.split():
            case [("issue" | "ack") as word, sequence, lba, time_s] | ["fail" as word, sequence, lba, time_s, _]:
                said.append(_Write(word, int(sequence), int(lba), float(time_s)))
            case ["holds", lba, sequence]:
                said.append(_Found(int(lba), int(sequence)))
            case ["blank", lba]:
                said.append(_Found(int(lba), None))
            case ["corrupt", lba] | ["unreadable", lba, _]:
                said.append(_Found(int(lba), None, is_corrupt=True))
            case ["end", _] | []:
                pass
            case _:
                raise ValueError(f"not a line of lab.writer: {line!r}")
    return said
