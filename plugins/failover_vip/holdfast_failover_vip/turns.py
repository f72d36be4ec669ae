"""Turns for the takeovers of many groups at once: a few side by side, and none waits for long for one that hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

AT_ONCE = 4
"""Each starts programs from the monitor's loop, and so does the kernel for it. Sixteen at once, on a node of one
processor, kept the loop from turning for 220 to 440 ms again and again: its evidence was void, and every promotion
waited for new one."""
WAITS_S = 5.0


class Turns:
    """Shared by all groups of a node."""

    def __init__(self, at_once: int = AT_ONCE, waits_s: float = WAITS_S) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._waits_s = waits_s

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a turn; after `waits_s` go on without one, for what hangs in the others may hang for ever."""
        is_held = True
        try:
            async with asyncio.timeout(self._waits_s):
                await self._free.acquire()
        except TimeoutError:
            is_held = False
        try:
            yield
        finally:
            if is_held:
                self._free.release()
