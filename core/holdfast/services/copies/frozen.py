"""A copy held still: from a snapshot of its volume, mounted read-only for one job."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import ConflictError, NotFoundError, Reason, named_in
from holdfast.hooks.volume import Snapshot
from holdfast.services.copies.replica_documents import ReplicaShareDocument
from holdfast.services.documents import ShareDocument
from holdfast.services.drivers import Drivers
from holdfast.services.shares.shares import Shares
from holdfast.services.snapshots.snapshots import Snapshots
from holdfast.services.steps import JobContext
from holdfast.store.intent import Intents


@dataclass(frozen=True)
class Place:
    """A replica share, and the share that it is."""

    replica: ReplicaShareDocument
    share: ShareDocument


class FrozenCopies:
    """Freezes copies, as they are now or as a kept snapshot has them."""

    def __init__(
        self,
        replicas: Intents[ReplicaShareDocument],
        shares: Shares,
        snapshots: Snapshots,
        drivers: Drivers,
        run_dir: Path,
    ) -> None:
        self._replicas = replicas
        self._shares = shares
        self._snapshots = snapshots
        self._drivers = drivers
        self._run_dir = run_dir
        self._browsing = asyncio.Lock()

    async def place(self, replica: str) -> Place:
        """Where a copy lies. Raises NotFoundError."""
        document = await self._replicas.get(replica)
        return Place(document, await self._shares.get(document.share))

    async def kept(self, place: Place, snapshot: str) -> Snapshot:
        """A snapshot of the copy's volume that can be read. Raises InvalidError, ConflictError for one that is void."""
        with named_in("snapshot"):
            found = await self._snapshots.get(place.share.volume, snapshot)
        refuse_void(found)
        return found

    # --- for a job: `replica`, `snapshot` and `volume` are among its parameters ---

    def mount_point(self, job: JobContext) -> Path:
        """Where a job's frozen copy is mounted."""
        return self._run_dir / "restores" / job.job_id

    async def root(self, job: JobContext) -> Path:
        """The copy's top within that."""
        place = await self.place(job.parameters["replica"])
        return self.mount_point(job) / place.share.path

    async def freeze(self, job: JobContext) -> None:
        """Make a snapshot of the copy as it is now, unless a kept one is wanted; no copy comes in meanwhile."""
        volume, name = job.parameters["volume"], job.parameters["snapshot"]
        if name is not None:
            job.facts["snapshot"] = name
            return
        spec = await self._snapshots.spec(volume, _own_name(job), None)
        async with contextlib.AsyncExitStack() as stack:
            note = None
            # Without an agent, and while the direction is reversed, nothing comes in.
            with contextlib.suppress(NotFoundError):
                note = await stack.enter_async_context(self._drivers.copy().hold(job.parameters["replica"]))
            await self._snapshots.take(spec)
        job.facts["snapshot"] = spec.name
        job.facts["verified_copy_of"] = None if note is None else note.frozen_at.isoformat()
        what = "is not known to be verified" if note is None else f"is the verified copy of {note.frozen_at}"
        await job.log(f"the copy was frozen in the snapshot {spec.name}; it {what}")

    async def thaw(self, job: JobContext) -> None:
        """Remove the snapshot that `freeze` made."""
        if job.parameters["snapshot"] is None:
            spec = await self._snapshots.spec(job.parameters["volume"], _own_name(job), None)
            await self._drivers.volume().delete_snapshot(spec.pool, spec.volume, spec.name)

    async def mount(self, job: JobContext) -> None:
        """Mount it read-only; also anew, after a reboot between two steps."""
        found = await self.intact(job)
        await self._drivers.volume().mount(found.device, str(self.mount_point(job)), read_only=True)

    async def intact(self, job: JobContext) -> Snapshot:
        """The snapshot, which must not have overflown: ask before and after it was read, always."""
        found = await self._snapshots.get(job.parameters["volume"], job.facts["snapshot"])
        refuse_void(found)
        return found

    async def unmount(self, job: JobContext) -> None:
        """Unmount it."""
        await self._drivers.volume().unmount(str(self.mount_point(job)))
        if self.mount_point(job).is_dir():
            self.mount_point(job).rmdir()

    # --- for a look ---

    @contextlib.asynccontextmanager
    async def looking(self, replica: str, snapshot: str | None) -> AsyncIterator[Path]:
        """The top of a copy as it is now, or as a kept snapshot has it, for as long as the context lasts."""
        place = await self.place(replica)
        if snapshot is None:
            yield await self._shares.directory(place.share.name)
            return
        found = await self.kept(place, snapshot)
        place_of_mount = self._run_dir / "looks" / secrets.token_hex(8)
        async with self._browsing:
            try:
                await self._drivers.volume().mount(found.device, str(place_of_mount), read_only=True)
                yield place_of_mount / place.share.path
            finally:
                await self._drivers.volume().unmount(str(place_of_mount))
                if place_of_mount.is_dir():
                    place_of_mount.rmdir()


def refuse_void(snapshot: Snapshot) -> None:
    """Raise ConflictError for a snapshot whose reserve ran full: it is never to be read."""
    if snapshot.is_overflown:
        text = f"the snapshot {snapshot.name} is void: its reserve of {snapshot.reserve_bytes} bytes was not enough"
        raise ConflictError(text, reasons=[Reason("snapshot-void", text, "name another one", "snapshot")])


def _own_name(job: JobContext) -> str:
    return f"restore-{job.job_id[:8]}"
