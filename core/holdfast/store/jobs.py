"""Jobs and their steps, so that a killed daemon knows where it was."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from holdfast.errors import NotFoundError
from holdfast.store.database import Change, Database
from holdfast.store.keys import Claim, keep_in
from holdfast.system.clock import Clock

KeepWith = Callable[[Change], Awaitable[None]]


class JobState(StrEnum):
    """What became of a job. Only RUNNING and UNDOING are under way."""

    RUNNING = "running"
    UNDOING = "undoing"
    DONE = "done"
    FAILED = "failed"
    """It did not work; what it had done was undone."""
    CANCELLED = "cancelled"
    """Ended by a person; what it had done was undone."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self not in (JobState.RUNNING, JobState.UNDOING)


class StepState(StrEnum):
    """How far a step is."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    UNDONE = "undone"


@dataclass(frozen=True)
class StepRecord:
    """One step of a job."""

    name: str
    state: StepState


@dataclass(frozen=True)
class JobRecord:
    """A job as kept. `facts` are what earlier steps learnt for later ones; never a secret."""

    id: str
    number: int
    kind: str
    target: str
    parameters: Mapping[str, Any]
    facts: Mapping[str, Any]
    state: JobState
    progress_percent: float | None
    progress_text: str
    error: Mapping[str, Any] | None
    result: Any
    origin_node: str
    created_at: str
    ended_at: str | None
    steps: tuple[StepRecord, ...]
    log: tuple[str, ...]


class JobStore:
    """Keeps jobs. Each method is one durable transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(
        self,
        kind: str,
        target: str,
        parameters: Mapping[str, Any],
        steps: Sequence[str],
        origin_node: str,
        *,
        claim: Claim | None = None,
        keep_with: KeepWith | None = None,
    ) -> str:
        """Keep a new job, running, with all its steps pending, and with it the claim it meets; return its id.

        What `keep_with` changes is one commit with it; if it raises, there is no job.
        """
        job_id = str(uuid.uuid4())
        async with self._database.change() as change:
            await change.execute(
                "INSERT INTO jobs (id, number, kind, target, parameters, facts, state, progress_text, origin_node,"
                " created_at) VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM jobs), ?, ?, ?, '{}', ?, '', ?, ?)",
                (
                    job_id,
                    kind,
                    target,
                    json.dumps(parameters),
                    JobState.RUNNING,
                    origin_node,
                    self._clock.now().isoformat(),
                ),
            )
            await change.execute_many(
                "INSERT INTO job_steps (job_id, position, name, state) VALUES (?, ?, ?, ?)",
                [(job_id, position, name, StepState.PENDING) for position, name in enumerate(steps)],
            )
            if claim is not None:
                await keep_in(change, self._clock, claim, job_id=job_id)
            if keep_with is not None:
                await keep_with(change)
        return job_id

    async def set_step(self, job_id: str, position: int, state: StepState, facts: Mapping[str, Any]) -> None:
        """Note how far a step is, with the facts as they are then."""
        async with self._database.change() as change:
            await change.execute(
                "UPDATE job_steps SET state=? WHERE job_id=? AND position=?", (state, job_id, position)
            )
            await change.execute("UPDATE jobs SET facts=? WHERE id=?", (json.dumps(facts), job_id))

    async def set_facts(self, job_id: str, facts: Mapping[str, Any]) -> None:
        """Note the facts in the middle of a step."""
        async with self._database.change() as change:
            await change.execute("UPDATE jobs SET facts=? WHERE id=?", (json.dumps(facts), job_id))

    async def set_undoing(self, job_id: str, error: Mapping[str, Any]) -> None:
        """Note why the job goes back."""
        async with self._database.change() as change:
            await change.execute(
                "UPDATE jobs SET state=?, error=? WHERE id=?", (JobState.UNDOING, json.dumps(error), job_id)
            )

    async def end(self, job_id: str, state: JobState, *, error: Mapping[str, Any] | None, result: Any) -> None:
        """Note the end."""
        async with self._database.change() as change:
            await change.execute(
                "UPDATE jobs SET state=?, error=?, result=?, ended_at=?, progress_percent="
                "CASE WHEN ? = 'done' THEN 100.0 ELSE progress_percent END WHERE id=?",
                (
                    state,
                    None if error is None else json.dumps(error),
                    None if result is None else json.dumps(result),
                    self._clock.now().isoformat(),
                    state,
                    job_id,
                ),
            )

    async def set_progress(self, job_id: str, percent: float | None, text: str) -> None:
        """Note how far it is."""
        async with self._database.change() as change:
            await change.execute(
                "UPDATE jobs SET progress_percent=?, progress_text=? WHERE id=?", (percent, text, job_id)
            )

    async def log(self, job_id: str, text: str) -> None:
        """Add a line to the job's log."""
        async with self._database.change() as change:
            await change.execute(
                "INSERT INTO job_log (job_id, position, at, text) VALUES (?, (SELECT coalesce(max(position), 0) + 1"
                " FROM job_log WHERE job_id=?), ?, ?)",
                (job_id, job_id, self._clock.now().isoformat(), text),
            )

    async def get(self, job_id: str) -> JobRecord:
        """One job. Raises NotFoundError."""
        rows = await self._database.rows("SELECT * FROM jobs WHERE id=?", (job_id,))
        if not rows:
            raise NotFoundError(f"there is no job {job_id!r}")
        return await self._record(rows[0])

    async def unfinished(self) -> tuple[JobRecord, ...]:
        """Jobs that were under way, oldest first."""
        rows = await self._database.rows(
            "SELECT * FROM jobs WHERE state IN (?, ?) ORDER BY number", (JobState.RUNNING, JobState.UNDOING)
        )
        return tuple([await self._record(row) for row in rows])

    async def newest(self, *, before: int | None, most: int) -> tuple[JobRecord, ...]:
        """Jobs, newest first."""
        rows = await self._database.rows(
            "SELECT * FROM jobs WHERE (? IS NULL OR number<?) ORDER BY number DESC LIMIT ?", (before, before, most)
        )
        return tuple([await self._record(row) for row in rows])

    async def _record(self, row: sqlite3.Row) -> JobRecord:
        steps = await self._database.rows(
            "SELECT name, state FROM job_steps WHERE job_id=? ORDER BY position", (row["id"],)
        )
        lines = await self._database.rows("SELECT at, text FROM job_log WHERE job_id=? ORDER BY position", (row["id"],))
        return JobRecord(
            id=row["id"],
            number=row["number"],
            kind=row["kind"],
            target=row["target"],
            parameters=json.loads(row["parameters"]),
            facts=json.loads(row["facts"]),
            state=JobState(row["state"]),
            progress_percent=row["progress_percent"],
            progress_text=row["progress_text"],
            error=None if row["error"] is None else json.loads(row["error"]),
            result=None if row["result"] is None else json.loads(row["result"]),
            origin_node=row["origin_node"],
            created_at=row["created_at"],
            ended_at=row["ended_at"],
            steps=tuple(StepRecord(step["name"], StepState(step["state"])) for step in steps),
            log=tuple(f"{line['at']} {line['text']}" for line in lines),
        )
