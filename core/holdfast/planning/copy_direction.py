"""Which way a task may copy. Pure.

Both ends keep a direction with a generation that grows with each turn. An end sends only if its own direction says so,
and takes only if its own says so: the wrong way needs two ends that are both wrong. The higher generation is right.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import ConflictError, Reason


@dataclass(frozen=True)
class Direction:
    """Of one task, as one of its ends knows it. Generation 0: it never was turned."""

    generation: int = 0
    is_reversed: bool = False
    """The data is changed on the destination, and goes back to the source."""


def turned(mine: Direction, *, is_reversed: bool) -> Direction:
    """The direction after a turn; one that is as wanted stays as it is."""
    return mine if mine.is_reversed is is_reversed else Direction(mine.generation + 1, is_reversed)


def adopted(mine: Direction, theirs: Direction, *, other: str) -> Direction:
    """What this end keeps when the `other` node tells of a turn. Raises ConflictError for one that is out of date."""
    if theirs.generation > mine.generation or theirs == mine:
        return theirs
    text = (
        f"this node's direction has generation {mine.generation} ({_told(mine)}), that of {other} has"
        f" {theirs.generation} ({_told(theirs)})"
    )
    remedy = f"the higher generation is right: look at both nodes, and turn it on {other} again if that is meant"
    raise ConflictError(text, reasons=[Reason("direction-out-of-date", text, remedy)])


def refuse_to_send(task: str, mine: Direction) -> None:
    """Raise ConflictError on a source from which nothing may be copied now."""
    if mine.is_reversed:
        text = f"the direction of {task} is reversed (generation {mine.generation}): its destination has the newer data"
        remedy = "fail back on the destination first: POST /v1/replica-shares/NAME/fail-back with returns"
        raise ConflictError(text, reasons=[Reason("reversed", text, remedy)])


def refuse_to_fail_back(replica: str, mine: Direction) -> None:
    """Raise ConflictError on a destination whose data is not the newer one."""
    if not mine.is_reversed:
        text = f"the direction of {replica} is not reversed: its source has the newer data"
        remedy = f"take over first: POST /v1/replica-shares/{replica}/take-over; or restore files from the copy"
        raise ConflictError(text, reasons=[Reason("not-reversed", text, remedy)])


def _told(direction: Direction) -> str:
    return "reversed" if direction.is_reversed else "from its source to its destination"
