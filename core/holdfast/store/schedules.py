"""Until when what was due by the schedules of tasks has been seen to."""

from __future__ import annotations

from datetime import datetime

from holdfast.errors import ConflictError
from holdfast.store.database import Change, Database
from holdfast.store.jobs import KeepWith


class SeenToError(ConflictError):
    """Another look has seen to it."""


class ScheduleTimes:
    """Keeps one instant for each schedule of a task, or of whatever else has some."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> dict[tuple[str, str], datetime]:
        """By task and schedule."""
        rows = await self._database.rows("SELECT * FROM schedule_times")
        return {(row["task"], row["schedule"]): datetime.fromisoformat(row["handled_until"]) for row in rows}

    async def set(self, task: str, schedule: str, at: datetime) -> None:
        """From now on count from `at`."""
        async with self._database.change() as change:
            await change.execute(
                "INSERT INTO schedule_times (task, schedule, handled_until) VALUES (?, ?, ?)"
                " ON CONFLICT (task, schedule) DO UPDATE SET handled_until=excluded.handled_until",
                (task, schedule, at.isoformat()),
            )

    async def handle_in(self, change: Change, task: str, schedule: str, seen: datetime, at: datetime) -> bool:
        """All until `at` is seen to, within a transaction; False if it was seen to, or set anew, since `seen`."""
        touched = await change.execute(
            "UPDATE schedule_times SET handled_until=? WHERE task=? AND schedule=? AND handled_until=?",
            (at.isoformat(), task, schedule, seen.isoformat()),
        )
        return touched == 1

    async def claim_in(self, change: Change, task: str, schedule: str, seen: datetime, at: datetime) -> None:
        """The same; raises SeenToError where `handle_in` tells False, so that nothing else of the change is kept."""
        if not await self.handle_in(change, task, schedule, seen, at):
            raise SeenToError(f"what was due by {task}/{schedule} was seen to")

    async def handle(
        self, task: str, schedule: str, seen: datetime, at: datetime, also: KeepWith | None = None
    ) -> None:
        """The same as a transaction of its own, with what `also` changes; nothing if it was seen to since `seen`."""
        async with self._database.change() as change:
            if await self.handle_in(change, task, schedule, seen, at) and also is not None:
                await also(change)

    async def forget(self, task: str, schedule: str) -> None:
        """It is gone; the absent is success."""
        async with self._database.change() as change:
            await change.execute("DELETE FROM schedule_times WHERE task=? AND schedule=?", (task, schedule))
