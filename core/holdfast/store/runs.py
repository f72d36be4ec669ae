"""The log of data replication runs (S26)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from holdfast.store.database import Change, Database
from holdfast.system.clock import Clock


class RunResult(StrEnum):
    """How a run ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It was due by a schedule and did not begin."""


@dataclass(frozen=True)
class Run:
    """One execution of a task, or one that was due and skipped. `result` is None while it runs."""

    id: int
    task: str
    job_id: str | None
    """None if it was skipped."""
    schedule: str | None
    """By which schedule it was due; None if somebody asked for it."""
    due_at: str | None
    started_at: str
    frozen_at: str | None
    """The copy is of the source as it was at this time."""
    ended_at: str | None
    result: RunResult | None
    reason: str | None
    counts: Mapping[str, int] | None
    way: str | None = None
    """How it found what to copy; None until that is decided, and of runs before it was."""
    way_reason: str | None = None

    @property
    def action(self) -> str:
        """As the log of the reference product has it."""
        if self.result is RunResult.SKIPPED:
            return "skipped"
        return "started" if self.ended_at is None else "finished"


@dataclass(frozen=True)
class Cause:
    """Which task is to run, and why. `schedule` is None where somebody asked for it."""

    task: str
    task_uuid: str
    schedule: str | None = None
    due_at: str | None = None


@dataclass(frozen=True)
class RunFilter:
    """Which runs; None is any. `since` and `until` are of their start, `until` itself excluded."""

    task: str | None = None
    result: RunResult | None = None
    since: datetime | None = None
    until: datetime | None = None
    schedule: str | None = None


class Runs:
    """Keeps runs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, cause: Cause, job_id: str) -> int:
        """Note that a run started; the same job's run is noted once."""
        async with self._database.change() as change:
            found = await self._database.rows("SELECT id FROM runs WHERE job_id=?", (job_id,))
            if found:
                return int(found[0]["id"])
            return await change.insert(
                "INSERT INTO runs (task, task_uuid, job_id, schedule, due_at, started_at) VALUES (?, ?, ?, ?, ?, ?)",
                (cause.task, cause.task_uuid, job_id, cause.schedule, cause.due_at, self._now()),
            )

    async def end(
        self,
        job_id: str,
        *,
        result: RunResult,
        reason: str | None,
        counts: Mapping[str, int] | None,
        frozen_at: str | None = None,
    ) -> None:
        """Note how a run ended. The first word stands: a run that failed is never OK later."""
        told = None if counts is None else json.dumps(dict(counts))
        async with self._database.change() as change:
            await change.execute(
                "UPDATE runs SET ended_at=?, result=?, reason=?, counts=?, frozen_at=?"
                " WHERE job_id=? AND result IS NULL",
                (self._now(), result, reason, told, frozen_at, job_id),
            )

    async def note_way(self, job_id: str, way: str, reason: str) -> None:
        """Note how a run goes, and why; said again where it goes on otherwise."""
        async with self._database.change() as change:
            await change.execute("UPDATE runs SET way=?, way_reason=? WHERE job_id=?", (way, reason, job_id))

    async def skip_in(self, change: Change, cause: Cause, reason: str) -> None:
        """Note within a transaction that a run was due and did not begin."""
        now = self._now()
        await change.insert(
            "INSERT INTO runs (task, task_uuid, schedule, due_at, started_at, ended_at, result, reason)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (cause.task, cause.task_uuid, cause.schedule, cause.due_at, now, now, RunResult.SKIPPED, reason),
        )

    async def newest(self, wanted: RunFilter, *, before: int | None, most: int) -> tuple[Run, ...]:
        """Runs, newest first; `before` is the id of the last one seen."""
        since, until = (
            None if bound is None else bound.astimezone(UTC).isoformat() for bound in (wanted.since, wanted.until)
        )
        rows = await self._database.rows(
            "SELECT * FROM runs WHERE (?1 IS NULL OR task=?1) AND (?2 IS NULL OR result=?2)"
            " AND (?3 IS NULL OR started_at>=?3) AND (?4 IS NULL OR started_at<?4) AND (?5 IS NULL OR id<?5)"
            " AND (?7 IS NULL OR schedule=?7) ORDER BY id DESC LIMIT ?6",
            (wanted.task, wanted.result, since, until, before, most, wanted.schedule),
        )
        return tuple(_run(row) for row in rows)

    async def newest_copies(self) -> dict[str, str]:
        """By the uuid of its task, of when its newest verified copy is."""
        rows = await self._database.rows(
            "SELECT task_uuid, max(frozen_at) AS newest FROM runs WHERE result='ok' AND frozen_at IS NOT NULL"
            " GROUP BY task_uuid"
        )
        return {row["task_uuid"]: row["newest"] for row in rows}

    async def forget_older(self, days: int) -> int:
        """Drop runs that began longer ago, and tell how many; the newest copy of each task is remembered."""
        oldest = (self._clock.now() - timedelta(days=days)).isoformat()
        async with self._database.change() as change:
            return await change.execute(
                "DELETE FROM runs WHERE started_at<? AND ended_at IS NOT NULL AND id NOT IN"
                " (SELECT id FROM (SELECT id, max(frozen_at) FROM runs"
                " WHERE result='ok' AND frozen_at IS NOT NULL GROUP BY task_uuid))",
                (oldest,),
            )

    def _now(self) -> str:
        return self._clock.now().isoformat()


def _run(row: sqlite3.Row) -> Run:
    return Run(
        id=row["id"],
        task=row["task"],
        job_id=row["job_id"],
        schedule=row["schedule"],
        due_at=row["due_at"],
        started_at=row["started_at"],
        frozen_at=row["frozen_at"],
        ended_at=row["ended_at"],
        result=None if row["result"] is None else RunResult(row["result"]),
        reason=row["reason"],
        counts=None if row["counts"] is None else json.loads(row["counts"]),
        way=row["way"],
        way_reason=row["way_reason"],
    )
