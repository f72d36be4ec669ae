"""Which nodes a person works on. Each node keeps its own mark and a copy of its partner's."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.store.intent import Intents


@dataclass(frozen=True)
class MaintenanceMark:
    """A node is in maintenance."""

    node: str
    since: str
    """RFC 3339, UTC."""
    reason: str
    """A person's words; empty where none were given."""


class MaintenanceMarks:
    """The marks as this node knows them; they are kept over reboots."""

    def __init__(self, kept: Intents[MaintenanceMark]) -> None:
        self._kept = kept

    async def all(self) -> tuple[MaintenanceMark, ...]:
        """Every mark, by node."""
        return tuple((await self._kept.all()).values())

    async def nodes(self) -> tuple[str, ...]:
        """The nodes in maintenance, by name."""
        return tuple(await self._kept.all())

    async def find(self, node: str) -> MaintenanceMark | None:
        """The mark of a node, or None."""
        kept = await self._kept.find(node)
        return kept.document if kept else None

    async def set(self, node: str, mark: MaintenanceMark | None) -> None:
        """Keep a node's mark, or that it has none. Repeated, it changes nothing."""
        if await self.find(node) == mark:
            return
        if mark is None:
            await self._kept.remove(node)
        else:
            await self._kept.put(node, mark)
