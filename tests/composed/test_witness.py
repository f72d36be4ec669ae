"""Both nodes' halves of a group, a model of their mirror, and a real witness: who goes on when they miss each other.

Each reaches its ping node all the while, and the other one not: a network that is not transitive.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdfast.hooks.failover import GroupPlan, GroupStack, GroupState
from holdfast.hooks.replication import ConnectionState, FenceAnswer, FenceArbiter
from holdfast.peer.identity import Identity, load_or_create_identity
from holdfast.peer.tls import witness_client_context
from holdfast.system.clock import SystemClock
from holdfast.testing.memory_mirror_bed import MemoryMirrorBed
from holdfast.testing.mirror import eventually, serving
from holdfast.testing.ports import free_port
from holdfast.witness.client import WitnessClient
from holdfast.witness.server import WitnessServer
from holdfast_failover_vip.address import VirtualAddresses
from holdfast_failover_vip.epoch import EpochFile
from holdfast_failover_vip.facts import NodeFacts, PeerFacts, PingFacts, Record
from holdfast_failover_vip.group import Group
from holdfast_failover_vip.surroundings import Surroundings
from holdfast_failover_vip.timers import Timers
from plugins.failover_vip.tests.test_outdating import Side

S = GroupState
LOOPBACK = "127.0.0.1"
PLAN = GroupPlan("g", 1, "m0", (), (), preferred="a", is_started=True)
PING = PingFacts(is_continuous=True, silent_ms=20, run_ms=600_000)
HEARD = NodeFacts(is_heard=True, heartbeat_ms=20, silent_ms=20, links_up_before=2, links=2, ping=PING)
SILENT = NodeFacts(heartbeat_ms=410, silent_ms=410, is_probed=True, links_up_before=2, links=2, ping=PING)
GOES_ON_WITHIN_S = 20.0  # after several losses in a row a mirror waits for some seconds before it connects again
STAYS_S = 1.0


async def until(holds: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(GOES_ON_WITHIN_S):
            while not holds():  # noqa: ASYNC110 - what is waited for is told to nobody
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"not in time: {what}")


class Half(FenceArbiter):
    """One node's monitor without its network: what it hears is said to it."""

    def __init__(self, node: str, bed: MemoryMirrorBed, path: Path, witness: WitnessClient | None) -> None:
        self.witness = witness
        self.net = HEARD
        self.others: list[Half] = []
        self.restarts = 0
        self._asking: asyncio.Task[None] | None = None
        file = EpochFile(path / f"{node}.epoch")
        file.load()
        file.write(Record(1, 1 if node == "a" else 0, "a"))
        around = Surroundings(
            node=node,
            partner="b" if node == "a" else "a",
            timers=Timers(),
            boot_s=SystemClock().boot_s,
            wall=lambda: "",
            net=lambda: self.net,
            in_maintenance=lambda: (),
            link_silent_ms=lambda _link: None,
            is_punctual=lambda: True,
            wake=lambda: None,
            tell=lambda _decision: None,
            reboot=self._reboot,
            ask_fence=self._ask,
            offer=lambda _group, _epoch, _revision: None,
            refuse_offer=lambda _group, _epoch, _reason: None,
            witness=lambda: self.witness,
        )
        self.group = Group(GroupStack(PLAN, Side(bed, node), ()), VirtualAddresses(()), file, around)

    def _ask(self, _mirror: str, epoch: int) -> None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._hear_answer(epoch))

    async def _hear_answer(self, epoch: int) -> None:
        [other] = self.others
        self.group.fence_say = await other.group.outdate_for_partner(epoch)

    async def _reboot(self) -> None:
        self.restarts += 1

    async def fence_peer(self, mirror: str) -> FenceAnswer:
        """See FenceArbiter."""
        return await self.group.fence_peer()

    async def mirror_event(self, mirror: str, event: str) -> None:
        """See FenceArbiter."""

    async def run(self) -> None:
        """Hear the other one, look at the mirror, decide."""
        while True:
            if self.net.is_heard:
                [other] = self.others
                record = other.group.record
                self.group.peer = PeerFacts(
                    other.group.state, record.epoch, record.held_epoch, record.last_active, 1, ping_answers=True,
                    hears_us=other.net.is_heard,
                )  # fmt: skip
            self.group.step(self.net)
            self.group.mirror_changed()  # it is read before the next step
            await asyncio.sleep(0.01)


class Pair:
    """Both, and their mirror."""

    def __init__(self, bed: MemoryMirrorBed, a: Half, b: Half) -> None:
        self.bed, self.a, self.b = bed, a, b

    @property
    def states(self) -> tuple[GroupState, GroupState]:
        return self.a.group.state, self.b.group.state

    @property
    def serve(self) -> list[str]:
        return [n for n, state in zip("ab", self.states, strict=True) if state in (S.ACTIVE_SYNC, S.ACTIVE_ALONE)]

    @property
    def is_ready(self) -> bool:
        """In sync, and if there is a witness, both have released the right."""
        facts = [half.witness.facts("g") for half in (self.a, self.b) if half.witness is not None]
        return self.states == (S.ACTIVE_SYNC, S.STANDBY_OK) and all(one.has_released and one.is_open for one in facts)

    async def part(self) -> None:
        """From now on nothing passes between the two."""
        await self.bed.cut_link()
        self.a.net = self.b.net = SILENT

    async def meet(self) -> None:
        """They reach each other again."""
        await self.bed.mend_link()
        self.a.net = self.b.net = HEARD


class Third:
    """The witness's host."""

    def __init__(self, path: Path) -> None:
        made = {name: load_or_create_identity(path / name, name, datetime.now(UTC)) for name in ("a", "b", "w")}
        self.identities: dict[str, Identity] = made
        self.port = free_port()

    @asynccontextmanager
    async def runs(self) -> AsyncIterator[None]:
        pair = (self.identities["a"].certificate_pem, self.identities["b"].certificate_pem)
        server = WitnessServer(self.identities["w"], {"pair": pair})
        await server.start(LOOPBACK, self.port)
        try:
            yield
        finally:
            await server.stop()

    def client(self, node: str) -> WitnessClient:
        return WitnessClient(
            LOOPBACK,
            self.port,
            lambda: witness_client_context(self.identities[node], self.identities["w"].certificate_pem),
            groups=lambda: ("g",),
            wake=lambda: None,
            boot_s=SystemClock().boot_s,
        )


@asynccontextmanager
async def served(path: Path, third: Third | None) -> AsyncIterator[Pair]:
    """Node a serves, b stands by."""
    bed = MemoryMirrorBed()
    for node in ("a", "b"):
        await bed.driver(node).create_metadata(bed.specs[node])
        await bed.driver(node).connect(bed.specs[node])
    await eventually(bed.driver("a"), "m0", lambda s: s.connection is ConnectionState.CONNECTED, bed.within_s)
    await bed.driver("a").skip_first_sync("m0")
    await bed.driver("a").promote("m0")
    halves = [Half(node, bed, path, third.client(node) if third is not None else None) for node in ("a", "b")]
    halves[0].others, halves[1].others = [halves[1]], [halves[0]]
    running = []
    async with AsyncExitStack() as stack:
        for node, half in zip("ab", halves, strict=True):
            await stack.enter_async_context(serving(bed.driver(node), half))
            await half.group.look()
            running += [asyncio.create_task(half.group.follow_mirror()), asyncio.create_task(half.run())]
            if half.witness is not None:
                running.append(asyncio.create_task(half.witness.run()))
        try:
            yield Pair(bed, *halves)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for half in halves:
                await half.group.close()


async def test_with_a_witness_one_of_them_goes_on_and_without_one_both_do(tmp_path: Path) -> None:
    third = Third(tmp_path)
    async with third.runs(), served(tmp_path, third) as pair:
        await until(lambda: pair.is_ready, "both are in sync")
        await pair.part()
        await until(lambda: len(pair.serve) == 1, "one goes on")
        await asyncio.sleep(STAYS_S)
        assert len(pair.serve) == 1
        assert set(pair.states) & {S.FROZEN, S.SUSPECT}
    # The control: it is the witness that makes the difference.
    async with served(tmp_path, None) as pair:
        await until(lambda: pair.is_ready, "both are in sync")
        await pair.part()
        await until(lambda: len(pair.serve) == 2, "both go on")


async def test_without_the_witness_word_nobody_goes_on_and_in_contact_all_is_as_it_was(tmp_path: Path) -> None:
    third = Third(tmp_path)
    async with served(tmp_path, third) as pair:
        async with third.runs():
            await until(lambda: pair.is_ready, "both are in sync")
        await asyncio.sleep(STAYS_S)
        assert pair.states == (S.ACTIVE_SYNC, S.STANDBY_OK)
        await pair.part()
        await until(lambda: pair.states == (S.FROZEN, S.SUSPECT), "both wait")
        async with third.runs():
            # It started anew, and knows of nobody that the right was released.
            await asyncio.sleep(2 * STAYS_S)
            assert pair.states == (S.FROZEN, S.SUSPECT)
            await pair.meet()
            await until(lambda: pair.is_ready, "both are in sync again")
            await pair.part()
            await until(lambda: len(pair.serve) == 1, "one goes on")


async def test_one_that_lost_its_partner_for_good_goes_on_with_the_right_in_hand(tmp_path: Path) -> None:
    third = Third(tmp_path)
    for node in "ab":
        path = tmp_path / f"without-{node}"
        path.mkdir()
        async with third.runs(), served(path, third) as pair:
            await until(lambda made=pair: made.is_ready, "both are in sync")  # type: ignore[misc]
            lost = pair.b if node == "a" else pair.a
            # It has no power: it decides nothing, and claims nothing.
            lost.witness, lost.group.step = None, lambda net: None  # type: ignore[method-assign]
            await pair.part()
            await until(lambda made=pair, own=node: own in made.serve, f"{node} goes on")  # type: ignore[misc]
