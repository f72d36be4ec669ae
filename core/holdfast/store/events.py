"""Events, numbered as they happen, so that a reader can go on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.store.database import Database
from holdfast.system.clock import Clock
from holdfast.values import to_plain

KEPT = 10_000


@dataclass(frozen=True)
class Event:
    """Something that happened. `subject` is `noun:name`."""

    id: int
    at: str
    kind: str
    subject: str
    body: Mapping[str, Any]


class EventLog:
    """The newest events, on disk."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def append(self, kind: str, subject: str, body: Mapping[str, Any]) -> Event:
        """Keep an event and give it its number; the oldest beyond KEPT are dropped."""
        at = self._clock.now().isoformat()
        plain = to_plain(body)
        async with self._database.change() as change:
            number = await change.insert(
                "INSERT INTO events (at, kind, subject, body) VALUES (?, ?, ?, ?)",
                (at, kind, subject, json.dumps(plain)),
            )
            await change.execute("DELETE FROM events WHERE id <= ?", (number - KEPT,))
        return Event(number, at, kind, subject, plain)

    async def after(self, number: int, *, most: int = 1000) -> tuple[Event, ...]:
        """Events with a higher number, ascending."""
        rows = await self._database.rows("SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", (number, most))
        return tuple(Event(r["id"], r["at"], r["kind"], r["subject"], json.loads(r["body"])) for r in rows)
