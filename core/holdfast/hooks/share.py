"""The share role: exposing a directory of a NAS volume to clients."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from holdfast.hooks.base import Driver, Offer, hookspec


@dataclass(frozen=True)
class Exposure:
    """One share offered by one protocol. `path` is a mounted directory of this node."""

    share: str
    path: str
    is_read_only: bool
    allowed_clients: tuple[str, ...]
    """Addresses or networks; empty means nobody: open to all is asked for as `0.0.0.0/0`."""


@dataclass(frozen=True)
class ShareSession:
    """A client at work on a share."""

    share: str
    client: str
    user: str | None


class ShareDriver(Driver):
    """Offers shares over one protocol (SMB, NFS …). A share itself is the core's."""

    @abstractmethod
    async def expose(self, exposure: Exposure) -> Exposure:
        """Offer a share, or change how it is offered without dropping other clients. Returns what was read back."""

    @abstractmethod
    async def withdraw(self, share: str) -> None:
        """Offer it no more; the absent is success."""

    @abstractmethod
    async def list_exposures(self) -> tuple[Exposure, ...]:
        """What is offered now, by share."""

    @abstractmethod
    async def list_sessions(self, share: str) -> tuple[ShareSession, ...]:
        """Who uses a share now."""


class ShareHooks:
    """Hook specs of the share role."""

    @hookspec
    def share_driver(self) -> Offer[ShareDriver]:
        """Asked once at start: return your offer."""
        raise AssertionError("a specification is never called")

    @hookspec
    async def share_changed(self, share: str, what: str) -> None:
        """Told after a share was made, changed or removed (`what`)."""
