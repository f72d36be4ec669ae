"""File systems of volumes, and what one says of its room. A part of the volume role (`hooks/volume.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FileSystem(StrEnum):
    """What keeps the files of a volume."""

    XFS = "xfs"
    EXT4 = "ext4"
    """With `Can.VOLUME_EXT4`, and never below file I/O."""


@dataclass(frozen=True)
class FileSystemUse:
    """What a file system says of its room, in bytes."""

    size_bytes: int
    """What files could ever take."""
    used_bytes: int
    free_bytes: int
