"""What the mirror's kernels do, as one table: replayed on the abstract kernel here and on real ones in `tests/lab`.

Each row does one thing and says how both sides then stand, once nothing moves any more:
role, own disk, peer's disk, connection, and `frozen`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from holdfast.errors import RefusedError
from holdfast.hooks.replication import ConnectionState, FenceAnswer, MirrorStatus, Role, Suspension
from holdfast.testing.mirror import BLOCK, NODES, MirrorBed, RecordingArbiter, eventually, pattern, serving
from plugins.failover_vip.tests import abstract_kernel as kernel
from plugins.failover_vip.tests.abstract_kernel import IN_SYNC, Mirror

NO_ANSWER = None
OUTDATED, UNREACHABLE, PRIMARY = FenceAnswer.PEER_OUTDATED, FenceAnswer.PEER_UNREACHABLE, FenceAnswer.PEER_PRIMARY


class Row(NamedTuple):
    """One transition."""

    what: str
    node: str
    a: str
    b: str
    answer: FenceAnswer | None = NO_ANSWER
    """What the handler says where it is asked."""
    is_refused: bool = False


SERVES = "Primary UpToDate/UpToDate Connected"
STANDS_BY = "Secondary UpToDate/UpToDate Connected"
FROZEN = "Primary UpToDate/DUnknown Connecting frozen"
ALONE = "Primary UpToDate/Outdated Connecting"
ALONE_AND_LEFT = "Primary UpToDate/Outdated StandAlone"
LOST = "Secondary UpToDate/DUnknown Connecting"
LEFT = "Secondary UpToDate/DUnknown StandAlone"
OUT = "Secondary Outdated/DUnknown StandAlone"
REBOOTED = "Secondary Consistent/DUnknown StandAlone"

TABLE = (
    # The link is cut, and the peer asked over another one.
    Row("cut", "", FROZEN, LOST),
    Row("outdate", "b", FROZEN, OUT),
    Row("answer", "a", ALONE, OUT, OUTDATED),
    Row("write", "a", ALONE, OUT),
    Row("promote", "b", ALONE, OUT, UNREACHABLE, is_refused=True),
    Row("mend", "", ALONE, OUT),
    Row("connect", "b", SERVES, STANDS_BY),
    # A plain `outdate` does nothing while Connected. One that left is outdated, and comes back as it was.
    Row("outdate plainly", "b", SERVES, STANDS_BY),
    Row("leave", "b", FROZEN, LEFT),
    Row("outdate plainly", "b", FROZEN, OUT),
    Row("connect", "b", SERVES, STANDS_BY),
    # The Primary leaves by itself.
    Row("leave", "a", "Primary UpToDate/DUnknown StandAlone frozen", LOST),
    Row("answer", "a", ALONE_AND_LEFT, LOST, UNREACHABLE),
    Row("write", "a", ALONE_AND_LEFT, LOST),
    Row("connect", "a", SERVES, STANDS_BY),
    # Promotions: beside a Primary, and of an unconnected side by what its handler says.
    Row("promote", "b", SERVES, STANDS_BY, is_refused=True),
    Row("demote", "a", STANDS_BY, STANDS_BY),
    Row("leave", "b", LOST, LEFT),
    Row("promote", "b", LOST, LEFT, is_refused=True),
    Row("promote", "b", LOST, OUT, PRIMARY, is_refused=True),
    Row("connect", "b", STANDS_BY, STANDS_BY),
    # A Primary loses its power: it is Consistent, and 5 does not help it. Its peer takes over.
    Row("promote", "a", SERVES, STANDS_BY),
    Row("reboot", "a", REBOOTED, LOST),
    Row("promote", "a", REBOOTED, LOST, UNREACHABLE, is_refused=True),
    Row("leave", "b", REBOOTED, LEFT),
    Row("promote", "b", REBOOTED, ALONE_AND_LEFT, UNREACHABLE),
    Row("write", "b", REBOOTED, ALONE_AND_LEFT),
    Row("outdate", "a", OUT, ALONE_AND_LEFT),
    # One that recorded its peer as Outdated is UpToDate after a boot and is promoted without a question.
    Row("reboot", "b", OUT, "Secondary UpToDate/Outdated StandAlone"),
    Row("promote", "b", OUT, ALONE_AND_LEFT),
    Row("connect", "a", "Secondary Outdated/DUnknown Connecting", ALONE_AND_LEFT),
    Row("connect", "b", STANDS_BY, SERVES),
    # A frozen Primary meets a peer that was rebooted: it goes on, and brings it up to date.
    Row("reboot", "a", REBOOTED, FROZEN),
    Row("connect", "a", STANDS_BY, SERVES),
    # A frozen Primary that is reset comes back as the target of the one that took over.
    Row("cut", "", LOST, FROZEN),
    Row("leave", "a", LEFT, FROZEN),
    Row("promote", "a", ALONE_AND_LEFT, FROZEN, UNREACHABLE),
    Row("write", "a", ALONE_AND_LEFT, FROZEN),
    Row("reboot", "b", ALONE_AND_LEFT, REBOOTED),
    Row("mend", "", ALONE_AND_LEFT, REBOOTED),
    Row("connect", "b", ALONE_AND_LEFT, "Secondary Consistent/DUnknown Connecting"),
    Row("connect", "a", SERVES, STANDS_BY),
    # A peer that took over and gave up again began a generation: whoever goes on without it then diverges.
    Row("leave", "b", FROZEN, LEFT),
    Row("promote", "b", FROZEN, ALONE_AND_LEFT, UNREACHABLE),
    Row("demote", "b", FROZEN, "Secondary UpToDate/Outdated StandAlone"),
    Row("outdate", "b", FROZEN, "Secondary Outdated/Outdated StandAlone"),
    Row("answer", "a", ALONE, "Secondary Outdated/Outdated StandAlone", OUTDATED),
    Row("connect", "b", ALONE_AND_LEFT, "Secondary Outdated/Outdated StandAlone"),
)


# --- on the abstract kernel ---


def _words(mirror: Mirror, at: int) -> str:
    side = mirror.sides[at]
    role = Role.PRIMARY if side.is_primary else Role.SECONDARY
    frozen = " frozen" if side.is_frozen else ""
    return f"{role} {side.disk}/{side.peer_disk} {side.connection}{frozen}"


def _settled(mirror: Mirror, *, wire: bool) -> Mirror:
    """Everybody notices what is to be noticed."""
    while True:
        before = mirror
        for at in (0, 1):
            is_gone = not wire or not kernel.are_connected(mirror)
            if is_gone and mirror.sides[at].connection is ConnectionState.CONNECTED:
                mirror = kernel.lose(mirror, at)
        if wire:
            mirror = kernel.finish(kernel.meet(mirror))
        if mirror == before:
            return mirror


def replay_on_model(rows: tuple[Row, ...] = TABLE) -> list[str]:
    """Where the abstract kernel says otherwise than the table."""
    mirror, wire = IN_SYNC, True
    wrong: list[str] = []
    for number, row in enumerate(rows):
        at = NODES.index(row.node) if row.node else 0
        match row.what:
            case "cut" | "mend":
                wire = row.what == "mend"
            case "outdate":
                mirror = kernel.outdate(mirror, at)
            case "outdate plainly":
                mirror = kernel.outdate_plainly(mirror, at)
            case "leave":
                mirror = kernel.leave(mirror, at)
            case "connect":
                mirror = kernel.connect(mirror, at)
            case "promote":
                mirror = kernel.promote(mirror, at, row.answer)
                if mirror.sides[at].is_primary is row.is_refused:
                    wrong.append(f"{number} {row.what} {row.node}: refused or not")
            case "demote":
                mirror = kernel.demote(mirror, at)
            case "answer":
                assert row.answer is not None
                mirror = kernel.answer(mirror, at, row.answer)
            case "reboot":
                mirror = kernel.connect(kernel.reboot(mirror, at), at)
                mirror = kernel.put(mirror, at, mirror.sides[at]._replace(connection=ConnectionState.STANDALONE))
        mirror = _settled(mirror, wire=wire)
        wrong += [
            f"{number} {row.what} {row.node}: {name} is {_words(mirror, at)}, not {wanted}"
            for at, (name, wanted) in enumerate(zip(NODES, (row.a, row.b), strict=True))
            if _words(mirror, at) != wanted
        ]
    return wrong


# --- on a bed of drivers ---


def _said(status: MirrorStatus) -> str:
    [volume] = status.volumes
    frozen = " frozen" if status.suspended is not Suspension.NO else ""
    return f"{status.role} {volume.disk}/{volume.peer_disk} {status.connection}{frozen}"


class Replay:
    """The table on two nodes that have drivers, real ones or not. In sync and `a` Primary before the first row."""

    def __init__(self, bed: MirrorBed, outdate_plainly: Callable[[str], Awaitable[None]]) -> None:
        self._bed = bed
        self._name = bed.specs["a"].name
        self._outdate_plainly = outdate_plainly
        self._written = 0
        self.told: list[str] = []
        """Each row that was done, with the seconds it took."""

    async def run(self, rows: tuple[Row, ...] = TABLE) -> None:
        """Do each row and see what it says."""
        for number, row in enumerate(rows):
            began_s = time.monotonic()
            await self._do(row)
            for name, wanted in zip(NODES, (row.a, row.b), strict=True):
                await self._see(name, wanted, f"{number} {row.what} {row.node}")
            if SERVES in (row.a, row.b) and self._written:
                await self._compare(f"{number} {row.what} {row.node}")
            self.told.append(f"{number} {row.what} {row.node}: {time.monotonic() - began_s:.2f} s")

    async def _see(self, name: str, wanted: str, where: str) -> None:
        try:
            await eventually(self._bed.driver(name), self._name, lambda s: _said(s) == wanted, self._bed.within_s)
        except AssertionError as reason:
            said = _said(await self._bed.driver(name).status(self._name))
            raise AssertionError(f"{where}: {name} is {said}, not {wanted}") from reason

    async def _compare(self, where: str) -> None:
        """Both disks hold what was acknowledged last."""
        for name in NODES:
            found = await self._bed.read_lower(name, 0, BLOCK)
            assert found == pattern(self._written), f"{where}: the disk of {name} lacks the last write"

    async def _do(self, row: Row) -> None:
        bed, name = self._bed, self._name
        if row.what == "cut":
            await bed.cut_link()
        elif row.what == "mend":
            await bed.mend_link()
        elif row.what == "reboot":
            await bed.power_cycle(row.node)
            await bed.driver(row.node).attach(bed.specs[row.node])
        elif row.what == "write":
            self._written += 1
            await asyncio.wait_for(bed.write(row.node, 0, pattern(self._written)), bed.within_s)
        elif row.what == "outdate plainly":
            await self._outdate_plainly(row.node)
        else:
            driver = bed.driver(row.node)
            match row.what:
                case "outdate":
                    await driver.outdate(name)
                case "leave":
                    await driver.disconnect(name, force=True)
                case "connect":
                    await driver.connect(bed.specs[row.node])
                case "demote":
                    await driver.demote(name)
                case "answer":
                    async with serving(driver, RecordingArbiter(row.answer)):
                        await self._see(row.node, row.a if row.node == "a" else row.b, "answer")
                case "promote":
                    await self._promote(row)
                case _:
                    raise AssertionError(row.what)

    async def _promote(self, row: Row) -> None:
        driver = self._bed.driver(row.node)
        arbiter = RecordingArbiter(row.answer)
        try:
            if row.answer is None:
                await driver.promote(self._name)
            else:
                async with serving(driver, arbiter):
                    await driver.promote(self._name)
        except RefusedError:
            assert row.is_refused, f"promote {row.node} was refused"
        else:
            assert not row.is_refused, f"promote {row.node} was not refused"
