"""Why a volume is never made smaller. Pure."""

from __future__ import annotations

from holdfast.errors import Reason
from holdfast.hooks.volume import FileSystem, IoType, VolumeKind

_FILES = "make a smaller volume, copy the files there, and delete this one"
_BLOCKS = "make a smaller volume, let its initiators copy there what they need, and delete this one"


def refuse_smaller(
    name: str, kind: VolumeKind, io_type: IoType, file_system: FileSystem, size_bytes: int, asked_bytes: int
) -> tuple[Reason, ...]:
    """Why the volume of `size_bytes` cannot have `asked_bytes`, and what to do instead; empty if those are not less."""
    if asked_bytes >= size_bytes:
        return ()
    if kind is not VolumeKind.NAS and io_type is IoType.BLOCK:
        why = "its initiators know of each of them, and nobody but they can say what lies on the last"
        return _reason(name, size_bytes, why, _BLOCKS)
    if kind is not VolumeKind.NAS:
        return _reason(name, size_bytes, "its initiators know of its file, and XFS is never made smaller", _BLOCKS)
    if file_system is FileSystem.EXT4:
        why = "ext4 is made smaller only while nobody uses it, by moving files without a journal"
        return _reason(name, size_bytes, why, _FILES)
    return _reason(name, size_bytes, "XFS is never made smaller", _FILES)


def _reason(name: str, size_bytes: int, why: str, remedy: str) -> tuple[Reason, ...]:
    return (Reason("never-smaller", f"the volume {name} has {size_bytes} bytes: {why}", remedy, "size_bytes"),)
