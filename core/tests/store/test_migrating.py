"""An older database with data is brought to a newer schema, and what goes wrong meanwhile leaves it as it was."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from dataclasses import dataclass
from importlib.resources import as_file
from pathlib import Path

import pytest

from holdfast.errors import UnavailableError
from holdfast.store.database import MIGRATIONS, Database, migrations
from holdfast.store.intent import Intents
from holdfast.store.runs import Cause, RunFilter, Runs
from holdfast.testing.fakes import ManualClock

KNOWN = len(migrations())
SPLITS = "ALTER TABLE tokens ADD COLUMN note TEXT NOT NULL DEFAULT 'old';\nUPDATE intent SET name=name || '-2';"
FAILS_LATE = f"{SPLITS}\nINSERT INTO tokens (id) VALUES ('without what it needs');"


@dataclass(frozen=True)
class Thing:
    size: int


def newer(directory: Path, *migrations: str) -> Path:
    """A folder with the program's own migrations and further ones."""
    with as_file(MIGRATIONS) as folder:
        shutil.copytree(folder, directory / "migrations")
    for number, sql in enumerate(migrations, start=KNOWN + 1):
        (directory / "migrations" / f"{number:04}_further.sql").write_text(sql)
    return directory / "migrations"


@pytest.fixture
async def old(path: Path) -> Path:
    """A database of the program as it is, with a thing in it."""
    database = await Database.open(path)
    await Intents(database, ManualClock(), "thing", Thing).put("a", Thing(3))
    await database.close()
    return path


async def things(path: Path, folder: Path | None = None) -> list[str]:
    database = await (Database.open(path) if folder is None else Database.open(path, folder=folder))
    found = list(await Intents(database, ManualClock(), "thing", Thing).all())
    await database.close()
    return found


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def version_of(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as reader:
        return int(reader.execute("PRAGMA user_version").fetchone()[0])


def backup_of(path: Path, number: int = KNOWN + 1) -> Path:
    return path.with_suffix(f".before-{number}.sqlite")


def backups(path: Path) -> list[Path]:
    return list(path.parent.glob("*before*"))


async def test_an_older_database_is_migrated_with_all_that_is_in_it(old: Path, quick_path: Path) -> None:
    folder = newer(quick_path, SPLITS, "CREATE TABLE more (a TEXT) STRICT;")
    assert await things(old, folder) == ["a-2"]
    assert version_of(old) == KNOWN + 2
    assert await things(old, folder) == ["a-2"]


async def test_before_it_was_migrated_it_was_copied_and_the_copy_can_be_used(old: Path, quick_path: Path) -> None:
    await things(old, newer(quick_path, SPLITS))
    backup = backup_of(old)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert version_of(backup) == KNOWN
    assert await things(backup) == ["a"]


async def test_what_needs_no_migration_is_not_copied(old: Path) -> None:
    await things(old)
    assert backups(old) == []


async def test_a_migration_that_fails_leaves_the_old_database_usable(old: Path, quick_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"could not be brought to schema {KNOWN + 1}: .*; it is as it was"):
        await things(old, newer(quick_path, FAILS_LATE))
    assert version_of(old) == KNOWN
    assert await things(old) == ["a"]


async def test_of_several_migrations_those_before_the_one_that_fails_stand(old: Path, quick_path: Path) -> None:
    folder = newer(quick_path, SPLITS, "CREATE TABLE tokens (a);")
    with pytest.raises(UnavailableError, match=f"could not be brought to schema {KNOWN + 2}"):
        await things(old, folder)
    assert version_of(old) == KNOWN + 1
    (folder / f"{KNOWN + 2:04}_further.sql").write_text("CREATE TABLE more (a TEXT) STRICT;")
    assert await things(old, folder) == ["a-2"]


async def test_a_migrated_database_is_refused_by_the_older_program_and_left_as_it_is(
    old: Path, quick_path: Path
) -> None:
    await things(old, newer(quick_path, SPLITS))
    before = content_of(old)
    with pytest.raises(UnavailableError, match=f"has schema {KNOWN + 1}.*knows {KNOWN}: run the newer program"):
        await things(old)
    assert content_of(old) == before


def damage(path: Path) -> None:
    """Fill the last page of an index with what is none."""
    content = path.read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as reader:
        size = int(reader.execute("PRAGMA page_size").fetchone()[0])
        root = int(reader.execute("SELECT rootpage FROM sqlite_schema WHERE name='jobs_by_state'").fetchone()[0])
    path.write_bytes(content[: (root - 1) * size] + b"\xff" * size + content[root * size :])


async def test_a_damaged_database_is_not_migrated_and_not_copied(old: Path, quick_path: Path) -> None:
    damage(old)
    before = content_of(old)
    with pytest.raises(UnavailableError, match="restore it from a backup"):
        await things(old, newer(quick_path, SPLITS))
    assert content_of(old) == before
    assert backups(old) == []


async def test_the_log_of_runs_of_an_older_program_stays(path: Path, quick_path: Path) -> None:
    folder = quick_path / "before"
    with as_file(MIGRATIONS) as known:
        shutil.copytree(known, folder, ignore=lambda _, names: [name for name in names if name > "0003"])
    database = await Database.open(path, folder=folder)
    async with database.change() as change:
        values = ("t", "job-1", "2026-03-01T00:00:00+00:00", "2026-03-01T00:01:00+00:00", "ok", '{"files_sent": 3}')
        sql = "INSERT INTO runs (task, job_id, started_at, ended_at, result, counts) VALUES (?, ?, ?, ?, ?, ?)"
        number = await change.insert(sql, values)
    await database.close()

    database = await Database.open(path)
    runs = Runs(database, ManualClock())
    (run,) = await runs.newest(RunFilter(), before=None, most=10)
    assert (run.id, run.task, run.job_id, run.result, run.counts) == (number, *values[:2], "ok", {"files_sent": 3})
    assert await runs.newest_copies() == {}
    assert await runs.begin(Cause("t", "u"), "job-2") == number + 1
    await database.close()
