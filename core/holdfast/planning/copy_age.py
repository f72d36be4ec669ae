"""How old a copy is, and whether it is older than it may be. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from holdfast.errors import Reason

SHORTEST_OBJECTIVE_S, LONGEST_OBJECTIVE_S = 60, 366 * 24 * 3600


@dataclass(frozen=True)
class CopyAge:
    """Of the newest verified copy. Times are None where there is none, or none is known of."""

    newest_copy_at: datetime | None
    """It is of the source as it was then."""
    copy_age_s: float | None
    objective_s: int | None
    is_missed: bool


def judge(
    newest_copy_at: datetime | None, objective_s: int | None, objective_since: datetime | None, now: datetime
) -> CopyAge:
    """How old the newest copy is; where there is none, an objective is missed once it was over since it was set.

    A copy of a time that this clock has not come to yet is as new as can be.
    """
    age_s = None if newest_copy_at is None else max(0.0, (now - newest_copy_at).total_seconds())
    begun = newest_copy_at or objective_since
    is_missed = objective_s is not None and begun is not None and (now - begun).total_seconds() > objective_s
    return CopyAge(newest_copy_at, age_s, objective_s, is_missed)


def source_alerts(task: str, age: CopyAge) -> tuple[Reason, ...]:
    """What about a task needs a person on its source."""
    if not age.is_missed or age.objective_s is None:
        return ()
    remedy = f"read GET /v1/replication-runs?task={task} for what kept it from running, mend that, and run it"
    return (Reason("copy-too-old", _told(age, age.objective_s), remedy),)


def destination_alerts(task: str, source: str, age: CopyAge) -> tuple[Reason, ...]:
    """What about a replica share needs a person on its node."""
    if not age.is_missed or age.objective_s is None:
        return ()
    remedy = f"look at the task {task} on the node {source}; if that node is lost, this copy is the newest there is"
    return (Reason("copy-too-old", _told(age, age.objective_s), remedy),)


def _told(age: CopyAge, objective_s: int) -> str:
    if age.copy_age_s is None:
        return f"no verified copy was made within the {duration(objective_s)} that it may be old"
    return f"the newest verified copy is {duration(age.copy_age_s)} old, and may be {duration(objective_s)} old"


def duration(seconds: float) -> str:
    """A duration in its two largest units."""
    left, parts = int(seconds), []
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, unit_s)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
