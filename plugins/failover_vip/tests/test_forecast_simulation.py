"""What is forecast is what the simulated world then does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from holdfast.hooks.failover import GroupState
from holdfast.hooks.forecast import Fault
from holdfast.hooks.replication import ConnectionState, DiskState, Role
from holdfast_failover_vip.facts import GroupView
from holdfast_failover_vip.forecast import active_node, play_out
from holdfast_failover_vip.timers import Timers
from plugins.failover_vip.tests.test_simulation import EVENTS, LINKS, RESYNCS_MS, TICK_MS, Event, Node, World, run

T = Timers()
S, C, D = GroupState, ConnectionState, DiskState
RESTS_MS = 7000
"""Longer than a lone node waits before it judges itself, and than whatever is away takes to come back."""
Forecaster = Callable[[GroupView, Fault], str | None]


class WrongForecastError(AssertionError):
    """It came otherwise."""


def foresee(view: GroupView, fault: Fault) -> str | None:
    serving = play_out(view, T, fault).serving()
    return serving.view.node if serving else None


def believes_all_data(view: GroupView, fault: Fault) -> str | None:
    """A forecaster that takes whatever a standby has for current."""
    if view.state in (S.STANDBY_NOT, S.MANUAL) and view.peer is not None:
        peer = replace(view.peer, state=S.ACTIVE_SYNC)
        mirror = replace(view.mirror, disk=D.UP_TO_DATE, peer_disk=D.UP_TO_DATE, connection=C.CONNECTED)
        mirror = replace(mirror, role=Role.SECONDARY, peer_role=Role.PRIMARY, is_in_sync=True)
        view = replace(view, state=S.STANDBY_OK, is_current=True, peer=peer, mirror=mirror)
    return foresee(view, fault)


def pass_time(world: World, duration_ms: int) -> None:
    for _ in range(duration_ms // TICK_MS):
        world.tick()


def serving(world: World) -> str | None:
    """Whose clients are served in the world."""
    for node in world.nodes.values():
        kernel = node.kernel
        is_open = kernel.role is Role.PRIMARY and not kernel.is_suspended and node.address_is_up
        if node.has_power and node.reaches_clients and is_open:
            return node.name
    return None


def settled(events: list[Event]) -> World:
    """A world after these events, at rest."""
    world = run(events, notices_ms=500)
    pass_time(world, RESTS_MS)
    return world


def happens(world: World, fault: Fault, active: Node, passive: Node) -> None:
    match fault:
        case Fault.ACTIVE_POWER | Fault.PASSIVE_POWER:
            node = active if fault is Fault.ACTIVE_POWER else passive
            world.power_off(node)
            node.back_ms = None
        case Fault.ACTIVE_MONITOR:
            world.happen("kill", active.name)
        case Fault.REPLICATION_LINK:
            world.links[LINKS[0]] = False
        case Fault.ACTIVE_LINKS | Fault.PASSIVE_LINKS:
            world.happen("isolate", active.name if fault is Fault.ACTIVE_LINKS else passive.name)
    pass_time(world, RESTS_MS)


PLAYED = (
    Fault.NONE,
    Fault.ACTIVE_POWER,
    Fault.ACTIVE_MONITOR,
    Fault.REPLICATION_LINK,
    Fault.ACTIVE_LINKS,
    Fault.PASSIVE_LINKS,
    Fault.PASSIVE_POWER,
)


def the_active(world: World) -> Node | None:
    """The node of which both say that it serves the group."""
    named = {active_node(world.view(node)) for node in world.nodes.values()}
    return world.nodes.get(str(named.pop())) if len(named) == 1 else None


def compare(world: World, fault: Fault, forecaster: Forecaster = foresee) -> None:
    """Ask the nodes that would decide something then, let the fault happen, and see."""
    active = the_active(world)
    assert active is not None
    without = {Fault.ACTIVE_POWER: active.name, Fault.PASSIVE_POWER: active.partner}.get(fault)
    forecasts = {name: forecaster(world.view(node), fault) for name, node in world.nodes.items() if name != without}
    happens(world, fault, active, world.nodes[active.partner])
    if set(forecasts.values()) != {serving(world)}:
        raise WrongForecastError(f"{fault}: forecast {forecasts}, came {serving(world)}")


@pytest.mark.parametrize("fault", PLAYED)
@pytest.mark.parametrize(
    "events",
    [
        [],
        [(0, "cut", "a")],
        [(0, "cut", "b")],
        [(0, "cut", "a"), (1000, "mend", "a")],
        [(0, "power", "a")],
        [(0, "power", "b")],
        [(0, "kill", "b")],
    ],
    ids=str,
)
def test_each_fault_comes_as_it_is_forecast(events: list[Event], fault: Fault) -> None:
    compare(settled(events), fault)


HEALED: list[Event] = [(2000, "mend", "a"), (0, "mend", "b"), (0, "join", "a"), (0, "join", "b")]
LEFT = st.sampled_from(
    [[], [], [(2000, "cut", "a")], [(2000, "cut", "b")], [(2000, "isolate", "b")], [(0, "kill", "b")]]
)


@pytest.mark.long
@settings(max_examples=20, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(events=EVENTS, left=LEFT)
def test_whatever_happened_before_a_power_cut_of_the_active_node_comes_as_it_is_forecast(
    events: list[Event], left: list[Event]
) -> None:
    world = settled([*events, *HEALED, *left])
    assume(the_active(world) is not None)
    compare(world, Fault.ACTIVE_POWER)


def resyncing() -> World:
    """Both links carry again, and node b is not up to date yet."""
    world = settled([(0, "cut", "a")])
    world.happen("mend", "a")
    while world.nodes["b"].kernel.disk is not D.INCONSISTENT:
        world.tick()
    pass_time(world, RESYNCS_MS // 2)
    return world


def test_a_forecaster_that_ignores_the_data_is_caught() -> None:
    with pytest.raises(WrongForecastError):
        compare(resyncing(), Fault.ACTIVE_POWER, believes_all_data)
    compare(resyncing(), Fault.ACTIVE_POWER)
