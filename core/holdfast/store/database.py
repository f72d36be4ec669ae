"""One SQLite file, one connection, short durable changes; those that arrive together share one commit.

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
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import aiosqlite

from holdfast.errors import HoldfastError, NoSpaceError, Reason, UnavailableError
from holdfast.system.files import sync_directory

APPLICATION_ID = 0x486F6C64  # "Hold"
PRAGMAS = (
    "journal_mode=DELETE",
    "synchronous=EXTRA",
    "foreign_keys=ON",
    "busy_timeout=5000",
    "trusted_schema=OFF",
)


MIGRATIONS = resources.files("holdfast.store") / "migrations"


def migrations(folder: Traversable = MIGRATIONS) -> tuple[tuple[int, str], ...]:
    """Number and SQL of every migration in a folder, ascending without a gap."""
    files = sorted(f.name for f in folder.iterdir() if f.name.endswith(".sql"))
    found = tuple((int(name[:4]), (folder / name).read_text()) for name in files)
    assert [number for number, _ in found] == list(range(1, len(found) + 1)), files
    return found


class _Group:
    """Changes that share a commit: `failure` is why none of them was kept."""

    def __init__(self) -> None:
        self.is_over = False
        self.failure: sqlite3.Error | None = None


class Database:
    """The daemon's own file. Made with `open`; closed by `close`."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        # It is fair: who finished a change and comes for its commit stands behind all who wait to make theirs.
        self._writer = asyncio.Lock()
        self._group: _Group | None = None

    @classmethod
    async def open(cls, path: Path, *, folder: Traversable = MIGRATIONS) -> Database:
        """Open or make the file, mode 0600, checked and migrated with what is in `folder`.

        Raises UnavailableError when it is damaged, not ours, of a newer version than this program, or cannot be
        migrated; it is then as it was.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = await aiosqlite.connect(path, isolation_level=None)
        database = cls(connection, path)
        try:
            await database._prepare(migrations(folder))
        except sqlite3.DatabaseError as reason:
            await connection.close()
            raise UnavailableError(f"{path} cannot be used: {reason}; restore it from a backup beside it") from reason
        except BaseException:
            await connection.close()
            raise
        return database

    async def _prepare(self, known: Sequence[tuple[int, str]]) -> None:
        for pragma in PRAGMAS:
            await self._connection.execute(f"PRAGMA {pragma}")
        found = await self._pragma("application_id")
        version = await self._pragma("user_version")
        if found not in (0, APPLICATION_ID):
            raise UnavailableError(f"{self._path} is a database of another program")
        if version > len(known):
            raise UnavailableError(
                f"{self._path} has schema {version}, this program knows {len(known)}: run the newer program"
            )
        if version == len(known):
            return
        if version > 0:
            await self._check_and_back_up(version)
        for number, sql in known[version:]:
            await self._migrate(number, sql)
        sync_directory(self._path.parent)

    async def _migrate(self, number: int, sql: str) -> None:
        marks = f"PRAGMA user_version={number}; PRAGMA application_id={APPLICATION_ID};"
        try:
            await self._connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\n{marks}\nCOMMIT;")
        except sqlite3.DatabaseError as reason:
            await self._connection.rollback()
            if number == 1:
                raise
            raise UnavailableError(
                f"{self._path} could not be brought to schema {number}: {reason}; it is as it was with schema "
                f"{number - 1}: run the program that made it"
            ) from reason

    async def _check_and_back_up(self, version: int) -> None:
        await _check(self._connection, self._path)
        backup = self._path.with_suffix(f".before-{version + 1}.sqlite")
        os.close(os.open(backup, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        async with aiosqlite.connect(backup) as copy:
            await self._connection.backup(copy)
            await _check(copy, backup)
        sync_directory(backup.parent)

    async def _pragma(self, name: str) -> int:
        rows = await self.rows(f"PRAGMA {name}")
        return int(rows[0][0])

    async def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Read. What is seen may be about to be committed, by whoever waits for that."""
        self._connection.row_factory = sqlite3.Row
        return list(await self._connection.execute_fetchall(sql, values))

    @contextlib.asynccontextmanager
    async def change(self) -> AsyncIterator[Change]:
        """All of it or nothing, and durable once left. Keep it short; never await the outside in it.

        Those who wait meanwhile make their changes in the same transaction, each behind a savepoint of its own, and
        the first to come back for its commit makes it for all: a commit costs two syncs of the disk, a change none.

        Raises NoSpaceError where the disk is full, UnavailableError where it cannot be written; nothing was changed.
        """
        async with self._writer:
            is_first = self._group is None
            group = self._group = self._group or _Group()
            try:
                # Within the try: a cancelled await does not stop the statement, which its thread runs all the same.
                await self._connection.execute("BEGIN IMMEDIATE" if is_first else "SAVEPOINT change")
                yield Change(self._connection)
                if not self._connection.in_transaction:  # or what others make next would be committed without it
                    raise sqlite3.OperationalError("SQLite gave the transaction up")
            except sqlite3.OperationalError as reason:
                await asyncio.shield(self._take_back(group, is_first=is_first))
                raise self._unwritable(reason) from reason
            except BaseException:
                await asyncio.shield(self._take_back(group, is_first=is_first))
                raise
        # Whoever is cancelled here leaves a commit behind that is made all the same: the others' changes are in it.
        await asyncio.shield(self._settle(group))

    async def _settle(self, group: _Group) -> None:
        async with self._writer:
            if not group.is_over:
                await self._commit(group)
        if group.failure is not None:
            raise self._unwritable(group.failure) from group.failure

    def _unwritable(self, reason: sqlite3.Error) -> HoldfastError:
        """What to tell of a change that the disk did not take."""
        place = self._path.parent
        if getattr(reason, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            full = Reason("state-disk-full", f"the file system of {place} is full", f"make room on the one of {place}")
            return NoSpaceError(f"{full.text}: nothing was changed", reasons=(full,))
        return UnavailableError(f"{self._path} could not be written, and nothing was changed: {reason}")

    async def _commit(self, group: _Group) -> None:
        self._group, group.is_over = None, True
        try:
            await self._connection.execute("COMMIT")
        except sqlite3.Error as reason:  # a full disk, or a reader of another program that did not go: it is still open
            group.failure = reason
            await self._connection.rollback()

    async def _take_back(self, group: _Group, *, is_first: bool) -> None:
        # The first has nobody before it. A BEGIN that failed left nothing open. What waits in the connection's queue
        # has run when this is asked there. The savepoint stays until the commit: a later one of its name hides it.
        if not is_first:
            try:
                await self._connection.execute("ROLLBACK TO change")
            except sqlite3.Error as reason:  # a full disk voids the whole transaction, with what came before
                group.failure = reason
            else:
                return
        self._group, group.is_over = None, True
        await self._connection.rollback()

    async def close(self) -> None:
        """Close the file; a commit that somebody left behind is made."""
        async with self._writer:
            if self._group is not None:
                await self._commit(self._group)
        await self._connection.close()


async def _check(connection: aiosqlite.Connection, path: Path) -> None:
    """Raise UnavailableError when the file is damaged."""
    answer = [tuple(row) for row in await connection.execute_fetchall("PRAGMA integrity_check")]
    if answer != [("ok",)]:
        raise UnavailableError(f"{path} is damaged: {answer[:3]}; restore it from a backup beside it")


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
