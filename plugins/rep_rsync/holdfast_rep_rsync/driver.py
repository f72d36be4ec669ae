"""The copy driver: it puts agent, client and reports together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from holdfast.errors import Reason, RefusedError
from holdfast.hooks.base import Can, Host
from holdfast.hooks.replication import (
    AgentSpec,
    CopyDriver,
    CopyProgress,
    CopyResult,
    CopyRun,
    RemoteReplica,
    ReplicaShare,
)
from holdfast.system.clock import Clock
from holdfast_rep_rsync import naming, processes, reports, verification
from holdfast_rep_rsync.agent import Agent
from holdfast_rep_rsync.client import DELETING, Client
from holdfast_rep_rsync.settings import Settings

log = logging.getLogger(__name__)

_REPORTING = ("--info=progress2,stats2",)
_PROGRESS_INTERVAL_S = 0.2


class _Progress:
    """Passes rsync's progress on, which comes once a file: at most some times a second, and the last one always."""

    def __init__(self, tell: Callable[[CopyProgress], None], clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._told_s = float("-inf")
        self._untold: CopyProgress | None = None

    def follow(self, line: str) -> None:
        """Read a line of rsync's output."""
        if (record := reports.read_progress(line)) is None:
            return
        self._untold = record
        if self._clock.boot_s() - self._told_s >= _PROGRESS_INTERVAL_S:
            self.finish()

    def finish(self) -> None:
        """Tell what was held back."""
        if self._untold is not None:
            self._tell(self._untold)
            self._told_s, self._untold = self._clock.boot_s(), None


class RsyncDriver(CopyDriver):
    """See CopyDriver.

    The agent goes on after `close` and after the death of holdfastd; the next `start_agent` adopts it.
    """

    can = frozenset({Can.COPY_AGENT})

    def __init__(self, settings: Settings, host: Host) -> None:
        self._settings = settings
        self._host = host
        self._client = Client(host, settings, host.run_dir / "runs")
        self._agent = Agent(settings, host, self._client)

    async def close(self) -> None:
        """See Driver."""
        await self._agent.leave()

    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        """See CopyDriver. Raises InvalidError for what rsync would misread, UnavailableError if it does not start."""
        naming.check_agent(spec, is_local=True)
        for share in replicas:
            naming.check_share(share)
        await self._agent.start(spec, replicas)

    async def stop_agent(self) -> None:
        """See CopyDriver. Copies being accepted end too: what lies below them may be unmounted next."""
        await self._agent.stop()

    async def is_agent_running(self) -> bool:
        """See CopyDriver."""
        return await self._agent.is_running()

    async def browse(self, agent: AgentSpec) -> tuple[RemoteReplica, ...]:
        """See CopyDriver."""
        naming.check_agent(agent, is_local=False)
        return reports.read_listing(await self._client.list_modules(agent))

    async def copy(self, run: CopyRun, progress: Callable[[CopyProgress], None]) -> CopyResult:
        """See CopyDriver."""
        naming.check_run(run)
        await self._refuse_to_empty(run)
        told = _Progress(progress, self._host.clock)
        result = reports.read_statistics(await self._client.push(run, (*_REPORTING, *DELETING), told.follow))
        told.finish()
        log.info(
            "copied %s to %s on %s: %d files sent, %d deleted, %d bytes on the wire",
            *(run.source, run.replica, run.agent.address, result.files_sent, result.files_deleted, result.sent_bytes),
        )
        return result

    async def _refuse_to_empty(self, run: CopyRun) -> None:
        """dmeventd unmounts a snapshot that overflew (seen with LVM 2.03); what is left is an empty mount point."""
        if not await asyncio.to_thread(_is_empty, Path(run.source)):
            return
        told = await self._client.push(run, verification.metadata_options(DELETING), lambda line: None)
        if verification.has_surplus(told):
            text = f"the source {run.source} is empty and the replica is not; nothing was deleted"
            remedy = "check the source's volume and snapshot; if it is meant, empty the replica on its own node"
            raise RefusedError(text, reasons=[Reason("empty-source", text, remedy)])

    async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        """See CopyDriver. What it finds equal is on the destination's disk: the agent writes it out first."""
        naming.check_run(run)
        names = verification.encode_sample(sample)
        options = verification.metadata_options(DELETING)
        metadata = await self._client.push(run, options, lambda line: None)
        if not sample:
            return verification.describe(metadata)
        lull_s = await asyncio.to_thread(verification.lull_s, run.source, sample, self._settings.checksum_bytes_per_s)
        with self._client.temporary_file("sample", names) as names_file:
            options = verification.checksum_options(names_file)
            contents = await self._client.push(run, options, lambda line: None, lull_s=lull_s)
        return verification.describe(contents, metadata)

    async def end_orphans(self) -> None:
        """End copies that a killed daemon left running: they hold a snapshot's mount, and nobody reads their result."""
        runs = self._host.run_dir / "runs"
        mark = f"--password-file={runs}/"
        orphans = await asyncio.to_thread(
            processes.find, self._host.kernel, lambda argv: any(word.startswith(mark) for word in argv[1:])
        )
        if orphans:
            log.warning("%d copies left by a daemon that was killed are ended", len(orphans))
            await processes.end(self._host.kernel, orphans, patience_s=0)
        for path in await asyncio.to_thread(_files_in, runs):
            path.unlink(missing_ok=True)


def _is_empty(directory: Path) -> bool:
    # What cannot be listed is rsync's to report.
    with contextlib.suppress(OSError):
        return next(directory.iterdir(), None) is None
    return False


def _files_in(directory: Path) -> tuple[Path, ...]:
    with contextlib.suppress(FileNotFoundError):
        return tuple(directory.iterdir())
    return ()


async def open_driver(settings: Settings, host: Host) -> RsyncDriver:
    """Make the driver, and tidy what an earlier daemon's copies left."""
    driver = RsyncDriver(settings, host)
    await driver.end_orphans()
    return driver
