"""The failover kit accepts the reference driver and rejects drivers with one fault each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from holdfast.errors import HoldfastError, RefusedError
from holdfast.hooks.failover import (
    Decision,
    FailoverDriver,
    GroupPlan,
    GroupState,
    GroupStatus,
    MonitorPlan,
    MonitorStatus,
    Unmet,
)
from holdfast.hooks.forecast import Forecast
from holdfast.hooks.links import Link
from holdfast.testing.failover import FailoverBed, FailoverContract
from holdfast.testing.memory_failover import FailoverPair, MemoryFailover, Served
from holdfast.values import Secret

LINKS = tuple(Link(f"link-{n}", f"eth{n}", f"192.0.2.{n}", f"192.0.2.{n + 8}") for n in (1, 2))


class MemoryBed(FailoverBed):
    """Two nodes in memory."""

    group = GroupPlan("kit", 3, "mirror", (), (), preferred="a", is_started=True)
    within_s = 0.05

    def __init__(self, kind: type[MemoryFailover] = MemoryFailover) -> None:
        self.pair = FailoverPair()
        self._plans = {
            node: MonitorPlan(2, node, partner, Secret("0b" * 32), LINKS, ("192.0.2.254",), (), ())
            for node, partner in (("a", "b"), ("b", "a"))
        }
        self._drivers = {node: kind(self.pair, node, partial(self.plan, node)) for node in self._plans}
        for node, plan in self._plans.items():
            self.pair.adopt(node, plan)

    def driver(self, node: str) -> FailoverDriver:
        return self._drivers[node]

    def plan(self, node: str) -> MonitorPlan:
        return self._plans[node]

    async def write_plan(self, node: str, plan: MonitorPlan) -> None:
        self._plans[node] = plan

    async def kill_monitor(self, node: str) -> None:
        self.pair.dead_monitors.add(node)


class TestMemoryFailover(FailoverContract):
    """The reference driver keeps the contract."""

    @pytest.fixture
    def bed(self) -> FailoverBed:
        return MemoryBed()


async def test_a_node_that_lost_power_is_taken_over_from() -> None:
    bed = MemoryBed()
    await bed.write_plan("a", replace(bed.plan("a"), groups=(bed.group,)))
    await bed.write_plan("b", replace(bed.plan("b"), groups=(bed.group,)))
    for node in ("a", "b"):
        await bed.driver(node).plan_written()
    bed.pair.lose("a")
    (group,) = (await bed.driver("b").status()).groups
    assert (group.state, group.active_node, group.epoch) == (GroupState.ACTIVE_ALONE, "b", 2)


async def test_a_node_that_cannot_know_waits_for_a_persons_word() -> None:
    bed = MemoryBed()
    for node in ("a", "b"):
        await bed.write_plan(node, replace(bed.plan(node), groups=(bed.group,)))
        await bed.driver(node).plan_written()
    bed.pair.lose("a", leaves_manual=True)
    assert (await bed.driver("b").status()).groups[0].state is GroupState.MANUAL
    await bed.driver("b").grant_promotion("kit", confirm="kit")
    assert (await bed.driver("b").status()).groups[0].state is GroupState.ACTIVE_ALONE


class ServesWhatIsStopped(MemoryFailover):
    async def plan_written(self) -> None:
        plan = self.read_plan()
        self._need_monitor()
        self.pair.adopt(self.node, replace(plan, groups=tuple(replace(g, is_started=True) for g in plan.groups)))


class NeverServes(MemoryFailover):
    async def plan_written(self) -> None:
        self._need_monitor()


class ServesOnTheOtherNode(MemoryFailover):
    async def plan_written(self) -> None:
        plan = self.read_plan()
        self._need_monitor()
        self.pair.adopt(self.node, replace(plan, groups=tuple(replace(g, preferred="b") for g in plan.groups)))


class ServesAlone(MemoryFailover):
    async def plan_written(self) -> None:
        await super().plan_written()
        for name, served in self.pair.groups.items():
            if served.active is None and GroupState.STANDBY_NOT in served.states.values():
                self.pair.go_alone(name, self.node)


class AlwaysComplains(MemoryFailover):
    def _group(self, plan: GroupPlan, *, is_heard: bool) -> GroupStatus:
        return replace(super()._group(plan, is_heard=is_heard), reasons=("who knows",))


class NewEpochWithEachPlan(MemoryFailover):
    async def plan_written(self) -> None:
        await super().plan_written()
        for served in self.pair.groups.values():
            served.epoch += 1


class StopsOnOneNodeOnly(MemoryFailover):
    async def plan_written(self) -> None:
        if self.node == "a" or not (await self.status()).groups:
            await super().plan_written()


class MovesNothing(MemoryFailover):
    async def switch_over(self, group: str, *, to: str, deadline_s: float) -> None:
        self._need_monitor()
        if to not in ("a", "b") or self.pair.groups[group].active is None:
            await super().switch_over(group, to=to, deadline_s=deadline_s)


class KeepsTheEpochOfMoved(MemoryFailover):
    async def switch_over(self, group: str, *, to: str, deadline_s: float) -> None:
        await super().switch_over(group, to=to, deadline_s=deadline_s)
        self.pair.groups[group].epoch -= 1


class MovesOnlyWhatItServes(MemoryFailover):
    async def switch_over(self, group: str, *, to: str, deadline_s: float) -> None:
        assert self.pair.groups[group].active == self.node
        await super().switch_over(group, to=to, deadline_s=deadline_s)


class DropsTheGroupOnABadMove(MemoryFailover):
    async def switch_over(self, group: str, *, to: str, deadline_s: float) -> None:
        try:
            await super().switch_over(group, to=to, deadline_s=deadline_s)
        except HoldfastError:
            self.pair.groups[group].states = dict.fromkeys(("a", "b"), GroupState.STANDBY_NOT)
            raise


class MovesWhatIsStopped(MemoryFailover):
    async def switch_over(self, group: str, *, to: str, deadline_s: float) -> None:
        if self.pair.groups[group].active is not None:
            await super().switch_over(group, to=to, deadline_s=deadline_s)


class TellsNoTimes(MemoryFailover):
    async def decisions(self, *, after: int = 0) -> tuple[tuple[int, Decision], ...]:
        return tuple((number, replace(each, timeline_ms={})) for number, each in await super().decisions(after=after))


class ForgetsMaintenance(MemoryFailover):
    async def plan_written(self) -> None:
        self._need_monitor()
        self.pair.adopt(self.node, replace(self.read_plan(), in_maintenance=()))


class StopsServingInMaintenance(MemoryFailover):
    async def plan_written(self) -> None:
        await super().plan_written()
        for name, served in self.pair.groups.items():
            if served.active in self.pair.in_maintenance():
                self.pair.serve(name, "b" if served.active == "a" else "a")


class RemembersWhileDead(MemoryFailover):
    async def status(self) -> MonitorStatus:
        before = set(self.pair.dead_monitors)
        self.pair.dead_monitors.discard(self.node)
        try:
            return replace(await super().status(), is_running=self.node not in before)
        finally:
            self.pair.dead_monitors |= before


class SwallowsWhatTheDeadCannotHear(MemoryFailover):
    async def plan_written(self) -> None:
        with contextlib.suppress(HoldfastError):
            await super().plan_written()


class TakesOverFromADeadMonitor(MemoryFailover):
    async def status(self) -> MonitorStatus:
        if self.pair.dead_monitors - {self.node}:
            for name in self.pair.groups:
                self.pair.go_alone(name, self.node)
        return await super().status()


class GrantsWithoutTheName(MemoryFailover):
    async def grant_promotion(self, name: str, *, confirm: str) -> None:
        await super().grant_promotion(name, confirm=name)


class GrantsAnything(MemoryFailover):
    async def grant_promotion(self, name: str, *, confirm: str) -> None:
        if confirm != name:
            await super().grant_promotion(name, confirm=confirm)
        self.pair.go_alone(name, self.node)


class ForeseesByMoving(MemoryFailover):
    async def forecast(self, group: str) -> tuple[Forecast, ...]:
        told = await super().forecast(group)
        self.pair.serve(group, "b")
        self.pair.serve(group, "a")
        return told


class ForeseesOnce(MemoryFailover):
    async def forecast(self, group: str) -> tuple[Forecast, ...]:
        first = MemoryFailover(MemoryBed().pair, self.node, self.read_plan)
        first.pair.groups[group] = Served("a", 1, {"a": GroupState.ACTIVE_SYNC, "b": GroupState.STANDBY_OK})
        return await first.forecast(group)


class HidesWhatStandsInTheWay(MemoryFailover):
    async def forecast(self, group: str) -> tuple[Forecast, ...]:
        return tuple(replace(told, blockers=()) for told in await super().forecast(group))


class ForeseesWhileDead(MemoryFailover):
    async def forecast(self, group: str) -> tuple[Forecast, ...]:
        self.pair.dead_monitors.discard(self.node)
        return await super().forecast(group)


class ForeseesAnything(MemoryFailover):
    async def forecast(self, group: str) -> tuple[Forecast, ...]:
        try:
            return await super().forecast(group)
        except RefusedError:
            return ()


class NumbersDecisionsAnew(MemoryFailover):
    async def decisions(self, *, after: int = 0) -> tuple[tuple[int, Decision], ...]:
        kept = (await super().decisions())[after:]
        return tuple((number, decision) for number, (_, decision) in enumerate(kept, start=1))


class DecidesInSilence(MemoryFailover):
    async def decisions(self, *, after: int = 0) -> tuple[tuple[int, Decision], ...]:
        return tuple((number, replace(each, sentence="")) for number, each in await super().decisions(after=after))


class AsksTheDeadForDecisions(MemoryFailover):
    async def decisions(self, *, after: int = 0) -> tuple[tuple[int, Decision], ...]:
        self._need_monitor()
        return await super().decisions(after=after)


class NeverReady(MemoryFailover):
    async def preflight(self, plan: MonitorPlan, group: GroupPlan) -> tuple[Unmet, ...]:
        return (*await super().preflight(plan, group), Unmet("mood", "not today", "come back"))


class SaysOneLackAtATime(MemoryFailover):
    async def preflight(self, plan: MonitorPlan, group: GroupPlan) -> tuple[Unmet, ...]:
        return (await super().preflight(plan, group))[:1]


class HidesRemedies(MemoryFailover):
    async def preflight(self, plan: MonitorPlan, group: GroupPlan) -> tuple[Unmet, ...]:
        return tuple(replace(unmet, remedy="") for unmet in await super().preflight(plan, group))


FAULTY: list[tuple[type[MemoryFailover], str]] = [
    (ServesWhatIsStopped, "test_a_stopped_group_is_served_nowhere"),
    (NeverServes, "test_a_started_group_is_served_by_its_preferred_node_while_the_other_stands_by"),
    (ServesOnTheOtherNode, "test_a_started_group_is_served_by_its_preferred_node_while_the_other_stands_by"),
    (ServesAlone, "test_nobody_serves_a_group_that_one_node_alone_knows"),
    (AlwaysComplains, "test_a_group_that_is_well_has_no_reasons"),
    (NewEpochWithEachPlan, "test_the_same_plan_again_changes_nothing"),
    (StopsOnOneNodeOnly, "test_a_group_that_is_to_stop_stops_on_both_nodes"),
    (MovesNothing, "test_a_moved_group_is_served_by_the_other_node_under_a_higher_epoch"),
    (KeepsTheEpochOfMoved, "test_a_moved_group_is_served_by_the_other_node_under_a_higher_epoch"),
    (MovesOnlyWhatItServes, "test_a_group_can_be_moved_from_either_node_and_back"),
    (DropsTheGroupOnABadMove, "test_a_move_to_a_node_that_is_none_is_refused_and_nothing_moves"),
    (MovesWhatIsStopped, "test_a_stopped_group_does_not_move"),
    (TellsNoTimes, "test_who_hands_a_group_over_tells_how_long_nobody_served_it"),
    (ForgetsMaintenance, "test_a_node_in_maintenance_begins_to_serve_nothing"),
    (ForgetsMaintenance, "test_a_node_in_maintenance_is_handed_nothing_and_says_why"),
    (StopsServingInMaintenance, "test_a_node_in_maintenance_that_serves_goes_on_and_may_hand_over"),
    (RemembersWhileDead, "test_a_dead_monitor_is_said_to_be_dead_and_nothing_else"),
    (SwallowsWhatTheDeadCannotHear, "test_a_dead_monitor_cannot_be_told_anything"),
    (TakesOverFromADeadMonitor, "test_a_dead_monitor_is_no_reason_to_take_over"),
    (GrantsWithoutTheName, "test_a_promotion_is_granted_only_to_who_repeats_the_name"),
    (GrantsAnything, "test_a_promotion_is_granted_only_where_one_is_waited_for"),
    (ForeseesByMoving, "test_what_would_happen_is_told_for_every_fault_and_asking_changes_nothing"),
    (ForeseesOnce, "test_what_would_happen_follows_the_state"),
    (HidesWhatStandsInTheWay, "test_a_forecast_that_nobody_serves_says_for_how_long_and_what_stands_in_the_way"),
    (ForeseesWhileDead, "test_a_dead_monitor_foresees_nothing"),
    (ForeseesAnything, "test_nothing_is_foreseen_of_a_group_that_is_none"),
    (NumbersDecisionsAnew, "test_decisions_have_growing_numbers_and_can_be_read_on"),
    (DecidesInSilence, "test_decisions_have_growing_numbers_and_can_be_read_on"),
    (AsksTheDeadForDecisions, "test_decisions_can_be_read_while_the_monitor_is_dead"),
    (NeverReady, "test_nodes_that_are_ready_lack_nothing"),
    (SaysOneLackAtATime, "test_every_lack_is_said_at_once_with_its_remedy"),
    (HidesRemedies, "test_every_lack_is_said_at_once_with_its_remedy"),
]

SENTENCES = sorted(name for name in vars(FailoverContract) if name.startswith("test_"))


async def judge(kind: type[MemoryFailover], sentence: str) -> None:
    """Hold a driver to one sentence of the kit, as pytest would."""
    await getattr(FailoverContract(), sentence)(MemoryBed(kind))


@contextlib.contextmanager
def rejected() -> Iterator[None]:
    """The block must raise something that fails a test."""
    try:
        yield
    except (Exception, pytest.fail.Exception):
        return
    pytest.fail("the kit accepted a faulty driver")


@pytest.mark.parametrize(("faulty", "sentence"), FAULTY, ids=lambda value: getattr(value, "__name__", value))
async def test_a_driver_with_one_fault_is_rejected(faulty: type[MemoryFailover], sentence: str) -> None:
    with rejected():
        await judge(faulty, sentence)


@pytest.mark.parametrize("sentence", SENTENCES)
async def test_the_same_sentence_accepts_the_driver_without_the_fault(sentence: str) -> None:
    await judge(MemoryFailover, sentence)


def test_each_sentence_is_shown_to_bite() -> None:
    assert set(SENTENCES) == {sentence for _, sentence in FAULTY}
