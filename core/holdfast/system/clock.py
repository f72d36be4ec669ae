"""Time, injected so that tests can hold it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What may be asked of time."""

    def boot_s(self) -> float:
        """Seconds since boot, suspends included (`CLOCK_BOOTTIME`). Ages that decide use this."""
        ...

    def now(self) -> datetime:
        """The wall clock, aware, UTC. Compared and shown, never decided upon."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds."""
        ...


class SystemClock:
    """The machine's clocks."""

    def boot_s(self) -> float:
        """See Clock."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> datetime:
        """See Clock."""
        return datetime.now(UTC)

    async def sleep(self, delay_s: float) -> None:
        """See Clock."""
        await asyncio.sleep(delay_s)
