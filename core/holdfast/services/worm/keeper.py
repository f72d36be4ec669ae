"""Keeps watch over volumes that are write once: a file is retained from when its last writer has closed it.

The kernel tells of files that are closed. A walk over the whole volume makes good for what nobody heard: when a volume
is taken up, as at the start of the daemon, and every hour. What is noted lies in the volume itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from holdfast.errors import HoldfastError, Reason, UnavailableError, UnsupportedError
from holdfast.hooks.volume import VolumeKind
from holdfast.planning.write_once import Act, advanced
from holdfast.services.documents import VolumeDocument
from holdfast.services.jobs import Jobs
from holdfast.services.volumes.file_io import directory_of
from holdfast.services.volumes.views import is_mounted_by_itself
from holdfast.services.worm.files import (
    Became,
    Counts,
    Terms,
    VolumeMark,
    Walk,
    read_mark,
    remove_mark,
    settle_file,
)
from holdfast.services.worm.guard import WormGuard, noted
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.system.closing import ClosedFiles

log = logging.getLogger(__name__)

WALK_EVERY_S = 3600.0
LOOK_AGAIN_S = 0.1
PATIENCE_S = 5.0
"""For so long a file that was closed is looked at again while somebody else writes to it; he will close it, too."""


@dataclass
class Watched:
    """A volume that is watched."""

    directory: Path
    device: int
    mark: VolumeMark
    walk: Walk | None = None
    walking: asyncio.Task[None] | None = None
    walked_s: float | None = None
    """By the clock of the machine."""
    walked_at: datetime | None = None
    counts: Counts | None = None
    failed: str | None = None


class WormKeeper:
    """Watches the volumes of this node that are write once."""

    def __init__(
        self, kept: Intents[VolumeDocument], guard: WormGuard, jobs: Jobs, clock: Clock, mount_dir: Path
    ) -> None:
        self._kept = kept
        self._guard = guard
        self._jobs = jobs
        self._clock = clock
        self._mount_dir = mount_dir
        self._closed: ClosedFiles | None = None
        self._has_some = asyncio.Event()
        self._acting = asyncio.Lock()
        self._pending: list[tuple[int, float]] = []
        """Files that were closed, and until when each is looked at again."""
        self.watched: dict[str, Watched] = {}

    # --- taking up and letting go ---

    async def begin(self, document: VolumeDocument) -> None:
        """Watch a volume that is mounted. Raises RefusedError, or UnsupportedError where that cannot be done here."""
        assert document.worm_retention_s is not None
        directory, uuid = await self._guard.place(document)
        try:
            await self._begin(document.name, directory, uuid, document.worm_retention_s)
        except OSError as reason:
            text = f"the volume {document.name} cannot be watched: {reason.strerror}"
            remedy = "run holdfastd as root, on a kernel with fanotify and a file system with the flag immutable"
            raise UnsupportedError(text, reasons=[Reason("no-worm", text, remedy, "worm_retention_s")]) from reason

    async def _begin(self, name: str, directory: Path, uuid: str, retention_s: int) -> None:
        if self._closed is None:
            self._closed = ClosedFiles()
            self._has_some.set()
        mark = await asyncio.to_thread(noted, directory, uuid, retention_s, self._clock.boot_s())
        device = (await asyncio.to_thread(directory.stat)).st_dev
        known = self.watched.get(name)
        if known is None or known.device != device:
            known = self.watched[name] = Watched(directory, device, mark)
        known.mark = mark
        is_new = await asyncio.to_thread(self._closed.cover, directory)
        is_due = known.walked_s is None or self._clock.boot_s() - known.walked_s >= WALK_EVERY_S
        if is_new or is_due:
            self._start_walk(name, known)

    def _start_walk(self, name: str, known: Watched) -> None:
        if known.walking is None or known.walking.done():
            known.walking = asyncio.create_task(self._walk(name, known), name=f"walk {name}")

    async def _walk(self, name: str, known: Watched) -> None:
        try:
            await self.walk(known)
        except OSError as reason:
            log.warning("the files of %s could not all be looked at: %s", name, reason)

    async def walk(self, known: Watched) -> Counts:
        """Settle every file of a volume now. Raises OSError."""
        known.walk = walk = Walk(known.directory, self.terms(known))
        known.walked_s, known.walked_at = self._clock.boot_s(), self._clock.now()
        try:
            known.counts = await asyncio.to_thread(walk.settle_all)
            known.failed = None
        except OSError as reason:
            known.failed = f"{reason.filename or ''} {reason.strerror}".strip()
            raise
        return known.counts

    async def look_after(self) -> tuple[str, ...]:
        """Watch all that are mounted, their clocks going on; return in sentences what could not be."""
        failed = []
        for name, document in (await self._kept.all()).items():
            if document.kind is VolumeKind.NAS and is_mounted_by_itself(document):
                try:
                    await self._jobs.locks.mend(f"volume:{name}", partial(self._look_after, name))
                except HoldfastError as reason:
                    failed.append(reason.message)
                if (known := self.watched.get(name)) is not None and known.failed is not None:
                    failed.append(f"the files of the volume {name} could not all be looked at: {known.failed}")
        return tuple(failed)

    async def _look_after(self, name: str) -> None:
        kept = await self._kept.find(name)
        if kept is None:
            return
        document = kept.document
        if document.worm_retention_s is None and (mark := await self._unknown_mark(document)) is not None:
            # It came from another node, or its record is lost.
            document = replace(document, worm_retention_s=mark.retention_s)
            await self._kept.put(name, document)
        if document.worm_retention_s is not None:
            await self.begin(document)

    async def _unknown_mark(self, document: VolumeDocument) -> VolumeMark | None:
        directory = directory_of(self._mount_dir, document)
        with contextlib.suppress(OSError, HoldfastError):
            if not await asyncio.to_thread(os.path.ismount, directory):
                return None
            mark = await asyncio.to_thread(read_mark, directory)
            if mark is not None and mark.volume == (await self._guard.place(document))[1]:
                return mark
        return None

    async def release(self, volume: str) -> None:
        """Let go of a volume that is about to be unmounted."""
        known = self.watched.pop(volume, None)
        if known is None:
            return
        if known.walk is not None:
            known.walk.stopping.set()
        if known.walking is not None:
            await asyncio.wait([known.walking])
        async with self._acting:
            await asyncio.to_thread(self._let_go, known)

    def _let_go(self, known: Watched) -> None:
        self._take()
        with contextlib.suppress(OSError):
            if self._closed is not None:
                self._closed.uncover(known.directory)
        for descriptor, _ in self._pending:
            os.close(descriptor)
        # Those of other volumes are found by their next walk.
        self._pending.clear()
        for other in list(self.watched.values()):
            other.walked_s = None

    async def take_up(self, volume: str) -> None:
        """Watch it again; it is mounted."""
        document = await self._kept.get(volume)
        if document.worm_retention_s is not None:
            await self.begin(document)

    async def why_held(self, volume: str) -> tuple[Reason, ...]:
        """Why it is not rolled back."""
        return await self._guard.reasons(await self._kept.get(volume), Act.ROLL_BACK)

    async def end(self, document: VolumeDocument) -> None:
        """Make it an ordinary volume. May be repeated."""
        directory, _ = await self._guard.place(document)
        await self.release(document.name)
        try:
            await asyncio.to_thread(Walk(directory, Terms(0, 0.0)).release_all)
            await asyncio.to_thread(remove_mark, directory)
        except OSError as reason:
            raise UnavailableError(f"the files of {document.name} could not all be let go: {reason}") from reason

    # --- files that were closed ---

    async def forever(self) -> None:
        """Settle file after file as they are closed, until cancelled."""
        await self._has_some.wait()
        assert self._closed is not None
        try:
            while True:
                await _until_readable(self._closed, LOOK_AGAIN_S if self._pending else None)
                async with self._acting:
                    await asyncio.to_thread(self._take)
        finally:
            self._closed.close()

    def _take(self) -> None:
        if self._closed is None:
            return
        while True:
            files, has_lost_some = self._closed.take()
            until_s = self._clock.boot_s() + PATIENCE_S
            self._pending += [(descriptor, until_s) for descriptor in files]
            if has_lost_some:
                for known in list(self.watched.values()):
                    known.walked_s = None  # the next pass of the reconciler walks
            self._pending = [one for one in self._pending if not self._is_settled(*one)]
            if not files:
                return

    def _is_settled(self, descriptor: int, until_s: float) -> bool:
        try:
            device = os.fstat(descriptor).st_dev
            known = next((one for one in list(self.watched.values()) if one.device == device), None)
            became = Became.FREE if known is None else settle_file(descriptor, self.terms(known))
        except OSError as reason:  # a walk tries again, and tells what stays so
            log.warning("a file that was closed could not be settled: %s", reason)
            became = Became.FREE
        if became is Became.OPEN and self._clock.boot_s() < until_s:
            return False
        os.close(descriptor)
        return True

    def terms(self, known: Watched) -> Terms:
        """What holds for the files of a volume now."""
        mark = known.mark
        return Terms(mark.retention_s, advanced(mark.clock, mark.clock.boot_id, self._clock.boot_s()).clock_s)


async def _until_readable(closed: ClosedFiles, timeout_s: float | None) -> None:
    loop, woken = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(closed.fileno(), woken.set)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(woken.wait(), timeout_s)
    finally:
        loop.remove_reader(closed.fileno())
