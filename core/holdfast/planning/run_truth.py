"""When a run of a task is to be believed, and what about its two ends is to be told. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.errors import Reason, VerificationError

LARGEST_CLOCK_DIFFERENCE_S = 5.0
SHOWN_DIFFERENCES = 5


def refuse_counts(considered: int, entries: int) -> None:
    """Raise VerificationError where a copier considered not as many names as the source has."""
    if considered != entries:
        text = f"the copier considered {considered} names, and the source has {entries}"
        remedy = "the source could not be read whole, or changed while it was frozen: check its file system"
        raise VerificationError(text, reasons=[Reason("counts-differ", text, remedy)])


def refuse_differences(differences: Sequence[str], *, is_full: bool) -> None:
    """Raise VerificationError where copy and source differ."""
    if differences:
        shown = "; ".join(differences[:SHOWN_DIFFERENCES])
        text = f"the copy differs from its source in {len(differences)} places: {shown}"
        remedy = "the next run compares every file by its content, and mends it" if is_full else "run the task again"
        raise VerificationError(text, reasons=[Reason("copy-differs", text, remedy)])


@dataclass(frozen=True)
class FullVerification:
    """How a full verification ended. `differences` is how many paths differ, `shown` some of them."""

    at: datetime
    frozen_at: datetime
    files: int
    differences: int
    shown: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        """Whether nothing differs."""
        return self.differences == 0


def is_full_due(every_days: int | None, last: FullVerification | None, now: datetime) -> bool:
    """Whether the next run is to compare every file: it is due, or the last one found what nobody has mended yet."""
    if last is not None and not last.is_ok:
        return True
    if every_days is None:
        return False
    return last is None or now - last.at >= timedelta(days=every_days)


def verification_alerts(task: str, last: FullVerification | None) -> tuple[Reason, ...]:
    """What about the last full verification needs a person."""
    if last is None or last.is_ok:
        return ()
    text = f"{last.differences} paths of the copy differed from the source after a run: {'; '.join(last.shown)}"
    remedy = f"run the task {task}, which mends them; a disk of either node may be failing"
    return (Reason("copy-differs", text, remedy),)


@dataclass(frozen=True)
class EndsCompared:
    """Both ends of a task before a run (S21)."""

    at: datetime
    source_bytes: int
    """The size of the source's file system."""
    source_used_bytes: int
    destination_bytes: int
    destination_free_bytes: int
    clock_difference_s: float
    """How far the destination's clock is ahead."""


def end_alerts(compared: EndsCompared | None) -> tuple[Reason, ...]:
    """What about the two ends is not as it is to be, and by how much."""
    if compared is None:
        return ()
    found = []
    missing = compared.source_bytes - compared.destination_bytes
    if compared.source_used_bytes > compared.destination_bytes:
        more = compared.source_used_bytes - compared.destination_bytes
        text = f"the source's volume holds {more} bytes more than the destination's has in all"
        found.append(Reason("destination-too-small", text, "grow the destination's volume"))
    elif missing > 0:
        text = f"the destination's file system is {missing} bytes smaller than the source's"
        found.append(Reason("destination-smaller", text, "grow the destination's volume to the size of the source's"))
    if abs(compared.clock_difference_s) > LARGEST_CLOCK_DIFFERENCE_S:
        text = (
            f"the destination's clock differs by {compared.clock_difference_s:+.1f} s;"
            f" at most {LARGEST_CLOCK_DIFFERENCE_S:.0f} s, or the age of the copy is wrong"
        )
        found.append(Reason("clocks", text, "synchronise both nodes with NTP"))
    return tuple(found)
