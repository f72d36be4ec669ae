"""What the user asked for on a destination of data replication: the agent, and the shares opened to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Transport(StrEnum):
    """How copies cross."""

    TLS = "tls"
    PLAIN = "plain"
    """Whoever is on the line reads along."""


@dataclass(frozen=True)
class AgentDocument:
    """Where this node accepts copies."""

    address: str
    port: int
    transport: Transport = Transport.PLAIN
    """One that was enabled before there was a choice goes on in clear, as its sources do."""


@dataclass(frozen=True)
class ReplicaShareDocument:
    """A share opened as a destination."""

    name: str
    share: str
    user: str
    password: str
    """A reference into the secrets."""
    allowed_sources: tuple[str, ...]
    source_certificates: tuple[str, ...] = ()
    """PEM. Of sources that are neither this node nor its partner."""
    bandwidth_bytes_s: int | None = None
    former_password: str | None = None
    """A reference into the secrets: it is accepted, too, until `former_until`."""
    former_until: str | None = None
