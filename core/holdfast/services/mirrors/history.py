"""What is remembered of a mirror on this node: when it was last in sync and in use, and what comparisons found."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from holdfast.hooks.replication import ConnectionState, DiskState, MirrorStatus, Role
from holdfast.planning.mirror_alerts import LOST
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock

MOST_VERIFICATIONS = 50


@dataclass(frozen=True)
class Verification:
    """One comparison of both sides. `out_of_sync_bytes` is None where it did not come to its end, with the reason."""

    job: str
    started_at: str
    ended_at: str
    out_of_sync_bytes: int | None
    reason: str | None = None


@dataclass(frozen=True)
class MirrorHistory:
    """Instants are RFC 3339 in UTC, None where it never happened as far as is known."""

    name: str
    connected_at: str | None = None
    lost_at: str | None = None
    """When this side last saw its partner: from there both may have changed apart."""
    promoted_at: str | None = None
    demoted_at: str | None = None
    repaired_at: str | None = None
    split_brain_at: str | None = None
    behind_since: str | None = None
    """When it was seen that this side had lost a disk and the partner went on; None again when both are in sync."""
    snapshots: tuple[str, ...] = ()
    """Taken of this side before a split brain was resolved, as `volume/snapshot`."""
    verifications: tuple[Verification, ...] = ()
    """The newest first."""

    @property
    def unrepaired_bytes(self) -> int:
        """What the newest comparison that came to its end found, unless a repair ended since."""
        for found in self.verifications:
            if found.out_of_sync_bytes is not None:
                is_repaired = self.repaired_at is not None and self.repaired_at >= found.ended_at
                return 0 if is_repaired else found.out_of_sync_bytes
        return 0


class MirrorHistories:
    """Keeps them. One writer at a time: the watcher and jobs both add to them."""

    def __init__(self, kept: Intents[MirrorHistory], clock: Clock) -> None:
        self._kept = kept
        self._clock = clock
        self._writing = asyncio.Lock()

    async def get(self, name: str) -> MirrorHistory:
        """What is remembered; an empty history if nothing is."""
        kept = await self._kept.find(name)
        return kept.document if kept is not None else MirrorHistory(name)

    async def note_status(self, before: MirrorStatus | None, now: MirrorStatus) -> None:
        """Note what two looks say about when the partner was last seen, and who was Primary."""
        at = self._clock.now().isoformat()
        more: dict[str, str | None] = {}
        was_connected = before is not None and before.connection is ConnectionState.CONNECTED
        is_connected = now.connection is ConnectionState.CONNECTED
        if is_connected and not was_connected:
            more["connected_at"] = at
        if was_connected and not is_connected:
            more["lost_at"] = at
        was_primary = before is not None and before.role is Role.PRIMARY
        if now.role is Role.PRIMARY and not was_primary:
            more["promoted_at"] = at
        if was_primary and now.role is not Role.PRIMARY:
            more["demoted_at"] = at
        went_on_there = any(v.disk in LOST and v.peer_disk is DiskState.UP_TO_DATE for v in now.volumes)
        if is_connected and (went_on_there or now.is_in_sync):
            is_behind = (await self.get(now.name)).behind_since is not None
            if is_behind is not went_on_there:
                more["behind_since"] = at if went_on_there else None
        if more:
            await self._change(now.name, **more)

    async def note_split_brain(self, name: str) -> None:
        """Note when it was first found, until it is resolved."""
        if (await self.get(name)).split_brain_at is None:
            await self._change(name, split_brain_at=self._clock.now().isoformat())

    async def note_resolved(self, name: str) -> None:
        """It is over."""
        await self._change(name, split_brain_at=None)

    async def note_snapshots(self, name: str, snapshots: tuple[str, ...]) -> None:
        """Remember what was taken of this side."""
        await self._change(name, snapshots=snapshots)

    async def note_repaired(self, name: str) -> None:
        """What was found to differ is equal again."""
        await self._change(name, repaired_at=self._clock.now().isoformat())

    async def add_verification(self, name: str, found: Verification) -> None:
        """Remember a comparison; that of the same job is remembered once."""
        async with self._writing:
            history = await self.get(name)
            others = tuple(v for v in history.verifications if v.job != found.job)
            kept = replace(history, verifications=(found, *others)[:MOST_VERIFICATIONS])
            await self._kept.put(name, kept)

    async def forget(self, name: str) -> None:
        """Its mirror is gone."""
        async with self._writing:
            await self._kept.remove(name)

    async def _change(self, name: str, **more: object) -> None:
        async with self._writing:
            await self._kept.put(name, replace(await self.get(name), **more))  # type: ignore[arg-type]
