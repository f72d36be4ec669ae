"""A volume as it is shown, and what is told of its file system by its document alone."""

from __future__ import annotations

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
