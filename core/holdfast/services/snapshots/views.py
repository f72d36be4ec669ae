"""A snapshot as it is shown, and what is known of how fast its reserve fills."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from holdfast.errors import Reason
from holdfast.hooks.volume import Snapshot
from holdfast.planning.snapshot_fill import Filling, Forecast, OverflowPolicy, Sample, alert, forecast, keep
from holdfast.services.snapshots.documents import SnapshotCause, SnapshotDocument


@dataclass(frozen=True)
class SnapshotView:
    """A snapshot as it is, and what was asked of it; `taken_at` is None where nobody noted it."""

    pool: str
    volume: str
    name: str
    reserve_bytes: int
    used_percent: float | None
    is_overflown: bool
    device: str
    taken_at: datetime | None
    cause: SnapshotCause | None
    schedule: str | None
    locked_until: datetime | None
    mounted_at: str | None
    fill_bytes_s: float | None
    full_in_s: float | None
    policy: OverflowPolicy
    used_by: tuple[str, ...]
    alerts: tuple[Reason, ...]
    is_thin: bool
    used_bytes: int | None


class FillRates:
    """What was measured of each snapshot since this daemon runs. In memory: a rate is measured anew in seconds."""

    def __init__(self) -> None:
        self._samples: dict[str, tuple[Sample, ...]] = {}

    def note(self, snapshot: Snapshot, at_s: float) -> None:
        """Take a sample of one that is active."""
        if snapshot.used_percent is not None and snapshot.reserve_bytes:
            used_bytes = round(snapshot.reserve_bytes * snapshot.used_percent / 100)
            self._samples[snapshot.device] = keep(self._samples.get(snapshot.device, ()), Sample(at_s, used_bytes))

    def forget_but(self, devices: set[str]) -> None:
        """Drop what is known of snapshots that are no more."""
        self._samples = {device: kept for device, kept in self._samples.items() if device in devices}

    def forecast(self, snapshot: Snapshot) -> Forecast:
        """When its reserve is full."""
        if snapshot.is_overflown:
            return Forecast(None, None)
        return forecast(self._samples.get(snapshot.device, ()), snapshot.reserve_bytes)

    def filling(self, snapshot: Snapshot) -> Filling | None:
        """What is decided upon; None for one that is not active, or void."""
        if snapshot.used_percent is None or snapshot.is_overflown:
            return None
        return Filling(snapshot.name, snapshot.reserve_bytes, snapshot.used_percent, self.forecast(snapshot))


def alerts_of(snapshot: Snapshot, filling: Filling | None, policy: OverflowPolicy) -> tuple[Reason, ...]:
    """What a person is to be told of a snapshot."""
    if snapshot.is_overflown:
        text = f"the snapshot {snapshot.name} of the volume {snapshot.volume} overflowed: it holds nothing any more"
        remedy = "delete it, and give the next one a larger reserve or a policy; the volume itself is as it should be"
        return (Reason("snapshot-overflown", text, remedy),)
    found = alert(filling, policy) if filling is not None else None
    return () if found is None else (found,)


def view(
    snapshot: Snapshot,
    document: SnapshotDocument | None,
    policy: OverflowPolicy,
    rates: FillRates,
    *,
    mounted_at: str | None,
    used_by: tuple[str, ...],
) -> SnapshotView:
    """Put together what is known of a snapshot."""
    told = rates.forecast(snapshot)
    return SnapshotView(
        snapshot.pool,
        snapshot.volume,
        snapshot.name,
        snapshot.reserve_bytes,
        snapshot.used_percent,
        snapshot.is_overflown,
        snapshot.device,
        document.taken_at if document else None,
        document.cause if document else None,
        document.schedule if document else None,
        document.locked_until if document else None,
        mounted_at,
        told.fill_bytes_s,
        told.full_in_s,
        policy,
        used_by,
        alerts_of(snapshot, rates.filling(snapshot), policy),
        snapshot.is_thin,
        snapshot.used_bytes,
    )
