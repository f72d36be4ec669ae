"""Jobs: every change runs as one, owned by the application and not by the request that asked for it.

A job is a list of steps, each of which may be repeated and may be interrupted. Before and after each step its state
is durable. A daemon killed between any two steps goes on at its next start: forwards with the step that was
under way, or, if the job was already going back, backwards. What a step did is undone in the reverse order when a later
one fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from holdfast.errors import ConflictError, HoldfastError, NoSpaceError, Reason, UnavailableError
from holdfast.services.events import Events
from holdfast.services.locks import ObjectLocks
from holdfast.services.requests import take_terms
from holdfast.services.steps import Act, JobContext, JobDefinition, StepObserver
from holdfast.store.jobs import JobRecord, JobState, JobStore, KeepWith, StepState
from holdfast.system.clock import Clock
from holdfast.values import to_plain

log = logging.getLogger(__name__)

RETRY_S = 2.0
RETRY_LONGEST_S = 60.0


class Jobs:
    """Runs jobs.

    A job holds the locks of the things that it changes; a second change to one is refused, and told by which job.
    """

    def __init__(
        self,
        store: JobStore,
        clock: Clock,
        events: Events,
        *,
        node: str,
        observe_step: StepObserver | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._node = node
        self._observe_step = observe_step or (lambda kind, persisted: None)
        self._definitions: dict[str, JobDefinition] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._forward_now: set[str] = set()
        self._final: dict[str, str] = {}
        """Jobs that have begun a step from which there is no way back, and its name."""
        self.locks = ObjectLocks()
        self._held: dict[str, Sequence[str]] = {}
        """The locks of each job until it is over."""

    def define(self, definition: JobDefinition) -> None:
        """Make a kind of job known. All kinds are defined before `recover`."""
        assert definition.kind not in self._definitions, definition.kind
        self._definitions[definition.kind] = definition

    # --- asking for work ---

    async def start(
        self,
        kind: str,
        target: str,
        parameters: Mapping[str, Any],
        *,
        locks: Sequence[str] = (),
        check: Callable[[], Awaitable[None]] | None = None,
        keep_with: KeepWith | None = None,
    ) -> str:
        """Start a job and return its id once it is durable.

        `locks` are taken first, then `check` runs and may refuse: nothing can change between it and the job.
        `keep_with` is one commit with the job, or refuses it.
        The terms of the request that asks hold for the job: what it must have seen, and the key it is kept under.
        Raises BusyError naming the job that holds a lock, or what `check` raises; then nothing happened.
        """
        definition, terms = self._definitions[kind], take_terms()
        wanted = sorted({target, *locks})
        self.locks.refuse_if_held(wanted)
        self.locks.hold(wanted, f"{kind} of {target}")
        try:
            if terms.precondition is not None:
                await terms.precondition()
            if check is not None:
                await check()
            steps = [step.name for step in definition.steps]
            plain = {**to_plain(parameters), "_locks": wanted}
            job_id = await self._store.add(
                kind, target, plain, steps, self._node, claim=terms.claim, keep_with=keep_with
            )
        except BaseException:
            self.locks.release(wanted)
            raise
        self._launch(await self._store.get(job_id), wanted)
        return job_id

    async def get(self, job_id: str) -> JobRecord:
        """A job as it is now. Raises NotFoundError."""
        return await self._store.get(job_id)

    async def newest(self, *, before: int | None, most: int) -> tuple[JobRecord, ...]:
        """Jobs, newest first; `before` is the number of the last one seen."""
        return await self._store.newest(before=before, most=most)

    async def wait(self, job_id: str, timeout_s: float) -> JobRecord:
        """Wait for a job's end, at most `timeout_s`; return it as it is then. Waiting cancels nothing."""
        task = self._tasks.get(job_id)
        if task is not None:
            await asyncio.wait([task], timeout=timeout_s)
        return await self._store.get(job_id)

    async def cancel(self, job_id: str) -> None:
        """Ask a job to stop and undo itself.

        Raises ConflictError when it is over or going back already, or past the step from which there is no way back.
        """
        record = await self._store.get(job_id)
        task = self._tasks.get(job_id)
        # The record may be older than the task: a job that goes back or ends now must not be torn out of it.
        if task is None or job_id not in self._forward_now or job_id in self._cancelled:
            raise ConflictError(f"the job is {record.state} and cannot be cancelled")
        if final := self._final.get(job_id):
            text = f"the job has begun to {final}, which is not taken back, and cannot be cancelled any more"
            raise ConflictError(text, reasons=[Reason("no-way-back", text, "wait for its end, then change it back")])
        self._cancelled.add(job_id)
        task.cancel()

    # --- life of the daemon ---

    async def hold_unfinished(self) -> None:
        """Take the locks of every job that was under way when the daemon ended, before anything else is touched."""
        for record in await self._store.unfinished():
            self.locks.hold(_locks_of(record), _told(record))

    async def recover(self) -> None:
        """Go on with every job that was under way when the daemon ended."""
        for record in await self._store.unfinished():
            locks = _locks_of(record)
            self.locks.hold(locks, _told(record))
            await self._store.log(record.id, f"holdfastd started again; the job goes on, {record.state}")
            self._launch(record, locks)

    async def stop(self) -> None:
        """End all tasks where they are; the jobs stay unfinished on disk and go on at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _launch(self, record: JobRecord, locks: Sequence[str]) -> None:
        self._held[record.id] = locks
        task = asyncio.create_task(self._run(record, locks), name=f"job {record.kind} {record.target}")
        self._tasks[record.id] = task

    async def _run(self, record: JobRecord, locks: Sequence[str]) -> None:
        definition = self._definitions[record.kind]
        context = JobContext(self._store, self._clock, record)
        states = [step.state for step in record.steps]
        try:
            if record.state is JobState.RUNNING:
                try:
                    await self._forward(definition, context, states, locks)
                except asyncio.CancelledError:
                    if record.id not in self._cancelled:
                        raise  # the daemon stops: the job goes on at its next start
                    error = to_plain({"code": "cancelled", "message": "it was cancelled", "reasons": []})
                    await self._back(definition, context, states, error, JobState.CANCELLED)
                except HoldfastError as reason:
                    await self._fail(definition, context, states, reason)
                except Exception as reason:  # a fault of ours must leave the machine as it was, too
                    log.exception("job %s of %s failed unexpectedly", record.kind, record.target)
                    fault = HoldfastError(f"{type(reason).__name__}: {reason}")
                    await self._fail(definition, context, states, fault)
            else:
                end = JobState.CANCELLED if (record.error or {}).get("code") == "cancelled" else JobState.FAILED
                await self._back(definition, context, states, dict(record.error or {}), end)
        finally:
            self._let_go(record.id)
            self._tasks.pop(record.id, None)
            self._cancelled.discard(record.id)

    def _let_go(self, job_id: str) -> None:
        """Give the locks back, once: they may be another job's soon after."""
        self.locks.release(self._held.pop(job_id, ()))

    async def _forward(
        self, definition: JobDefinition, context: JobContext, states: list[StepState], locks: Sequence[str]
    ) -> None:
        self._forward_now.add(context.job_id)
        limit = asyncio.timeout(definition.deadline_s)
        try:
            async with limit:
                await self.locks.until_mended(locks)
                for position, step in enumerate(definition.steps):
                    if step.is_final:
                        self._final.setdefault(context.job_id, step.name)
                    if states[position] is StepState.DONE:
                        continue
                    await self._mark(context, states, position, StepState.RUNNING)
                    await step.do(context)
                    await self._mark(context, states, position, StepState.DONE)
        except TimeoutError as reason:
            if definition.deadline_s is None or not limit.expired():
                raise
            raise HoldfastError(f"it was not done within its deadline of {definition.deadline_s:.0f} s") from reason
        finally:
            self._forward_now.discard(context.job_id)
            self._final.pop(context.job_id, None)
        result = to_plain(context.result)
        await self._keep(lambda: self._store.end(context.job_id, JobState.DONE, error=None, result=result))
        self._let_go(context.job_id)  # whoever reads that it is over may change the same thing in the next breath
        body = {"job": context.job_id, "kind": context.kind}
        await self._keep(lambda: self._events.emit(f"job.{JobState.DONE}", context.target, body))

    async def _fail(
        self, definition: JobDefinition, context: JobContext, states: list[StepState], reason: HoldfastError
    ) -> None:
        await self._back(definition, context, states, error_document(reason), JobState.FAILED)

    async def _back(
        self,
        definition: JobDefinition,
        context: JobContext,
        states: list[StepState],
        error: Mapping[str, Any],
        end: JobState,
    ) -> None:
        await self._keep(lambda: self._store.set_undoing(context.job_id, error))
        for position in range(len(definition.steps) - 1, -1, -1):
            undo = definition.steps[position].undo
            if states[position] in (StepState.PENDING, StepState.UNDONE):
                continue
            if undo is not None:
                await self._undo(undo, definition.steps[position].name, context)
            await self._mark(context, states, position, StepState.UNDONE)
        if definition.on_failure is not None:
            try:
                await definition.on_failure(context, HoldfastError(str(error.get("message", ""))))
            except Exception:  # a history that cannot be written must not keep the job from its end
                log.exception("job %s of %s could not note its failure", context.kind, context.target)
        await self._keep(lambda: self._store.end(context.job_id, end, error=error, result=None))
        self._let_go(context.job_id)
        body = {"job": context.job_id, "kind": context.kind, "error": error}
        await self._keep(lambda: self._events.emit(f"job.{end}", context.target, body))

    async def _undo(self, undo: Act, name: str, context: JobContext) -> None:
        """Try until it works: half a change must not stay, and what is in the way (a partner away) passes."""
        delay_s = RETRY_S
        while True:
            try:
                await undo(context)
            except Exception as reason:
                await context.log(f"undoing {name!r} failed and is tried again in {delay_s:.0f} s: {reason}")
            else:
                return
            await self._clock.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_LONGEST_S)

    async def _keep(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write to a job's record, trying until the disk takes it: a job must not get ahead of what is known of it."""
        delay_s = RETRY_S
        while True:
            try:
                return await write()
            except (NoSpaceError, UnavailableError) as reason:
                log.error("a job waits until it can be recorded, tried again in %.0f s: %s", delay_s, reason)
            await self._clock.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_LONGEST_S)

    async def _mark(self, context: JobContext, states: list[StepState], position: int, state: StepState) -> None:
        states[position] = state
        facts = to_plain(context.facts)
        await self._keep(lambda: self._store.set_step(context.job_id, position, state, facts))
        self._observe_step(context.kind, sum(s is StepState.DONE for s in states))


def _locks_of(record: JobRecord) -> list[str]:
    return list(record.parameters.get("_locks", [record.target]))


def _told(record: JobRecord) -> str:
    return f"{record.kind} of {record.target}"


def error_document(reason: HoldfastError) -> dict[str, Any]:
    """An error as it is kept with a job and shown by the API."""
    return {"code": reason.code, "message": reason.message, "reasons": to_plain(reason.reasons)}
