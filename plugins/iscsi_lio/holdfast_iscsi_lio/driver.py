"""The driver: one change at a time, each look → compare → act → verify."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

from holdfast.errors import (
    BusyError,
    ConflictError,
    NotFoundError,
    Reason,
    UnavailableError,
    VerificationError,
)
from holdfast.hooks.base import Can
from holdfast.hooks.target import (
    Chap,
    Fabric,
    Reservations,
    TargetDriver,
    TargetSession,
    TargetSpec,
    TargetState,
    fabric_of,
)
from holdfast.system.command import Commands
from holdfast.system.kernelfs import KernelFs
from holdfast_iscsi_lio.actual import read_backstores, read_iqns, steadily
from holdfast_iscsi_lio.apply import act
from holdfast_iscsi_lio.converging import Converger
from holdfast_iscsi_lio.describe import describe
from holdfast_iscsi_lio.discovery import DISCOVERY, differing_discovery
from holdfast_iscsi_lio.fabrics import load_fabric
from holdfast_iscsi_lio.holders import read_holders
from holdfast_iscsi_lio.limits import check, check_discovery
from holdfast_iscsi_lio.reading import Reader
from holdfast_iscsi_lio.reservations import ReservationFiles
from holdfast_iscsi_lio.sessions import read_sessions
from holdfast_iscsi_lio.settings import Settings
from holdfast_iscsi_lio.threads import in_thread
from holdfast_iscsi_lio.tree import (
    WITH_ENABLE,
    Level,
    Tree,
    serves,
    tpg_of,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

ASK_WITHIN_S = 1.0
"""For telling who is stuck, when something is: less than any deadline worth setting."""


class LioTargets(TargetDriver):
    """See TargetDriver. Targets are told apart by IQN; whoever uses an IQN of ours by another tool shares it."""

    can = frozenset({Can.TARGET_CHAP, Can.TARGET_CLOSE, Can.TARGET_DISCOVERY, Can.TARGET_RESERVATIONS})

    def __init__(
        self, settings: Settings, kernel: KernelFs, files: ReservationFiles, commands: Commands | None = None
    ) -> None:
        self._settings = settings
        self._kernel = kernel
        self._files = files
        self._commands = commands
        # Other processes may change a target too: of them `converge` takes care.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unfinished: dict[str, asyncio.Future[int]] = {}
        self._reader = Reader(kernel, files)
        self._converger = Converger(kernel, files, self._reader)

    async def stage(self, spec: TargetSpec) -> None:
        """See TargetDriver."""
        check(spec)
        await load_fabric(spec.iqn, self._kernel, self._commands)
        await self._work(spec.iqn, lambda: self._converger.converge(spec, None))

    async def activate(self, spec: TargetSpec) -> None:
        """See TargetDriver."""
        check(spec)
        await load_fabric(spec.iqn, self._kernel, self._commands)
        if await self._work(spec.iqn, lambda: self._converger.converge(spec, Level.ACTIVE)):
            log.info("%s serves %d units", spec.iqn, len(spec.units))

    async def deactivate(self, name: str, iqn: str) -> None:
        """See TargetDriver."""

        if await self._work(iqn, lambda: self._converger.let_go(name, iqn)):
            log.info("target %s is out of service", iqn)

    async def remove(self, name: str, iqn: str) -> None:
        """See TargetDriver."""
        serials: set[str] = set()

        def look() -> tuple[Tree, Tree]:
            actual = self._reader.tree(name, iqn)
            # One that was interrupted in the making has none yet.
            serials.update(unit.serial for unit in describe(iqn, actual).units if unit.serial)
            return actual, ()

        if await self._work(iqn, lambda: self._converger.remove(iqn, look)):
            log.info("target %s is removed", iqn)
        for serial in serials:
            await asyncio.to_thread(self._files.forget, serial)

    async def state(self, spec: TargetSpec) -> TargetState:
        """See TargetDriver."""
        check(spec)
        return await self._ask(spec.iqn, lambda: self._reader.state(spec))

    async def serves(self, iqn: str) -> bool:
        """See TargetDriver."""

        def look() -> bool:
            if fabric_of(iqn) in WITH_ENABLE:
                enable = f"{tpg_of(iqn)}/enable"
                return self._kernel.exists(enable) and self._kernel.read(enable) == "1"
            return serves(iqn, self._reader.tree(None, iqn))

        return await asyncio.to_thread(steadily, look)

    async def read(self, iqn: str) -> TargetSpec | None:
        """See TargetDriver."""

        def look() -> TargetSpec | None:
            if iqn not in read_iqns(self._kernel):
                return None
            return describe(iqn, self._reader.tree(None, iqn))

        return await self._ask(iqn, look)

    async def list_iqns(self) -> tuple[str, ...]:
        """See TargetDriver."""
        return await asyncio.to_thread(steadily, lambda: read_iqns(self._kernel))

    async def list_sessions(self, iqn: str) -> tuple[TargetSession, ...]:
        """See TargetDriver. Of a loopback target: what on this machine holds its disks."""
        read = read_holders if fabric_of(iqn) is Fabric.LOOPBACK else read_sessions
        return await asyncio.to_thread(steadily, lambda: read(self._kernel, iqn))

    async def close_sessions(self, iqn: str, initiator: str) -> None:
        """See TargetDriver."""
        known = [session for session in await self.list_sessions(iqn) if session.initiator == initiator]
        if not known:
            text = f"{initiator} has no session with {iqn}"
            raise NotFoundError(text, reasons=[Reason("no-session", text, "see who has: list the target", "initiator")])
        path = f"{tpg_of(iqn)}/acls/{initiator}/cmdsn_depth"
        if not self._kernel.exists(path):
            text = f"{initiator} came in because the target is open to everybody"
            remedy = "name it in the target's access, or close the export"
            raise ConflictError(text, reasons=[Reason("open-export", text, remedy, "initiator")])

        def close() -> int:
            # A depth that differs shuts down every session of the initiator
            # (target_core_tpg.c, core_tpg_set_initiator_node_queue_depth).
            depth = int(self._kernel.read(path))
            self._kernel.write(path, str(depth - 1 if depth > 1 else depth + 1))
            self._kernel.write(path, str(depth))
            return 2

        await self._work(iqn, close)
        log.info("target %s closed %d sessions of %s", iqn, len(known), initiator)

    async def set_discovery(self, chap: Chap | None) -> None:
        """See TargetDriver."""
        check_discovery(chap)

        def write() -> int:
            steps = differing_discovery(self._kernel, chap)
            for step in steps:
                act(self._kernel, step)
            return len(steps)

        await self._work(DISCOVERY, write)
        if await self.discovery_differs(chap):
            raise VerificationError("the kernel does not keep the credentials of discovery")

    async def discovery_differs(self, chap: Chap | None) -> bool:
        """See TargetDriver."""
        return bool(await asyncio.to_thread(differing_discovery, self._kernel, chap))

    async def read_reservations(self, serials: Sequence[str]) -> tuple[Reservations, ...]:
        """See TargetDriver."""

        def read() -> tuple[Reservations, ...]:
            return tuple(Reservations(serial, self._files.remember(serial)) for serial in serials)

        try:
            return await asyncio.to_thread(read)
        except OSError as reason:
            raise UnavailableError(f"what is reserved could not be read and kept: {reason}") from reason

    async def keep_reservations(self, found: Reservations) -> None:
        """See TargetDriver."""
        await asyncio.to_thread(self._keep, found)

    def _keep(self, found: Reservations) -> None:
        for store in steadily(lambda: read_backstores(self._kernel)):
            if store.is_configured and store.alias.startswith("holdfast "):
                serial = self._kernel.read(f"{store.path}/wwn/vpd_unit_serial").rpartition(" ")[2]
                if serial == found.serial and self._kernel.read(f"{store.path}/enable") == "1":
                    raise ConflictError(f"the unit {found.serial} is served by this node")
        self._files.adopt(found.serial, found.text)

    async def _work(self, iqn: str, work_of: Callable[[], int]) -> int:
        """Let the kernel do something to a target within the deadline. Raises BusyError when that is over.

        What the kernel is at then goes on: no change of this target begins before it has ended.
        """
        async with self._locks[iqn]:
            await self._wait_for_unfinished(iqn)
            work = in_thread(work_of)
            # Whether or not its caller still waits then, its error has been seen.
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._unfinished[iqn] = work
            await self._until_done(iqn, work)
            return work.result()

    async def _ask(self, iqn: str, question: Callable[[], T]) -> T:
        """Read something once no change of that target is under way: its attributes would not answer before."""
        async with self._locks[iqn]:
            await self._wait_for_unfinished(iqn)
            return await asyncio.to_thread(steadily, question)

    async def _wait_for_unfinished(self, iqn: str) -> None:
        """Let a change end whose caller went away, or was told that it is stuck."""
        if (work := self._unfinished.get(iqn)) is not None:
            await self._until_done(iqn, work)
            if (error := work.exception()) is not None:
                log.info("an earlier change of target %s ended late: %s", iqn, error)

    async def _until_done(self, iqn: str, work: asyncio.Future[int]) -> None:
        await asyncio.wait({work}, timeout=self._settings.deadline_s)
        if not work.done():
            raise await self._stuck(iqn)
        del self._unfinished[iqn]

    async def _stuck(self, iqn: str) -> BusyError:
        # A session's `info` takes no lock that a stuck change holds (iscsi_target_configfs.c).
        asking = in_thread(lambda: read_sessions(self._kernel, iqn))
        await asyncio.wait({asking}, timeout=ASK_WITHIN_S)
        sessions = asking.result() if asking.done() else ()
        who = [f"{session.initiator} at {session.address}:{session.port}" for session in sessions]
        remedy = "its device does not answer or has I/O under way: see to the device, or reset this node"
        return BusyError(
            f"the kernel has not finished a change of target {iqn} within {self._settings.deadline_s} s; "
            f"still there: {', '.join(who) or 'no session'}",
            reasons=[Reason("session-stuck", f"{text} has not ended", remedy) for text in who]
            or [Reason("kernel-stuck", f"a change of {iqn} has not ended", remedy)],
        )
