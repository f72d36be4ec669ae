"""What a job consists of: steps that may be repeated and may be interrupted, and what each is given."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.errors import HoldfastError, NoSpaceError, UnavailableError
from holdfast.store.jobs import JobRecord, JobStore
from holdfast.system.clock import Clock
from holdfast.values import to_plain

log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.5


class JobContext:
    """What a step is given.

    `facts` are kept with the step's end, and in its middle by `keep_facts`, for later steps and for after a restart.
    """

    def __init__(self, store: JobStore, clock: Clock, record: JobRecord) -> None:
        self._store = store
        self._clock = clock
        self._progress_at_s = -1e9
        self.job_id = record.id
        self.kind = record.kind
        self.target = record.target
        self.parameters = record.parameters
        self.facts: dict[str, Any] = dict(record.facts)
        self.result: Any = None

    async def log(self, text: str) -> None:
        """Add a line to the job's log, which people read. Never a secret."""
        log.info("job %s of %s: %s", self.kind, self.target, text)
        with tolerate_a_full_disk():
            await self._store.log(self.job_id, text)

    async def keep_facts(self) -> None:
        """Keep the facts now: a step that is repeated finds them. On a full disk it finds those kept before."""
        with tolerate_a_full_disk():
            await self._store.set_facts(self.job_id, to_plain(self.facts))

    async def progress(self, percent: float | None, text: str) -> None:
        """Say how far it is; kept at most twice a second, for each is a durable write."""
        now_s = self._clock.boot_s()
        if now_s - self._progress_at_s >= PROGRESS_EVERY_S:
            self._progress_at_s = now_s
            with tolerate_a_full_disk():
                await self._store.set_progress(self.job_id, percent, text)


@contextlib.contextmanager
def tolerate_a_full_disk() -> Iterator[None]:
    """What is told to people beside a job's record is no reason for the job to fail."""
    try:
        yield
    except (NoSpaceError, UnavailableError) as reason:
        log.warning("%s", reason)


Act = Callable[[JobContext], Awaitable[None]]


@dataclass(frozen=True)
class Step:
    """One step: `do` may be repeated; `undo` takes back what `do` did, wholly or in part."""

    name: str
    do: Act
    undo: Act | None = None
    is_final: bool = False
    """Once it has begun the job is not cancelled: what it does is not taken back, and half of it is worth nothing."""


@dataclass(frozen=True)
class JobDefinition:
    """A kind of job. `steps` are the same for every job of the kind, so that a restarted daemon knows them."""

    kind: str
    steps: Sequence[Step]
    deadline_s: float | None = 600.0
    """None: each step has limits of its own."""
    on_failure: Callable[[JobContext, HoldfastError], Awaitable[None]] | None = None
    """Told why the job went back, cancelled or failed, after all was undone and before the job is over.

    For a history of its own. It may be repeated: a daemon killed there tells it again.
    """


StepObserver = Callable[[str, int], None]
"""Called with the job's kind and the number of persisted steps each time one is persisted."""
