"""A volume as it is shown, and what is told of its file system by its document alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.hooks.volume import FileSystem, IoType, Volume, VolumeKind
from holdfast.services.documents import ReplicationMode, VolumeDocument


@dataclass(frozen=True)
class VolumeView:
    """A volume as asked for and as it is; `drift` says what differs, in sentences."""

    name: str
    pool: str
    kind: VolumeKind
    label: str
    io_type: IoType
    size_bytes: int
    unit_bytes: int | None
    """The size of the logical unit where it is a file."""
    actual: Volume | None
    mounted_at: str | None
    replication_mode: ReplicationMode
    used_by: tuple[str, ...]
    drift: tuple[str, ...]
    is_thin: bool = False
    file_system: FileSystem | None = None
    worm_retention_s: int | None = None


def view_of(
    document: VolumeDocument,
    actual: Volume | None,
    mounted_at: str | None,
    used_by: Sequence[str],
    drift: Sequence[str],
) -> VolumeView:
    """A volume as it is shown."""
    return VolumeView(
        document.name,
        document.pool,
        document.kind,
        document.label,
        document.io_type,
        document.size_bytes,
        document.file_bytes,
        actual,
        mounted_at,
        document.replication_mode,
        tuple(used_by),
        tuple(drift),
        document.is_thin,
        document.file_system if document.has_file_system else None,
        document.worm_retention_s,
    )


def told_otherwise(document: VolumeDocument, actual: Volume | None) -> list[str]:
    """What of a volume itself is not as it was recorded."""
    drift = []
    if actual is None:
        drift.append(f"the volume is not in the pool {document.pool}: it was removed from outside")
    elif actual.size_bytes != document.size_bytes:
        drift.append(f"it has {actual.size_bytes} bytes where {document.size_bytes} were recorded")
    if document.is_torn and document.mirror is None:
        drift.append("its mirror was taken apart before this copy was complete: it holds no usable data")
    return drift


def told_shut_down(document: VolumeDocument, directory: Path) -> str:
    """What is said of a file system that gives errors to whoever uses it, and what to do."""
    remedy = "end what uses it, and unmount it"
    if document.io_type is IoType.FILE and document.mirrored_as is not None:
        remedy = "switch its group over"
    return f"the kernel has shut down its file system at {directory} after an error, see dmesg: {remedy}"


def has_files(document: VolumeDocument) -> bool:
    """Whether the file system of a volume is to be used on this node: not on a destination, or a torn copy.

    That of a mirrored unit's file is used wherever its failover group is served, and nowhere before.
    """
    if document.io_type is IoType.FILE and document.mirrored_as is not None:
        return False
    is_destination = document.mirror is not None or document.replication_mode is ReplicationMode.DESTINATION
    return not is_destination and not document.is_torn


def is_mounted_by_itself(document: VolumeDocument) -> bool:
    """Whether its file system is mounted without a mirror below it."""
    return has_files(document) and document.mirrored_as is None
