"""What the failover plugin is given in the monitor: the plan on disk, and stacks built from it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from holdfast.errors import HoldfastError, NotFoundError
from holdfast.hooks.failover import GroupPlan, GroupStack, MirrorResource, MonitorHost, MonitorPlan
from holdfast.hooks.replication import FenceArbiter
from holdfast.hooks.target import TargetSpec
from holdfast.hooks.witness import Witness
from holdfast.monitor.resources import Mirror, MirrorPart, Target
from holdfast.peer.identity import load_or_create_identity
from holdfast.peer.tls import witness_client_context
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import PlanFile, plan_path, read_plan
from holdfast.system.clock import SystemClock
from holdfast.witness.client import WitnessClient

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1


class PlanHost(MonitorHost):
    """Reads the plan and builds from it."""

    def __init__(self, state_dir: Path, first: PlanFile, drivers: Drivers) -> None:
        self._state_dir = state_dir
        self._file = first
        self._stamp = _stamp(state_dir)
        self._drivers = drivers
        self._mirrors = drivers.mirror()
        self._targets = drivers.target()
        self._changing: set[asyncio.Task[None]] = set()

    def plan(self) -> MonitorPlan:
        """See MonitorHost. A plan that cannot be read leaves the last good one in force."""
        stamp = _stamp(self._state_dir)
        if stamp != self._stamp:
            try:
                self._take(read_plan(self._state_dir) or self._file)
                self._stamp = stamp
            except (HoldfastError, ValueError, OSError) as reason:
                log.error("the plan on disk cannot be read and the last good one stays in force: %s", reason)
                self._stamp = stamp
        return self._file.plan

    def _take(self, file: PlanFile) -> None:
        """Put a plan in force. Targets of started groups that changed are changed in the kernel at once, beside.

        One that serves goes on serving. A group takes its own changes up itself.
        """
        before = {spec.name: spec for spec in self._file.targets}
        served = {name for group in self._file.plan.groups if group.is_started for name in group.targets}
        self._file = file
        for spec in file.targets:
            if spec.name in served and before.get(spec.name) not in (None, spec):
                task = asyncio.get_running_loop().create_task(self._change(spec))
                self._changing.add(task)
                task.add_done_callback(self._changing.discard)

    async def _change(self, spec: TargetSpec) -> None:
        try:
            await self._targets.stage(spec)
            log.info("the target %s was changed", spec.name)
        except HoldfastError as reason:
            log.error("the target %s could not be changed: %s", spec.name, reason)

    def target(self, name: str) -> TargetSpec:
        """A target as the plan in force has it. Raises NotFoundError."""
        for spec in self._file.targets:
            if spec.name == name:
                return spec
        raise NotFoundError(f"the plan has no target {name}")

    async def plan_changes(self) -> AsyncIterator[MonitorPlan]:
        """See MonitorHost."""
        seen = self.plan()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            plan = self.plan()
            if plan != seen:
                seen = plan
                yield plan

    def stack(self, group: GroupPlan) -> GroupStack:
        """See MonitorHost."""
        known = {spec.name for spec in self._file.targets}
        missing = [name for name in group.targets if name not in known]
        if missing:
            raise NotFoundError(f"the plan has no target {', '.join(missing)} for the group {group.name}")
        resources = tuple(Target(name, self.target, self._targets) for name in group.targets)
        return GroupStack(group, self._mirror(group.mirror), resources)

    def lone_mirror(self, name: str) -> MirrorResource:
        """See MonitorHost."""
        return self._mirror(name)

    def witness(self, groups: Callable[[], Iterable[str]], wake: Callable[[], None]) -> Witness | None:
        """See MonitorHost."""
        named = self._file.plan.witness
        if named is None:
            return None

        def tls() -> ssl.SSLContext:
            clock = SystemClock()
            identity = load_or_create_identity(self._state_dir / "tls", self._file.plan.node, clock.now())
            return witness_client_context(identity, named.certificate)

        return WitnessClient(named.address, named.port, tls, groups=groups, wake=wake, boot_s=SystemClock().boot_s)

    def _mirror(self, name: str) -> Mirror:
        return Mirror(name, self.mirror, self._mirrors, self._drivers)

    def mirror(self, name: str) -> MirrorPart:
        """A mirror as the plan in force has it. Raises NotFoundError."""
        for spec in self._file.mirrors:
            if spec.name == name:
                return MirrorPart(spec, tuple(one for one in self._file.file_systems if one.mirror == name))
        raise NotFoundError(f"the plan has no mirror {name}")

    async def mirror_changes(self) -> AsyncIterator[str]:
        """See MonitorHost."""
        async for status in self._mirrors.watch():
            yield status.name

    async def serve_fence_requests(self, arbiter: FenceArbiter) -> None:
        """See MonitorHost."""
        await self._mirrors.serve_fence_requests(arbiter)


def _stamp(state_dir: Path) -> tuple[int, int] | None:
    try:
        found = plan_path(state_dir).stat()
    except FileNotFoundError:
        return None
    # The file is replaced as a whole, so each version has an inode number of its own.
    return found.st_ino, found.st_mtime_ns
