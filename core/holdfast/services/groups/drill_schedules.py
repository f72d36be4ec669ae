"""Starts drills when their groups' schedules say so, on the node that serves."""

from __future__ import annotations

import logging
from datetime import datetime

from holdfast.errors import BusyError, HoldfastError
from holdfast.planning.drills import is_due
from holdfast.services.documents import GroupDocument
from holdfast.services.drivers import Drivers
from holdfast.services.groups.drills import Drills
from holdfast.services.groups.groups import Groups
from holdfast.services.groups.history import DrillReport, GroupHistories, StartedBy
from holdfast.services.groups.moves import explained
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock

log = logging.getLogger(__name__)

LOOK_EVERY_S = 20.0


class DrillSchedules:
    """See the module."""

    def __init__(
        self,
        kept: Intents[GroupDocument],
        groups: Groups,
        drills: Drills,
        histories: GroupHistories,
        drivers: Drivers,
        clock: Clock,
    ) -> None:
        self._kept = kept
        self._groups = groups
        self._drills = drills
        self._histories = histories
        self._drivers = drivers
        self._clock = clock

    async def follow(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                if self._drivers.has("failover"):
                    await self.start_due()
            except Exception:  # what is on record cannot be read or written now; it is no reason for the daemon to end
                log.exception("schedules of drills could not be looked at")

    async def start_due(self) -> None:
        """Start what is due now."""
        now = self._clock.now()
        for name, document in (await self._kept.all()).items():
            status = await self._groups.status(name)
            if status is None or not status.state.is_active or not await self._is_due(document, now):
                continue
            try:
                await self._drills.drill(name, and_back=True, started_by=StartedBy.SCHEDULE)
            except BusyError as reason:
                log.info("a drill of %s is due and waits: %s", name, reason)
            except HoldfastError as reason:
                # Not tried again until it is due again: what comes hours later comes at a bad time.
                await self._drills.note_begun(name, now.isoformat())
                await self._drills.add(name, _not_begun(now.isoformat(), explained(reason)))

    async def _is_due(self, document: GroupDocument, now: datetime) -> bool:
        if document.drill_schedule is None or document.drills_since is None:
            return False
        times = document.drills_since, (await self._histories.get(document.name)).drill_at
        return is_due(document.drill_schedule, max(datetime.fromisoformat(at) for at in times if at), now)


def _not_begun(at: str, reason: str) -> DrillReport:
    return DrillReport(
        job=None,
        started_by=StartedBy.SCHEDULE,
        and_back=True,
        started_at=at,
        ended_at=at,
        moves=(),
        is_ok=False,
        reason=reason,
        was_interrupted=False,
    )
