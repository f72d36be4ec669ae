"""The same search with a witness: what `abstract_world.py` models of it is a register of one word from each node.

The network is not transitive here unless it is said: each node has a ping node of its own, which always answers. Then
without a witness one cut is enough for both nodes to go on (`test_search.py`). With `HOLDFAST_SEARCH=all` every pair.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.hooks.failover import GroupState
from holdfast_failover_vip import actions as do
from holdfast_failover_vip.decide import decide
from holdfast_failover_vip.facts import GroupView
from holdfast_failover_vip.timers import Timers
from plugins.failover_vip.tests.abstract_world import Model, Rules, Witness
from plugins.failover_vip.tests.search import is_served, search
from plugins.failover_vip.tests.test_search import IS_ALL, all_is_well, along, only_if_all

S = GroupState
HONEST = Rules(pings_any=True, witness=Witness.HONEST)
EVERY_LINK = "cut: every link"
LOSSES = ("cut: witness", "cut: a's witness", "cut: b's witness", "the witness starts anew")
WORDS = ("claim", "grant", "release")


@pytest.mark.parametrize(
    "rules",
    [HONEST, replace(HONEST, cuts_one_way=True), replace(HONEST, moves=True), replace(HONEST, is_repaired=False)],
    ids=["machines", "one way", "moves", "never repaired"],
)
def test_no_single_fault_loses_a_write_or_leaves_the_group_unserved(rules: Rules) -> None:
    all_is_well(Model(rules), 1)


@pytest.mark.timeout(1800 if IS_ALL else 120)
def test_no_two_faults_lose_a_write_or_leave_the_group_unserved() -> None:
    all_is_well(Model(HONEST), 2, *(() if IS_ALL else (EVERY_LINK, "a loses its power", "the witness starts anew")))


@pytest.mark.timeout(1800 if IS_ALL else 120)
def test_no_late_word_lets_both_go_on() -> None:
    all_is_well(Model(HONEST), 3 if IS_ALL else 2, EVERY_LINK, *WORDS)


@only_if_all
@pytest.mark.timeout(1800)
def test_no_fault_loses_a_write_however_long_anything_takes() -> None:
    all_is_well(Model(replace(HONEST, are_all_slow=True)), 1)


@pytest.mark.timeout(1800 if IS_ALL else 60)
@pytest.mark.parametrize("witness", [Witness.HONEST, Witness.GRANTS_ALL, Witness.KEEPS_OLD])
def test_where_the_network_is_transitive_a_witness_may_say_what_it_likes(witness: Witness) -> None:
    """It is needed besides the ping node, and never instead: a liar makes it as if there were none."""
    all_is_well(Model(Rules(witness=witness)), 2 if IS_ALL else 1)


@pytest.mark.parametrize("lost", LOSSES)
def test_the_loss_of_the_witness_alone_costs_nothing(lost: str) -> None:
    for rules in (HONEST, Rules(witness=Witness.HONEST)):
        found = search(Model(rules), 1, only=(lost,))
        assert len(found.faults) > 1
        assert found.counterexample == []
        for world in found.faults:
            assert is_served(world)
            assert [node.state for node in world.nodes] == [S.ACTIVE_SYNC, S.STANDBY_OK]


def test_without_the_witness_the_loss_of_the_active_node_waits_for_it_or_for_a_person() -> None:
    """What the witness costs: two faults, of which it is one."""
    model = Model(replace(HONEST, is_repaired=False))
    gone = along(model, ("cut: witness", "a looks", "b looks", "a loses its power"))
    for world in search(model, 0, start=gone).faults:
        assert not is_served(world)
    repaired = Model(HONEST)
    assert any(is_served(world) for world in search(repaired, 0, start=gone).faults)


# --- what must be caught ---


def releases_early(view: GroupView, timers: Timers) -> do.Step:
    """Gives the right back as soon as the partner is heard, whether it has all writes or not."""
    step = decide(view, timers)
    is_due = view.witness is not None and view.witness.answers and not view.witness.has_released
    if is_due and view.net.is_heard and step.state is view.state and do.Release() not in step.actions:
        return replace(step, actions=(*step.actions, do.Release()))
    return step


def goes_on_unasked(view: GroupView, timers: Timers) -> do.Step:
    """Asks the witness before a takeover only, and not before a frozen node goes on."""
    return decide(replace(view, witness=None) if view.state is S.FROZEN else view, timers)


@pytest.mark.parametrize(
    ("rules", "faults", "only"),
    [
        (replace(HONEST, witness=Witness.NONE), 1, (EVERY_LINK,)),
        (replace(HONEST, witness=Witness.GRANTS_ALL), 1, (EVERY_LINK,)),
        (replace(HONEST, witness=Witness.KEEPS_OLD), 2, (EVERY_LINK, "the witness starts anew")),
        (replace(HONEST, decider=goes_on_unasked), 1, (EVERY_LINK,)),
    ],
    ids=[
        "no witness",
        "a witness that grants all",
        "a witness that starts with an old register",
        "a frozen node that does not ask it",
    ],
)
def test_a_fault_of_design_is_caught(rules: Rules, faults: int, only: tuple[str, ...]) -> None:
    assert search(Model(rules), faults, only=only).broken
    assert not search(Model(HONEST), faults, only=only).broken


OLD_GRANT = (
    EVERY_LINK,
    "a's kernel notices",
    "a's kernel asks",
    "a looks",
    "b looks",
    "a looks",
    "the witness gets claim",
    "grant is held up",
    "all links are mended",
    "b looks",
    "a looks",
    "b gets ask",
    "b outdates itself as asked",
    "a gets reply",
    "a: answers PEER_OUTDATED",
    "b: Connect",
    "the mirror meets",
    "the resync ends",
    "b looks",
    "a looks",
)
"""The answer to a's claim is still under way when both are in sync again, and a gives the right back."""
OLD_RELEASE = ("the witness starts anew", "a looks", "release is held up", "b looks", "the witness gets release")


@pytest.mark.parametrize(
    ("rules", "way"),
    [
        (replace(HONEST, believes_old_grants=True), OLD_GRANT),
        (replace(HONEST, releases_blindly=True), OLD_RELEASE),
        (replace(HONEST, decider=releases_early), ()),
    ],
    ids=["a node that believes old grants", "a release that is no compare-and-swap", "a release before the resync"],
)
def test_a_fault_of_words_is_caught(rules: Rules, way: tuple[str, ...]) -> None:
    for tried in (rules, HONEST):
        model = Model(tried)
        only = (EVERY_LINK,)
        found = search(model, 1 if way else 2, only=only, start=along(model, way))
        # It is the rule that makes the difference.
        assert bool(found.broken) is (tried is rules), f"{len(found.faults)} worlds, {found.counterexample}"
