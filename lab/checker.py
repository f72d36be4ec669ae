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
    sequence: int
    lba: int
    time_s: float


def check(log: Iterable[str], readback: Iterable[str]) -> Verdict:
    """Compare what was acknowledged with what the blocks hold.

    A block must hold the last acknowledged write to it, or a later one that was at least issued:
    a write without an answer may have arrived or not.
    Raises ValueError for a line that lab.writer does not print.
    """
    events = _parse_log(log)
    issued = events["issue"]
    acked = events["ack"]
    last_acked: dict[int, int] = {}
    for write in acked:
        last_acked[write.lba] = max(write.sequence, last_acked.get(write.lba, 0))
    sequences: dict[int, set[int]] = {}
    for write in issued:
        sequences.setdefault(write.lba, set()).add(write.sequence)
    lost: list[Loss] = []
    corrupt: list[int] = []
    seen: set[int] = set()
    for lba, found in _parse_readback(readback):
        seen.add(lba)
        wanted = last_acked.get(lba, 0)
        if found == _CORRUPT or (found is not None and found not in sequences.get(lba, set())):
            corrupt.append(lba)
        elif (found or 0) < wanted:
            lost.append(Loss(lba, wanted, found))
    gap_s, gap_started_s = _longest_gap(issued, acked)
    return Verdict(
        issued=len(issued),
        acknowledged=len(acked),
        failed=tuple(sorted(write.sequence for write in events["fail"])),
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


_CORRUPT = -1


def _parse_readback(lines: Iterable[str]) -> list[tuple[int, int | None]]:
    found: list[tuple[int, int | None]] = []
    for line in lines:
        match line.split():
            case ["holds", lba, sequence]:
                found.append((int(lba), int(sequence)))
            case ["blank", lba]:
                found.append((int(lba), None))
            case ["corrupt", lba] | ["unreadable", lba, _]:
                found.append((int(lba), _CORRUPT))
            case []:
                pass
            case _:
                raise ValueError(f"not a line of the read-back: {line!r}")
    return found


def _parse_log(lines: Iterable[str]) -> dict[str, list[_Write]]:
    events: dict[str, list[_Write]] = {"issue": [], "ack": [], "fail": []}
    for line in lines:
        match line.split():
            case [("issue" | "ack") as word, sequence, lba, time_s] | ["fail" as word, sequence, lba, time_s, _]:
                events[word].append(_Write(int(sequence), int(lba), float(time_s)))
            case ["end", _] | []:
                pass
            case _:
                raise ValueError(f"not a line of the writer: {line!r}")
    return events
