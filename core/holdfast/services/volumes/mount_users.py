"""Who of ours uses what is mounted, and lets go of it when asked."""

from __future__ import annotations

from typing import Protocol

from holdfast.errors import Reason


class MountUser(Protocol):
    """One of them."""

    async def why_held(self, volume: str) -> tuple[Reason, ...]:
        """Who of its own users would notice now."""
        ...

    async def release(self, volume: str) -> None:
        """Let go of a volume that is about to be unmounted."""
        ...

    async def take_up(self, volume: str) -> None:
        """Use it again; it is mounted."""
        ...
