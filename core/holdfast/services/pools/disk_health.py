"""What the disks tell of themselves: asked now and again, told when one fails or gets worse.

A disk that hangs is nobody's but its own: each is asked by itself, with a limit, and never twice at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from holdfast.errors import HoldfastError, Reason
from holdfast.hooks.base import Can
from holdfast.planning.disk_health import (
    DiskCounts,
    DiskHealth,
    DiskVerdict,
    counts,
    growth,
    read,
    unknown,
)
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import to_plain

log = logging.getLogger(__name__)

ASK_EVERY_S = 1800.0
"""A disk is asked no oftener, whoever wants to know."""
SILENT_EVERY_S = 6 * 3600.0
"""One that did not answer: what hangs in it stays there until it does."""
LOOK_EVERY_S = 60.0
ANSWERS_WITHIN_S = 60.0
"""More than a driver waits for a disk."""
SHOWN_WITHIN_S = 3.0
"""Who lists disks waits no longer for one that was never asked."""
WORSE_FOR = timedelta(days=7)
"""So long it is told that a disk got worse."""
NOT_YET = unknown("it has not been asked yet")


@dataclass(frozen=True)
class DiskRecord:
    """What was last told of a disk, by what it is known by: its serial number, or its path."""

    counts: DiskCounts
    verdict: DiskVerdict
    """What was told to people."""
    worse: str | None = None
    worse_at: datetime | None = None


@dataclass(frozen=True)
class ShownHealth:
    """A disk's health as it is shown."""

    verdict: DiskVerdict
    why: str | None
    asked_at: datetime | None
    """When it last told what is shown; None: never."""
    is_asleep: bool
    temperature_celsius: int | None
    hours_in_use: int | None
    reallocated: int | None
    pending: int | None
    media_errors: int | None
    wear_percent: int | None
    alerts: tuple[Reason, ...]


@dataclass(frozen=True)
class _Known:
    health: DiskHealth
    asked_at: datetime
    due_s: float
    worse: tuple[Reason, ...] = ()


class DiskHealths:
    """Asks the disks of pools, and those that somebody saw in the list."""

    def __init__(self, kept: Intents[DiskRecord], drivers: Drivers, events: Events, clock: Clock) -> None:
        self._kept = kept
        self._drivers = drivers
        self._events = events
        self._clock = clock
        self._wanted: set[str] = set()
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def forever(self) -> None:
        """Ask until cancelled, and then let nothing be left running."""
        try:
            while True:
                try:
                    await self.look()
                except HoldfastError as reason:
                    log.warning("the health of disks could not be looked at: %s", reason)
                except Exception:  # nobody else looks after them
                    log.exception("looking at the health of disks failed unexpectedly")
                await self._clock.sleep(LOOK_EVERY_S)
        finally:
            await self.end()

    async def idle(self) -> None:
        """Return when no disk is being asked."""
        if self._asking:
            await asyncio.wait(list(self._asking.values()))

    async def end(self) -> None:
        """Give up what is being asked."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def look(self) -> None:
        """Have every disk asked that is due. Waits for none."""
        if not self._drivers.has("volume") or Can.DISK_HEALTH not in self._drivers.volume().can:
            return
        pools = await self._drivers.volume().list_pools()
        self._ask_due({*self._wanted, *(path for pool in pools for path in pool.disks)})

    async def shown(self, paths: Sequence[str]) -> dict[str, ShownHealth]:
        """That of some disks, as it was last told; those that were never asked are asked now, for a moment."""
        if not self._drivers.has("volume") or Can.DISK_HEALTH not in self._drivers.volume().can:
            return {path: _shown(None, "the driver of this node's pools asks no disks") for path in paths}
        self._wanted.update(paths)
        new = {path for path in paths if path not in self._known}
        self._ask_due(new)
        if waiting := [self._asking[path] for path in new if path in self._asking]:
            await asyncio.wait(waiting, timeout=SHOWN_WITHIN_S)
        return {path: _shown(self._known.get(path)) for path in paths}

    def _ask_due(self, paths: set[str]) -> None:
        now_s = self._clock.boot_s()
        for path in sorted(paths):
            known = self._known.get(path)
            if path not in self._asking and (known is None or known.due_s <= now_s):
                # Kept in `_asking`, and ended by `end`.
                self._asking[path] = asyncio.create_task(self._ask(path), name=f"health of {path}")

    async def _ask(self, path: str) -> None:
        try:
            self._known[path] = await self._answer(path)
        except Exception:  # it is asked again when it is due, like one that is silent
            log.exception("asking the disk %s failed unexpectedly", path)
            due_s = self._clock.boot_s() + SILENT_EVERY_S
            self._known[path] = _Known(unknown("asking it failed"), self._clock.now(), due_s)
        finally:
            del self._asking[path]

    async def _answer(self, path: str) -> _Known:
        due_s = self._clock.boot_s() + ASK_EVERY_S
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                health = read(await self._drivers.volume().ask_disk(path))
        except (TimeoutError, HoldfastError) as reason:
            said = reason.message if isinstance(reason, HoldfastError) else "it did not answer"
            health, due_s = unknown(said), self._clock.boot_s() + SILENT_EVERY_S
        known = _Known(health, self._clock.now(), due_s)
        before = self._known.get(path)
        if health.is_asleep and before is not None:
            # What it told when it was awake still holds.
            return replace(before, health=replace(before.health, is_asleep=True), due_s=due_s)
        if health.verdict is not DiskVerdict.UNKNOWN:
            return replace(known, worse=await self._note(path, health))
        return known

    async def _note(self, path: str, health: DiskHealth) -> tuple[Reason, ...]:
        """Compare it with what was told before, tell what is new, and say in what it got worse lately."""
        key, now = health.serial or path, self._clock.now()
        kept = await self._kept.find(key)
        before = kept.document if kept is not None else None
        record = DiskRecord(counts(health), health.verdict)
        if before is not None:
            record = replace(record, worse=before.worse, worse_at=before.worse_at)
            if grown := growth(before.counts, record.counts):
                record = replace(record, worse="; ".join(grown), worse_at=now)
                await self._tell("disk.worse", path, health, record.worse or "")
        if health.verdict is not (before.verdict if before is not None else DiskVerdict.GOOD):
            kinds = {DiskVerdict.FAILING: "disk.failing", DiskVerdict.WARNING: "disk.warning"}
            text = "; ".join(reason.text for reason in health.reasons) or "nothing is wrong with it any more"
            await self._tell(kinds.get(health.verdict, "disk.good"), path, health, text)
        if before != record:
            await self._kept.put(key, record)
        if record.worse is None or record.worse_at is None or now - record.worse_at > WORSE_FOR:
            return ()
        text = f"it got worse at {record.worse_at.isoformat()}: {record.worse}"
        return (Reason("disk-worse", text, "have a copy of what it holds; replace it if it goes on"),)

    async def _tell(self, kind: str, path: str, health: DiskHealth, text: str) -> None:
        log.warning("the disk %s (%s): %s", path, health.serial, text)
        await self._events.emit(kind, f"disk:{path}", {"serial": health.serial, "text": text, **_figures(health)})


def _figures(health: DiskHealth) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(health)
    return {name: value for name, value in plain.items() if name not in ("why", "serial", "reasons", "is_asleep")}


def _shown(known: _Known | None, why: str | None = None) -> ShownHealth:
    health = known.health if known is not None else NOT_YET
    is_told = known is not None and health.verdict is not DiskVerdict.UNKNOWN
    return ShownHealth(
        health.verdict,
        why or health.why,
        known.asked_at if known is not None and is_told else None,
        health.is_asleep,
        health.temperature_celsius,
        health.hours_in_use,
        health.reallocated,
        health.pending,
        health.media_errors,
        health.wear_percent,
        (*health.reasons, *(known.worse if known is not None else ())),
    )
