"""The contract of the failover role as tests: subclass `FailoverContract` and override the fixture `bed`.

The bed is two nodes, each with a driver and a running monitor that hear each other, and whose plans have no group.
"""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from holdfast.errors import ConfirmationError, RefusedError, UnavailableError
from holdfast.hooks.failover import (
    ADDRESS_DOWN,
    PARTNER_SERVES,
    FailoverDriver,
    GroupPlan,
    GroupState,
    GroupStatus,
    MonitorPlan,
    MonitorStatus,
)
from holdfast.hooks.forecast import Fault

S = GroupState
NODES = ("a", "b")


class FailoverBed(ABC):
    """Two nodes, `a` and `b`, and what tests may do to them beside the contract."""

    group: GroupPlan
    """A group that both nodes can serve, preferred on `a`, to be started."""
    within_s: float = 5.0
    """How long anything that takes its time may take here."""

    @abstractmethod
    def driver(self, node: str) -> FailoverDriver:
        """The driver of a node."""

    @abstractmethod
    def plan(self, node: str) -> MonitorPlan:
        """The plan of a node as it was written last: two links, a ping node."""

    @abstractmethod
    async def write_plan(self, node: str, plan: MonitorPlan) -> None:
        """Write a node's plan where its monitor reads it, and tell nobody."""

    @abstractmethod
    async def kill_monitor(self, node: str) -> None:
        """End a node's monitor for good; the node lives."""

    async def has_come(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for `condition`."""
        async with asyncio.timeout(self.within_s):
            while not await condition():  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.01)


async def hand_in(bed: FailoverBed, *groups: GroupPlan, nodes: tuple[str, ...] = NODES) -> None:
    """Write plans with these groups and make the monitors read them."""
    for node in nodes:
        await bed.write_plan(node, replace(bed.plan(node), groups=groups))
        await bed.driver(node).plan_written()


async def mark(bed: FailoverBed, *in_maintenance: str) -> None:
    """Write plans with these nodes in maintenance and make the monitors read them."""
    for node in NODES:
        await bed.write_plan(node, replace(bed.plan(node), in_maintenance=in_maintenance))
        await bed.driver(node).plan_written()


async def group_on(bed: FailoverBed, node: str) -> GroupStatus | None:
    """What a node's monitor says of the bed's group."""
    groups = (await bed.driver(node).status()).groups
    return next((group for group in groups if group.name == bed.group.name), None)


async def states(bed: FailoverBed) -> tuple[GroupState | None, ...]:
    """The group's state on each node."""
    found = [await group_on(bed, node) for node in NODES]
    return tuple(group.state if group else None for group in found)


async def settled(bed: FailoverBed, a: GroupState, b: GroupState) -> None:
    """Wait until the group is in these states."""

    async def is_so() -> bool:
        return await states(bed) == (a, b)

    await bed.has_come(is_so)


async def served(bed: FailoverBed) -> int:
    """Start the group; return its epoch once both nodes are where they belong."""
    await hand_in(bed, bed.group)
    await settled(bed, S.ACTIVE_SYNC, S.STANDBY_OK)
    group = await group_on(bed, "a")
    assert group is not None
    return group.epoch


class FailoverContract:
    """What every failover driver keeps."""

    @pytest.fixture
    def bed(self) -> FailoverBed:
        raise AssertionError("override this fixture")

    async def test_a_stopped_group_is_served_nowhere(self, bed: FailoverBed) -> None:
        await hand_in(bed, replace(bed.group, is_started=False))
        await settled(bed, S.STOPPED, S.STOPPED)
        for node in NODES:
            group = await group_on(bed, node)
            assert group is not None
            assert group.active_node is None

    async def test_a_started_group_is_served_by_its_preferred_node_while_the_other_stands_by(
        self, bed: FailoverBed
    ) -> None:
        assert await served(bed) > 0
        for node in NODES:
            group = await group_on(bed, node)
            assert group is not None
            assert (group.active_node, group.revision) == ("a", bed.group.revision)

    async def test_a_group_that_is_well_has_no_reasons(self, bed: FailoverBed) -> None:
        await served(bed)
        for node in NODES:
            group = await group_on(bed, node)
            assert group is not None
            assert group.reasons == ()

    async def test_nobody_serves_a_group_that_one_node_alone_knows(self, bed: FailoverBed) -> None:
        await hand_in(bed, bed.group, nodes=("a",))
        group = await group_on(bed, "a")
        assert group is not None
        assert not group.state.is_active
        assert await group_on(bed, "b") is None

    async def test_the_same_plan_again_changes_nothing(self, bed: FailoverBed) -> None:
        epoch = await served(bed)
        await hand_in(bed, bed.group)
        await settled(bed, S.ACTIVE_SYNC, S.STANDBY_OK)
        group = await group_on(bed, "a")
        assert group is not None
        assert group.epoch == epoch

    async def test_a_group_that_is_to_stop_stops_on_both_nodes(self, bed: FailoverBed) -> None:
        await served(bed)
        await hand_in(bed, replace(bed.group, is_started=False, revision=bed.group.revision + 1))
        await settled(bed, S.STOPPED, S.STOPPED)

    async def test_a_moved_group_is_served_by_the_other_node_under_a_higher_epoch(self, bed: FailoverBed) -> None:
        epoch = await served(bed)
        await bed.driver("a").switch_over(bed.group.name, to="b", deadline_s=bed.within_s)
        await settled(bed, S.STANDBY_OK, S.ACTIVE_SYNC)
        group = await group_on(bed, "b")
        assert group is not None
        assert group.epoch > epoch

    async def test_a_group_can_be_moved_from_either_node_and_back(self, bed: FailoverBed) -> None:
        await served(bed)
        await bed.driver("b").switch_over(bed.group.name, to="b", deadline_s=bed.within_s)
        await settled(bed, S.STANDBY_OK, S.ACTIVE_SYNC)
        await bed.driver("b").switch_over(bed.group.name, to="a", deadline_s=bed.within_s)
        await settled(bed, S.ACTIVE_SYNC, S.STANDBY_OK)

    async def test_a_move_to_a_node_that_is_none_is_refused_and_nothing_moves(self, bed: FailoverBed) -> None:
        await served(bed)
        with pytest.raises(RefusedError) as caught:
            await bed.driver("a").switch_over(bed.group.name, to="c", deadline_s=bed.within_s)
        assert caught.value.reasons
        assert await states(bed) == (S.ACTIVE_SYNC, S.STANDBY_OK)

    async def test_who_hands_a_group_over_tells_how_long_nobody_served_it(self, bed: FailoverBed) -> None:
        await served(bed)
        await bed.driver("a").switch_over(bed.group.name, to="b", deadline_s=bed.within_s)

        async def is_told() -> bool:
            timelines = [d.timeline_ms for _, d in await bed.driver("a").decisions() if PARTNER_SERVES in d.timeline_ms]
            return bool(timelines) and 0 <= timelines[-1][ADDRESS_DOWN] <= timelines[-1][PARTNER_SERVES]

        await bed.has_come(is_told)

    async def test_a_node_in_maintenance_begins_to_serve_nothing(self, bed: FailoverBed) -> None:
        await mark(bed, "a")
        await hand_in(bed, bed.group)
        await settled(bed, S.STANDBY_OK, S.ACTIVE_SYNC)

    async def test_a_node_in_maintenance_is_handed_nothing_and_says_why(self, bed: FailoverBed) -> None:
        await served(bed)
        await mark(bed, "b")
        with pytest.raises(RefusedError) as caught:
            await bed.driver("a").switch_over(bed.group.name, to="b", deadline_s=bed.within_s)
        assert "in-maintenance" in [reason.code for reason in caught.value.reasons]
        assert await states(bed) == (S.ACTIVE_SYNC, S.STANDBY_OK)
        for node in NODES:
            group = await group_on(bed, node)
            assert group is not None
            assert any("maintenance" in reason for reason in group.reasons)

    async def test_a_node_in_maintenance_that_serves_goes_on_and_may_hand_over(self, bed: FailoverBed) -> None:
        await served(bed)
        await mark(bed, "a")
        assert await states(bed) == (S.ACTIVE_SYNC, S.STANDBY_OK)
        await bed.driver("a").switch_over(bed.group.name, to="b", deadline_s=bed.within_s)
        await settled(bed, S.STANDBY_OK, S.ACTIVE_SYNC)

    async def test_a_stopped_group_does_not_move(self, bed: FailoverBed) -> None:
        await hand_in(bed, replace(bed.group, is_started=False))
        with pytest.raises(RefusedError):
            await bed.driver("a").switch_over(bed.group.name, to="b", deadline_s=bed.within_s)
        await settled(bed, S.STOPPED, S.STOPPED)

    async def test_a_dead_monitor_is_said_to_be_dead_and_nothing_else(self, bed: FailoverBed) -> None:
        await served(bed)
        await bed.kill_monitor("a")
        assert await bed.driver("a").status() == MonitorStatus(is_running=False)

    async def test_a_dead_monitor_cannot_be_told_anything(self, bed: FailoverBed) -> None:
        await served(bed)
        await bed.kill_monitor("a")
        with pytest.raises(UnavailableError):
            await bed.driver("a").plan_written()
        with pytest.raises(UnavailableError):
            await bed.driver("a").switch_over(bed.group.name, to="b", deadline_s=bed.within_s)

    async def test_a_dead_monitor_is_no_reason_to_take_over(self, bed: FailoverBed) -> None:
        await served(bed)
        await bed.kill_monitor("a")
        await asyncio.sleep(min(1.0, bed.within_s / 5))
        group = await group_on(bed, "b")
        assert group is not None
        assert not group.state.is_active

    async def test_a_promotion_is_granted_only_to_who_repeats_the_name(self, bed: FailoverBed) -> None:
        await served(bed)
        with pytest.raises(ConfirmationError):
            await bed.driver("b").grant_promotion(bed.group.name, confirm="yes")
        assert await states(bed) == (S.ACTIVE_SYNC, S.STANDBY_OK)

    async def test_a_promotion_is_granted_only_where_one_is_waited_for(self, bed: FailoverBed) -> None:
        await served(bed)
        with pytest.raises(RefusedError):
            await bed.driver("b").grant_promotion(bed.group.name, confirm=bed.group.name)
        assert await states(bed) == (S.ACTIVE_SYNC, S.STANDBY_OK)

    async def test_what_would_happen_is_told_for_every_fault_and_asking_changes_nothing(self, bed: FailoverBed) -> None:
        epoch = await served(bed)
        for node in NODES:
            told = await bed.driver(node).forecast(bed.group.name)
            assert [forecast.fault for forecast in told] == list(Fault)
            by_fault = {forecast.fault: forecast for forecast in told}
            assert (by_fault[Fault.NONE].serves, by_fault[Fault.PASSIVE_POWER].serves) == ("a", "a")
            assert (by_fault[Fault.ACTIVE_POWER].serves, by_fault[Fault.ACTIVE_POWER].deciders) == ("b", ("b",))
            assert all(forecast.sentence and forecast.text for forecast in told)
        await settled(bed, S.ACTIVE_SYNC, S.STANDBY_OK)
        group = await group_on(bed, "a")
        assert group is not None
        assert group.epoch == epoch

    async def test_what_would_happen_follows_the_state(self, bed: FailoverBed) -> None:
        await served(bed)
        await bed.driver("a").switch_over(bed.group.name, to="b", deadline_s=bed.within_s)
        await settled(bed, S.STANDBY_OK, S.ACTIVE_SYNC)
        for node in NODES:
            by_fault = {forecast.fault: forecast for forecast in await bed.driver(node).forecast(bed.group.name)}
            assert (by_fault[Fault.NONE].serves, by_fault[Fault.ACTIVE_POWER].serves) == ("b", "a")

    async def test_a_forecast_that_nobody_serves_says_for_how_long_and_what_stands_in_the_way(
        self, bed: FailoverBed
    ) -> None:
        await hand_in(bed, replace(bed.group, is_started=False))
        await settled(bed, S.STOPPED, S.STOPPED)
        (told,) = await bed.driver("a").forecast(bed.group.name)
        assert (told.fault, told.serves, told.held_at_least_ms) == (Fault.NONE, None, None)
        assert told.person
        assert told.blockers
        assert all(reason.text and reason.remedy for reason in told.blockers)

    async def test_a_dead_monitor_foresees_nothing(self, bed: FailoverBed) -> None:
        await served(bed)
        await bed.kill_monitor("a")
        with pytest.raises(UnavailableError):
            await bed.driver("a").forecast(bed.group.name)

    async def test_nothing_is_foreseen_of_a_group_that_is_none(self, bed: FailoverBed) -> None:
        with pytest.raises(RefusedError):
            await bed.driver("a").forecast("another")

    async def test_decisions_have_growing_numbers_and_can_be_read_on(self, bed: FailoverBed) -> None:
        await served(bed)
        await bed.driver("a").switch_over(bed.group.name, to="b", deadline_s=bed.within_s)
        await bed.driver("a").switch_over(bed.group.name, to="a", deadline_s=bed.within_s)
        await settled(bed, S.ACTIVE_SYNC, S.STANDBY_OK)
        kept = await bed.driver("a").decisions()
        numbers = [number for number, _ in kept]
        assert len(numbers) >= 2
        assert numbers == sorted(set(numbers))
        assert all(decision.sentence and decision.node == "a" for _, decision in kept)
        assert await bed.driver("a").decisions(after=numbers[0]) == kept[1:]
        assert await bed.driver("a").decisions(after=numbers[-1]) == ()

    async def test_decisions_can_be_read_while_the_monitor_is_dead(self, bed: FailoverBed) -> None:
        await served(bed)
        await bed.kill_monitor("a")
        assert await bed.driver("a").decisions()

    async def test_nodes_that_are_ready_lack_nothing(self, bed: FailoverBed) -> None:
        for node in NODES:
            assert await bed.driver(node).preflight(bed.plan(node), bed.group) == ()

    async def test_every_lack_is_said_at_once_with_its_remedy(self, bed: FailoverBed) -> None:
        await bed.kill_monitor("a")
        plan = replace(bed.plan("a"), ping_nodes=(), links=bed.plan("a").links[:1])
        found = await bed.driver("a").preflight(plan, bed.group)
        assert len({unmet.code for unmet in found}) >= 3
        assert all(unmet.text and unmet.remedy for unmet in found)
