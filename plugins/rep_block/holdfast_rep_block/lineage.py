"""Which side has what the other one lacks, by the generations of both. Pure (drbd_receiver.c:drbd_uuid_compare).

`drbdsetup get-gi` prints `current:bitmap:history:history:flags…`, the generations in hexadecimal. The
lowest bit only says that a Primary made it.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.hooks.replication import Lineage

_JUST_CREATED = 4
_PLACES = 4


@dataclass(frozen=True)
class _Generations:
    current: int
    bitmap: int
    history: frozenset[int]


def compare(mine: str, theirs: str) -> Lineage:
    """See MirrorDriver.compare."""
    here, there = _parse(mine), _parse(theirs)
    if here is None or there is None:
        return Lineage.UNRELATED
    if here.current == there.current:
        return Lineage.EQUAL
    if here.current == _JUST_CREATED or here.current in (there.bitmap, *there.history):
        return Lineage.BEHIND
    if there.current == _JUST_CREATED or there.current in (here.bitmap, *here.history):
        return Lineage.AHEAD
    if (here.bitmap and here.bitmap == there.bitmap) or here.history & there.history:
        return Lineage.DIVERGED
    return Lineage.UNRELATED


def _parse(text: str) -> _Generations | None:
    words = text.strip().split(":")
    try:
        current, bitmap, *history = (int(word, 16) & ~1 for word in words[:_PLACES])
    except ValueError:
        return None
    return _Generations(current, bitmap, frozenset(history) - {0}) if current else None
