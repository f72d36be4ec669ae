"""What a node judges its partner and itself by: links, ping nodes, and a witness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Link:
    """One network path between the nodes that carries heartbeats, over IPv4."""

    name: str
    interface: str
    local_address: str
    peer_address: str
    port: int = 7788


@dataclass(frozen=True)
class LinkStatus:
    """A link as this node sees it; up only if both directions are confirmed."""

    name: str
    is_up: bool
    heard_ms_ago: int | None
    loss_percent: float | None
    refused: int = 0
    """Datagrams that came in on it since the monitor started and were not believed."""
    last_refusal: str | None = None
    """Why the newest of them was not."""


@dataclass(frozen=True)
class PingNodeStatus:
    """A ping node as this node sees it."""

    address: str
    answers: bool
    since_ms: int | None
    """For how long it has answered without a gap, or has been silent; None: it never answered."""


WITNESS_PORT = 8446


@dataclass(frozen=True)
class WitnessHost:
    """Where the witness of a pair listens, and the one certificate trusted there, as PEM."""

    address: str
    port: int
    certificate: str


@dataclass(frozen=True)
class WitnessStatus:
    """The witness as this node sees it."""

    address: str
    answers: bool


def with_ping_nodes(plain: Mapping[str, Any]) -> dict[str, Any]:
    """What a former version wrote, which had one `ping_node` or none, with `ping_nodes`."""
    if "ping_node" not in plain:
        return dict(plain)
    former = {name: value for name, value in plain.items() if name != "ping_node"}
    return {**former, "ping_nodes": [] if plain["ping_node"] is None else [plain["ping_node"]]}
