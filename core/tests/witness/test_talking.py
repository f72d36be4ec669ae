"""A witness and two nodes that ask it, over real connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdfast.errors import InvalidError
from holdfast.peer.frames import Channel
from holdfast.peer.identity import Identity, load_or_create_identity
from holdfast.peer.tls import pairing_client_context, witness_client_context
from holdfast.system.clock import SystemClock
from holdfast.testing.ports import free_port
from holdfast.witness.client import WitnessClient
from holdfast.witness.server import WitnessServer
from holdfast.witness.wire import GROUPS_A_FRAME, Reply, Request, decode_reply, encode

LOOPBACK = "127.0.0.1"


async def until(holds: Callable[[], bool], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what is waited for is told to nobody
            await asyncio.sleep(0.01)


@dataclass
class Place:
    """The three hosts."""

    identities: dict[str, Identity]
    port: int
    groups: tuple[str, ...] = ("g",)

    def server(self) -> WitnessServer:
        pair = (self.identities["a"].certificate_pem, self.identities["b"].certificate_pem)
        return WitnessServer(self.identities["witness"], {"pair": pair})

    def tls(self, node: str) -> ssl.SSLContext:
        return witness_client_context(self.identities[node], self.identities["witness"].certificate_pem)

    @asynccontextmanager
    async def witness(self) -> AsyncIterator[WitnessServer]:
        server = self.server()
        await server.start(LOOPBACK, self.port)
        try:
            yield server
        finally:
            await server.stop()

    @asynccontextmanager
    async def clients(self, *nodes: str) -> AsyncIterator[list[WitnessClient]]:
        made = [self._client(node) for node in nodes]
        running = [asyncio.create_task(client.run()) for client in made]
        try:
            yield made
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _client(self, node: str) -> WitnessClient:
        return WitnessClient(
            LOOPBACK,
            self.port,
            lambda: self.tls(node),
            groups=lambda: self.groups,
            wake=lambda: None,
            boot_s=SystemClock().boot_s,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    names = ("a", "b", "c", "witness")
    made = {name: load_or_create_identity(tmp_path / name, name, datetime.now(UTC)) for name in names}
    return Place(made, free_port())


async def in_sync(*clients: WitnessClient, group: str = "g") -> None:
    """Both have given the right back."""
    for client in clients:
        await until(lambda one=client: one.facts(group).answers)  # type: ignore[misc]
        client.release(group)
    for client in clients:
        await until(lambda one=client: one.facts(group).has_released and one.facts(group).is_open)  # type: ignore[misc]


async def test_one_of_two_that_claim_is_granted_the_right_and_the_other_once_it_was_given_back(place: Place) -> None:
    async with place.witness(), place.clients("a", "b") as (a, b):
        await in_sync(a, b)
        a.claim("g")
        await until(lambda: a.facts("g").holds)
        b.claim("g")
        await until(lambda: b.facts("g").answers and not b.facts("g").is_open)
        await asyncio.sleep(0.2)
        assert not b.facts("g").holds
        await until(lambda: not a.facts("g").has_released)
        a.release("g")
        assert not a.facts("g").holds
        await until(lambda: b.facts("g").is_open)
        b.claim("g")
        await until(lambda: b.facts("g").holds)


async def test_a_witness_that_started_anew_grants_nothing_until_both_gave_the_right_back(place: Place) -> None:
    async with place.clients("a", "b") as (a, b):
        async with place.witness():
            await in_sync(a, b)
        await until(lambda: not a.answers and not b.answers)
        async with place.witness():
            await until(lambda: a.facts("g").answers)
            assert not a.facts("g").is_open
            a.claim("g")
            await asyncio.sleep(0.2)
            assert not a.facts("g").holds
            await in_sync(a, b)
            a.claim("g")
            await until(lambda: a.facts("g").holds)


async def test_what_is_held_stays_held_without_the_witness_and_a_claim_waits_for_nobody(place: Place) -> None:
    async with place.clients("a", "b") as (a, b):
        async with place.witness():
            await in_sync(a, b)
            b.claim("g")
            await until(lambda: b.facts("g").holds)
        await until(lambda: not b.answers)
        assert b.facts("g").holds
        a.claim("g")  # returns at once
        await asyncio.sleep(1.0)
        async with place.witness():
            await until(lambda: a.facts("g").answers)
            # It was not renewed: it is no longer meant, and was not sent.
            assert not a.facts("g").holds


async def test_the_answer_to_a_claim_from_before_a_release_grants_nothing(place: Place) -> None:
    async with place.witness(), place.clients("a", "b") as (a, b):
        await in_sync(a, b)
        a.claim("g")
        a.release("g")
        await asyncio.sleep(0.3)
        assert not a.facts("g").holds
        a.claim("g")
        a.release("g")
        a.claim("g")
        await until(lambda: a.facts("g").holds)
        b.claim("g")
        await asyncio.sleep(0.3)
        assert not b.facts("g").holds


async def test_of_more_groups_than_a_frame_names_each_is_asked_about(place: Place) -> None:
    place.groups = tuple(f"g{n:03}" for n in range(3 * GROUPS_A_FRAME + 5))
    async with place.witness(), place.clients("a", "b") as (a, b):
        for group in place.groups:
            await until(lambda name=group: a.facts(name).answers and b.facts(name).answers)  # type: ignore[misc]
            b.release(group)
        for group in place.groups:
            await until(lambda name=group: a.facts(name).is_open)  # type: ignore[misc]
            a.claim(group)
        # Renewed, as by the decision, until it was asked.
        async with asyncio.timeout(5):
            while not all(a.facts(group).holds for group in place.groups):
                for group in place.groups:
                    if not a.facts(group).holds:
                        a.claim(group)
                await asyncio.sleep(0.05)


async def ask(place: Place, context: ssl.SSLContext) -> Reply:
    channel = await Channel.open(LOOPBACK, place.port, context)
    try:
        await channel.send(encode(Request(("g",))))
        return decode_reply(await channel.receive())
    finally:
        channel.abort()


async def test_a_stranger_is_heard_by_nobody_and_trusts_nobody(place: Place) -> None:
    async with place.witness():
        for context in (place.tls("c"), pairing_client_context()):
            with pytest.raises((OSError, EOFError)):
                await ask(place, context)
        other = witness_client_context(place.identities["a"], place.identities["c"].certificate_pem)
        with pytest.raises(ssl.SSLError):
            await Channel.open(LOOPBACK, place.port, other)
        # The control: who is known is answered.
        assert set((await ask(place, place.tls("a"))).groups) == {"g"}


@pytest.mark.parametrize("frame", [b"", b"[]", b"{", b'{"version": 2}', b'{"version": 1, "groups": ["../x"]}'])
async def test_what_is_not_understood_ends_the_connection_and_changes_nothing(place: Place, frame: bytes) -> None:
    async with place.witness(), place.clients("b") as (b,):
        channel = await Channel.open(LOOPBACK, place.port, place.tls("a"))
        await channel.send(frame)
        with pytest.raises((EOFError, OSError)):
            await channel.receive()
        await channel.close()
        await until(lambda: b.facts("g").answers)
        assert not b.facts("g").is_open


async def test_what_waits_on_an_earlier_connection_of_a_node_is_not_carried_out(place: Place) -> None:
    async with place.witness():
        earlier = await Channel.open(LOOPBACK, place.port, place.tls("a"))
        await earlier.send(encode(Request(("g",))))
        read = decode_reply(await earlier.receive())
        newer = await Channel.open(LOOPBACK, place.port, place.tls("a"))
        await newer.send(encode(Request(("g",))))
        await newer.receive()
        with suppress(OSError):
            await earlier.send(encode(Request(("g",), read.session, {"g": 0})))
        with pytest.raises((EOFError, OSError)):
            await earlier.receive()
        await newer.send(encode(Request(("g",))))
        assert not decode_reply(await newer.receive()).groups["g"].has_released
        await newer.close()
        await earlier.close()


async def test_two_nodes_that_are_no_pair_are_refused(place: Place) -> None:
    a, b = (place.identities[name].certificate_pem for name in ("a", "b"))
    for pairs in ({"one": (a, a)}, {"one": (a, b), "two": (a, b)}, {"one": (a, "nothing")}):
        with pytest.raises(InvalidError):
            WitnessServer(place.identities["witness"], pairs)
