"""Looks at the kernel's state: few at a time, and what is asked for meanwhile is answered by the next one, together.

Dozens of mirrors that are read every second, and all at once when a partner is lost, would cost a process each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from holdfast_rep_block.events import Picture

ALL = "all"
"""No mirror can be called that (drbdsetup takes it for every one)."""
AT_ONCE = 2
"""So that one that hangs holds up nobody's."""


class Looks:
    """`look` reads the state of one resource, or of `ALL`."""

    def __init__(self, look: Callable[[str], Awaitable[Picture]]) -> None:
        self._look = look
        self._waiting: dict[str, asyncio.Future[Picture]] = {}
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def picture(self, name: str) -> Picture:
        """What the kernel says of one resource, or of all, at a moment after this was asked.

        It may hold more than was asked for, and be shared: to be read only. Raises what `look` raises.
        """
        answer = self._waiting.get(name)
        if answer is None:
            answer = self._waiting[name] = asyncio.get_running_loop().create_future()
        if self._under_way < AT_ONCE:
            self._under_way += 1
            task = asyncio.create_task(self._work(), name="looks at mirrors")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # Others may wait for the same.
        return await asyncio.shield(answer)

    async def _work(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, {}
                await self._answer(waiting)
        finally:
            # In the same breath as the look at who waits: whoever asks next starts another.
            self._under_way -= 1

    async def _answer(self, waiting: dict[str, asyncio.Future[Picture]]) -> None:
        try:
            picture = await self._look(next(iter(waiting)) if len(waiting) == 1 else ALL)
        except Exception as reason:
            for answer in waiting.values():
                answer.set_exception(reason)
                answer.exception()  # whoever asked may be gone
        except BaseException:
            for answer in waiting.values():
                answer.cancel()
            raise
        else:
            for answer in waiting.values():
                answer.set_result(picture)
