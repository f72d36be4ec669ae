from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdfast.peer.client import PeerClient, PeerTimeouts
from holdfast.peer.identity import Identity, load_or_create_identity
from holdfast.peer.pairing import Pairing
from holdfast.peer.partner import Partner, PartnerFile
from holdfast.peer.server import PeerServer
from holdfast.testing.fakes import ManualClock
from holdfast.testing.ports import free_port
from holdfast.values import Secret

LOOPBACK = "127.0.0.1"


@dataclass
class Node:
    """A node as far as its partner can tell: all of `peer`, composed as the daemon composes it."""

    identity: Identity
    partners: PartnerFile
    clock: ManualClock
    server: PeerServer
    client: PeerClient
    peer_port: int
    paired_with: list[Partner] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pairing = Pairing(
            self.identity,
            self.partners,
            self.clock,
            listen_address=LOOPBACK,
            pairing_port=0,
            peer_port=self.peer_port,
            on_paired=self.start,
        )

    async def start(self, partner: Partner) -> None:
        self.paired_with.append(partner)
        self.client.set_partner(partner)
        await self.server.start(partner)

    async def stop(self) -> None:
        await self.pairing.close()
        await self.client.close()
        await self.server.stop()


MakeNode = Callable[[str], Node]


@pytest.fixture
async def make_node(tmp_path: Path) -> AsyncIterator[MakeNode]:
    nodes: list[Node] = []

    def make(name: str, directory: str | None = None) -> Node:
        state = tmp_path / (directory or name)
        identity = load_or_create_identity(state / "identity", name, datetime.now(UTC))
        clock, port = ManualClock(), free_port()
        server = PeerServer(identity, address=LOOPBACK, port=port, clock=clock)
        client = PeerClient(identity, None, PeerTimeouts())
        nodes.append(Node(identity, PartnerFile(state / "partner.json"), clock, server, client, port))
        return nodes[-1]

    yield make
    for node in nodes:
        await node.stop()


@pytest.fixture
async def pair(make_node: MakeNode) -> tuple[Node, Node]:
    """Two nodes, a and b, as a pairing leaves them."""
    a, b = make_node("a"), make_node("b")
    for node, other in ((a, b), (b, a)):
        one = other.identity
        partner = Partner(one.node, one.node_id, LOOPBACK, other.peer_port, one.certificate_pem, Secret("ab" * 32))
        node.partners.save(partner)
        await node.start(partner)
    return a, b
