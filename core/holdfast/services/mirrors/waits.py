"""Waiting for a mirror's kernel state within a job, with a limit that says what did not come."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.errors import UnavailableError
from holdfast.hooks.replication import ConnectionState, MirrorStatus, ReplicationState
from holdfast.services.drivers import Drivers
from holdfast.services.steps import JobContext
from holdfast.system.clock import Clock

CONNECT_WITHIN_S = 30.0
POLL_S = 0.2

_SYNCING = (ReplicationState.SYNC_SOURCE, ReplicationState.SYNC_TARGET, ReplicationState.PAUSED)


class MirrorWaits:
    """Looks at this node's side until something holds."""

    def __init__(self, drivers: Drivers, clock: Clock) -> None:
        self._drivers = drivers
        self._clock = clock

    async def until(
        self, name: str, holds: Callable[[MirrorStatus], bool], what: str, within_s: float = CONNECT_WITHIN_S
    ) -> MirrorStatus:
        """The status once `holds`. Raises UnavailableError, saying `what` did not come and what is instead."""
        deadline_s = self._clock.boot_s() + within_s
        while True:
            status = await self._drivers.mirror().status(name)
            if holds(status):
                return status
            if self._clock.boot_s() > deadline_s:
                raise UnavailableError(
                    f"the mirror {name} {what} within {within_s:.0f} s: it is {status.connection.value}"
                )
            await self._clock.sleep(POLL_S)

    async def connected(self, name: str) -> MirrorStatus:
        """The status once it is connected."""
        return await self.until(name, lambda s: s.connection is ConnectionState.CONNECTED, "did not connect")

    async def quiet(self, name: str, job: JobContext) -> MirrorStatus:
        """The same as `synced`, or once nothing more comes of what is marked as different."""
        return await self._synced(name, job, lambda status: status.is_in_sync or status.marked_bytes > 0)

    async def synced_or_apart(self, name: str, job: JobContext) -> MirrorStatus:
        """The same as `synced`, or once the connection is lost."""
        return await self._synced(
            name, job, lambda status: status.is_in_sync or status.connection is not ConnectionState.CONNECTED
        )

    async def synced(self, name: str, job: JobContext) -> MirrorStatus:
        """The status once both sides are equal, telling the job how far it is.

        As long as it goes on it may take its time; raises UnavailableError when neither a resync nor equality comes.
        """
        return await self._synced(name, job, lambda status: status.is_in_sync)

    async def _synced(self, name: str, job: JobContext, holds: Callable[[MirrorStatus], bool]) -> MirrorStatus:
        idle_since_s = self._clock.boot_s()
        while not holds(status := await self._drivers.mirror().status(name)):
            if any(volume.replication in _SYNCING for volume in status.volumes):
                idle_since_s = self._clock.boot_s()
                to_go = sum(v.to_go_bytes or 0 for v in status.volumes)
                done = [v.done_percent for v in status.volumes if v.done_percent is not None]
                await job.progress(min(done) if done else None, f"{to_go} bytes to go")
            elif self._clock.boot_s() - idle_since_s > CONNECT_WITHIN_S:
                raise UnavailableError(f"the mirror {name} is not in sync, and no resync is under way")
            await self._clock.sleep(POLL_S)
        return status
