"""What came of a fault, what a soak must never see, and both as they are kept and told."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soak.plan import Fault, expected


class Violation(Exception):
    """Something that must not be: its text is a sentence."""


@dataclass(frozen=True)
class Outcome:
    """A fault that was gone through."""

    fault: Fault
    active_before: str
    active_after: str
    gap_ms: float
    """The longest time for which the initiator waited."""
    healed_s: float
    """From the end of the fault until one node served and the other one stood by in sync."""
    acknowledged: int
    checked_blocks: int
    restarted: tuple[str, ...] = ()
    """Nodes that restarted themselves."""
    differing_bytes: int | None = None
    """What the kernels found to differ; None where they did not compare."""
    late_answers: int = 0
    """See `soak.acks.Reigns`."""

    @property
    def has_moved(self) -> bool:
        """Whether the other node serves now."""
        return self.active_before != self.active_after

    def as_document(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            **self.fault.as_document(),
            "active_before": self.active_before,
            "active_after": self.active_after,
            "gap_ms": round(self.gap_ms, 1),
            "healed_s": round(self.healed_s, 2),
            "acknowledged": self.acknowledged,
            "checked_blocks": self.checked_blocks,
            "lost": 0,  # else it were the end of the soak
            "restarted": list(self.restarted),
            "differing_bytes": self.differing_bytes,
            "late_answers": self.late_answers,
        }


def judge(outcome: Outcome) -> None:
    """Raise Violation if it is not what the failure matrix says of such a fault."""
    wanted = expected(outcome.fault)
    if wanted.moves is not None and wanted.moves != outcome.has_moved:
        was, now = outcome.active_before, outcome.active_after
        raise Violation(f"node {was} served before and node {now} afterwards; it was to {_moving(wanted.moves)}")
    if outcome.gap_ms > wanted.waits_at_most_ms:
        most = wanted.waits_at_most_ms
        raise Violation(
            f"the initiator waited {outcome.gap_ms:.0f} ms; at most {most:.0f} ms are allowed for this fault"
        )
    if outcome.restarted and not wanted.may_restart:
        raise Violation(f"node {' and node '.join(outcome.restarted)} restarted itself, without a reason for it")
    if outcome.differing_bytes:
        raise Violation(f"the kernels compared both sides: {outcome.differing_bytes} bytes differ")


def _moving(moves: bool) -> str:
    return "move" if moves else "stay"


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that at least so much of them do not exceed: nearest rank. Raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """How many, the middle, nearly the worst, and the worst."""
    return {
        "count": len(values),
        "p50_ms": round(percentile(values, 0.5), 1),
        "p99_ms": round(percentile(values, 0.99), 1),
        "max_ms": round(max(values), 1),
    }


def gaps(outcomes: Iterable[Outcome]) -> dict[str, dict[str, float]]:
    """The gaps of each kind, of every loss of one node, and of those that moved the service by themselves."""
    found: dict[str, list[float]] = {}
    for outcome in outcomes:
        wanted = expected(outcome.fault)
        names = [f"{outcome.fault.kind} of {outcome.fault.role}"]
        names += ["loss of one node"] if wanted.is_node_loss else []
        names += ["loss of the active node that moved the service"] if wanted.is_node_loss and outcome.has_moved else []
        for name in ["all", *names]:
            found.setdefault(name, []).append(outcome.gap_ms)
    return {name: spread(values) for name, values in sorted(found.items())}


def keep(
    path: Path,
    machine: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    *,
    ended: str,
    violation: Mapping[str, Any] | None,
    differing_bytes: int | None,
) -> dict[str, Any]:
    """Write the result of a soak; the document."""
    document = {
        "machine": dict(machine),
        "ended": ended,
        "violation": violation,
        "faults": len(outcomes),
        "acknowledged_writes": sum(outcome.acknowledged for outcome in outcomes),
        "lost_writes": 0 if violation is None else None,
        "differing_bytes_at_the_end": differing_bytes,
        "gaps": gaps(outcomes),
        "outcomes": [outcome.as_document() for outcome in outcomes],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(document, indent=1) + "\n")
    draft.replace(path)
    return document


def table(document: Mapping[str, Any]) -> list[str]:
    """The gaps, for people."""
    lines = ["| fault | how often | p50 | p99 | longest wait |", "|---|---|---|---|---|"]
    for name, figures in document["gaps"].items():
        told = " | ".join(f"{figures[key]:,.0f} ms" for key in ("p50_ms", "p99_ms", "max_ms"))
        lines.append(f"| {name} | {figures['count']} | {told} |")
    return lines
