"""Two nodes that decide for themselves, in a world that cuts, loses and kills: whatever comes, no write is lost.

The kernel is a small model of the mirror's gates: a Primary that loses its peer holds every write until it is
answered, and only current data are promoted. Evidence, decisions and answers are the product's own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.hooks.failover import GroupPlan, GroupState
from holdfast.hooks.replication import ConnectionState, DiskState, FenceAnswer, Role
from holdfast_failover_vip import actions as do
from holdfast_failover_vip.answers import answer_fence
from holdfast_failover_vip.decide import decide
from holdfast_failover_vip.evidence import Evidence
from holdfast_failover_vip.facts import FenceSay, GroupView, MirrorFacts, PeerFacts, Record, Verdict
from holdfast_failover_vip.timers import Timers
from plugins.failover_vip.tests.abstract_kernel import Policy

S, C, D = GroupState, ConnectionState, DiskState
T = Timers()
PLAN = GroupPlan("g", 1, "m", (), (), preferred="a", is_started=True, mirror_link="one")
LINKS = ("one", "two")
PING_NODES = ("p", "q", "r")
TICK_MS = 10
NOTICES_MS = 100
PROMOTES_MS = 30
RESYNCS_MS = 200
Decider = Callable[[GroupView, Timers], do.Step]
Event = tuple[int, str, str]
"""Milliseconds after the former one, what happens, to which node or link."""


class LostWriteError(AssertionError):
    """An invariant broke."""


@dataclass(frozen=True)
class Faulty:
    """Faults of design, each of which must be caught."""

    policy: Policy = Policy.STONITH
    has_lying_handler: bool = False
    """It says at once that the peer is outdated."""
    has_plain_outdate: bool = False
    """It neither leaves first nor reads back."""
    pings_any: bool = False
    """Each node has a ping node of its own."""
    forgets_epoch: bool = False
    lets_consistent_pass: bool = False
    """Answers 7 where 5 is due."""


@dataclass
class Kernel:
    """One side of the mirror. `data` is the newest acknowledged write on its disk."""

    role: Role = Role.SECONDARY
    disk: DiskState = D.UP_TO_DATE
    connection: ConnectionState = C.CONNECTING
    peer_disk: DiskState = D.UNKNOWN
    is_suspended: bool = False
    asks: bool = False
    data: int = 0
    faulty: Faulty = Faulty()

    def lose(self, to: ConnectionState) -> None:
        if self.connection is C.CONNECTED:
            if self.role is Role.PRIMARY and self.peer_disk is D.UP_TO_DATE:
                is_held = self.faulty.policy is Policy.STONITH and not self.faulty.has_lying_handler
                self.is_suspended = is_held
                self.asks = is_held or self.faulty.policy is Policy.RESOURCE_ONLY
            if self.peer_disk is D.UP_TO_DATE:
                self.peer_disk = D.UNKNOWN
        self.connection = to

    def reboot(self) -> None:
        knows = self.peer_disk in (D.OUTDATED, D.INCONSISTENT)
        disk = D.CONSISTENT if self.disk is D.UP_TO_DATE and not knows else self.disk
        self.__init__(disk=disk, connection=C.STANDALONE, data=self.data, faulty=self.faulty)  # type: ignore[misc]
        self.peer_disk = D.OUTDATED if knows else D.UNKNOWN


@dataclass
class Node:
    name: str
    partner: str
    evidence: Evidence
    kernel: Kernel = field(default_factory=Kernel)
    record: Record = field(default_factory=Record)
    state: GroupState = S.BOOT
    has_power: bool = True
    has_monitor: bool = True
    reaches_clients: bool = True
    back_ms: int | None = None
    since_ms: int = 0
    address_is_up: bool = False
    is_serving: bool = False
    is_current: bool = False
    peer: PeerFacts | None = None
    say: FenceSay | None = None
    claimed_ms: int | None = None
    promoting: tuple[int, do.TakeOver] | None = None
    sequence: int = 0
    is_worked_on: bool = False


class World:
    """Everything outside the monitors."""

    def __init__(
        self,
        decider: Decider,
        *,
        loss: float = 0.0,
        seed: int = 0,
        notices_ms: int = NOTICES_MS,
        ping_nodes: tuple[str, ...] = PING_NODES[:1],
        faulty: Faulty = Faulty(),
    ) -> None:
        self.now_ms = 1_000_000
        self.ping_nodes = ping_nodes
        self.notices_ms = notices_ms
        self.decider = decider
        self.loss = loss
        self.random = random.Random(seed)
        self.links = dict.fromkeys(LINKS, True)
        self.is_divided = False
        self.reach = ("ab",) * len(ping_nodes)
        """Of each ping node, who reaches it."""
        self.acknowledged = 0
        self.wire_since_ms = self.resync_since_ms = self.now_ms
        self.promotions = 0
        self.faulty = faulty
        self.nodes = {
            name: Node(name, partner, self.new_evidence(), Kernel(faulty=faulty))
            for name, partner in (("a", "b"), ("b", "a"))
        }

    def new_evidence(self) -> Evidence:
        return Evidence(T, LINKS, ping_nodes=self.ping_nodes, now_s=self.now_ms / 1000)

    # --- what happens to it ---

    def happen(self, what: str, whom: str) -> None:
        if what in ("cut", "mend"):
            self.links[LINKS[whom == "b"]] = what == "mend"
            return
        if what == "divide":
            # Neither hears the other; `whom` says of each ping node who reaches it: `a`, `b`, `2` (both), `-`.
            self.links = dict.fromkeys(LINKS, False)
            self.is_divided = True
            self.reach = tuple({"2": "ab", "-": ""}.get(side, side) for side in whom)
            return
        if what == "unite":
            self.links = dict.fromkeys(LINKS, True)
            self.is_divided = False
            self.reach = ("ab",) * len(self.ping_nodes)
            return
        node = self.nodes[whom]
        if what in ("isolate", "join"):
            node.reaches_clients = what == "join"
        elif what in ("begin", "end"):
            node.is_worked_on = what == "begin"
        elif what == "kill" and node.has_power:
            node.has_monitor, node.back_ms = False, self.now_ms + 1500
        elif what == "power":
            self.power_off(node)

    def power_off(self, node: Node) -> None:
        node.has_power = node.has_monitor = node.address_is_up = False
        node.kernel.reboot()
        node.back_ms, node.promoting = self.now_ms + 2000, None

    def come_back(self, node: Node) -> None:
        node.has_power = node.has_monitor = True
        if self.faulty.forgets_epoch:
            node.record = Record()
        node.back_ms, node.evidence, node.peer, node.say = None, self.new_evidence(), None, None
        node.is_serving = node.kernel.role is Role.PRIMARY and node.address_is_up
        node.state, node.since_ms, node.is_current, node.promoting = S.BOOT, self.now_ms, False, None

    def carries(self, link: str) -> bool:
        """An isolated node has lost its links with its clients."""
        return self.links[link] and all(node.reaches_clients and node.has_power for node in self.nodes.values())

    def arrives(self, link: str) -> bool:
        return self.carries(link) and self.random.random() >= self.loss

    # --- one tick ---

    def tick(self) -> None:
        self.now_ms += TICK_MS
        for node in self.nodes.values():
            if node.back_ms is not None and self.now_ms >= node.back_ms:
                self.come_back(node)
        self.run_wire()
        for node in self.nodes.values():
            if node.has_monitor:
                self.watch(node)
                self.step(node)
        self.write()

    def run_wire(self) -> None:
        a, b = (node.kernel for node in self.nodes.values())
        if not self.carries("one"):
            self.wire_since_ms = self.now_ms
            for node in self.nodes.values():
                gone = not self.nodes[node.partner].has_power
                if node.has_power and (gone or self.random.random() < TICK_MS / self.notices_ms):
                    node.kernel.lose(C.CONNECTING if node.kernel.connection is C.CONNECTED else node.kernel.connection)
            return
        for one, other in ((a, b), (b, a)):
            if one.connection is C.CONNECTED and other.connection is not C.CONNECTED:
                one.lose(C.CONNECTING)
        if a.connection is b.connection is C.CONNECTING and self.now_ms - self.wire_since_ms >= NOTICES_MS:
            self.connect(a, b)
        is_syncing = a.connection is C.CONNECTED and D.INCONSISTENT in (a.disk, b.disk)
        if is_syncing and self.now_ms - self.resync_since_ms >= RESYNCS_MS:
            a.disk = b.disk = a.peer_disk = b.peer_disk = D.UP_TO_DATE
            a.data = b.data = max(a.data, b.data)

    def connect(self, a: Kernel, b: Kernel) -> None:
        source, target = (a, b) if (a.data, a.role is Role.PRIMARY) >= (b.data, b.role is Role.PRIMARY) else (b, a)
        if source.disk is D.INCONSISTENT:
            source, target = target, source
        # The kernel makes no SyncTarget of a Primary: its UUIDs tell it that the other side is newer.
        if target.role is Role.PRIMARY and (source.role is Role.PRIMARY or source.data != target.data):
            a.connection = b.connection = C.STANDALONE
            return
        stale = source.data != target.data or target.disk in (D.OUTDATED, D.INCONSISTENT)
        source.disk = D.UP_TO_DATE
        target.disk = D.INCONSISTENT if stale else D.UP_TO_DATE
        source.peer_disk, target.peer_disk = target.disk, source.disk
        a.connection = b.connection = C.CONNECTED
        a.is_suspended = b.is_suspended = a.asks = b.asks = False
        self.resync_since_ms = self.now_ms

    def write(self) -> None:
        serving = [
            node
            for node in self.nodes.values()
            if node.has_power and node.kernel.role is Role.PRIMARY and not node.kernel.is_suspended
        ]
        if len([node for node in serving if node.kernel.connection is not C.CONNECTED]) > 1:
            raise LostWriteError(f"both nodes acknowledge writes at {self.now_ms}")
        for node in serving:
            kernel, other = node.kernel, self.nodes[node.partner].kernel
            if kernel.connection is C.CONNECTED:
                if other.connection is not C.CONNECTED or not self.carries("one"):
                    continue  # waits for the peer's acknowledgement
                if other.disk is D.UP_TO_DATE:
                    other.data = self.acknowledged + 1
            if kernel.data != self.acknowledged:
                raise LostWriteError(f"{node.name} serves data that lack acknowledged writes at {self.now_ms}")
            self.acknowledged += 1
            kernel.data = self.acknowledged

    # --- a monitor ---

    def watch(self, node: Node) -> None:
        now_s, other = self.now_ms / 1000, self.nodes[node.partner]
        evidence = node.evidence
        if self.now_ms % T.heartbeat_ms == 0 and other.has_monitor:
            other.sequence += 1
            hears = other.evidence.facts(now_s).is_heard
            for link in LINKS:
                if self.arrives(link):
                    evidence.heartbeat(link, other.sequence, hears_this_link=hears, now_s=now_s)
                    r = other.record
                    node.peer = PeerFacts(
                        other.state, r.epoch, r.held_epoch, r.last_active, 1, ping_answers=True, hears_us=hears
                    )
        suspects = evidence.suspects(now_s)
        if self.now_ms % (T.burst_ms if suspects else T.calm_probe_ms) == 0:
            for address, reached_by in zip(self.ping_nodes, self.reach, strict=True):
                evidence.pinged(address, self.now_ms, now_s)
                reaches = (node.name in reached_by and node.reaches_clients) or self.faulty.pings_any
                if reaches and self.random.random() >= self.loss:
                    evidence.ping_answered(address, self.now_ms, now_s)
        if suspects and self.now_ms % T.burst_ms == 0:
            for link in LINKS:
                evidence.probed(link, now_s)
                if self.arrives(link):
                    evidence.echo(link, now_s)
            if (
                other.has_power
                and other.address_is_up
                and node.reaches_clients
                and other.reaches_clients
                and not self.is_divided
            ):
                node.claimed_ms = self.now_ms
        evidence.tick(now_s)

    def view(self, node: Node) -> GroupView:
        kernel, other = node.kernel, self.nodes[node.partner].kernel
        is_connected = kernel.connection is C.CONNECTED
        mirror = MirrorFacts(
            is_up=True,
            role=kernel.role,
            peer_role=other.role if is_connected else Role.UNKNOWN,
            connection=kernel.connection,
            disk=kernel.disk,
            peer_disk=kernel.peer_disk,
            is_suspended=kernel.is_suspended,
            is_in_sync=is_connected and kernel.disk is kernel.peer_disk is D.UP_TO_DATE,
        )
        return GroupView(
            node=node.name,
            partner=node.partner,
            plan=PLAN,
            state=node.state,
            record=node.record,
            mirror=mirror,
            peer=node.peer,
            net=node.evidence.facts(self.now_ms / 1000),
            mirror_link_silent_ms=node.evidence.link_silent_ms("one", self.now_ms / 1000),
            since_ms=self.now_ms - node.since_ms,
            address_is_up=node.address_is_up,
            address_claimed_ms=None if node.claimed_ms is None else self.now_ms - node.claimed_ms,
            is_serving=node.is_serving,
            is_current=node.is_current,
            fence_pending=kernel.asks,
            fence_say=node.say,
            in_maintenance=tuple(each.name for each in self.nodes.values() if each.is_worked_on),
        )

    def step(self, node: Node) -> None:
        if node.promoting is not None:
            if self.now_ms >= node.promoting[0]:
                self.promote(node, node.promoting[1])
            return
        step = self.decider(self.view(node), T)
        node.is_current = step.is_current
        for action in step.actions:
            self.carry_out(node, action)
        if node.has_power:
            self.enter(node, step.state)

    def enter(self, node: Node, state: GroupState) -> None:
        if state is not node.state:
            node.state, node.since_ms = state, self.now_ms
            if state is S.FROZEN:
                node.say = None

    def carry_out(self, node: Node, action: do.Action) -> None:
        kernel = node.kernel
        match action:
            case do.TakeOver():
                if node.is_worked_on:
                    raise LostWriteError(f"{node.name} is in maintenance and begins to serve by itself")
                node.record = replace(node.record, epoch=action.epoch, refuses_outdate=True)
                node.promoting = (self.now_ms + PROMOTES_MS, action)
            case do.StopServing() | do.Clear():
                node.address_is_up = False
                node.record = replace(node.record, refuses_outdate=False)
                if not kernel.is_suspended:
                    kernel.role = Role.SECONDARY
                if isinstance(action, do.Clear) and kernel.connection is C.STANDALONE:
                    kernel.connection = C.CONNECTING
            case do.Outdate():
                kernel.lose(C.STANDALONE)
                kernel.disk = D.OUTDATED
            case do.LeavePeer():
                kernel.lose(C.STANDALONE)
            case do.Connect():
                kernel.connection = C.CONNECTING
            case do.DropAddress():
                node.address_is_up = False
            case do.RaiseAddress() | do.Adopt():
                node.address_is_up = True
            case do.AskPeer():
                self.ask(node)
            case do.Answer():
                if action.answer is not FenceAnswer.PEER_PRIMARY:
                    kernel.is_suspended, kernel.peer_disk = False, D.OUTDATED
                kernel.asks = False
            case do.Note():
                node.record = replace(
                    node.record, epoch=action.epoch, last_active=action.last_active, refuses_outdate=False
                )
            case do.Reboot():
                self.power_off(node)

    def promote(self, node: Node, action: do.TakeOver) -> None:
        node.promoting = None
        kernel, other = node.kernel, self.nodes[node.partner].kernel
        if action.leaves_peer:
            kernel.lose(C.STANDALONE)
        is_connected = kernel.connection is C.CONNECTED
        if self.faulty.lets_consistent_pass and kernel.disk is D.CONSISTENT:
            kernel.disk = D.UP_TO_DATE
        if kernel.disk is not D.UP_TO_DATE or (is_connected and other.role is Role.PRIMARY):
            self.enter(node, S.STANDBY_NOT)
            return
        kernel.role = Role.PRIMARY
        if not is_connected:
            kernel.peer_disk = D.OUTDATED
        self.promotions += 1
        node.record = replace(node.record, held_epoch=action.epoch, last_active=node.name)
        node.address_is_up = True
        self.enter(node, S.ACTIVE_SYNC if is_connected and kernel.peer_disk is D.UP_TO_DATE else S.ACTIVE_ALONE)

    def ask(self, node: Node) -> None:
        other = self.nodes[node.partner]
        if not other.has_monitor or not any(self.arrives(link) for link in LINKS):
            return
        say = answer_fence(other.state, other.record, self.view(other).mirror, node.record.held_epoch)
        if say is None and self.faulty.has_plain_outdate:
            say = FenceSay(Verdict.OUTDATED, other.record.epoch)
        if say is None:
            self.carry_out(other, do.Outdate())
            other.is_current = False
            say = FenceSay(Verdict.OUTDATED, other.record.epoch)
        if any(self.arrives(link) for link in LINKS):
            node.say = say


def run(
    events: list[Event],
    decider: Decider = decide,
    *,
    loss: float = 0.0,
    seed: int = 0,
    notices_ms: int = NOTICES_MS,
    ping_nodes: tuple[str, ...] = PING_NODES[:1],
    faulty: Faulty = Faulty(),
) -> World:
    """Let both nodes start and agree, then let `events` happen."""
    world = World(decider, loss=loss, seed=seed, notices_ms=notices_ms, ping_nodes=ping_nodes, faulty=faulty)
    for after_ms, what, whom in [(1500, "", "a"), *events, (2500, "", "a")]:
        for _ in range(after_ms // TICK_MS):
            world.tick()
        if what:
            world.happen(what, whom)
    return world


def states(world: World) -> tuple[GroupState, GroupState]:
    return world.nodes["a"].state, world.nodes["b"].state


def ignores_pings(view: GroupView, timers: Timers) -> do.Step:
    """A decider that would never doubt itself."""
    ping = replace(view.net.ping, is_continuous=True, has_gap=False, run_ms=view.since_ms)
    return decide(replace(view, net=replace(view.net, ping=ping)), timers)


def content_with_any(view: GroupView, timers: Timers) -> do.Step:
    """A decider to which the answers of any one ping node are enough."""
    nodes = view.net.ping.nodes
    ping = replace(
        view.net.ping,
        is_continuous=any(node.is_continuous for node in nodes),
        has_gap=all(node.has_gap for node in nodes),
        run_ms=max(node.run_ms for node in nodes),
    )
    return decide(replace(view, net=replace(view.net, ping=ping)), timers)


def believes_old_data(view: GroupView, timers: Timers) -> do.Step:
    """A decider that takes UpToDate for current, without two links and an unclaimed address."""
    net = replace(view.net, links_up_before=2) if not view.net.is_heard else view.net
    step = decide(replace(view, is_current=True, net=net, address_claimed_ms=None), timers)
    return replace(step, is_current=True)


def test_both_nodes_agree_at_the_start() -> None:
    assert states(run([])) == (S.ACTIVE_SYNC, S.STANDBY_OK)


@pytest.mark.parametrize("what", ["power", "isolate"])
def test_a_node_that_is_gone_is_taken_over_from(what: str) -> None:
    world = run([(0, what, "a"), (0, "", "a")])
    assert world.nodes["b"].kernel.role is Role.PRIMARY
    assert world.promotions == 2


def test_a_killed_monitor_moves_nothing() -> None:
    world = run([(0, "kill", "a")])
    assert states(world) == (S.ACTIVE_SYNC, S.STANDBY_OK)
    assert world.promotions == 1


@pytest.mark.parametrize("whom", ["a", "b"])
def test_a_standby_or_a_link_that_is_gone_stops_nothing(whom: str) -> None:
    world = run([(0, "power", "b"), (3000, "cut", whom), (1000, "mend", whom)])
    assert world.nodes["a"].state.is_active
    assert world.promotions == 1


def test_a_lost_link_of_the_mirror_is_noticed_before_the_kernel_does() -> None:
    """The events take 2.5 s after the cut; the kernel alone would need minutes."""
    world = run([(0, "cut", "a")], notices_ms=10**7)
    assert states(world) == (S.ACTIVE_ALONE, S.STANDBY_NOT)
    assert world.nodes["b"].kernel.disk is D.OUTDATED
    healed = run([(0, "cut", "a"), (2000, "mend", "a")], notices_ms=10**7)
    assert states(healed) == (S.ACTIVE_SYNC, S.STANDBY_OK)
    assert (world.promotions, healed.promotions) == (1, 1)


def test_a_decider_that_ignores_the_ping_node_is_caught() -> None:
    with pytest.raises(LostWriteError, match="both nodes"):
        run([(0, "isolate", "a")], ignores_pings)


def test_a_decider_that_believes_old_data_is_caught() -> None:
    with pytest.raises(LostWriteError):
        run([(0, "cut", "b"), (1000, "cut", "a"), (2000, "power", "a")], believes_old_data)
    run([(0, "cut", "b"), (1000, "cut", "a"), (2000, "power", "a")])


def promotes_consistent_data(view: GroupView, timers: Timers) -> do.Step:
    """A decider that takes Consistent for UpToDate, and its partner for recorded stale."""
    if view.mirror.disk is not D.CONSISTENT:
        return decide(view, timers)
    return decide(replace(view, mirror=replace(view.mirror, disk=D.UP_TO_DATE, peer_disk=D.OUTDATED)), timers)


ISLAND: list[Event] = [(0, "isolate", "a"), (2000, "", "a")]


@pytest.mark.parametrize(
    ("faulty", "decider", "events"),
    [
        (Faulty(policy=Policy.DONT_CARE), decide, ISLAND),
        (Faulty(policy=Policy.RESOURCE_ONLY), decide, ISLAND),
        (Faulty(has_lying_handler=True), decide, ISLAND),
        (Faulty(pings_any=True), decide, ISLAND),
        (
            Faulty(lets_consistent_pass=True),
            promotes_consistent_data,
            [(0, "power", "b"), (1000, "power", "a"), (1000, "cut", "a"), (0, "isolate", "a"), (9000, "", "a")],
        ),
    ],
    ids=[
        "dont-care",
        "resource-only",
        "a handler that always says outdated",
        "a ping node for each",
        "a decider that promotes Consistent data",
    ],
)
def test_a_fault_of_design_is_caught(faulty: Faulty, decider: Decider, events: list[Event]) -> None:
    with pytest.raises(LostWriteError):
        run(events, decider, faulty=faulty)
    run(events)


def test_a_plain_outdate_is_caught() -> None:
    """The power fails in the one moment in which the active node has gone on and its partner has not heard of it."""

    def is_lost(after_ms: int, faulty: Faulty) -> bool:
        try:
            run([(0, "cut", "a"), (after_ms, "power", "a"), (500, "", "a")], faulty=faulty)
        except LostWriteError:
            return True
        return False

    moments_ms = range(0, 500, 10)
    assert any(is_lost(after_ms, Faulty(has_plain_outdate=True)) for after_ms in moments_ms)
    assert not any(is_lost(after_ms, Faulty()) for after_ms in moments_ms)


def test_a_monitor_that_forgets_its_epoch_is_caught() -> None:
    """Started again it does not know that it serves, and whoever was cut off never learns that it may end."""
    events: list[Event] = [*ISLAND, (0, "kill", "b"), (3000, "join", "a"), (5000, "", "a")]
    assert [state.is_active for state in states(run(events))].count(True) == 1
    forgetful = run(events, faulty=Faulty(forgets_epoch=True))
    assert not any(
        node.state.is_active and node.kernel.role is Role.PRIMARY and not node.kernel.is_suspended
        for node in forgetful.nodes.values()
    )


def ignores_earlier_gaps(view: GroupView, timers: Timers) -> do.Step:
    """A decider that asks of a frozen node's pings only that they were answered since the last sign of life."""
    return decide(replace(view, net=replace(view.net, ping=replace(view.net.ping, run_ms=view.since_ms))), timers)


# Node a is cut off, and is joined again at the moment of the takeover; node b serves and loses its power at once.
JOINED_TOO_LATE: list[Event] = [(0, "isolate", "a"), (400, "join", "a"), (40, "power", "b")]


def test_a_node_that_was_cut_off_while_frozen_does_not_go_on_alone_afterwards() -> None:
    with pytest.raises(LostWriteError, match="lack acknowledged writes"):
        run(JOINED_TOO_LATE, ignores_earlier_gaps)
    world = run(JOINED_TOO_LATE)
    assert world.nodes["b"].kernel.data == world.acknowledged


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 160).map(lambda tens: tens * 10),
        st.sampled_from(("cut", "mend", "isolate", "join", "kill", "power")),
        st.sampled_from(("a", "b")),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(events=EVENTS, loss=st.sampled_from((0.0, 0.02, 0.1)), seed=st.integers(0, 1000))
def test_whatever_happens_one_node_acknowledges_and_no_write_is_lost(
    events: list[Event], loss: float, seed: int
) -> None:
    run(events, loss=loss, seed=seed)


# --- several ping nodes ---


@pytest.mark.parametrize("sides", ["ab-", "abb", "aab"])
def test_a_decider_that_is_content_with_any_ping_node_is_caught(sides: str) -> None:
    """Node a reaches one and node b another: each thinks that the other is gone."""
    with pytest.raises(LostWriteError, match="both nodes"):
        run([(0, "divide", sides)], content_with_any, ping_nodes=PING_NODES)
    run([(0, "divide", sides)], ping_nodes=PING_NODES)


@pytest.mark.parametrize(
    ("sides", "a", "b", "stale"),
    [
        ("aab", S.ACTIVE_ALONE, S.STANDBY_NOT, "b"),
        ("aa-", S.ACTIVE_ALONE, S.STANDBY_NOT, "b"),
        ("abb", S.FROZEN, S.ACTIVE_ALONE, ""),
        ("-bb", S.FROZEN, S.ACTIVE_ALONE, ""),
        ("ab-", S.FROZEN, S.STANDBY_NOT, "b"),
        ("---", S.FROZEN, S.STANDBY_NOT, "b"),
    ],
)
def test_of_a_divided_pair_the_side_of_the_majority_serves(
    sides: str, a: GroupState, b: GroupState, stale: str
) -> None:
    world = run([(0, "divide", sides)], ping_nodes=PING_NODES)
    assert states(world) == (a, b)
    assert not (world.nodes["a"].state is S.FROZEN and world.nodes["a"].address_is_up)
    assert [name for name, node in world.nodes.items() if node.kernel.disk is D.OUTDATED] == list(stale)


@pytest.mark.parametrize("silent", ["-22", "2-2", "22-"])
def test_with_one_of_three_ping_nodes_gone_a_takeover_is_as_with_all(silent: str) -> None:
    world = World(decide, ping_nodes=PING_NODES)
    world.reach = tuple("ab" if side == "2" else "" for side in silent)
    for _ in range(1500 // TICK_MS):
        world.tick()
    world.happen("power", "a")
    for _ in range(1000 // TICK_MS):
        world.tick()
    assert world.nodes["b"].state is S.ACTIVE_ALONE


@pytest.mark.parametrize(("sides", "ping_nodes"), [("2", PING_NODES[:1]), ("a2b", PING_NODES), ("222", PING_NODES)])
def test_nodes_that_both_reach_a_ping_node_but_not_each_other_are_beyond_what_it_can_tell(
    sides: str, ping_nodes: tuple[str, ...]
) -> None:
    """Known, and the same with one ping node and with several: the choice of them must rule it out (docs/links.md)."""
    with pytest.raises(LostWriteError, match="both nodes"):
        run([(0, "divide", sides)], ping_nodes=ping_nodes)


DIVISIONS = st.tuples(st.just("divide"), st.text("ab-", min_size=3, max_size=3))


@settings(max_examples=20, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    events=st.lists(
        st.tuples(
            st.integers(0, 160).map(lambda tens: tens * 10),
            DIVISIONS | st.tuples(st.sampled_from(("unite", "kill", "power")), st.sampled_from(("a", "b"))),
        ).map(lambda event: (event[0], *event[1])),
        min_size=1,
        max_size=6,
    ),
    loss=st.sampled_from((0.0, 0.02, 0.1)),
    seed=st.integers(0, 1000),
)
def test_however_the_pair_and_three_ping_nodes_are_divided_no_write_is_lost(
    events: list[Event], loss: float, seed: int
) -> None:
    run(events, loss=loss, seed=seed, ping_nodes=PING_NODES)


MAINTENANCE = st.lists(
    st.tuples(
        st.integers(0, 160).map(lambda tens: tens * 10),
        st.sampled_from(("begin", "end", "isolate", "join", "cut", "mend", "power")),
        st.sampled_from(("a", "b")),
    ),
    min_size=2,
    max_size=8,
)


@settings(max_examples=10, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(events=MAINTENANCE, seed=st.integers(0, 1000))
def test_a_node_in_maintenance_begins_nothing_and_loses_nothing(events: list[Event], seed: int) -> None:
    run(events, seed=seed)


def test_a_node_in_maintenance_waits_and_takes_over_when_that_ends() -> None:
    stays_off = [(0, "begin", "b"), (0, "isolate", "a"), (1500, "", "a")]
    assert run(stays_off).nodes["b"].state is S.SUSPECT
    assert run([*stays_off, (0, "end", "b"), (500, "", "b")]).nodes["b"].state is S.ACTIVE_ALONE


def test_a_decider_that_forgets_the_maintenance_is_caught() -> None:
    def forgets(view: GroupView, timers: Timers) -> do.Step:
        return decide(replace(view, in_maintenance=()), timers)

    with pytest.raises(LostWriteError, match="in maintenance"):
        run([(0, "begin", "b"), (0, "isolate", "a"), (0, "", "a")], forgets)
