"""What holds for a snapshot, and what is refused of one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from holdfast.errors import BusyError, ConflictError, InvalidError, Reason, RefusedError
from holdfast.hooks.volume import Snapshot
from holdfast.planning.schedules import LATEST
from holdfast.planning.snapshot_fill import OverflowPolicy
from holdfast.services.snapshots.documents import SnapshotDocument, SnapshotPolicyDocument


def policy_of(
    snapshot: Snapshot, document: SnapshotDocument | None, policies: Mapping[str, SnapshotPolicyDocument]
) -> OverflowPolicy:
    """Its own policy, or that of its volume, or the one that gives nothing."""
    if document is not None and document.policy is not None:
        return document.policy
    found = policies.get(snapshot.volume)
    return OverflowPolicy() if found is None else found.policy


def refuse_reserve(volume: str, reserve_bytes: int | None) -> None:
    """Raise InvalidError for the reserve of a thin snapshot."""
    if reserve_bytes is not None:
        text = f"the volume {volume} is thin, and so are its snapshots: they have no reserve, and use the thin pool"
        remedy = "leave it out; if the thin pool fills, make that larger"
        raise InvalidError(text, reasons=[Reason("no-reserve", text, remedy, "reserve_bytes")])


def refuse_policy_of_its_own(volume: str, name: str, *, is_thin: bool) -> None:
    """Raise InvalidError for the overflow policy of a thin snapshot."""
    if is_thin:
        text = f"the snapshot {name} of the volume {volume} is thin: it has no reserve that could overflow"
        remedy = "set the policy of its volume: drop_oldest serves there when the thin pool fills"
        raise InvalidError(text, reasons=[Reason("no-reserve", text, remedy, "policy")])


def refuse_overflown(snapshot: Snapshot) -> None:
    """Raise ConflictError for a snapshot that holds nothing any more."""
    if snapshot.is_overflown:
        text = f"the snapshot {snapshot.name} of the volume {snapshot.volume} overflowed: it holds nothing any more"
        raise ConflictError(text, reasons=[Reason("overflown", text, "delete it, and take another", "snapshot")])


def refuse_kept(snapshot: Snapshot, document: SnapshotDocument, now: datetime) -> None:
    """Raise for a snapshot that must not go now, with each reason. What overflowed holds nothing that a lock keeps."""
    reasons = []
    what = f"the snapshot {snapshot.name} of the volume {snapshot.volume}"
    if document.locked_until is not None and document.locked_until > now and not snapshot.is_overflown:
        text = f"{what} is locked until {document.locked_until.isoformat()}, and it is {now.isoformat()}"
        reasons.append(Reason("locked", text, "wait until then: nobody can make the lock shorter"))
    if document.is_mounted:
        reasons.append(Reason("mounted", f"{what} is mounted beside its volume", "unmount the snapshot first"))
    if reasons:
        kind = RefusedError if reasons[0].code == "locked" else BusyError
        raise kind("; ".join(reason.text for reason in reasons), reasons=reasons)


def refuse_lock(until: datetime, before: datetime | None, now: datetime) -> None:
    """Raise unless a lock ends in the future, and not before the one that there is."""
    if until <= now or until > LATEST:
        text = f"a lock ends after now, {now.isoformat()}, and before {LATEST.isoformat()}"
        raise InvalidError(text, reasons=[Reason("bad-lock", text, "name a later date", "locked_until")])
    if before is not None and until < before:
        text = f"it is locked until {before.isoformat()}, and a lock is never made shorter"
        raise RefusedError(text, reasons=[Reason("locked", text, "name that date or a later one", "locked_until")])
