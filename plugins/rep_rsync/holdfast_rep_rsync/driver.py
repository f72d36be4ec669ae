"""The copy driver: it puts agent, client and reports together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from holdfast.errors import HoldfastError, NoSpaceError, Reason, RefusedError, UnavailableError
from holdfast.hooks.base import Can, Host
from holdfast.hooks.copy_restore import ReplicaFacts, RestorePreview, RestoreRun
from holdfast.hooks.copying import CopyChange, CopyPreview
from holdfast.hooks.replication import (
    AgentSpec,
    CopyDriver,
    CopyNote,
    CopyProgress,
    CopyResult,
    CopyRun,
    RemoteReplica,
    ReplicaShare,
)
from holdfast.system import processes
from holdfast_rep_rsync import changes, configuration, naming, notes, options, reports, restoring, verification
from holdfast_rep_rsync.agent import Agent
from holdfast_rep_rsync.client import Client
from holdfast_rep_rsync.progress import Progress
from holdfast_rep_rsync.settings import Settings

log = logging.getLogger(__name__)

_REPORTING = ("--info=progress2,stats2",)
_AGAIN_S = 0.2
_FILE_IO_FAILED = 11
"""RERR_FILEIO of rsync(1)."""


class RsyncDriver(CopyDriver):
    """See CopyDriver.

    The agent goes on after `close` and after the death of holdfastd; the next `start_agent` adopts it.
    """

    can = frozenset({Can.COPY_AGENT, Can.COPY_CHANGES})

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
        options.check(run.options)
        await self._refuse_to_empty(run)
        listed = reports.read_listing(await self._client.list_modules(run.agent))
        told = next((replica.bandwidth_bytes_s for replica in listed if replica.name == run.replica), None)
        seen = Progress(progress, self._host.clock)
        words = (*_REPORTING, *options.copying(run.options, told))
        try:
            result = await self._copy(run, words, seen)
        except NoSpaceError:
            # What was kept aside of a file that has no room takes the room of those that would have.
            with contextlib.suppress(HoldfastError):
                await self._tidy(run)
            raise
        seen.finish()
        await self._tidy(run)
        log.info(
            "copied %s to %s on %s: %d files sent, %d deleted, %d bytes on the wire",
            *(run.source, run.replica, run.agent.address, result.files_sent, result.files_deleted, result.sent_bytes),
        )
        return result

    async def _copy(self, run: CopyRun, words: tuple[str, ...], seen: Progress) -> CopyResult:
        if run.changes is None:
            return reports.read_statistics(await self._push_copy(run, words, seen.follow))

        async def push(more: tuple[str, ...], follow: Callable[[str], None]) -> list[str]:
            return await self._push_copy(run, (*more, *words), follow)

        with self._client.temporary_file("top", changes.TOP) as top:
            return await changes.copy(run.changes, top, push, seen.follow, is_deleting=run.options.is_deleting)

    async def _push_copy(self, run: CopyRun, words: tuple[str, ...], follow: Callable[[str], None]) -> list[str]:
        try:
            # Progress comes once a file, and is not kept.
            return await self._client.push(run, words, follow, keeps=reports.is_statistic)
        except UnavailableError as reason:
            await self._refuse_if_unwritable(run, reason)
            raise

    async def _refuse_if_unwritable(self, run: CopyRun, reason: UnavailableError) -> None:
        """A tunnel ends with the agent's rsync: why that ended may not have come through, and is asked for."""
        deadline_s = self._host.clock.boot_s() + self._settings.busy_wait_s
        while True:
            try:
                data = await self._facts(run)
            except HoldfastError:
                return  # it really cannot be reached
            ended = restoring.read_ended(data)
            if ended is not None or self._host.clock.boot_s() >= deadline_s:
                break
            await self._host.clock.sleep(_AGAIN_S)
        if ended == _FILE_IO_FAILED:
            free_bytes = restoring.read_facts(data, run.replica).free_bytes
            text = (
                f"the destination is full, or its disk fails: a file could not be written, {free_bytes} bytes are free"
            )
            remedy = "free or add space on the destination, and look at its file system"
            raise NoSpaceError(text, reasons=[Reason("destination-full", text, remedy)]) from reason

    async def _tidy(self, run: CopyRun) -> None:
        """Take away what was kept aside; an agent that is just started again is waited for, the copy being done."""
        deadline_s = self._host.clock.boot_s() + self._settings.busy_wait_s
        while True:
            try:
                await self._client.push(run, options.tidying(), lambda line: None)
            except UnavailableError:
                if self._host.clock.boot_s() >= deadline_s:
                    raise
                await self._host.clock.sleep(_AGAIN_S)
            else:
                return

    async def _refuse_to_empty(self, run: CopyRun) -> None:
        """dmeventd unmounts a snapshot that overflew (seen with LVM 2.03); what is left is an empty mount point."""
        if run.changes or not run.options.is_deleting or not await asyncio.to_thread(_is_empty, Path(run.source)):
            return
        words = options.looking_ahead(run.options, with_names=False)
        lines = await self._client.push(run, words, lambda line: None)
        if reports.read_preview(lines, (), is_whole=False).files_deleted:
            text = f"the source {run.source} is empty and the replica is not; nothing was deleted"
            remedy = "check the source's volume and snapshot; if it is meant, empty the replica on its own node"
            raise RefusedError(text, reasons=[Reason("empty-source", text, remedy)])

    async def preview(self, run: CopyRun, *, most: int) -> CopyPreview:
        """See CopyDriver."""
        naming.check_run(run)
        options.check(run.options)
        await self._refuse_to_empty(run)
        changes: list[CopyChange] = []

        def follow(line: str) -> None:
            if len(changes) <= most and (change := reports.read_change(line)) is not None:
                changes.append(change)

        words = options.looking_ahead(run.options, with_names=most > 0)
        lines = await self._client.push(run, words, follow, keeps=reports.is_statistic)
        return reports.read_preview(lines, tuple(changes[:most]), is_whole=most > 0 and len(changes) <= most)

    async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        """See CopyDriver. What it finds equal is on the destination's disk: the agent writes it out first."""
        naming.check_run(run)
        options.check(run.options)
        names = verification.encode_sample(sample)
        metadata = await self._compare(run)
        if not sample:
            return verification.describe(metadata)
        lull_s = await asyncio.to_thread(verification.lull_s, run.source, sample, self._settings.checksum_bytes_per_s)
        with self._client.temporary_file("sample", names) as names_file:
            words = verification.checksum_options(names_file, options.filters(run.options))
            contents = await self._client.push(run, words, lambda line: None, lull_s=lull_s)
        return verification.describe(contents, metadata)

    async def _compare(self, run: CopyRun) -> list[str]:
        words = verification.metadata_options(options.rules(run.options))
        if run.changes is None:
            return await self._client.push(run, words, lambda line: None)
        named = await asyncio.to_thread(changes.all_names, run.changes, is_deleting=run.options.is_deleting)
        with self._client.temporary_file("names", named or changes.TOP) as path:
            more = (*changes.naming(str(path)), *(changes.TOP_ALONE if not named else ()), "--delete-missing-args")
            return await self._client.push(run, (*more, *words), lambda line: None)

    async def leave_note(self, run: CopyRun, note: CopyNote) -> None:
        """See CopyDriver."""
        naming.check_run(run)
        module, former = (naming.note_module(name) for name in (run.replica, naming.former_module(run.replica)))
        await self._client.ask(run, module, former, notes.encode(note))

    async def read_notes(self) -> Mapping[str, CopyNote]:
        """See CopyDriver."""
        return await self._agent.read_notes()

    # --- giving back ---

    async def restore(self, restore: RestoreRun, progress: Callable[[CopyProgress], None]) -> CopyResult:
        """See CopyDriver."""
        told = Progress(progress, self._host.clock)
        result = reports.read_statistics(await self._restore(restore, _REPORTING, told.follow))
        told.finish()
        return result

    async def preview_restore(self, restore: RestoreRun) -> RestorePreview:
        """See CopyDriver."""
        return restoring.read_preview(await self._restore(restore, restoring.PREVIEWING, lambda line: None))

    async def _restore(self, restore: RestoreRun, more: tuple[str, ...], follow: Callable[[str], None]) -> list[str]:
        run = restore.run
        await asyncio.to_thread(restoring.check, restore)
        if restore.deletes and not restore.paths and not restore.into:
            await self._refuse_to_empty(run)
        lull_s = 0
        if restore.by_content:
            rate = self._settings.checksum_bytes_per_s
            lull_s = await asyncio.to_thread(verification.whole_lull_s, run.source, rate)
        with self._names_file(restore) as names_file:
            words = (*restoring.options(restore, names_file), *more)
            return await self._client.push(run, words, follow, lull_s=lull_s, into=restore.into)

    @contextlib.contextmanager
    def _names_file(self, restore: RestoreRun) -> Iterator[Path | None]:
        if not restore.paths:
            yield None
            return
        with self._client.temporary_file("names", restoring.names_of(restore)) as path:
            yield path

    async def verify_all(self, run: CopyRun) -> tuple[str, ...]:
        """See CopyDriver."""
        naming.check_run(run)
        lull_s = await asyncio.to_thread(verification.whole_lull_s, run.source, self._settings.checksum_bytes_per_s)
        options.check(run.options)
        words = (*verification.metadata_options(options.rules(run.options)), "--checksum")
        return verification.describe(await self._client.push(run, words, lambda line: None, lull_s=lull_s))

    def hold(self, replica: str) -> AbstractAsyncContextManager[CopyNote | None]:
        """See CopyDriver."""
        return self._agent.hold(replica)

    async def distrust_replicas(self) -> None:
        """See CopyDriver."""
        await self._agent.distrust()

    async def replica_facts(self, run: CopyRun) -> ReplicaFacts:
        """See CopyDriver."""
        naming.check_run(run)
        return restoring.read_facts(await self._facts(run), run.replica)

    async def _facts(self, run: CopyRun) -> bytes:
        module, former = (naming.facts_module(name) for name in (run.replica, naming.former_module(run.replica)))
        return await self._client.fetch(run, module, former, configuration.FACTS_FILE)

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
        for path in await asyncio.to_thread(lambda: tuple(runs.glob("*"))):
            path.unlink(missing_ok=True)


def _is_empty(directory: Path) -> bool:
    # What cannot be listed is rsync's to report.
    with contextlib.suppress(OSError):
        return next(directory.iterdir(), None) is None
    return False


async def open_driver(settings: Settings, host: Host) -> RsyncDriver:
    """Make the driver, and tidy what an earlier daemon's copies left."""
    driver = RsyncDriver(settings, host)
    await driver.end_orphans()
    return driver
