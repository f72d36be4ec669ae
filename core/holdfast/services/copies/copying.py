"""The copying of a run: within the transfer windows, again after the line was cut, and not without asking if much goes.

What was sent of a file stays in the replica, so that a copy that goes on begins nothing anew. The snapshot stays
for as long: its reserve must do for what is written meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from holdfast.errors import (
    BusyError,
    HoldfastError,
    NoSpaceError,
    Reason,
    RefusedError,
    SystemCommandError,
    UnavailableError,
    VerificationError,
)
from holdfast.hooks.replication import CopyProgress, CopyResult, CopyRun
from holdfast.planning.copy_attempts import retry_delay_s, too_many_deleted
from holdfast.planning.transfer_windows import Opening, opening
from holdfast.services.copies.task_documents import TaskDocument
from holdfast.services.copies.ways import CopyWays, counted_ahead
from holdfast.services.drivers import Drivers
from holdfast.services.steps import JobContext
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock

TELL_EVERY_S = 1.0
# The window is looked at anew so often: the task may be changed, and the clock be set, while it waits.
LOOK_EVERY_S = 60.0
MakeRun = Callable[[JobContext], Awaitable[CopyRun]]
T = TypeVar("T")
Check = Callable[[JobContext], Awaitable[None]]


class TaskCopying:
    """Copies for a run's job."""

    def __init__(self, kept: Intents[TaskDocument], ways: CopyWays, drivers: Drivers, clock: Clock) -> None:
        self._kept = kept
        self._ways = ways
        self._drivers = drivers
        self._clock = clock

    async def copy(self, job: JobContext, make_run: MakeRun, check: Check) -> CopyResult:
        """Copy until it is done. `make_run` is asked before each attempt, for a password may have been changed.

        `check` is told before and after each. Raises RefusedError if more would be deleted than the task lets go, and
        nobody confirmed it; what the last attempt raised once all are used up.
        """
        try:
            return await self._copy(job, make_run, check)
        except (NoSpaceError, VerificationError, SystemCommandError) as reason:
            await check(job)
            await self._ways.walk_instead(job, reason)
            return await self._copy(job, make_run, check)

    async def _copy(self, job: JobContext, make_run: MakeRun, check: Check) -> CopyResult:
        task = await self._kept.get(job.parameters["name"])
        await check(job)
        attempts = 0
        is_guarded = False
        while True:
            task = await self._kept.get(task.name)
            now_open = await self._wait_for_window(job, task.name)
            try:
                if not is_guarded:
                    await self._refuse_to_delete(job, task, await make_run(job))
                    is_guarded = True
                result = await self._attempt(job, await make_run(job), task, now_open)
            except (UnavailableError, BusyError) as reason:
                await check(job)
                attempts += 1
                if attempts > task.retries:
                    raise
                await self._wait_out(job, task, attempts, reason)
                continue
            await check(job)
            if result is not None:
                return result

    async def again(self, job: JobContext, act: Callable[[], Awaitable[T]]) -> T:
        """Do something else with the agent as often as the task says until it can be reached."""
        attempts = 0
        while True:
            try:
                return await act()
            except (UnavailableError, BusyError) as reason:
                attempts += 1
                task = await self._kept.get(job.parameters["name"])
                if attempts > task.retries:
                    raise
                await self._wait_out(job, task, attempts, reason)

    async def _wait_out(self, job: JobContext, task: TaskDocument, attempts: int, reason: HoldfastError) -> None:
        delay_s = retry_delay_s(attempts, task.retry_delay_s)
        await job.log(f"attempt {attempts} failed: {reason.message}; the next one is in {delay_s} s")
        await job.progress(None, f"waits {delay_s} s for attempt {attempts + 1}")
        await self._clock.sleep(delay_s)

    async def _attempt(self, job: JobContext, run: CopyRun, task: TaskDocument, now_open: Opening) -> CopyResult | None:
        """One copy; None if its window ended first."""
        limits = (run.options.bandwidth_bytes_s, now_open.bandwidth_bytes_s)
        limit = min((limit for limit in limits if limit is not None), default=None)
        run = replace(run, options=replace(run.options, bandwidth_bytes_s=limit))
        newest: list[CopyProgress] = []
        begun_s = self._clock.boot_s()
        copying = asyncio.ensure_future(self._drivers.copy().copy(run, newest.append))
        telling = asyncio.create_task(_tell_progress(job, newest))
        try:
            while not copying.done():
                await asyncio.wait([copying], timeout=self._until_look_s(now_open))
                if copying.done() or await self._holds_still(task, now_open):
                    continue
                await job.log("the transfer window ended, or the bandwidth was changed; what was sent is kept")
                await _stop(copying)
                if copying.cancelled():
                    return None
            return copying.result()
        finally:
            telling.cancel()
            await _stop(copying)
            # Only what was copied for: not what was waited for between attempts and windows.
            took_ms = round((self._clock.boot_s() - begun_s) * 1000)
            job.facts["copying_ms"] = job.facts.get("copying_ms", 0) + took_ms

    def _until_look_s(self, now_open: Opening) -> float:
        if now_open.until is None:
            return LOOK_EVERY_S
        return min(max((now_open.until - self._clock.now()).total_seconds(), 0.05), LOOK_EVERY_S)

    async def _holds_still(self, task: TaskDocument, now_open: Opening) -> bool:
        """Whether what held when the copy began does so now; a task that was changed meanwhile counts as it is now."""
        now = await self._kept.get(task.name)
        current = opening(now.windows, now.windows_time_zone, self._clock.now())
        return (current.is_open, current.bandwidth_bytes_s, now.bandwidth_bytes_s) == (
            now_open.is_open,
            now_open.bandwidth_bytes_s,
            task.bandwidth_bytes_s,
        )

    async def _wait_for_window(self, job: JobContext, name: str) -> Opening:
        told: datetime | None = None
        while True:
            task = await self._kept.get(name)
            current = opening(task.windows, task.windows_time_zone, self._clock.now())
            if current.is_open or current.until is None:
                return current
            if current.until != told:
                told = current.until
                await job.log(f"no transfer window is open; it goes on at {told.isoformat()}")
                await job.progress(None, f"waits for its transfer window, until {told.isoformat()}")
            await self._clock.sleep(self._until_look_s(current))

    async def _refuse_to_delete(self, job: JobContext, task: TaskDocument, run: CopyRun) -> None:
        if task.most_deleted_percent is None or not task.is_deleting or job.parameters.get("may_delete"):
            return
        preview = counted_ahead(job) or await self._drivers.copy().preview(run, most=0)
        text = too_many_deleted(preview, task.most_deleted_percent)
        if text is not None:
            text += "; nothing was copied or deleted"
            remedy = (
                f"look at it with `holdfast replication-task dry-run {task.name}`; if it is meant, run the task once"
                " with confirm_deletions"
            )
            raise RefusedError(text, reasons=[Reason("deletions-unconfirmed", text, remedy, "confirm_deletions")])


async def _stop(copying: asyncio.Future[CopyResult]) -> None:
    """Cancel a copy that is under way; what became of it is asked of it, so that nobody is told of it besides."""
    if not copying.done():
        copying.cancel()
        # Not awaited itself: its cancellation would look like our own.
        await asyncio.wait([copying])
        if not copying.cancelled():
            copying.exception()


async def _tell_progress(job: JobContext, newest: list[CopyProgress]) -> None:
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        if newest:
            await job.progress(newest[-1].percent, newest[-1].text)
            del newest[:]
