"""Events: kept, told to plugins' hooks, and streamed to whoever listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from holdfast.store.events import Event, EventLog


class Events:
    """Says what happened. A slow or gone listener delays nobody."""

    def __init__(self, kept: EventLog) -> None:
        self._kept = kept
        self._listeners: set[asyncio.Event] = set()

    async def emit(self, kind: str, subject: str, body: Mapping[str, Any] | None = None) -> None:
        """Keep an event and wake the listeners."""
        await self._kept.append(kind, subject, body or {})
        for listener in self._listeners:
            listener.set()

    async def follow(self, after: int) -> AsyncIterator[Event]:
        """Yield every kept event numbered above `after`, then each new one as it comes."""
        news = asyncio.Event()
        self._listeners.add(news)
        try:
            while True:
                news.clear()
                while batch := await self._kept.after(after):
                    for event in batch:
                        after = event.id
                        yield event
                await news.wait()
        finally:
            with contextlib.suppress(KeyError):
                self._listeners.remove(news)
