from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from holdfast.errors import NoSpaceError, UnavailableError
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
        with pytest.raises(UnavailableError, match="locked"):
            async with database.change() as change:
                await change.execute(INSERT, ("a",))
        reader.execute("COMMIT")
    async with database.change() as change:
        await change.execute(INSERT, ("b",))
    assert await ids(database) == ["b"]


async def test_a_full_disk_is_told_with_its_remedy_and_changes_nothing(database: Database, path: Path) -> None:
    [(pages,)] = await database.rows("PRAGMA page_count")
    await database.rows(f"PRAGMA max_page_count={pages}")
    with pytest.raises(NoSpaceError) as caught:
        async with database.change() as change:
            await change.execute("INSERT INTO secrets (id, value) VALUES ('a', 'x'), ('b', hex(randomblob(100000)))")
    assert str(path.parent) in caught.value.message
    [reason] = caught.value.reasons
    assert (reason.code, str(path.parent) in reason.remedy) == ("state-disk-full", True)
    await database.rows("PRAGMA max_page_count=100000")
    await add(database, "c")
    assert durable_ids(path) == {"c"}


class Statements:
    """What SQLite was told, word by word."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def count(self, word: str) -> int:
        return sum(statement.startswith(word) for statement in self.seen)


@pytest.fixture
async def statements(database: Database) -> Statements:
    found = Statements()
    await database._connection.set_trace_callback(found.seen.append)
    return found


def durable_ids(path: Path) -> set[str]:
    """What another program reads in the file."""
    with contextlib.closing(sqlite3.connect(path)) as reader:
        return {row[0] for row in reader.execute("SELECT id FROM secrets")}


async def add(database: Database, name: str) -> None:
    async with database.change() as change:
        await change.execute(INSERT, (name,))


async def test_changes_that_arrive_together_share_a_commit_and_each_is_durable_when_it_returns(
    database: Database, path: Path, statements: Statements
) -> None:
    names = [f"{number:02}" for number in range(50)]
    seen: dict[str, set[str]] = {}

    async def add_and_look(name: str) -> None:
        await add(database, name)
        seen[name] = durable_ids(path)

    await asyncio.gather(*(add_and_look(name) for name in names))
    assert all(name in seen[name] for name in names)
    assert 1 <= statements.count("COMMIT") <= 3


async def test_changes_that_follow_each_other_have_a_commit_each(database: Database, statements: Statements) -> None:
    for name in "abc":
        await add(database, name)
    assert (statements.count("BEGIN"), statements.count("COMMIT")) == (3, 3)


@pytest.mark.parametrize("bad", [0, 1, 2, 4])
async def test_one_that_fails_among_them_takes_none_of_the_others_with_it(
    database: Database, path: Path, statements: Statements, bad: int
) -> None:
    async def add_or_fail(number: int) -> None:
        async with database.change() as change:
            await change.execute(INSERT, (f"{number}",))
            if number == bad:
                raise KeyError

    answers = await asyncio.gather(*(add_or_fail(number) for number in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [KeyError if n == bad else type(None) for n in range(5)]
    assert durable_ids(path) == {f"{number}" for number in range(5)} - {f"{bad}"}
    assert statements.count("COMMIT") < 4


@pytest.mark.parametrize("gone", range(5))
async def test_one_that_is_cancelled_among_them_is_whole_or_absent_and_the_others_are_there(
    database: Database, path: Path, gone: int
) -> None:
    for turns in range(8):
        names = [f"{turns}{number}" for number in range(5)]
        tasks = [asyncio.create_task(add(database, name)) for name in names]
        for _ in range(turns):
            await asyncio.sleep(0.0002)
        tasks[gone].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await add(database, f"later{turns}")
        assert {*names, f"later{turns}"} - {names[gone]} <= durable_ids(path)


async def test_when_their_commit_fails_all_of_them_are_told_and_none_is_kept(database: Database, path: Path) -> None:
    await database.rows("PRAGMA busy_timeout=10")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM secrets").fetchall()
        answers = await asyncio.gather(*(add(database, name) for name in "abc"), return_exceptions=True)
        assert [type(answer) for answer in answers] == [UnavailableError] * 3
        reader.execute("COMMIT")
    await add(database, "d")
    assert durable_ids(path) == {"d"}


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_transaction_that_sqlite_gave_up_takes_those_before_it_with_it_and_tells_them(
    database: Database, path: Path, is_told: bool
) -> None:
    """As a full disk does it."""

    async def lose() -> None:
        async with database.change() as change:
            await change.execute("ROLLBACK")
            if is_told:
                raise KeyError

    changes = (add(database, "a"), add(database, "b"), lose(), add(database, "after"))
    answers = await asyncio.gather(*changes, return_exceptions=True)
    lost = UnavailableError
    assert [type(answer) for answer in answers] == [lost, lost, KeyError if is_told else lost, type(None)]
    assert durable_ids(path) == {"after"}
    await add(database, "c")
    assert durable_ids(path) == {"after", "c"}


async def test_a_commit_left_behind_is_made_before_the_file_is_closed(path: Path) -> None:
    database = await Database.open(path)
    is_made = asyncio.Event()

    async def add_and_tell() -> None:
        async with database.change() as change:
            await change.execute(INSERT, ("a",))
            is_made.set()

    task = asyncio.create_task(add_and_tell())
    await is_made.wait()
    task.cancel()
    await database.close()
    assert durable_ids(path) == {"a"}
    await asyncio.gather(task, return_exceptions=True)
