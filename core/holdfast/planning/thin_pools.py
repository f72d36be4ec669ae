"""What a thin pool may promise, and what is to be done as it fills up. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import Reason
from holdfast.hooks.pools import ThinPool

WATCH_PERCENT = 80.0
"""From here on a thin pool is full enough to be looked after: of its data, and of its metadata."""
ADMIT_BELOW_PERCENT = 90.0
"""A thin pool that is fuller takes no new volume, whatever was promised."""
GROWTH_PERCENT = 20
"""Of its size, a thin pool gets at a time."""


def refuse_promise(thin: ThinPool, more_bytes: int, most_promised_percent: int) -> tuple[Reason, ...]:
    """Why a thin pool must not promise `more_bytes`; empty if it may.

    Promised is what its volumes could take if they were written all over; at 100 percent none of them ever finds the
    thin pool full.
    """
    found = []
    for percent, what in ((thin.used_percent, "data"), (thin.metadata_used_percent, "metadata")):
        if percent is not None and percent >= ADMIT_BELOW_PERCENT:
            text = f"the room for {what} of the thin pool is used to {percent:.0f} %"
            found.append(Reason("thin-pool-full", text, "make the thin pool larger first", "is_thin"))
    may_bytes = thin.size_bytes * most_promised_percent // 100
    missing = thin.promised_bytes + more_bytes - may_bytes
    if missing > 0:
        text = (
            f"the thin pool may promise {may_bytes} bytes, {most_promised_percent} % of its size, and has promised"
            f" {thin.promised_bytes}: {missing} bytes are missing"
        )
        remedy = "ask for less, make the thin pool larger, or let it promise more"
        found.append(Reason("promised", text, remedy, "size_bytes"))
    return tuple(found)


@dataclass(frozen=True)
class Care:
    """What a thin pool needs now."""

    size_bytes: int | None = None
    """Make it so large; None: leave it."""
    metadata_bytes: int | None = None
    told: tuple[str, ...] = ()
    """What a person is to know, in sentences."""


def may_grow(thin: ThinPool, free_bytes: int, extent_bytes: int, *, grows_itself: bool) -> bool:
    """Whether it will get more by itself when it is fuller: its pool has room for a step of both."""
    needed_bytes = _step_bytes(thin.size_bytes, extent_bytes) + 2 * _step_bytes(thin.metadata_bytes, extent_bytes)
    return grows_itself and needed_bytes <= free_bytes


def _step_bytes(has_bytes: int, extent_bytes: int) -> int:
    return -(-has_bytes * GROWTH_PERCENT // 100 // extent_bytes) * extent_bytes


def look_after(thin: ThinPool, free_bytes: int, extent_bytes: int, *, grows_itself: bool) -> Care:
    """What to do for a thin pool; `free_bytes` are those of its pool.

    Metadata comes first: without data room writes fail, without metadata the whole thin pool does.
    """
    told: list[str] = []
    wanted: dict[str, int] = {}
    parts = (
        # Its spare grows with it.
        ("metadata", thin.metadata_used_percent, thin.metadata_bytes, 2),
        ("data", thin.used_percent, thin.size_bytes, 1),
    )
    for what, percent, has_bytes, times in parts:
        if percent is None or percent < WATCH_PERCENT:
            continue
        more_bytes = _step_bytes(has_bytes, extent_bytes)
        text = f"the room for {what} of the thin pool is used to {percent:.0f} %"
        if not grows_itself:
            told.append(f"{text}, and it does not grow by itself: make it larger")
        elif times * more_bytes > free_bytes:
            told.append(f"{text}, and the pool has no {times * more_bytes} bytes for it: extend the pool")
        else:
            free_bytes -= times * more_bytes
            wanted[what] = has_bytes + more_bytes
    return Care(wanted.get("data"), wanted.get("metadata"), tuple(told))
