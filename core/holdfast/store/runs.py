"""The log of data replication runs (S26)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.store.database import Database
from holdfast.system.clock import Clock


@dataclass(frozen=True)
class Run:
    """One execution of a task. `result` is None while it runs, then `ok` or `failed` with its reason."""

    id: int
    task: str
    job_id: str
    started_at: str
    ended_at: str | None
    result: str | None
    reason: str | None
    counts: Mapping[str, int] | None


class Runs:
    """Keeps runs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, task: str, job_id: str) -> int:
        """Note that a run started; the same job's run is noted once."""
        async with self._database.change() as change:
            found = await self._database.rows("SELECT id FROM runs WHERE job_id=?", (job_id,))
            if found:
                return int(found[0]["id"])
            return await change.insert(
                "INSERT INTO runs (task, job_id, started_at) VALUES (?, ?, ?)",
                (task, job_id, self._clock.now().isoformat()),
            )

    async def end(self, job_id: str, *, result: str, reason: str | None, counts: Mapping[str, int] | None) -> None:
        """Note how a run ended. The first word stands: a run that failed is never OK later."""
        async with self._database.change() as change:
            await change.execute(
                "UPDATE runs SET ended_at=?, result=?, reason=?, counts=? WHERE job_id=? AND result IS NULL",
                (
                    self._clock.now().isoformat(),
                    result,
                    reason,
                    None if counts is None else json.dumps(dict(counts)),
                    job_id,
                ),
            )

    async def newest(self, task: str | None, *, before: int | None, most: int) -> tuple[Run, ...]:
        """Runs, newest first."""
        rows = await self._database.rows(
            "SELECT * FROM runs WHERE (? IS NULL OR task=?) AND (? IS NULL OR id<?) ORDER BY id DESC LIMIT ?",
            (task, task, before, before, most),
        )
        return tuple(
            Run(
                r["id"],
                r["task"],
                r["job_id"],
                r["started_at"],
                r["ended_at"],
                r["result"],
                r["reason"],
                None if r["counts"] is None else json.loads(r["counts"]),
            )
            for r in rows
        )
