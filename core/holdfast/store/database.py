"""One SQLite file, one connection, short durable transactions.

Rollback journal, not WAL: the WAL-reset race of SQLite before 3.51.3 can lose commits, and Debian 12 ships 3.40
(sqlite.org/changes.html). `synchronous=EXTRA` also makes the journal's removal durable, so that what was
committed is there after a power cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import aiosqlite

from holdfast.errors import UnavailableError
from holdfast.system.files import sync_directory

APPLICATION_ID = 0x486F6C64  # "Hold"
PRAGMAS = (
    "journal_mode=DELETE",
    "synchronous=EXTRA",
    "foreign_keys=ON",
    "busy_timeout=5000",
    "trusted_schema=OFF",
)


def migrations() -> tuple[tuple[int, str], ...]:
    """Number and SQL of every migration, ascending without a gap."""
    folder = resources.files("holdfast.store") / "migrations"
    files = sorted(f.name for f in folder.iterdir() if f.name.endswith(".sql"))
    found = tuple((int(name[:4]), (folder / name).read_text()) for name in files)
    assert [number for number, _ in found] == list(range(1, len(found) + 1)), files
    return found


class Database:
    """The daemon's own file. Made with `open`; closed by `close`."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._writer = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Database:
        """Open or make the file, mode 0600, checked and migrated.

        Raises UnavailableError when it is damaged, not ours, or of a newer version than this program.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = await aiosqlite.connect(path, isolation_level=None)
        database = cls(connection, path)
        try:
            await database._prepare()
        except sqlite3.DatabaseError as reason:
            await connection.close()
            raise UnavailableError(f"{path} cannot be used: {reason}; restore it from a backup beside it") from reason
        except BaseException:
            await connection.close()
            raise
        return database

    async def _prepare(self) -> None:
        for pragma in PRAGMAS:
            await self._connection.execute(f"PRAGMA {pragma}")
        found = await self._pragma("application_id")
        version = await self._pragma("user_version")
        if found not in (0, APPLICATION_ID):
            raise UnavailableError(f"{self._path} is a database of another program")
        known = migrations()
        if version > len(known):
            raise UnavailableError(
                f"{self._path} has schema {version}, this program knows {len(known)}: run the newer program"
            )
        if version == len(known):
            return
        if version > 0:
            await self._check_and_back_up(version)
        for number, sql in known[version:]:
            marks = f"PRAGMA user_version={number}; PRAGMA application_id={APPLICATION_ID};"
            await self._connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\n{marks}\nCOMMIT;")
        sync_directory(self._path.parent)

    async def _check_and_back_up(self, version: int) -> None:
        answer = await self.rows("PRAGMA integrity_check")
        if [tuple(row) for row in answer] != [("ok",)]:
            raise UnavailableError(f"{self._path} is damaged: {[tuple(row) for row in answer][:3]}")
        backup = self._path.with_suffix(f".before-{version + 1}.sqlite")
        os.close(os.open(backup, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        async with aiosqlite.connect(backup) as copy:
            await self._connection.backup(copy)

    async def _pragma(self, name: str) -> int:
        rows = await self.rows(f"PRAGMA {name}")
        return int(rows[0][0])

    async def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Read."""
        self._connection.row_factory = sqlite3.Row
        return list(await self._connection.execute_fetchall(sql, values))

    @contextlib.asynccontextmanager
    async def change(self) -> AsyncIterator[Change]:
        """One durable transaction: all of it or nothing. Keep it short; never await the outside in it."""
        async with self._writer:
            try:
                # Within the try: a cancelled await does not stop the statement, which its thread runs all the same.
                await self._connection.execute("BEGIN IMMEDIATE")
                yield Change(self._connection)
            except BaseException:
                await asyncio.shield(self._roll_back())
                raise
            # A cancelled commit must not leave the transaction open for the next one.
            await asyncio.shield(self._commit())

    async def _commit(self) -> None:
        try:
            await self._connection.execute("COMMIT")
        except sqlite3.Error:  # a full disk, or a reader of another program that did not go: it is still open
            await self._roll_back()
            raise

    async def _roll_back(self) -> None:
        # A BEGIN that failed left nothing open. What waits in the connection's queue has run when this is asked there.
        await self._connection.rollback()

    async def close(self) -> None:
        """Close the file."""
        await self._connection.close()


class Change:
    """A transaction under way."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run one statement; return how many rows it touched."""
        cursor = await self._connection.execute(sql, values)
        return cursor.rowcount

    async def execute_many(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row of `values`."""
        await self._connection.executemany(sql, values)

    async def insert(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Insert one row; return its row id."""
        cursor = await self._connection.execute(sql, values)
        assert cursor.lastrowid is not None
        return cursor.lastrowid
