"""Two nodes, their mirror and their links without a clock: every order in which things can happen, one step at a time.

Decisions and answers are the product's own. What has a duration there has a class here: a node looks, and finds
the partner heard, its kernel only, or silent for one, two or three looks (`SILENCE`). The nodes look in turns,
whoever begins: that stands for the inequalities of `timers.py`. Whoever is later than that has been paused, and knows
it when it goes on; one that does not run is waited for by nobody.

A kernel notices a lost peer at any time. What is under way, actions and messages, comes before the next look; that it
takes longer is a fault like others (`Model.fail`), and with `Rules.are_all_slow` it is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from holdfast.hooks.failover import GroupPlan, GroupState
from holdfast.hooks.replication import ConnectionState, DiskState, FenceAnswer, Role
from holdfast.hooks.witness import WitnessFacts
from holdfast_failover_vip import actions as do
from holdfast_failover_vip.answers import answer_fence, answer_own_promotion, refuse_handover
from holdfast_failover_vip.decide import decide
from holdfast_failover_vip.facts import (
    FenceSay,
    GroupView,
    MirrorFacts,
    NodeFacts,
    PeerFacts,
    PingFacts,
    Record,
    Verdict,
)
from holdfast_failover_vip.timers import Timers
from plugins.failover_vip.tests import abstract_kernel as kernel
from plugins.failover_vip.tests.abstract_kernel import IN_SYNC, Mirror, Policy

S, C, D = GroupState, ConnectionState, DiskState
T = Timers()
NAMES = ("a", "b")
WITNESS = 2
_RECEIVERS = (*NAMES, "the witness")
PLAN = GroupPlan("g", 1, "m", (), (), preferred="a", is_started=True, mirror_link="one")
_SEEN_FIRST = (S.PROMOTING, S.DEMOTING, S.FROZEN, S.SELF_FENCE)
LONG_MS = 60_000

# How long the partner has been silent.
HEARD, ECHO, LONG_ECHO, STALLED, NEVER, GAP, DEAD, LONG_DEAD = range(8)
SILENCE = (GAP, DEAD, LONG_DEAD)
_SILENT_MS = (20, 20, 20, 0, 0, T.isolated_ms, T.promote_ms, 9000)

# What carries: the link of the mirror in each direction, what each node sends to and receives from the switch
# of the clients, the ping node, which hangs on that switch, and each node's way to the witness.
ONE_AB, ONE_BA, A_SENDS, A_HEARS, B_SENDS, B_HEARS, PING = (1 << bit for bit in range(7))
A_WITNESS, B_WITNESS = 1 << 7, 1 << 8
ALL, MIRROR_LINK = (1 << 9) - 1, ONE_AB | ONE_BA
CUTS = {
    "mirror link": ONE_AB | ONE_BA,
    "a's clients": A_SENDS | A_HEARS,
    "b's clients": B_SENDS | B_HEARS,
    "all links of a": ONE_AB | ONE_BA | A_SENDS | A_HEARS,
    "all links of b": ONE_AB | ONE_BA | B_SENDS | B_HEARS,
    "ping node": PING,
    "switch": A_SENDS | A_HEARS | B_SENDS | B_HEARS | PING,
    "every link": ONE_AB | ONE_BA | A_SENDS | A_HEARS | B_SENDS | B_HEARS,
}
ONE_WAY = {
    "a to b on the mirror link": ONE_AB,
    "b to a on the mirror link": ONE_BA,
    "all that a sends": ONE_AB | A_SENDS,
    "all that b sends": ONE_BA | B_SENDS,
    "all that a hears": ONE_BA | A_HEARS,
    "all that b hears": ONE_AB | B_HEARS,
}

WITNESS_CUTS = {
    "witness": A_WITNESS | B_WITNESS,
    "a's witness": A_WITNESS,
    "b's witness": B_WITNESS,
    "a from everything": CUTS["all links of a"] | A_WITNESS,
    "b from everything": CUTS["all links of b"] | B_WITNESS,
}

ON, OFF, PAUSED = "on", "off", "paused"
RUNS, DIED, HANGS = "runs", "died", "hangs"


class Node(NamedTuple):
    """One monitor, what it knows, and whether its machine runs."""

    power: str = ON
    monitor: str = RUNS
    state: GroupState = S.BOOT
    epoch: int = 0
    held_epoch: int = 0
    last_active: str | None = None
    refuses_outdate: bool = False
    is_current: bool = False
    peer: tuple[GroupState, int, int, str | None, bool, bool] | None = None
    silence: int = NEVER
    lost_monitor_first: bool = False
    was_silent: bool = False
    ping_runs: bool = False
    """Without a gap since the partner's last sign of life."""
    ping_answers: bool = False
    links_up: int = 0
    mirror_link_lost: int = 0
    question: int = 0
    """0 none; 1 of a loss that is over; 2 of the loss that the kernel waits for."""
    say: FenceSay | None = None
    todo: tuple[Any, ...] = ()
    outdates: tuple[int, int] | None = None
    """The age (see `Message`) and the epoch of a question to be told "outdated" that is under way here."""
    failures: int = 0
    handed_epoch: int = 0
    is_refused: bool = False
    wishes: bool = False
    is_slow: bool = False
    """What it is about takes long: others go on meanwhile."""
    holds: bool = False
    witness_said: bool | None = None
    """Whether this node has released the right, by the witness's last answer; None: no answer counts."""


Message = tuple[str, int, Any, int]
"""Kind, to whom, what, and whether it belongs to the newest question (2) or to an earlier one (1)."""


class World(NamedTuple):
    """Everything."""

    mirror: Mirror
    nodes: tuple[Node, Node]
    carries: int = ALL
    looked: int = 0
    """Who looked last, as a bit, while the other one runs: it is the other one's turn."""
    messages: frozenset[Message] = frozenset()
    late: frozenset[Message] = frozenset()
    """Those held up on their way, and the copies of those that come twice."""
    released: tuple[bool, bool] = (True, True)
    """The witness's register."""


Decider = Callable[[GroupView, Timers], do.Step]


class Witness(StrEnum):
    """What there is for a witness."""

    NONE = "none"
    HONEST = "honest"
    GRANTS_ALL = "grants all"
    KEEPS_OLD = "keeps old words"
    """Having started anew it takes whatever it once knew for true."""


@dataclass(frozen=True)
class Rules:
    """What is so in the world; each other value is a fault of design that must be caught."""

    decider: Decider = decide
    policy: Policy = Policy.STONITH
    has_lying_handler: bool = False
    """It says "outdated" at once."""
    has_plain_outdate: bool = False
    """Without leaving first, and without reading back."""
    pings_any: bool = False
    """Each node has a ping node of its own: not transitive."""
    forgets_epoch: bool = False
    overlooks_pauses: bool = False
    believes_old_replies: bool = False
    looks_whenever: bool = False
    """One node may look twice before the other one looks: the inequalities of the timers do not hold."""
    cuts_one_way: bool = False
    moves: bool = False
    """A person moves the group, and a node without its clients hands it over."""
    is_repaired: bool = True
    """Nodes boot and go on, and links are mended. A monitor that died starts again in any case."""
    are_all_slow: bool = False
    """Everything may take long without counting as a fault."""
    witness: Witness = Witness.NONE
    believes_old_grants: bool = False
    """An answer of the witness to a claim from before the right was given back."""
    releases_blindly: bool = False
    """A release counts at the witness although a claim came in between: it is no compare-and-swap."""


class Model:
    """The next worlds of a world."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.has_witness = rules.witness is not Witness.NONE
        self.cuts = CUTS | (ONE_WAY if rules.cuts_one_way else {}) | (WITNESS_CUTS if self.has_witness else {})
        self.decisions: dict[Any, do.Step] = {}

    def start(self) -> World:
        """Both in sync, a serves, b stands by."""
        said = None if self.rules.witness is Witness.NONE else True
        heard = Node(
            silence=HEARD, ping_runs=True, ping_answers=True, links_up=2, epoch=1, last_active="a", witness_said=said
        )  # fmt: skip
        a = heard._replace(
            state=S.ACTIVE_SYNC, held_epoch=1, is_current=True, refuses_outdate=True,
            peer=(S.STANDBY_OK, 1, 0, "a", True, True),
        )  # fmt: skip
        b = heard._replace(state=S.STANDBY_OK, is_current=True, peer=(S.ACTIVE_SYNC, 1, 1, "a", True, True))
        return World(IN_SYNC, (a, b))

    # --- what happens by itself, and what is repaired ---

    def follow(self, world: World) -> Iterator[tuple[str, World]]:
        """Every next world that takes no fault.

        What is under way comes before what takes its time: who is slower than that has a fault.
        """
        is_busy = False
        for at in (0, 1):
            for what, after in self._prompt(world, at):
                is_busy = is_busy or not world.nodes[at].is_slow
                yield what, self._settle(after)
        for message in world.messages:
            if (delivered := self._deliver(world, message)) is not None:
                is_busy = True
                rest = delivered._replace(messages=delivered.messages - {message})
                yield f"{_RECEIVERS[message[1]]} gets {message[0]}", self._settle(rest)
        yield from self._follow_mirror(world)
        if is_busy and not self.rules.are_all_slow:
            return
        for message in world.late:
            if (delivered := self._deliver(world, message)) is not None:
                rest = delivered._replace(late=delivered.late - {message})
                yield f"{_RECEIVERS[message[1]]} gets a late {message[0]}", self._settle(rest)
        for at in (0, 1):
            yield from self._patient(world, at)
        if world.carries != ALL and self.rules.is_repaired:
            yield "all links are mended", self._settle(world._replace(carries=ALL))

    def _prompt(self, world: World, at: int) -> Iterator[tuple[str, World]]:
        node, side = world.nodes[at], world.mirror.sides[at]
        if node.power != ON or node.monitor != RUNS:
            return
        if node.todo:
            for name, after in self._act(world, at):
                yield f"{NAMES[at]}: {name}", after
        elif node.outdates:
            yield f"{NAMES[at]} outdates itself as asked", self._outdate_for_partner(world, at)
        if side.asks and node.question != 2 and side.is_primary:
            yield f"{NAMES[at]}'s kernel asks", self._ask_monitor(world, at)
        if node.question == 1 and not side.asks:
            yield (
                f"{NAMES[at]}'s helper ends",
                self._step(_put(world, at, node._replace(question=0, is_slow=False)), at),
            )

    def _patient(self, world: World, at: int) -> Iterator[tuple[str, World]]:
        node = world.nodes[at]
        if not self.rules.is_repaired and (node.power != ON or node.monitor == HANGS):
            return
        if node.power == OFF:
            yield f"{NAMES[at]} boots", self._settle(self._start_monitor(_set_power(world, at, ON), at))
        elif node.power == PAUSED:
            yield f"{NAMES[at]} goes on", self._settle(self._wake(_set_power(world, at, ON), at))
        elif node.monitor == DIED:
            yield f"{NAMES[at]}'s monitor starts", self._settle(self._start_monitor(world, at))
        elif node.monitor == HANGS:
            going_on = self._wake(_put(world, at, node._replace(monitor=RUNS)), at)
            yield f"{NAMES[at]}'s monitor goes on", self._settle(going_on)
        elif not world.looked >> at & 1:
            yield f"{NAMES[at]} looks", self._settle(self._look(world, at))

    def _follow_mirror(self, world: World) -> Iterator[tuple[str, World]]:
        mirror, wire = world.mirror, self._wire(world)
        for at in (0, 1):
            side = mirror.sides[at]
            is_gone = not wire or mirror.sides[1 - at].connection is not C.CONNECTED
            if world.nodes[at].power == ON and side.connection is C.CONNECTED and is_gone:
                lost = kernel.lose(mirror, at, policy=self.rules.policy)
                yield f"{NAMES[at]}'s kernel notices", self._settle(self._after_loss(world, lost, at))
        if wire and (met := kernel.meet(mirror)) != mirror:
            nodes = [
                node._replace(question=1 if node.question == 2 and not side.asks else node.question)
                for node, side in zip(world.nodes, met.sides, strict=True)
            ]
            yield "the mirror meets", self._settle(world._replace(mirror=met, nodes=(nodes[0], nodes[1])))
        if wire and (ended := kernel.finish(mirror)) != mirror:
            yield "the resync ends", self._settle(world._replace(mirror=ended))

    # --- faults ---

    def fail(self, world: World) -> Iterator[tuple[str, World]]:
        """Every next world that takes one fault."""
        for at in (0, 1):
            yield from self._fail_node(world, at)
        for name, bits in self.cuts.items():
            if world.carries & bits:
                yield f"cut: {name}", self._settle(world._replace(carries=world.carries & ~bits))
        if self.has_witness:
            yield "the witness starts anew", self._settle(self._restart_witness(world))
        for message in world.messages:
            held = world._replace(messages=world.messages - {message}, late=world.late | {message})
            if not self.rules.are_all_slow:
                yield f"{message[0]} is held up", held
            if (after := self._deliver(held, message)) is not None:
                yield f"{_RECEIVERS[message[1]]} gets {message[0]}, and will again", self._settle(after)

    def _fail_node(self, world: World, at: int) -> Iterator[tuple[str, World]]:
        node = world.nodes[at]
        if node.power != OFF:
            yield f"{NAMES[at]} loses its power", self._settle(self._power_off(world, at))
        if node.power != ON:
            return
        yield f"{NAMES[at]} pauses", self._settle(_set_power(world, at, PAUSED))
        if node.monitor == RUNS:
            yield f"{NAMES[at]}'s monitor hangs", self._settle(_put(world, at, node._replace(monitor=HANGS)))
            is_about = bool(
                node.todo
                or node.outdates
                or node.state is S.DEMOTING
                or (world.mirror.sides[at].asks and node.question != 2)
            )
            if is_about and not node.is_slow and not self.rules.are_all_slow:
                yield f"{NAMES[at]} takes long", _put(world, at, node._replace(is_slow=True))
        if node.monitor != DIED:
            dead = node._replace(monitor=DIED, todo=(), outdates=None, question=0, say=None, is_slow=False)
            yield f"{NAMES[at]}'s monitor dies", self._settle(_put(world, at, dead))
        if self.rules.moves and node.state is S.ACTIVE_SYNC and not node.wishes:
            wishing = self._step(_put(world, at, node._replace(wishes=True)), at)
            yield f"{NAMES[at]} is to hand over", self._settle(wishing)

    def _settle(self, world: World) -> World:
        """Writes are acknowledged wherever they can; nobody waits for the look of one that does not run."""
        mirror = kernel.acknowledge(world.mirror, can_reach=self._wire(world))
        if mirror is not world.mirror:
            world = world._replace(mirror=mirror)
        if world.looked:
            other = world.nodes[1 - (world.looked >> 1)]
            if other.power != ON or other.monitor != RUNS or self.rules.looks_whenever:
                world = world._replace(looked=0)
        return world

    # --- the machine ---

    def _wire(self, world: World) -> bool:
        return world.carries & MIRROR_LINK == MIRROR_LINK and world.nodes[0].power == ON and world.nodes[1].power == ON

    def _hears(self, world: World, at: int) -> bool:
        """Whether anything from the partner reaches this node."""
        one, sends, hears = ((ONE_BA, B_SENDS, A_HEARS), (ONE_AB, A_SENDS, B_HEARS))[at]
        return bool(world.carries & one) or world.carries & (sends | hears) == sends | hears

    def _links_both_ways(self, world: World) -> int:
        one, two = ONE_AB | ONE_BA, A_SENDS | A_HEARS | B_SENDS | B_HEARS
        return (world.carries & one == one) + (world.carries & two == two)

    def _pings(self, world: World, at: int) -> bool:
        if self.rules.pings_any:
            return True
        needed = PING | ((A_SENDS | A_HEARS) if at == 0 else (B_SENDS | B_HEARS))
        return world.carries & needed == needed

    def _power_off(self, world: World, at: int) -> World:
        node = world.nodes[at]
        off = Node(
            power=OFF, monitor=DIED, epoch=node.epoch, held_epoch=node.held_epoch, last_active=node.last_active,
            refuses_outdate=node.refuses_outdate,
        )  # fmt: skip
        world = _put(world, at, off)
        return _forget_messages(world, at)._replace(mirror=kernel.reboot(world.mirror, at))

    def _start_monitor(self, world: World, at: int) -> World:
        old = world.nodes[at]
        kept = () if self.rules.forgets_epoch else ("epoch", "held_epoch", "last_active", "refuses_outdate")
        world = _put(world, at, Node(**{name: getattr(old, name) for name in kept}))
        return self._step(_forget_messages(world, at), at)

    def _wake(self, world: World, at: int) -> World:
        """What silence and pings seemed to say before the pause is void."""
        node = world.nodes[at]
        if self.rules.overlooks_pauses:
            return world
        heard = node.silence if node.silence == NEVER else STALLED
        woken = node._replace(
            silence=heard, ping_runs=False, ping_answers=False, mirror_link_lost=0, lost_monitor_first=True
        )
        return self._step(_put(world, at, woken), at)

    def _after_loss(self, world: World, lost: Mirror, at: int) -> World:
        world = world._replace(mirror=lost)
        side = lost.sides[at]
        if side.asks:
            # Whatever the monitor is still asked belongs to an earlier loss.
            node = world.nodes[at]
            world = _put(world, at, node._replace(question=min(node.question, 1)))
            if self.rules.has_lying_handler:
                world = world._replace(mirror=kernel.answer(world.mirror, at, FenceAnswer.PEER_OUTDATED))
        return world

    # --- a monitor looks ---

    def _look(self, world: World, at: int) -> World:
        node, other = world.nodes[at], world.nodes[1 - at]
        node = node._replace(witness_said=world.released[at] if self._reaches_witness(world, at) else None)
        links, pings = self._links_both_ways(world), self._pings(world, at)
        speaks = other.power == ON and other.monitor == RUNS and self._hears(world, at)
        echoes = other.power == ON and links > 0
        changes: dict[str, Any] = {"ping_answers": pings}
        if speaks:
            hears_us = other.silence in (HEARD, ECHO, LONG_ECHO, STALLED)
            lost = min(node.mirror_link_lost + 1, 2) if world.carries & MIRROR_LINK != MIRROR_LINK else 0
            changes |= {
                "silence": HEARD, "lost_monitor_first": False, "was_silent": False, "ping_runs": pings,
                "links_up": links, "mirror_link_lost": lost,
                "peer": (other.state, other.epoch, other.held_epoch, other.last_active, other.ping_answers, hears_us),
            }  # fmt: skip
        elif echoes:
            changes |= {
                "silence": LONG_ECHO if node.silence in (ECHO, LONG_ECHO) else ECHO,
                "was_silent": node.was_silent or node.silence in SILENCE,
                "ping_runs": pings, "links_up": links, "mirror_link_lost": 0,
            }  # fmt: skip
        else:
            changes |= {
                "silence": GAP if node.silence not in SILENCE else min(node.silence + 1, LONG_DEAD),
                "lost_monitor_first": node.lost_monitor_first or node.silence == LONG_ECHO,
                "ping_runs": node.ping_runs and pings, "mirror_link_lost": 0,
            }  # fmt: skip
        world = _put(world, at, node._replace(**changes))
        return self._step(world._replace(looked=1 << at), at)

    def _net(self, node: Node) -> NodeFacts:
        silent_ms = _SILENT_MS[node.silence]
        is_long = node.silence == LONG_ECHO or node.lost_monitor_first
        heartbeat_ms = silent_ms + (LONG_MS if is_long else 200 if node.silence == ECHO else 0)
        run_ms = LONG_MS if node.ping_answers and (node.ping_runs or node.silence == LONG_DEAD) else 0
        return NodeFacts(
            is_heard=node.silence == HEARD,
            heartbeat_ms=None if node.silence == NEVER else LONG_MS if node.silence == STALLED else heartbeat_ms,
            silent_ms=silent_ms,
            was_silent=node.was_silent,
            is_probed=node.silence in SILENCE,
            links_up_before=node.links_up,
            links=2,
            ping=PingFacts(node.ping_runs, not node.ping_runs, self._ping_silent_ms(node), run_ms),
        )

    def _ping_silent_ms(self, node: Node) -> int:
        if node.ping_answers:
            return 20
        return T.client_lost_ms if self.rules.moves else T.client_lost_ms - 1

    def view(self, world: World, at: int) -> GroupView:
        """What the product's decision is given."""
        node, side, other = world.nodes[at], world.mirror.sides[at], world.mirror.sides[1 - at]
        is_connected = side.connection is C.CONNECTED and side.is_up
        in_sync = is_connected and side.disk is side.peer_disk is D.UP_TO_DATE
        mirror = MirrorFacts()
        if side.is_up:
            mirror = MirrorFacts(
                is_up=True,
                role=Role.PRIMARY if side.is_primary else Role.SECONDARY,
                peer_role=(Role.PRIMARY if other.is_primary else Role.SECONDARY) if is_connected else Role.UNKNOWN,
                connection=side.connection,
                disk=side.disk,
                peer_disk=side.peer_disk,
                is_suspended=side.is_frozen,
                is_in_sync=in_sync,
            )
        peer = None
        if node.peer is not None:
            state, epoch, held, last, answers, hears = node.peer
            peer = PeerFacts(state, epoch, held, last, 1, ping_answers=answers, hears_us=hears)
        return GroupView(
            node=NAMES[at],
            partner=NAMES[1 - at],
            plan=PLAN,
            state=node.state,
            record=Record(node.epoch, node.held_epoch, node.last_active, node.refuses_outdate),
            mirror=mirror,
            peer=peer,
            net=self._net(node),
            mirror_link_silent_ms=node.mirror_link_lost * 200,
            since_ms=LONG_MS if node.state is not S.DEMOTING or node.is_slow else 0,
            address_is_up=True,
            is_serving=side.is_primary and not side.is_frozen,
            is_current=node.is_current,
            fence_pending=node.question > 0,
            fence_say=node.say,
            switch_to=NAMES[1 - at] if node.wishes else None,
            handed_epoch=node.handed_epoch,
            handover_refusal="refused" if node.is_refused else None,
            failures=node.failures,
            witness=self._witness_facts(node),
        )

    def _witness_facts(self, node: Node) -> WitnessFacts | None:
        if not self.has_witness:
            return None
        return WitnessFacts(node.witness_said is not None, has_released=bool(node.witness_said), holds=node.holds)

    def _decide(self, world: World, at: int) -> do.Step:
        node, side = world.nodes[at], world.mirror.sides[at]
        key = (at, node, side, side.connection is C.CONNECTED and world.mirror.sides[1 - at].is_primary)
        step = self.decisions.get(key)
        if step is None:
            step = self.decisions[key] = self.rules.decider(self.view(world, at), T)
        return step

    def _step(self, world: World, at: int) -> World:
        """Decide until nothing more is to be done at once; actions begin, and take their time."""
        for _ in range(8):
            node = world.nodes[at]
            if node.todo or node.power != ON or node.monitor != RUNS:
                return world
            step = self._decide(world, at)
            node = node._replace(is_current=step.is_current)
            slow: list[Any] = []
            for action in step.actions:
                match action:
                    case do.AskPeer():
                        world = self._send(world, at, ("ask", 1 - at, node.held_epoch, 2))
                    case do.OfferAgain():
                        world = self._send(world, at, ("offer", 1 - at, node.handed_epoch, 2))
                    case do.Claim():
                        world = self._tell_witness(world, at, "claim")
                    case do.Release():
                        node = node._replace(holds=False, witness_said=None)
                        world = self._tell_witness(self._forget_claims(world, at), at, "release")
                    case do.Note():
                        node = node._replace(epoch=action.epoch, last_active=action.last_active, refuses_outdate=False)
                    case do.DropAddress() | do.RaiseAddress() | do.Adopt():
                        pass
                    case do.TakeOver():
                        slow = [("persist", action), ("leave", action), ("promote", action), ("hold", action)]
                    case do.Answer():
                        slow.append(("answer", (action.answer, node.question)))
                    case _:
                        slow.append((type(action).__name__, action))
            before = node.state
            if not slow or step.state in _SEEN_FIRST:
                node = _enter(node, step.state)
            if slow:
                node = node._replace(todo=(step.state, *slow))
            after = _put(world, at, node)
            if slow or (after == world and node.state is before):
                return after
            world = after
        return world

    def _send(self, world: World, at: int, message: Message) -> World:
        if not self._hears(world, 1 - at) or world.nodes[1 - at].power == OFF:
            return world
        return world._replace(messages=world.messages | {message})

    # --- actions, one after the other ---

    def _act(self, world: World, at: int) -> Iterator[tuple[str, World]]:
        node = world.nodes[at]
        state, (what, action), rest = node.todo[0], node.todo[1], node.todo[2:]

        def done(world: World, **changes: Any) -> World:
            node = world.nodes[at]._replace(todo=(state, *rest) if rest else (), **changes)
            if not rest:
                node = node._replace(is_slow=False)
            if rest:
                return _put(world, at, node)
            if what not in ("hold", "HandOver"):
                node = _enter(node, state)
            return self._step(_put(world, at, node), at)

        def failed(world: World) -> World:
            return _put(world, at, world.nodes[at]._replace(todo=(), is_slow=False))

        mirror = world.mirror
        match what:
            case "persist":
                yield what, done(world, epoch=action.epoch, refuses_outdate=True)
            case "leave":
                if not action.leaves_peer:
                    yield what, done(world)
                    return
                left = self._after_loss(world, kernel.leave(mirror, at, self.rules.policy), at)
                if node.silence == HEARD:
                    yield "cannot take over", self._undo(left, at, action)
                else:
                    yield what, done(left)
            case "promote":
                yield from self._promote(world, at, action, done)
            case "hold":
                is_in_sync = mirror.sides[at].connection is C.CONNECTED and mirror.sides[at].peer_disk is D.UP_TO_DATE
                held = _enter(node, S.ACTIVE_SYNC if is_in_sync else S.ACTIVE_ALONE)
                held = held._replace(
                    todo=(),
                    is_slow=False,
                    held_epoch=action.epoch,
                    last_active=NAMES[at],
                    is_current=True,
                    refuses_outdate=True,
                )
                yield "serves", self._step(_put(world, at, held), at)
            case "StopServing" | "Clear" | "HandOver":
                demoted = kernel.demote(mirror, at)
                if demoted.sides[at].is_primary:
                    yield f"fails to {what}", self._after_failed_stop(world, at, what)
                    return
                if what == "Clear":
                    demoted = kernel.connect(demoted, at)
                world = world._replace(mirror=demoted)
                if what == "HandOver":
                    handing = world.nodes[at]._replace(
                        todo=(),
                        is_slow=False,
                        handed_epoch=action.epoch,
                        wishes=False,
                        is_refused=False,
                        refuses_outdate=False,
                    )
                    world = self._send(_put(world, at, handing), at, ("offer", 1 - at, action.epoch, 2))
                    yield what, self._step(world, at)
                    return
                yield what, done(world, refuses_outdate=False)
            case "Outdate":
                if mirror.sides[at].is_primary:
                    yield "fails to outdate", failed(world)
                    return
                yield what, done(world._replace(mirror=kernel.outdate(mirror, at)), is_current=False)
            case "LeavePeer":
                yield what, done(self._after_loss(world, kernel.leave(mirror, at, self.rules.policy), at))
            case "Connect":
                yield what, done(world._replace(mirror=kernel.connect(mirror, at)))
            case "answer":
                said, question = action
                if question == 2 and node.question == 2:
                    mirror = kernel.answer(mirror, at, said)
                yield f"answers {said.name}", done(world._replace(mirror=mirror), question=0)
            case "Reboot":
                yield what, self._power_off(world, at)

    def _after_failed_stop(self, world: World, at: int, what: str) -> World:
        node = world.nodes[at]._replace(todo=(), is_slow=False)
        if what == "HandOver":
            # It is taken back: nothing had been let go.
            node = _enter(node._replace(wishes=False), S.FROZEN)
        return _put(world, at, node)

    def _promote(
        self, world: World, at: int, action: do.TakeOver, done: Callable[..., World]
    ) -> Iterator[tuple[str, World]]:
        mirror = world.mirror
        said = None
        if kernel.is_refused(mirror, at):
            yield "is refused", self._undo(world, at, action)
            return
        if kernel.needs_answer(mirror, at):
            said = answer_own_promotion(self.view(world, at), T, is_granted=action.is_granted)
            if said is None:
                yield "gets no answer", self._undo(world, at, action)
                return
        promoted = kernel.promote(mirror, at, said)
        if promoted.sides[at].is_primary or promoted.wrong:
            yield "is promoted", done(world._replace(mirror=promoted))
        else:
            yield "is refused", self._undo(world._replace(mirror=promoted), at, action)

    def _undo(self, world: World, at: int, action: do.TakeOver) -> World:
        node = world.nodes[at]
        world = world._replace(mirror=kernel.demote(world.mirror, at))
        node = _enter(node, S.STANDBY_NOT)._replace(
            todo=(),
            is_slow=False,
            refuses_outdate=False,
            failures=node.failures + 1,
            is_current=node.is_current and action.leaves_peer,
        )
        world = _put(world, at, node)
        if not action.leaves_peer:
            world = self._send(world, at, ("refusal", 1 - at, action.epoch, 2))
        return self._step(world, at)

    # --- questions ---

    def _ask_monitor(self, world: World, at: int) -> World:
        """The helper dials: a new question, and whatever was said to an earlier one, or is about to be, is void."""
        node = world.nodes[at]
        todo = tuple(("answer", (one[1][0], 1)) if one[0] == "answer" else one for one in node.todo)
        node = node._replace(question=2, say=None, todo=todo)
        world = world._replace(messages=self._age(world.messages, at), late=self._age(world.late, at))
        other = world.nodes[1 - at]
        world = _put(world, 1 - at, other._replace(outdates=(1, other.outdates[1]) if other.outdates else None))
        return self._step(_put(world, at, node), at)

    def _age(self, messages: frozenset[Message], at: int) -> frozenset[Message]:
        """A new question: those of earlier ones are old, and no reply to them counts."""
        if not messages:
            return messages
        aged = set()
        for kind, to, what, age in messages:
            if kind == "ask" and to == 1 - at:
                aged.add((kind, to, what, 1))
            elif kind != "reply" or to != at or self.rules.believes_old_replies:
                aged.add((kind, to, what, age))
        return frozenset(aged)

    def _deliver(self, world: World, message: Message) -> World | None:
        kind, at, what, age = message
        if at == WITNESS:
            return self._at_witness(world, kind, what, age)
        node = world.nodes[at]
        if node.power != ON or node.monitor != RUNS:
            return None
        view = self.view(world, at)
        match kind:
            case "ask":
                say = answer_fence(node.state, view.record, view.mirror, what)
                if say is not None:
                    return self._reply(world, at, say, age)
                if node.outdates:
                    return world
                return _put(world, at, node._replace(outdates=(age, what)))
            case "grant":
                if age == 1 and not self.rules.believes_old_grants:
                    return world
                return self._step(_put(world, at, node._replace(holds=True)), at)
            case "reply":
                # After a restart no question is known, and no answer counts.
                return self._step(_put(world, at, node._replace(say=what)), at) if node.question else world
            case "offer":
                if node.state in (S.PROMOTING, S.ACTIVE_SYNC, S.ACTIVE_ALONE):
                    return world
                if refuse_handover(view, what, 1) is not None:
                    return self._send(world, at, ("refusal", 1 - at, what, 2))
                if node.todo:
                    return world
                action = do.TakeOver(what, leaves_peer=False)
                steps = (("persist", action), ("leave", action), ("promote", action), ("hold", action))
                return _put(world, at, _enter(node, S.PROMOTING)._replace(todo=(S.PROMOTING, *steps)))
            case _:
                return self._step(_put(world, at, node._replace(is_refused=True)), at)

    # --- the witness ---

    def _reaches_witness(self, world: World, at: int) -> bool:
        return self.has_witness and bool(world.carries & (A_WITNESS, B_WITNESS)[at])

    def _tell_witness(self, world: World, at: int, kind: str) -> World:
        if not self._reaches_witness(world, at):
            return world
        return world._replace(messages=world.messages | {(kind, WITNESS, at, 2)})

    def _forget_claims(self, world: World, at: int) -> World:
        """The right is given back: a claim under way is one of an earlier loss, and so is the answer to it."""

        def aged(messages: frozenset[Message]) -> frozenset[Message]:
            claim, grant = ("claim", WITNESS, at), ("grant", at, None)
            return frozenset((*one[:3], 1) if one[:3] in (claim, grant) else one for one in messages)

        return world._replace(messages=aged(world.messages), late=aged(world.late))

    def _at_witness(self, world: World, kind: str, at: int, age: int) -> World:
        """A node's word arrives. A release is worth nothing once the register is not what that node had read."""
        if kind == "release":
            return world._replace(released=_with(world.released, at, is_released=True))
        if not world.released[1 - at] and self.rules.witness is not Witness.GRANTS_ALL:
            return world
        world = self._supersede(world._replace(released=_with(world.released, at, is_released=False)), at)
        # An answer may be lost on its way, but not come to one that cannot be reached.
        if not self._reaches_witness(world, at) or world.nodes[at].power == OFF:
            return world
        return world._replace(messages=world.messages | {("grant", at, None, age)})

    def _supersede(self, world: World, at: int) -> World:
        """What this node read at the witness, and says on the strength of it, no longer counts."""
        if self.rules.releases_blindly:
            return world
        release = {("release", WITNESS, at, 2)}
        world = world._replace(messages=world.messages - release, late=world.late - release)
        node = world.nodes[at]
        return _put(world, at, node._replace(witness_said=None)) if node.witness_said is False else world

    def _restart_witness(self, world: World) -> World:
        """It forgets every word, and connections to it end."""
        is_old = self.rules.witness is Witness.KEEPS_OLD
        kept = [frozenset(one for one in some if one[1] != WITNESS) for some in (world.messages, world.late)]
        world = world._replace(messages=kept[0], late=kept[1], released=(is_old, is_old))
        for at in (0, 1):
            world = self._supersede(world, at)
        return world

    def _reply(self, world: World, at: int, say: FenceSay, age: int) -> World:
        if age == 1 and not self.rules.believes_old_replies:
            return world
        return self._send(world, at, ("reply", 1 - at, say, age))

    def _outdate_for_partner(self, world: World, at: int) -> World:
        node, view = world.nodes[at], self.view(world, at)
        assert node.outdates is not None
        age, asked_epoch = node.outdates
        world = _put(world, at, node._replace(outdates=None, is_slow=False))
        if not view.mirror.is_up:
            return world
        if (say := answer_fence(node.state, view.record, view.mirror, asked_epoch)) is not None:
            return self._reply(world, at, say, age)
        world = _put(world, at, node._replace(outdates=None, is_slow=False, is_current=False))
        made = (kernel.outdate_plainly if self.rules.has_plain_outdate else kernel.outdate)(world.mirror, at)
        world = world._replace(mirror=made)
        if self.rules.has_plain_outdate or made.sides[at].disk in (D.OUTDATED, D.INCONSISTENT):
            world = self._reply(world, at, FenceSay(Verdict.OUTDATED, node.held_epoch), age)
        return self._step(world, at)


def _enter(node: Node, state: GroupState) -> Node:
    if state is node.state:
        return node
    changes: dict[str, Any] = {"state": state}
    if state is S.FROZEN:
        changes["say"] = None
    if state.is_active or state is S.STANDBY_OK:
        changes["failures"] = 0
    if state is not S.DEMOTING:
        changes |= {"handed_epoch": 0, "is_refused": False}
    if state is not S.ACTIVE_SYNC:
        changes["wishes"] = False
    return node._replace(**changes)


def _forget_messages(world: World, at: int) -> World:
    """Those to a monitor that starts anew are not meant for it."""
    kept = [frozenset(one for one in some if one[1] != at) for some in (world.messages, world.late)]
    return world._replace(messages=kept[0], late=kept[1])


def _with(released: tuple[bool, bool], at: int, *, is_released: bool) -> tuple[bool, bool]:
    return (is_released, released[1]) if at == 0 else (released[0], is_released)


def _put(world: World, at: int, node: Node) -> World:
    mirror, nodes, carries, looked, messages, late, released = world
    nodes = (node, nodes[1]) if at == 0 else (nodes[0], node)
    return World(mirror, nodes, carries, looked, messages, late, released)


def _set_power(world: World, at: int, power: str) -> World:
    return _put(world, at, world.nodes[at]._replace(power=power))
