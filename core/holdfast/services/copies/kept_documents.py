"""What is on record of the copies that are kept on a destination."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from holdfast.hooks.volume import Snapshot
from holdfast.planning.copy_retention import RetentionRule
from holdfast.services.snapshots.snapshots import RESERVE_PERCENT


@dataclass(frozen=True)
class RetentionDocument:
    """What is kept of a replica share."""

    replica: str
    replica_uuid: str
    rule: RetentionRule
    reserve_percent: int = RESERVE_PERCENT
    """Of the volume, for each copy."""


@dataclass(frozen=True)
class KeptCopyDocument:
    """A snapshot that is a verified copy."""

    replica: str
    replica_uuid: str
    volume: str
    snapshot: str
    task: str
    source: str
    frozen_at: datetime
    """It is of the source as it was then."""

    @property
    def key(self) -> str:
        """Under what it is kept."""
        return f"{self.replica}/{self.snapshot}"


@dataclass(frozen=True)
class KeptCopy:
    """A kept copy, and its snapshot as it is."""

    document: KeptCopyDocument
    snapshot: Snapshot
