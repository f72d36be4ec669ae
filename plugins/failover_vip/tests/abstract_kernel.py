"""The mirror's two kernels as a value: what DRBD 8.4 does under `fencing resource-and-stonith`, and nothing else.

Transitions are functions from one value to the next, so that a search can hash them. `kernel_table.py` has the
transitions that are replayed against real kernels. What a disk lacks is kept beside the states, for the one who judges.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import NamedTuple

from holdfast.hooks.replication import ConnectionState, DiskState, FenceAnswer

C, D = ConnectionState, DiskState
_OUT = (D.OUTDATED, D.INCONSISTENT)


class Policy(StrEnum):
    """What a Primary that loses its peer does. Only the first one is the product's."""

    STONITH = "resource-and-stonith"
    RESOURCE_ONLY = "resource-only"
    """The handler is asked, and writes are acknowledged meanwhile."""
    DONT_CARE = "dont-care"
    """Nobody is asked."""


class Side(NamedTuple):
    """One node's half of the mirror."""

    is_primary: bool = False
    disk: DiskState = D.UP_TO_DATE
    peer_disk: DiskState = D.UNKNOWN
    connection: ConnectionState = C.STANDALONE
    is_frozen: bool = False
    asks: bool = False
    """Its handler runs, and the answer still counts."""
    has_crashed: bool = False
    """It lost its power as Primary: of two equal generations its data are sent."""
    is_up: bool = True
    """Attached. After a boot it is not."""
    is_behind: bool = False
    """It lacks an acknowledged write. The kernel does not know this word."""


class Mirror(NamedTuple):
    """Both halves."""

    sides: tuple[Side, Side] = (Side(), Side())
    newer: int | None = -1
    """Whose generation is the newer one: 0 or 1; -1 both have the same; None neither descends from the other."""
    wrong: str = ""
    """What must not be, and is."""


IN_SYNC = Mirror(
    (
        Side(is_primary=True, peer_disk=D.UP_TO_DATE, connection=C.CONNECTED),
        Side(peer_disk=D.UP_TO_DATE, connection=C.CONNECTED),
    )
)


def put(mirror: Mirror, at: int, side: Side) -> Mirror:
    """The mirror with another half."""
    sides = (side, mirror.sides[1]) if at == 0 else (mirror.sides[0], side)
    return Mirror(sides, mirror.newer, mirror.wrong)


def are_connected(mirror: Mirror) -> bool:
    """Whether both sides have the connection. One may have lost it, and the other not noticed."""
    return mirror.sides[0].connection is C.CONNECTED and mirror.sides[1].connection is C.CONNECTED


def goes_on_alone(mirror: Mirror, at: int) -> Mirror:
    """Whatever is written from here on is a generation of its own; it is acknowledged, and the other side lacks it."""
    mirror = put(mirror, at, mirror.sides[at]._replace(is_frozen=False))
    if mirror.newer == -1:
        return mirror._replace(newer=at)
    return mirror if mirror.newer == at else mirror._replace(newer=None)


@cache
def acknowledge(mirror: Mirror, *, can_reach: bool) -> Mirror:
    """Every Primary that can acknowledges a write now.

    At once is the worst that can happen: what is acknowledged later is missing later.
    """
    alone = [
        side.is_primary and not side.is_frozen and side.is_up and side.connection is not C.CONNECTED
        for side in mirror.sides
    ]
    both_write = are_connected(mirror) and can_reach
    together = [both_write and side.is_primary and not side.is_frozen for side in mirror.sides]
    if sum(alone) + sum(together) > 1:
        return mirror._replace(wrong="both nodes acknowledge writes")
    for at in (0, 1):
        if (alone[at] or together[at]) and mirror.sides[at].is_behind:
            return mirror._replace(wrong="stale data are served")
        if alone[at] and not mirror.sides[1 - at].is_behind:
            mirror = put(mirror, 1 - at, mirror.sides[1 - at]._replace(is_behind=True))
    first, second = mirror.sides
    if first.is_behind and second.is_behind:
        return mirror._replace(wrong="no node has every acknowledged write")
    return mirror


@cache
def lose(mirror: Mirror, at: int, *, into: ConnectionState = C.CONNECTING, policy: Policy = Policy.STONITH) -> Mirror:
    """One side notices that its peer is gone, or leaves it."""
    side = mirror.sides[at]
    if side.connection is not C.CONNECTED:
        return put(mirror, at, side._replace(connection=into))
    known = side.peer_disk if side.peer_disk in _OUT else D.UNKNOWN
    side = side._replace(connection=into, peer_disk=known)
    if not side.is_primary:
        return put(mirror, at, side)
    if known in _OUT or policy is Policy.DONT_CARE:
        return goes_on_alone(put(mirror, at, side), at)
    if policy is Policy.RESOURCE_ONLY:
        return goes_on_alone(put(mirror, at, side._replace(asks=True)), at)
    return put(mirror, at, side._replace(is_frozen=True, asks=True))


def leave(mirror: Mirror, at: int, policy: Policy = Policy.STONITH) -> Mirror:
    """`disconnect --force`. The other side notices by itself."""
    return lose(mirror, at, into=C.STANDALONE, policy=policy)


def connect(mirror: Mirror, at: int) -> Mirror:
    """Attach, and wait for the peer."""
    side = mirror.sides[at]
    if side.connection is C.STANDALONE or not side.is_up:
        side = side._replace(connection=C.CONNECTING, is_up=True)
    return put(mirror, at, side)


def outdate_plainly(mirror: Mirror, at: int) -> Mirror:
    """`drbdsetup outdate`: while Connected it ends well and does nothing; what is worse stays worse."""
    side = mirror.sides[at]
    if side.connection is C.CONNECTED or side.is_primary or side.disk not in (D.UP_TO_DATE, D.CONSISTENT):
        return mirror
    return put(mirror, at, side._replace(disk=D.OUTDATED))


def outdate(mirror: Mirror, at: int) -> Mirror:
    """What the product does instead: leave first."""
    return mirror if mirror.sides[at].is_primary else outdate_plainly(leave(mirror, at), at)


def is_refused(mirror: Mirror, at: int) -> bool:
    """Whether `primary` is refused, whatever a handler would say."""
    side = mirror.sides[at]
    if side.connection is C.CONNECTED:
        return mirror.sides[1 - at].is_primary or side.disk is not D.UP_TO_DATE
    return side.disk not in (D.UP_TO_DATE, D.CONSISTENT)


def needs_answer(mirror: Mirror, at: int) -> bool:
    """Whether the handler is asked before `primary`."""
    side = mirror.sides[at]
    if side.connection is C.CONNECTED:
        return False
    return not (side.disk is D.UP_TO_DATE and side.peer_disk in _OUT)


def promote(mirror: Mirror, at: int, answer: FenceAnswer | None = None) -> Mirror:
    """`primary`, with the handler's answer where one is needed. The same value if it is refused."""
    if is_refused(mirror, at):
        return mirror
    side = mirror.sides[at]
    if side.connection is C.CONNECTED:
        return put(mirror, at, side._replace(is_primary=True))
    if needs_answer(mirror, at):
        if answer is FenceAnswer.PEER_PRIMARY:
            return outdate_plainly(mirror, at)
        if answer is None or (answer is FenceAnswer.PEER_UNREACHABLE and side.disk is not D.UP_TO_DATE):
            return mirror
        out = D.INCONSISTENT if answer is FenceAnswer.PEER_INCONSISTENT else D.OUTDATED
        side = side._replace(peer_disk=out, disk=D.UP_TO_DATE)
    if side.is_behind:
        return mirror._replace(wrong="stale data are promoted")
    return goes_on_alone(put(mirror, at, side._replace(is_primary=True)), at)


def demote(mirror: Mirror, at: int) -> Mirror:
    """`secondary`. A frozen one has writes under way and stays what it is."""
    side = mirror.sides[at]
    return mirror if side.is_frozen else put(mirror, at, side._replace(is_primary=False))


def answer(mirror: Mirror, at: int, said: FenceAnswer) -> Mirror:
    """The handler of a frozen Primary ends."""
    side = mirror.sides[at]
    if not side.asks:
        return mirror
    side = side._replace(asks=False)
    if said is FenceAnswer.PEER_PRIMARY or (said is FenceAnswer.PEER_UNREACHABLE and side.disk is not D.UP_TO_DATE):
        return put(mirror, at, side)
    out = D.INCONSISTENT if said is FenceAnswer.PEER_INCONSISTENT else D.OUTDATED
    return goes_on_alone(put(mirror, at, side._replace(peer_disk=out)), at)


@cache
def reboot(mirror: Mirror, at: int) -> Mirror:
    """Power off and on, and not attached yet. What is recorded of the peer decides what the own data are called."""
    side = mirror.sides[at]
    knows = side.peer_disk in _OUT
    disk = D.CONSISTENT if side.disk is D.UP_TO_DATE and not knows else side.disk
    return put(
        mirror,
        at,
        Side(
            disk=disk,
            peer_disk=D.OUTDATED if knows else D.UNKNOWN,
            has_crashed=side.is_primary or side.has_crashed,
            is_up=False,
            is_behind=side.is_behind,
        ),
    )


@cache
def meet(mirror: Mirror) -> Mirror:
    """Both wait for each other, and the wire carries it: the handshake."""
    sides = mirror.sides
    if sides[0].connection is not C.CONNECTING or sides[1].connection is not C.CONNECTING:
        return mirror
    source = _source(mirror)
    if source is None:
        parted = [side._replace(connection=C.STANDALONE) for side in sides]
        wrong = mirror.wrong or ("split brain" if mirror.newer is None else "")
        return mirror._replace(sides=(parted[0], parted[1]), wrong=wrong)
    for at in (0, 1):
        if sides[at].is_frozen and sides[1 - at].disk is D.CONSISTENT:
            # A rebooted peer is not resent to: what waits is completed here, and this attempt to connect is given up.
            return goes_on_alone(put(mirror, at, sides[at]._replace(asks=False)), at)
    if source == -1:
        disks = [D.UP_TO_DATE, D.UP_TO_DATE]
    else:
        disks = [D.UP_TO_DATE, D.UP_TO_DATE]
        disks[1 - source] = D.INCONSISTENT
        if sides[source].is_behind and not sides[1 - source].is_behind:
            return mirror._replace(wrong="acknowledged writes are overwritten")
    made = [
        side._replace(disk=disks[at], peer_disk=disks[1 - at], connection=C.CONNECTED, is_frozen=False, asks=False)
        for at, side in enumerate(sides)
    ]
    return mirror._replace(sides=(made[0], made[1]))


def _source(mirror: Mirror) -> int | None:
    """Who sends: 0 or 1, -1 nobody, None a person must look (drbd_uuid_compare)."""
    first, second = mirror.sides
    source = mirror.newer
    if source is None:
        return None
    if source == -1 and first.has_crashed is not second.has_crashed:
        source = 0 if first.has_crashed else 1
    broken = [side.disk is D.INCONSISTENT for side in mirror.sides]
    if broken[0] is not broken[1]:
        source = 0 if broken[1] else 1
    if source >= 0 and (mirror.sides[source].disk is D.INCONSISTENT or mirror.sides[1 - source].is_primary):
        return None
    return source


@cache
def finish(mirror: Mirror) -> Mirror:
    """A resync under way ends."""
    first, second = mirror.sides
    if not are_connected(mirror) or D.INCONSISTENT not in (first.disk, second.disk):
        return mirror
    source = mirror.sides[0 if second.disk is D.INCONSISTENT else 1]
    ended = [
        side._replace(disk=D.UP_TO_DATE, peer_disk=D.UP_TO_DATE, has_crashed=False, is_behind=source.is_behind)
        for side in mirror.sides
    ]
    return mirror._replace(sides=(ended[0], ended[1]), newer=-1)
