from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from holdfast.errors import UnavailableError
from holdfast.store.database import APPLICATION_ID, Database, migrations


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


INSERT = "INSERT INTO secrets (id, value) VALUES (?, 'x')"


async def ids(database: Database) -> list[str]:
    return [row["id"] for row in await database.rows("SELECT id FROM secrets ORDER BY id")]


async def test_a_new_file_is_migrated_marked_as_ours_and_closed_to_others(database: Database, path: Path) -> None:
    assert (await database.rows("PRAGMA user_version"))[0][0] == len(migrations())
    assert (await database.rows("PRAGMA application_id"))[0][0] == APPLICATION_ID
    assert mode_of(path) == 0o600
    assert mode_of(path.parent) == 0o700


async def test_commits_are_durable_and_foreign_keys_hold(database: Database) -> None:
    pragmas = {name: (await database.rows(f"PRAGMA {name}"))[0][0] for name in ("journal_mode", "synchronous")}
    assert pragmas == {"journal_mode": "delete", "synchronous": 3}
    with pytest.raises(sqlite3.IntegrityError):
        async with database.change() as change:
            await change.execute("INSERT INTO job_steps VALUES ('no job', 0, 'n', 'pending')")


async def test_a_file_opened_again_keeps_what_it_had(path: Path) -> None:
    for expected in (["a"], ["a", "b"]):
        database = await Database.open(path)
        async with database.change() as change:
            await change.execute(INSERT, (expected[-1],))
        await database.close()
        database = await Database.open(path)
        assert await ids(database) == expected
        await database.close()


def write(path: Path, *statements: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


async def test_a_newer_schema_is_refused_and_left_as_it_is(path: Path) -> None:
    newer = len(migrations()) + 1
    write(path, f"PRAGMA user_version={newer}", f"PRAGMA application_id={APPLICATION_ID}", "CREATE TABLE theirs (a)")
    before = content_of(path)
    with pytest.raises(UnavailableError, match=f"has schema {newer}.*run the newer program"):
        await Database.open(path)
    assert content_of(path) == before


async def test_a_database_of_another_program_is_refused(path: Path) -> None:
    write(path, "PRAGMA application_id=4711", "CREATE TABLE theirs (a)")
    before = content_of(path)
    with pytest.raises(UnavailableError, match="another program"):
        await Database.open(path)
    assert content_of(path) == before


def plant(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)


@pytest.mark.parametrize("content", [b"not a database, but long enough for a header" * 100, b"short"])
async def test_a_damaged_file_is_refused_with_what_to_do_and_never_replaced(path: Path, content: bytes) -> None:
    plant(path, content)
    with pytest.raises(UnavailableError, match="restore it from a backup"):
        await Database.open(path)
    assert content_of(path) == content


async def test_a_change_that_fails_leaves_nothing_and_the_next_one_works(database: Database) -> None:
    with pytest.raises(KeyError):  # noqa: PT012 - where in the block it is raised is what is tested
        async with database.change() as change:
            await change.execute(INSERT, ("a",))
            raise KeyError
    with pytest.raises(sqlite3.IntegrityError):
        async with database.change() as change:
            await change.execute_many(INSERT, [("a",), ("b",), ("a",)])
    assert await ids(database) == []
    async with database.change() as change:
        assert await change.execute(INSERT, ("c",)) == 1
    assert await ids(database) == ["c"]


async def test_changes_wait_for_each_other(database: Database) -> None:
    async def add(name: str) -> None:
        async with database.change() as change:
            await change.execute(INSERT, (name,))
            await asyncio.sleep(0)
            await change.execute(INSERT, (name + "2",))

    await asyncio.gather(*(add(name) for name in "abcde"))
    assert len(await ids(database)) == 10


@pytest.mark.parametrize("turns", range(14))
async def test_a_change_cancelled_anywhere_is_whole_or_absent_and_stops_no_later_one(
    database: Database, turns: int
) -> None:
    async def add() -> None:
        async with database.change() as change:
            await change.execute(INSERT, ("a",))
            await change.execute(INSERT, ("b",))

    task = asyncio.create_task(add())
    for _ in range(turns):
        await asyncio.sleep(0.0002 if turns > 4 else 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with database.change() as change:
        await change.execute(INSERT, ("later",))
    assert await ids(database) in (["later"], ["a", "b", "later"])


async def test_a_commit_that_fails_leaves_the_database_usable(database: Database, path: Path) -> None:
    await database.rows("PRAGMA busy_timeout=10")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM secrets").fetchall()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            async with database.change() as change:
                await change.execute(INSERT, ("a",))
        reader.execute("COMMIT")
    async with database.change() as change:
        await change.execute(INSERT, ("b",))
    assert await ids(database) == ["b"]
