"""Snapshots that are about to go: who shows them by itself lets go of them first."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

LetGo = Callable[[str, str], Awaitable[None]]
"""Of a volume and a snapshot. Nothing of the kind is success."""


class Leaving:
    """Which they are now. In memory: who shows a snapshot begins with it anew after a restart."""

    def __init__(self) -> None:
        self._names: set[tuple[str, str]] = set()
        self._askers: list[LetGo] = []

    def ask(self, let_go: LetGo) -> None:
        """Have `let_go` awaited before a snapshot goes; meanwhile `is_leaving` tells so."""
        self._askers.append(let_go)

    def is_leaving(self, volume: str, name: str) -> bool:
        """Whether a snapshot is not to be taken up by anybody."""
        return (volume, name) in self._names

    @contextlib.asynccontextmanager
    async def of(self, volume: str, name: str) -> AsyncIterator[None]:
        """Have it free of what shows it by itself, for as long as the context lasts."""
        self._names.add((volume, name))
        try:
            for let_go in self._askers:
                await let_go(volume, name)
            yield
        finally:
            self._names.discard((volume, name))
