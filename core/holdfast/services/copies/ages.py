"""How old copies are: of tasks on their source, and of replica shares, which know it even when the source is lost.

A source tells its destination of each copy that it has verified, and of the objective; what it told is kept with the
replica share.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from holdfast.config import NAME
from holdfast.errors import HoldfastError, NotFoundError, Reason
from holdfast.hooks.replication import CopyNote
from holdfast.planning.copy_age import (
    LONGEST_OBJECTIVE_S,
    SHORTEST_OBJECTIVE_S,
    CopyAge,
    destination_alerts,
    duration,
    judge,
    source_alerts,
)
from holdfast.services.copies.replica_documents import ReplicaShareDocument
from holdfast.services.copies.schedules import TaskSchedules
from holdfast.services.copies.task_documents import TaskDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.store.intent import Intents, Kept
from holdfast.store.runs import Runs
from holdfast.system.clock import Clock

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0

MoreAlerts = Callable[[str], Awaitable[Sequence[Reason]]]
"""Called with the name of a task or a replica share: what about it needs a person."""


@dataclass(frozen=True)
class ReplicaCopy:
    """What was told of the copy in a replica share, and when this node heard it."""

    replica: str
    replica_uuid: str
    """One of the same name that is opened later holds another copy."""
    note: CopyNote
    told_at: datetime

    @property
    def newest_copy_at(self) -> datetime:
        """A source whose clock is ahead makes no copy newer than when it told of it."""
        return min(self.note.frozen_at, self.told_at)


@dataclass(frozen=True)
class MissedObjective:
    """It was told that an objective is missed. `subject` is `noun:name`."""

    subject: str
    since: datetime


@dataclass(frozen=True)
class TaskView:
    """A task as it is shown."""

    document: TaskDocument
    age: CopyAge
    next_run_at: datetime | None
    alerts: tuple[Reason, ...]


@dataclass(frozen=True)
class ReplicaView:
    """A replica share as it is shown; `copy` is None until a source told of one."""

    document: ReplicaShareDocument
    copy: ReplicaCopy | None
    age: CopyAge
    alerts: tuple[Reason, ...]


class CopyAges:
    """Shows them, and tells when an objective is missed and when it is met again."""

    def __init__(
        self,
        tasks: Intents[TaskDocument],
        replicas: Intents[ReplicaShareDocument],
        copies: Intents[ReplicaCopy],
        missed: Intents[MissedObjective],
        schedules: TaskSchedules,
        runs: Runs,
        drivers: Drivers,
        events: Events,
        clock: Clock,
    ) -> None:
        self._tasks = tasks
        self._replicas = replicas
        self._copies = copies
        self._missed = missed
        self._schedules = schedules
        self._runs = runs
        self._drivers = drivers
        self._events = events
        self._clock = clock
        self._of_replica: MoreAlerts = _nothing
        self._of_task: MoreAlerts = _nothing

    # --- showing ---

    def also_alert(self, of_replica: MoreAlerts, *, of_task: MoreAlerts) -> None:
        """Have something besides told of replica shares and tasks."""
        self._of_replica, self._of_task = of_replica, of_task

    async def tasks(self) -> tuple[TaskView, ...]:
        """All tasks, by name."""
        newest = await self._runs.newest_copies()
        found = [await self._tasks.find(name) for name in await self._tasks.all()]
        return tuple([await self._task_view(kept, newest) for kept in found if kept is not None])

    async def task(self, name: str) -> TaskView:
        """One task. Raises NotFoundError."""
        kept = await self._tasks.find(name)
        if kept is None:
            raise NotFoundError(f"there is no {self._tasks.kind} {name!r}")
        return await self._task_view(kept, await self._runs.newest_copies())

    async def _task_view(self, kept: Kept[TaskDocument], newest: Mapping[str, str]) -> TaskView:
        document = kept.document
        age = self._task_age(kept, newest)
        due = [await self._schedules.next_runs(schedule) for schedule in await self._schedules.of(document.name)]
        next_run_at = min((times[0] for times in due if times), default=None)
        return TaskView(
            document, age, next_run_at, (*source_alerts(document.name, age), *await self._of_task(document.name))
        )

    def _task_age(self, kept: Kept[TaskDocument], newest: Mapping[str, str]) -> CopyAge:
        at, since = newest.get(kept.uuid), kept.document.objective_since
        return judge(
            None if at is None else datetime.fromisoformat(at),
            kept.document.objective_s,
            None if since is None else datetime.fromisoformat(since),
            self._clock.now(),
        )

    async def replicas(self) -> tuple[ReplicaView, ...]:
        """All replica shares, by name."""
        found = [await self._replicas.find(name) for name in await self._replicas.all()]
        return tuple([await self._replica_view(kept) for kept in found if kept is not None])

    async def replica(self, name: str) -> ReplicaView:
        """One replica share. Raises NotFoundError."""
        kept = await self._replicas.find(name)
        if kept is None:
            raise NotFoundError(f"there is no {self._replicas.kind} {name!r}")
        return await self._replica_view(kept)

    async def _replica_view(self, kept: Kept[ReplicaShareDocument]) -> ReplicaView:
        copy = await self._copy_of(kept)
        now = self._clock.now()
        more = await self._of_replica(kept.document.name)
        if copy is None:
            return ReplicaView(kept.document, None, judge(None, None, None, now), tuple(more))
        age = judge(copy.newest_copy_at, copy.note.objective_s, None, now)
        alerts = (*destination_alerts(copy.note.task, copy.note.source, age), *more)
        return ReplicaView(kept.document, copy, age, alerts)

    async def _copy_of(self, kept: Kept[ReplicaShareDocument]) -> ReplicaCopy | None:
        found = await self._copies.find(kept.document.name)
        return found.document if found is not None and found.document.replica_uuid == kept.uuid else None

    # --- watching ---

    async def forever(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except HoldfastError as reason:
                log.warning("the age of copies could not be looked at: %s", reason)
            except Exception:  # nobody else raises the alarm
                log.exception("looking at the age of copies failed unexpectedly")

    async def look(self) -> None:
        """Keep what sources told, and tell of objectives that are missed from now on, or met again."""
        if self._drivers.has("copy"):
            await self._take_notes()
        newest = await self._runs.newest_copies()
        judged: dict[str, CopyAge] = {}
        for name in await self._tasks.all():
            if (task := await self._tasks.find(name)) is not None:
                judged[f"{self._tasks.kind}:{name}"] = self._task_age(task, newest)
        for view in await self.replicas():
            judged[f"{self._replicas.kind}:{view.document.name}"] = view.age
        told = await self._missed.all()
        for subject, age in judged.items():
            await self._tell(subject, age, is_told=subject in told)
        for subject in told.keys() - judged.keys():
            await self._missed.remove(subject)

    async def _take_notes(self) -> None:
        for name, note in (await self._drivers.copy().read_notes()).items():
            kept = await self._replicas.find(name)
            if kept is None:
                continue
            before = await self._copy_of(kept)
            if before is not None and before.note == note:
                continue
            if not is_sensible(note):
                log.warning(
                    "what was told of the copy in the replica share %s makes no sense, and is passed over", name
                )
                continue
            await self._copies.put(name, ReplicaCopy(name, kept.uuid, note, self._clock.now()))
            log.info("the replica share %s holds a verified copy of %s by %s", name, note.frozen_at, note.task)
        for name in (await self._copies.all()).keys() - (await self._replicas.all()).keys():
            await self._copies.remove(name)

    async def _tell(self, subject: str, age: CopyAge, *, is_told: bool) -> None:
        if age.is_missed is is_told:
            return
        body: dict[str, Any] = {
            "copy_age_s": age.copy_age_s,
            "newest_copy_at": age.newest_copy_at,
            "objective_s": age.objective_s,
        }
        noun, limit = subject.partition(":")[0], duration(age.objective_s or 0)
        if age.is_missed:
            log.warning("the newest copy of %s is older than the %s that it may be", subject, limit)
            await self._events.emit(f"{noun}.objective-missed", subject, body)
            await self._missed.put(subject, MissedObjective(subject, self._clock.now()))
        else:
            if age.objective_s is not None:
                log.info("the newest copy of %s is no older than the %s that it may be again", subject, limit)
                await self._events.emit(f"{noun}.objective-met", subject, body)
            await self._missed.remove(subject)


async def _nothing(name: str) -> Sequence[Reason]:
    return ()


def is_sensible(note: CopyNote) -> bool:
    """Whether a note can be true: whoever has the ID and the password can tell anything."""
    is_bounded = note.objective_s is None or SHORTEST_OBJECTIVE_S <= note.objective_s <= LONGEST_OBJECTIVE_S
    return is_bounded and all(NAME.match(name) for name in (note.task, note.source))
