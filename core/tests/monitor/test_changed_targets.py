"""What the monitor does about a target that was changed while its group runs."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import NotFoundError
from holdfast.hooks.failover import GroupPlan, MonitorPlan
from holdfast.hooks.target import TargetSpec, TargetState
from holdfast.loading.judging import Loaded
from holdfast.monitor.host import PlanHost
from holdfast.monitor.resources import Target
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import PLAN_VERSION, PlanFile, plan_path, read_plan
from holdfast.testing.memory_drbd import Node
from holdfast.testing.memory_mirror import MemoryMirrors
from holdfast.testing.memory_pair import Pair
from holdfast.testing.memory_target import MemoryTargets
from holdfast.testing.target import make_spec
from holdfast.values import Secret, to_plain

SPEC = make_spec(("/dev/one", "/dev/two"))
SMALLER = replace(SPEC, units=SPEC.units[:1])


def plan_of(*specs: TargetSpec, is_started: bool = True) -> PlanFile:
    group = GroupPlan("g", 1, "m", (SPEC.name,), (), "a", is_started=is_started)
    plan = MonitorPlan(PLAN_VERSION, "a", "b", Secret("k" * 32), (), (), (group,), ())
    return PlanFile(plan, (), specs)


def write(state_dir: Path, plan: PlanFile) -> None:
    fresh = state_dir / "fresh"
    fresh.write_text(json.dumps(to_plain(plan, reveal=True)))
    fresh.replace(plan_path(state_dir))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def targets() -> MemoryTargets:
    return MemoryTargets()


def host_of(state_dir: Path, first: PlanFile, targets: MemoryTargets) -> PlanHost:
    write(state_dir, first)
    found = read_plan(state_dir)
    assert found is not None
    node: Node = Pair().nodes["a"]
    drivers = Drivers(Loaded((), {"mirror": MemoryMirrors(node), "target": targets}))
    return PlanHost(state_dir, found, drivers)


async def test_a_changed_target_of_a_started_group_is_changed_and_serves_on(
    tmp_path: Path, targets: MemoryTargets
) -> None:
    host = host_of(tmp_path, plan_of(SPEC), targets)
    resource = Target(SPEC.name, host.target, targets)
    await resource.activate()
    write(tmp_path, plan_of(SMALLER))
    host.plan()
    await settle()
    assert await targets.state(SMALLER) is TargetState.ACTIVE
    # The group's own stack, made before, means the new one too.
    assert await resource.is_active()
    await resource.deactivate()
    await resource.activate()
    assert await targets.state(SMALLER) is TargetState.ACTIVE


async def test_what_no_started_group_serves_is_left_alone(tmp_path: Path, targets: MemoryTargets) -> None:
    host = host_of(tmp_path, plan_of(SPEC, is_started=False), targets)
    write(tmp_path, plan_of(SMALLER, is_started=False))
    host.plan()
    await settle()
    assert await targets.list_iqns() == ()


async def test_a_plan_that_says_the_same_changes_nothing(tmp_path: Path, targets: MemoryTargets) -> None:
    host = host_of(tmp_path, plan_of(SPEC), targets)
    write(tmp_path, plan_of(SPEC))
    host.plan()
    await settle()
    assert await targets.list_iqns() == ()


async def test_a_change_that_fails_is_told_and_stops_nothing(
    tmp_path: Path, targets: MemoryTargets, caplog: pytest.LogCaptureFixture
) -> None:
    host = host_of(tmp_path, plan_of(SMALLER), targets)
    await targets.activate(SMALLER)
    targets._can_open = lambda device: "two" not in device
    write(tmp_path, plan_of(SPEC))
    host.plan()
    await settle()
    assert "could not be changed" in caplog.text
    assert await targets.state(SMALLER) is TargetState.ACTIVE


async def test_a_target_that_the_plan_dropped_can_still_be_let_go(tmp_path: Path, targets: MemoryTargets) -> None:
    host = host_of(tmp_path, plan_of(SPEC), targets)
    resource = Target(SPEC.name, host.target, targets)
    await resource.activate()
    write(tmp_path, plan_of())
    host.plan()
    with pytest.raises(NotFoundError):
        host.target(SPEC.name)
    await resource.deactivate()
    assert not await targets.serves(SPEC.iqn)
