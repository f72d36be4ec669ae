"""What the user asked for: one document for each named thing."""

from __future__ import annotations

import json
import sqlite3
import uuid
from dataclasses import dataclass
from typing import Generic, TypeVar

from holdfast.errors import NotFoundError
from holdfast.store.database import Change, Database
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

T = TypeVar("T")


@dataclass(frozen=True)
class Kept(Generic[T]):
    """A document with its identity: `uuid` never changes, `revision` grows with each change."""

    uuid: str
    revision: int
    document: T


class Intents(Generic[T]):
    """The documents of one kind, a frozen dataclass that has no secrets in it."""

    def __init__(self, database: Database, clock: Clock, kind: str, document: type[T]) -> None:
        self._database = database
        self._clock = clock
        self.kind = kind
        self._document = document

    async def find(self, name: str) -> Kept[T] | None:
        """The document of that name, or None."""
        rows = await self._database.rows("SELECT * FROM intent WHERE kind=? AND name=?", (self.kind, name))
        return self._kept(rows[0]) if rows else None

    async def get(self, name: str) -> T:
        """The document of that name. Raises NotFoundError."""
        kept = await self.find(name)
        if kept is None:
            raise NotFoundError(f"there is no {self.kind} {name!r}")
        return kept.document

    async def all(self) -> dict[str, T]:
        """All documents by name, in the order of their names."""
        rows = await self._database.rows("SELECT * FROM intent WHERE kind=? ORDER BY name", (self.kind,))
        return {row["name"]: self._kept(row).document for row in rows}

    async def put(self, name: str, document: T) -> None:
        """Make or replace a document, durably."""
        async with self._database.change() as change:
            await self.put_in(change, name, document)

    async def put_in(self, change: Change, name: str, document: T) -> None:
        """The same within a transaction."""
        await change.execute(
            "INSERT INTO intent (kind, name, uuid, revision, document, changed_at) VALUES (?, ?, ?, 1, ?, ?)"
            " ON CONFLICT (kind, name) DO UPDATE SET revision=revision+1, document=excluded.document,"
            " changed_at=excluded.changed_at",
            (self.kind, name, str(uuid.uuid4()), json.dumps(to_plain(document)), self._clock.now().isoformat()),
        )

    async def remove(self, name: str) -> None:
        """Forget a document; the absent is success."""
        async with self._database.change() as change:
            await change.execute("DELETE FROM intent WHERE kind=? AND name=?", (self.kind, name))

    def _kept(self, row: sqlite3.Row) -> Kept[T]:
        return Kept(
            row["uuid"],
            row["revision"],
            from_plain(self._document, json.loads(row["document"])),
        )


class Revisions:
    """Which state of a document is on record, whatever its kind."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tag(self, kind: str, name: str) -> str | None:
        """A word that no other state of this document ever had, nor one of the same name that was removed before it."""
        rows = await self._database.rows("SELECT uuid, revision FROM intent WHERE kind=? AND name=?", (kind, name))
        return f"{rows[0]['uuid']}.{rows[0]['revision']}" if rows else None
