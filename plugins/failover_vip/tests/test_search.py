"""Every order of events that a few faults allow: two nodes never acknowledge, no write is lost, nobody waits for ever.

`abstract_world.py` says what is modelled, and how. Here every single fault and every pair of some are searched.
`HOLDFAST_SEARCH=all make unit ARGS="-k search -s"` searches every pair of all of them, and every single one while
whatever is under way may take for ever; that takes some minutes.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import DiskState
from holdfast_failover_vip import actions as do
from holdfast_failover_vip.decide import decide
from holdfast_failover_vip.facts import GroupView
from holdfast_failover_vip.reasons import explain
from holdfast_failover_vip.timers import Timers
from plugins.failover_vip.tests.abstract_kernel import Policy
from plugins.failover_vip.tests.abstract_world import NAMES, Model, Rules, T, World
from plugins.failover_vip.tests.search import Found, search, stuck

S = GroupState
IS_ALL = os.environ.get("HOLDFAST_SEARCH") == "all"
POWER = ("a loses its power", "b loses its power")
ISLAND = "cut: all links of a"
only_if_all = pytest.mark.skipif(not IS_ALL, reason="takes minutes; HOLDFAST_SEARCH=all")


def all_is_well(model: Model, faults: int, *only: str) -> Found:
    found = search(model, faults, only=only)
    assert found.counterexample == []
    left = stuck(found)
    assert [found.way_to(world) for world in left[:1]] == [], "nothing leads on from here"
    print(f"{len(found.faults)} worlds with up to {faults} faults, {len(model.decisions)} decisions")
    return found


@pytest.mark.parametrize(
    "rules",
    [Rules(), Rules(cuts_one_way=True), Rules(moves=True), Rules(is_repaired=False)],
    ids=["machines", "one way", "moves", "never repaired"],
)
def test_no_single_fault_loses_a_write_or_leaves_the_group_unserved(rules: Rules) -> None:
    all_is_well(Model(rules), 1)


@pytest.mark.timeout(1800 if IS_ALL else 60)
def test_no_two_faults_lose_a_write_or_leave_the_group_unserved() -> None:
    all_is_well(Model(Rules()), 2, *(() if IS_ALL else (*POWER, ISLAND)))


@only_if_all
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rules", [Rules(cuts_one_way=True), Rules(moves=True)], ids=["one way", "moves"])
def test_no_two_faults_of_rarer_kinds_lose_a_write_or_leave_the_group_unserved(rules: Rules) -> None:
    rarer = ("cut: ",) if rules.cuts_one_way else ("a is to", "b is to", "offer", "refusal")
    all_is_well(Model(rules), 2, *POWER, *rarer)


@only_if_all
@pytest.mark.timeout(1800)
def test_no_fault_loses_a_write_however_long_anything_takes() -> None:
    all_is_well(Model(Rules(are_all_slow=True)), 1)


def test_the_search_meets_every_state_and_tells_a_person_why() -> None:
    """The control of the search itself: what it never meets it says nothing about."""
    model = Model(Rules(moves=True))
    met: set[GroupState] = set()
    for world in search(model, 1).faults:
        for at, node in enumerate(world.nodes):
            met.add(node.state)
            if node.state is S.MANUAL:
                assert explain(model.view(world, at), T)
    assert met == set(S) - {S.STOPPED}


# --- what must be caught ---


def promotes_consistent_data(view: GroupView, timers: Timers) -> do.Step:
    """Takes Consistent for UpToDate, and tells the kernel that the partner was fenced."""
    if view.mirror.disk is not DiskState.CONSISTENT:
        return decide(view, timers)
    mirror = replace(view.mirror, disk=DiskState.UP_TO_DATE, peer_disk=DiskState.OUTDATED)
    step = decide(replace(view, mirror=mirror), timers)
    granted = [replace(one, is_granted=True) if isinstance(one, do.TakeOver) else one for one in step.actions]
    return replace(step, actions=tuple(granted))


def ignores_pings(view: GroupView, timers: Timers) -> do.Step:
    ping = replace(view.net.ping, is_continuous=True, has_gap=False, run_ms=view.since_ms)
    return decide(replace(view, net=replace(view.net, ping=ping)), timers)


def believes_old_data(view: GroupView, timers: Timers) -> do.Step:
    """Takes UpToDate for current."""
    peer = view.peer and replace(view.peer, state=S.FROZEN if view.peer.state.is_active else view.peer.state)
    return replace(decide(replace(view, is_current=True, peer=peer), timers), is_current=True)


GAP_AND_BLIP = (
    "cut: all links of b",
    "a's kernel notices",
    "a's kernel asks",
    "a looks",
    "all links are mended",
    "b looks",
    "cut: all links of b",
    "a looks",
    "a: answers PEER_UNREACHABLE",
    "all links are mended",
)
"""Between two silences b hears a once, and a nothing: it goes on alone."""
OUTDATED_AND_ALONE = (
    "cut: mirror link",
    "a's kernel notices",
    "a's kernel asks",
    "b gets ask",
    "b outdates itself as asked",
    "a gets reply",
    "a: answers PEER_OUTDATED",
)
REBOOTED = ("b loses its power", "b boots", "b: Clear", "a's kernel notices", "the mirror meets")
FROZEN_WHILE_TAKEN_OVER = ("a pauses", "b looks", "b looks", "b: persist", "b: leave", "b: is promoted", "b: serves")


@pytest.mark.parametrize(
    ("rules", "way", "faults", "only"),
    [
        (Rules(policy=Policy.DONT_CARE), (), 1, (ISLAND,)),
        (Rules(policy=Policy.RESOURCE_ONLY), (), 1, (ISLAND,)),
        (Rules(has_lying_handler=True), (), 1, (ISLAND,)),
        (Rules(has_plain_outdate=True), OUTDATED_AND_ALONE, 1, POWER),
        (Rules(pings_any=True), (), 1, (ISLAND,)),
        (Rules(decider=ignores_pings), (), 1, (ISLAND,)),
        (Rules(decider=promotes_consistent_data), REBOOTED, 1, POWER),
        (Rules(decider=believes_old_data), GAP_AND_BLIP, 1, POWER),
        (Rules(overlooks_pauses=True), FROZEN_WHILE_TAKEN_OVER, 1, POWER),
        (Rules(looks_whenever=True), (ISLAND,), 1, POWER),
    ],
    ids=[
        "dont-care",
        "resource-only",
        "a handler that always says outdated",
        "a plain outdate",
        "a ping node for each",
        "a decider that ignores the ping node",
        "a decider that promotes Consistent data",
        "a decider that believes old data",
        "a monitor that overlooks pauses",
        "timers whose inequalities do not hold",
    ],
)
def test_a_fault_of_design_is_caught(rules: Rules, way: tuple[str, ...], faults: int, only: tuple[str, ...]) -> None:
    for tried in (rules, Rules()):
        model = Model(tried)
        found = search(model, faults, only=only, start=along(model, way))
        # It is the rule that makes the difference.
        assert bool(found.broken) is (tried is rules), f"{len(found.faults)} worlds, {found.counterexample}"


def test_a_monitor_that_forgets_its_epoch_is_caught() -> None:
    """No write is lost by it, for the kernels know whose data are newer; but who was cut off never learns it."""
    way = (ISLAND, "b looks", "a looks", "b looks", "b: persist", "b: leave", "b: is promoted", "b: serves")
    for forgets in (False, True):
        model = Model(Rules(forgets_epoch=forgets))
        found = search(model, 1, only=("b's monitor dies",), start=along(model, way))
        assert found.counterexample == []
        assert bool(stuck(found)) is forgets


HELD_UP = (
    "cut: mirror link",
    "b's kernel notices",
    "all links are mended",
    "a's kernel notices",
    "a's kernel asks",
    "b gets ask",
    "b outdates itself as asked",
    "b: Connect",
    "the mirror meets",
    "a's helper ends",
    "reply is held up",
)


def test_a_reply_to_an_earlier_question_is_worth_nothing() -> None:
    """It comes late, to a node that asks anew and is an island by now. One that believes it is caught."""
    for is_believed in (False, True):
        model = Model(Rules(believes_old_replies=is_believed))
        found = search(model, 1, only=(ISLAND,), start=along(model, HELD_UP))
        assert bool(found.broken) is is_believed


def along(model: Model, way: tuple[str, ...]) -> World:
    """The world after these events."""
    world = model.start()
    for wanted in way:
        world = dict([*model.follow(world), *model.fail(world)])[wanted]
    return world


def test_whoever_was_promoted_and_lost_its_power_does_not_give_way_to_the_frozen_one() -> None:
    """Found by the search, mended in `answer_fence`: both would have begun a generation, which is a split brain."""
    model = Model(Rules())
    frozen = (ISLAND, "a's kernel notices", "a's kernel asks")
    promoted = ("b looks", "a looks", "b looks", "b: persist", "b: leave", "b: is promoted")
    back = ("b loses its power", "b boots", "b: Clear", "all links are mended", "a looks", "b gets ask")
    world = along(model, (*frozen, *promoted, *back))
    assert world.nodes[1].outdates is None
    assert [what for what, _ in model.follow(world) if what.startswith(f"{NAMES[0]} gets")] == ["a gets reply"]
    after = dict(model.follow(world))["a gets reply"]
    assert after.nodes[0].state is S.SELF_FENCE
