"""Tells what happens to mirrors as soon as the kernel says so, and remembers it. Nothing is polled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from holdfast.errors import HoldfastError
from holdfast.hooks.replication import ConnectionState, MirrorStatus
from holdfast.planning.mirror_changes import changes
from holdfast.planning.mirror_members import on_record
from holdfast.services.documents import MirrorDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.mirrors.history import MirrorHistories
from holdfast.services.mirrors.mounts import MirrorMounts
from holdfast.services.mirrors.split_brain import SplitBrains
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock

log = logging.getLogger(__name__)

RESTART_S = 2.0


class MirrorWatch:
    """Follows the driver's stream. A stream that breaks is followed anew, and what was missed is told then."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        histories: MirrorHistories,
        split_brains: SplitBrains,
        mounts: MirrorMounts,
        drivers: Drivers,
        events: Events,
        clock: Clock,
    ) -> None:
        self._kept = kept
        self._histories = histories
        self._split_brains = split_brains
        self._mounts = mounts
        self._drivers = drivers
        self._events = events
        self._clock = clock
        self._last: dict[str, MirrorStatus] = {}
        self._told: dict[str, MirrorStatus] = {}
        self._named: set[str] = set()
        self._news = asyncio.Event()
        self._changed: set[str] = set()
        self._to_follow = asyncio.Event()

    async def forever(self) -> None:
        """Watch until cancelled; without a driver there is nothing to watch."""
        if not self._drivers.has("mirror"):
            return
        self._named.update(await self._kept.all())
        self._news.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._each(self._named, self._news, self._look))
            tasks.create_task(self._each(self._changed, self._to_follow, self._follow_up))

    async def _listen(self) -> None:
        """Only note what is told: whoever looks takes its time, and one change brings a dozen events."""
        while True:
            try:
                async for status in self._drivers.mirror().watch():
                    self._told[status.name] = status
                    self._named.add(status.name)
                    self._news.set()
            except HoldfastError as reason:
                log.warning("mirrors cannot be watched, and it is tried again: %s", reason)
            await self._clock.sleep(RESTART_S)

    async def _each(self, names: set[str], some: asyncio.Event, act: Callable[[str], Awaitable[None]]) -> None:
        while True:
            await some.wait()
            some.clear()
            while names:
                name = names.pop()
                try:
                    await act(name)
                except HoldfastError as reason:
                    log.info("the mirror %s is looked at again later: %s", name, reason)
                except Exception:  # one mirror that cannot be read must not end the daemon
                    log.exception("looking at the mirror %s failed unexpectedly", name)

    async def _look(self, name: str) -> None:
        if name not in self._told:
            asked = await self._drivers.mirror().status(name)
            self._told.setdefault(name, asked)  # what was told meanwhile is what will be built upon
        kept = await self._kept.find(name)
        now, before = self._told.pop(name), self._last.get(name)
        if kept is not None:
            # One that is taken out loses its disk, which is no news.
            now = on_record(now, [member.number for member in kept.document.members])
        self._last[name] = now
        # One that is being made is followed, too, but nothing is told of it before it is on record.
        if kept is None:
            return
        found = changes(before, now)
        # Together they share one durable commit: one after the other, the last would be late.
        told = [self._events.emit(f"mirror.{change.kind}", f"mirror:{name}", change.facts) for change in found]
        await asyncio.gather(*told, self._histories.note_status(before, now))
        if found or before is None:
            self._changed.add(name)
            self._to_follow.set()

    async def _follow_up(self, name: str) -> None:
        """What takes longer than a look: asking the partner, mounting."""
        kept, now = await self._kept.find(name), self._last[name]
        if kept is None or not kept.document.is_started:
            return
        # It gave up on its partner, and nobody told it to: by what both have kept one sees whether they diverged.
        if now.connection is ConnectionState.STANDALONE:
            await self._split_brains.look(name)
        elif now.connection is ConnectionState.CONNECTED:
            await self._mounts.restore_one(name)
