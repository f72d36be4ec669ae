"""Whether a pool has room for something new."""

from __future__ import annotations

from holdfast.errors import NoSpaceError, Reason
from holdfast_volume_lvm.report import Group


def refuse_without_room(group: Group, size_bytes: int, subject: str, field: str) -> None:
    """Raise NoSpaceError, saying how much is missing."""
    missing = size_bytes - group.open_bytes
    if missing > 0:
        text = f"the pool {group.name} has {group.open_bytes} bytes free: {missing} bytes are missing for {subject}"
        raise NoSpaceError(text, reasons=[Reason("no-space", text, "ask for less, or make room in the pool", field)])
