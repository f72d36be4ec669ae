"""Which snapshot goes when a thin pool fills that they share with their volumes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from holdfast.hooks.pools import ThinPool
from holdfast.planning.snapshot_fill import OverflowAction, OverflowPolicy, Wait


@dataclass(frozen=True)
class ThinCandidate:
    """A thin snapshot, and the policy of its volume."""

    volume: str
    name: str
    taken_at: datetime
    is_needed: bool
    policy: OverflowPolicy


@dataclass(frozen=True)
class DropOf:
    """Remove this snapshot."""

    volume: str
    name: str


def decide(thin: ThinPool, candidates: Sequence[ThinCandidate], *, grows_itself: bool) -> DropOf | Wait | None:
    """What to do now; None while no policy speaks of it.

    A thin pool that is full stops its volumes, where a full reserve ends a snapshot only: so data and metadata count
    both. But only a policy that says so gives up a snapshot for that, and never while the pool can give more. What
    goes frees what it held alone, which may be little: it is looked again after each.
    """
    percents = [percent for percent in (thin.used_percent, thin.metadata_used_percent) if percent is not None]
    fullest = max(percents, default=0.0)
    asked = [
        candidate
        for candidate in candidates
        if candidate.policy.action is OverflowAction.DROP_OLDEST and fullest >= candidate.policy.alert_percent
    ]
    if not asked:
        return None
    if grows_itself:
        return Wait("the thin pool grows by itself")
    unneeded = [candidate for candidate in asked if not candidate.is_needed]
    if not unneeded:
        return Wait("every snapshot whose policy is drop_oldest is needed")
    oldest = min(unneeded, key=lambda candidate: (candidate.taken_at, candidate.volume, candidate.name))
    return DropOf(oldest.volume, oldest.name)
