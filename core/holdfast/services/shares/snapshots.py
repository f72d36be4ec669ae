"""Snapshots that clients of a share see: mounted for that by themselves, and given up by themselves.

What is mounted is told from what is there, and not from a record: what a killed daemon or a reboot left is mended by
the next look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from holdfast.errors import HoldfastError, NotFoundError, Reason, UnavailableError
from holdfast.hooks.copying import FilterRule
from holdfast.hooks.share import SNAPSHOTS_FOLDER, ShownSnapshot
from holdfast.hooks.volume import Snapshot
from holdfast.planning.share_snapshots import Candidate, Decision, MountStep, Seen, decide, seen, to_the_second
from holdfast.services.documents import VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.shares.shares import Shares
from holdfast.services.snapshots.documents import SnapshotDocument, place_of, remove_place, snapshot_lock
from holdfast.services.snapshots.snapshots import Snapshots
from holdfast.store.intent import Intents
from holdfast.system.directories import has_below

log = logging.getLogger(__name__)

Act = Callable[[VolumeDocument, str], Awaitable[None]]
"""What is done with a snapshot of a volume."""


class Shower(Protocol):
    """Offers shares by one protocol."""

    protocol: str

    async def showing(self) -> frozenset[str]:
        """The shares that are wanted to show snapshots."""
        ...

    async def apply_if_offered(self, share: str) -> None:
        """Have a share show what is to be seen now, and nothing else."""
        ...


class ShareSnapshots:
    """Mounts what is to be seen, and lets go of it. It is one of those who use a mounted volume (`MountUser`)."""

    def __init__(
        self,
        volumes: Intents[VolumeDocument],
        kept: Intents[SnapshotDocument],
        shares: Shares,
        snapshots: Snapshots,
        jobs: Jobs,
        drivers: Drivers,
        mount_dir: Path,
    ) -> None:
        self._volumes = volumes
        self._kept = kept
        self._shares = shares
        self._snapshots = snapshots
        self._jobs = jobs
        self._drivers = drivers
        self._mount_dir = mount_dir
        self._showers: list[Shower] = []
        snapshots.leaving.ask(self._let_go)

    def show_by(self, shower: Shower) -> None:
        """Have shares that are offered by `shower` show snapshots."""
        self._showers.append(shower)

    # --- what is seen ---

    async def seen(self, share: str, *, why_none: str | None = None) -> tuple[Seen, ...]:
        """What clients of a share see of its volume's snapshots, the newest first; `why_none`: why they see none."""
        document = await self._shares.get(share)
        volume = await self._volumes.get(document.volume)
        found = await self._look(volume)
        places = {
            name: place_of(self._mount_dir, volume, name) for name, (_, is_mounted) in found.items() if is_mounted
        }
        folders = {name for name, place in places.items() if await asyncio.to_thread(has_below, place, document.path)}
        decisions = await self._decide(volume, found)
        return seen(decisions, mounted=frozenset(places), with_folder=frozenset(folders), why_none=why_none)

    async def shown(self, share: str) -> tuple[ShownSnapshot, ...]:
        """The same as a driver takes it: only those that are to be seen, by name."""
        document = await self._shares.get(share)
        volume = await self._volumes.get(document.volume)
        found = [
            ShownSnapshot(
                each.name,
                to_the_second(each.taken_at),
                str(place_of(self._mount_dir, volume, each.name) / document.path),
            )
            for each in await self.seen(share)
            if each.is_visible and each.taken_at is not None
        ]
        return tuple(sorted(found, key=lambda each: each.name))

    async def left_out(self, share: str) -> tuple[FilterRule, ...]:
        """What a copy of a share leaves out: the folder that is there for its snapshots, which is no file of a user."""
        is_there = any([share in await s.showing() for s in self._showers if s.protocol == "nfs"])
        return (FilterRule(f"/{SNAPSHOTS_FOLDER}/", is_included=False),) if is_there else ()

    async def _look(self, volume: VolumeDocument) -> dict[str, tuple[Snapshot, bool]]:
        """The snapshots of a volume, and whether they are mounted beside it."""
        found = {}
        for snapshot in await self._snapshots.list(volume.name):
            place = str(place_of(self._mount_dir, volume, snapshot.name))
            found[snapshot.name] = snapshot, await self._drivers.volume().is_mounted(snapshot.device, place)
        return found

    async def _decide(self, volume: VolumeDocument, found: dict[str, tuple[Snapshot, bool]]) -> tuple[Decision, ...]:
        candidates = []
        for name, (snapshot, is_mounted) in found.items():
            kept = await self._kept.find(f"{volume.name}/{name}")
            candidates.append(
                Candidate(
                    name,
                    kept.document.taken_at if kept is not None else None,
                    is_overflown=snapshot.is_overflown,
                    is_mounted=is_mounted,
                    is_persons=kept is not None and kept.document.is_mounted,
                    is_leaving=self._snapshots.leaving.is_leaving(volume.name, name),
                )
            )
        return decide(candidates, is_asked=await self._is_asked(volume.name))

    async def _is_asked(self, volume: str) -> bool:
        for share in await self._showing(volume):
            try:
                await self._shares.directory(share)
            except (NotFoundError, UnavailableError):
                continue
            return True
        return False

    async def _showing(self, volume: str) -> Sequence[str]:
        """The shares of a volume that show snapshots."""
        names = frozenset[str]().union(*[await shower.showing() for shower in self._showers])
        return [share.name for share in await self._shares.list() if share.name in names and share.volume == volume]

    # --- bringing reality to it ---

    async def restore(self) -> tuple[str, ...]:
        """Look at every volume that shows snapshots, or did; return in sentences what could not be done."""
        failed: list[str] = []
        for name in await self._volumes.all():
            failed += await self.look_at(name)
        return tuple(failed)

    def _has_places(self, volume: VolumeDocument) -> bool:
        return place_of(self._mount_dir, volume, "any").parent.is_dir()

    async def look_at(self, volume: str) -> tuple[str, ...]:
        """Mount what is to be seen of one volume, have its shares show that, and let go of the rest.

        While a job changes the volume it is the job's, and looked at again after it.
        """
        failed: list[str] = []
        kept = await self._volumes.find(volume)
        if kept is None or not kept.document.has_file_system:
            return ()
        if not self._has_places(kept.document) and not await self._showing(volume):
            return ()
        try:
            await self._jobs.locks.mend(f"volume:{volume}", partial(self._look_at, volume, failed))
        except HoldfastError as reason:
            failed.append(f"the snapshots of the volume {volume} that shares show: {reason.message}")
        return tuple(failed)

    async def _look_at(self, name: str, failed: list[str]) -> None:
        kept = await self._volumes.find(name)
        if kept is None:
            return
        volume = kept.document
        decisions = await self._decide(volume, await self._look(volume))
        for each in decisions:
            if each.step is MountStep.MOUNT:
                await self._try(failed, volume, each.name, self._mount)
        if any(each.step is not MountStep.NOTHING for each in decisions):
            await self._apply(name)
        for each in decisions:
            if each.step is MountStep.UNMOUNT:
                await self._try(failed, volume, each.name, self._unmount)

    async def _try(self, failed: list[str], volume: VolumeDocument, name: str, act: Act) -> None:
        try:
            await self._jobs.locks.mend(snapshot_lock(volume.name, name), partial(act, volume, name))
        except HoldfastError as reason:
            failed.append(f"the snapshot {name} of {volume.name}, which shares show: {reason.message}")

    async def _mount(self, volume: VolumeDocument, name: str) -> None:
        snapshot = await self._snapshots.get(volume.name, name)
        if snapshot.is_overflown or self._snapshots.leaving.is_leaving(volume.name, name):
            return
        place = place_of(self._mount_dir, volume, name)
        await self._drivers.volume().mount(snapshot.device, str(place), read_only=True)
        log.info("the snapshot %s of %s is mounted for the clients of its shares", name, volume.name)

    async def _unmount(self, volume: VolumeDocument, name: str) -> None:
        """Unmount one that was mounted for clients, who see it no more. A person's mount stays."""
        kept = await self._kept.find(f"{volume.name}/{name}")
        if kept is not None and kept.document.is_mounted:
            return
        place = place_of(self._mount_dir, volume, name)
        await self._drivers.volume().unmount(str(place))
        remove_place(place)

    async def _apply(self, volume: str) -> None:
        """What fails is told by who offers the shares."""
        shares = [share.name for share in await self._shares.list() if share.volume == volume]
        for shower in self._showers:
            for share in shares:
                try:
                    await shower.apply_if_offered(share)
                except HoldfastError as reason:
                    log.warning("the share %s does not show its snapshots as it should: %s", share, reason)

    async def _let_go(self, volume: str, name: str) -> None:
        """Have nobody see one that is leaving, and unmount it."""
        kept = await self._volumes.find(volume)
        if kept is None or not kept.document.has_file_system:
            return
        if (await self._look(kept.document)).get(name, (None, False))[1]:
            await self._apply(volume)
            await self._unmount(kept.document, name)

    # --- for who unmounts the volume, or rolls it back ---

    async def why_held(self, volume: str) -> tuple[Reason, ...]:
        """See MountUser. Who reads a snapshot keeps nobody from anything."""
        return ()

    async def release(self, volume: str) -> None:
        """See MountUser. Its shares are offered no more by now."""
        document = await self._volumes.get(volume)
        for name, (_, is_mounted) in (await self._look(document)).items():
            if is_mounted:
                await self._unmount(document, name)

    async def take_up(self, volume: str) -> None:
        """See MountUser. A job holds the volume's lock."""
        failed: list[str] = []
        try:
            await self._look_at(volume, failed)
        except HoldfastError as reason:
            failed.append(reason.message)
        for text in failed:
            log.warning("after the volume %s was mounted again: %s", volume, text)
