"""What is remembered of a group on this node: where a person wanted it, tries to fail back, and drills."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum

from holdfast.hooks.failover import Decision
from holdfast.store.intent import Intents

MOST_DRILLS = 50


class StartedBy(StrEnum):
    """Who started a drill."""

    PERSON = "person"
    SCHEDULE = "schedule"


@dataclass(frozen=True)
class DrillMove:
    """One move of a drill."""

    source: str
    destination: str
    decisions: tuple[Decision, ...]
    """What the monitors decided, with the milliseconds of each step: the source's first, then the destination's."""
    gap_ms: int | None
    """On the source's clock, from the moment its last address was down until the destination's heartbeat said that it
    serves with every address up. The address was up there before that, by up to a heartbeat's interval and its way.
    None where the monitors did not say."""


@dataclass(frozen=True)
class DrillReport:
    """One drill. `reason` is why it failed; instants are RFC 3339 in UTC."""

    job: str | None
    """None: it was due and did not begin."""
    started_by: StartedBy
    and_back: bool
    started_at: str
    ended_at: str
    moves: tuple[DrillMove, ...]
    is_ok: bool
    reason: str | None
    was_interrupted: bool
    """The daemon that ran it ended meanwhile, and the next one went on with it."""


@dataclass(frozen=True)
class GroupHistory:
    """See the module."""

    name: str
    held_epoch: int | None = None
    """A person moved the group away from its preferred node, and it was served under this epoch then. It stays there
    as long as it is served under it: each takeover and each further move has a higher one."""
    failed_failbacks: int = 0
    """Tries in a row to fail back by itself."""
    drill_at: str | None = None
    """When the last drill began, or was due and did not, RFC 3339: known to both nodes before anything moves."""
    drills: tuple[DrillReport, ...] = ()
    """The newest first."""


class GroupHistories:
    """Keeps them. One writer at a time: jobs, the partner and whoever looks all add to them."""

    def __init__(self, kept: Intents[GroupHistory]) -> None:
        self._kept = kept
        self._writing = asyncio.Lock()

    async def get(self, name: str) -> GroupHistory:
        """What is remembered; an empty history if nothing is."""
        kept = await self._kept.find(name)
        return kept.document if kept is not None else GroupHistory(name)

    async def hold(self, name: str, epoch: int | None) -> None:
        """A person wants the group to stay where it is served under `epoch`."""
        await self._change(name, held_epoch=epoch)

    async def note_failback(self, name: str, *, has_failed: bool) -> None:
        """A try to fail back by itself failed, or none is needed any more."""
        async with self._writing:
            history = await self.get(name)
            failed = history.failed_failbacks + 1 if has_failed else 0
            if failed != history.failed_failbacks:
                await self._kept.put(name, replace(history, failed_failbacks=failed))

    async def note_drill(self, name: str, at: str) -> None:
        """A drill begins now."""
        await self._change(name, drill_at=at)

    async def add_drill(self, name: str, report: DrillReport) -> None:
        """Remember a drill; that of the same job is remembered once."""
        async with self._writing:
            history = await self.get(name)
            others = tuple(d for d in history.drills if d.job is None or d.job != report.job)
            await self._kept.put(name, replace(history, drills=(report, *others)[:MOST_DRILLS]))

    async def forget(self, name: str) -> None:
        """Its group is gone."""
        async with self._writing:
            await self._kept.remove(name)

    async def _change(self, name: str, **more: object) -> None:
        async with self._writing:
            await self._kept.put(name, replace(await self.get(name), **more))  # type: ignore[arg-type]
