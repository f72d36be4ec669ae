"""The driver: one change at a time, each look → compare → act → verify."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from holdfast.errors import BusyError, Reason, UnavailableError
from holdfast.hooks.base import Can, Host
from holdfast.hooks.target import TargetDriver, TargetSession, TargetSpec, TargetState
from holdfast.system.kernelfs import KernelFs
from holdfast_iscsi_lio.actual import read_backstores, read_iqns, read_tree, steadily
from holdfast_iscsi_lio.apply import converge
from holdfast_iscsi_lio.describe import describe
from holdfast_iscsi_lio.limits import check
from holdfast_iscsi_lio.plan import plan
from holdfast_iscsi_lio.probe import MODULES
from holdfast_iscsi_lio.sessions import read_sessions
from holdfast_iscsi_lio.settings import Settings
from holdfast_iscsi_lio.threads import in_thread
from holdfast_iscsi_lio.tree import ISCSI, Attribute, Level, Tree, find_homes, out_of_service, tpg_of, wanted_tree

log = logging.getLogger(__name__)

T = TypeVar("T")

ASK_WITHIN_S = 1.0
"""For telling who is stuck, when something is: less than any deadline worth setting."""


async def open_driver(settings: Settings, host: Host) -> LioTargets:
    """See Offer.open. Loads the modules and makes the root of all iSCSI targets."""
    await host.commands.run(["modprobe", "--all", *MODULES], timeout_s=30)
    try:
        await asyncio.to_thread(host.kernel.make_directory, ISCSI)
    except OSError as reason:
        raise UnavailableError(f"the kernel offers no iSCSI targets: {reason}") from reason
    return LioTargets(settings, host.kernel)


class LioTargets(TargetDriver):
    """See TargetDriver. Targets are told apart by IQN; whoever uses an IQN of ours by another tool shares it."""

    can = frozenset({Can.TARGET_CHAP})

    def __init__(self, settings: Settings, kernel: KernelFs) -> None:
        self._settings = settings
        self._kernel = kernel
        # Other processes may change a target too: of them `converge` takes care.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unfinished: dict[str, asyncio.Future[int]] = {}

    async def stage(self, spec: TargetSpec) -> None:
        """See TargetDriver."""
        check(spec)
        await self._change(spec.iqn, lambda: self._look(spec, None))

    async def activate(self, spec: TargetSpec) -> None:
        """See TargetDriver."""
        check(spec)
        if await self._change(spec.iqn, lambda: self._look(spec, Level.ACTIVE)):
            log.info("target %s serves %d units", spec.iqn, len(spec.units))

    async def deactivate(self, name: str, iqn: str) -> None:
        """See TargetDriver."""

        def look() -> tuple[Tree, Tree]:
            actual = self._read(name, iqn)
            return actual, out_of_service(actual)

        if await self._change(iqn, look):
            log.info("target %s is out of service", iqn)

    async def remove(self, name: str, iqn: str) -> None:
        """See TargetDriver."""
        if await self._change(iqn, lambda: (self._read(name, iqn), ())):
            log.info("target %s is removed", iqn)

    async def state(self, spec: TargetSpec) -> TargetState:
        """See TargetDriver."""
        check(spec)
        return await self._ask(spec.iqn, lambda: self._state(spec))

    async def read(self, iqn: str) -> TargetSpec | None:
        """See TargetDriver."""

        def look() -> TargetSpec | None:
            if iqn not in read_iqns(self._kernel):
                return None
            return describe(iqn, self._read(None, iqn))

        return await self._ask(iqn, look)

    async def list_iqns(self) -> tuple[str, ...]:
        """See TargetDriver."""
        return await asyncio.to_thread(steadily, lambda: read_iqns(self._kernel))

    async def list_sessions(self, iqn: str) -> tuple[TargetSession, ...]:
        """See TargetDriver."""
        return await asyncio.to_thread(steadily, lambda: read_sessions(self._kernel, iqn))

    def _read(self, name: str | None, iqn: str) -> Tree:
        return read_tree(self._kernel, iqn, name, read_backstores(self._kernel))

    def _look(self, spec: TargetSpec, level: Level | None) -> tuple[Tree, Tree]:
        """What is, and what is wanted; without a `level` a target that serves goes on serving."""
        stores = read_backstores(self._kernel)
        actual = read_tree(self._kernel, spec.iqn, spec.name, stores)
        if level is None:
            serves = Attribute(f"{tpg_of(spec.iqn)}/enable", "1") in actual
            level = Level.ACTIVE if serves else Level.STAGED
        return actual, wanted_tree(spec, find_homes(spec, stores), level)

    def _state(self, spec: TargetSpec) -> TargetState:
        stores = read_backstores(self._kernel)
        actual = read_tree(self._kernel, spec.iqn, spec.name, stores)
        if not actual:
            return TargetState.ABSENT
        homes = find_homes(spec, stores)
        for level, state in ((Level.ACTIVE, TargetState.ACTIVE), (Level.STAGED, TargetState.STAGED)):
            if not plan(actual, wanted_tree(spec, homes, level)):
                return state
        return TargetState.PARTIAL

    async def _change(self, iqn: str, look: Callable[[], tuple[Tree, Tree]]) -> int:
        """Converge within the deadline; returns the number of steps. Raises BusyError when it is over.

        What the kernel is at then goes on: no change of this target begins before it has ended.
        """
        async with self._locks[iqn]:
            await self._wait_for_unfinished(iqn)
            work = in_thread(lambda: converge(self._kernel, look))
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
