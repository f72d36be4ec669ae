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

S, C, D = GroupState, ConnectionState, DiskState
T = Timers()
PLAN = GroupPlan("g", 1, "m", (), (), preferred="a", is_started=True, mirror_link="one")
LINKS = ("one", "two")
TICK_MS = 10
NOTICES_MS = 100
PROMOTES_MS = 30
RESYNCS_MS = 200
Decider = Callable[[GroupView, Timers], do.Step]
Event = tuple[int, str, str]
"""Milliseconds after the former one, what happens, to which node or link."""


class LostWriteError(AssertionError):
    """An invariant broke."""


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

    def lose(self, to: ConnectionState) -> None:
        if self.connection is C.CONNECTED:
            if self.role is Role.PRIMARY and self.peer_disk is D.UP_TO_DATE:
                self.is_suspended = self.asks = True
            if self.peer_disk is D.UP_TO_DATE:
                self.peer_disk = D.UNKNOWN
        self.connection = to

    def reboot(self) -> None:
        knows = self.peer_disk in (D.OUTDATED, D.INCONSISTENT)
        disk = D.CONSISTENT if self.disk is D.UP_TO_DATE and not knows else self.disk
        self.__init__(disk=disk, connection=C.STANDALONE, data=self.data)  # type: ignore[misc]
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


class World:
    """Everything outside the monitors."""

    def __init__(self, decider: Decider, *, loss: float = 0.0, seed: int = 0, notices_ms: int = NOTICES_MS) -> None:
        self.now_ms = 1_000_000
        self.notices_ms = notices_ms
        self.decider = decider
        self.loss = loss
        self.random = random.Random(seed)
        self.links = dict.fromkeys(LINKS, True)
        self.acknowledged = 0
        self.wire_since_ms = self.resync_since_ms = self.now_ms
        self.promotions = 0
        self.nodes = {name: Node(name, partner, self.new_evidence()) for name, partner in (("a", "b"), ("b", "a"))}

    def new_evidence(self) -> Evidence:
        return Evidence(T, LINKS, has_ping_node=True, now_s=self.now_ms / 1000)

    # --- what happens to it ---

    def happen(self, what: str, whom: str) -> None:
        if what in ("cut", "mend"):
            self.links[LINKS[whom == "b"]] = what == "mend"
            return
        node = self.nodes[whom]
        if what in ("isolate", "join"):
            node.reaches_clients = what == "join"
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
            evidence.pinged(self.now_ms, now_s)
            if node.reaches_clients and self.random.random() >= self.loss:
                evidence.ping_answered(self.now_ms, now_s)
        if suspects and self.now_ms % T.burst_ms == 0:
            for link in LINKS:
                evidence.probed(link, now_s)
                if self.arrives(link):
                    evidence.echo(link, now_s)
            if other.has_power and other.address_is_up and node.reaches_clients and other.reaches_clients:
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
                node.record = replace(node.record, epoch=action.epoch, refuses_outdate=True)
                node.promoting = (self.now_ms + PROMOTES_MS, action)
            case do.StopServing() | do.Clear():
                node.address_is_up = False
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
        if say is None:
            self.carry_out(other, do.Outdate())
            other.is_current = False
            say = FenceSay(Verdict.OUTDATED, other.record.epoch)
        if any(self.arrives(link) for link in LINKS):
            node.say = say


def run(
    events: list[Event], decider: Decider = decide, *, loss: float = 0.0, seed: int = 0, notices_ms: int = NOTICES_MS
) -> World:
    """Let both nodes start and agree, then let `events` happen."""
    world = World(decider, loss=loss, seed=seed, notices_ms=notices_ms)
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
    ping = replace(view.net.ping, is_continuous=True, has_gap=False)
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
