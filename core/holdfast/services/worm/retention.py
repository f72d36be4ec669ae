"""How long files of a volume are retained: shown, changed, and looked at again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from holdfast.errors import ConflictError, NotFoundError, Reason, UnavailableError
from holdfast.planning.write_once import change_of
from holdfast.services.documents import VolumeDocument
from holdfast.services.jobs import Jobs
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.worm.files import Counts
from holdfast.services.worm.guard import WormGuard
from holdfast.services.worm.keeper import Watched, WormKeeper
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock

LONGEST_S = 7 * 24 * 3600.0
FIELD = "retention_s"


@dataclass(frozen=True)
class WormView:
    """A volume that is write once. The counts are those of the last walk; None before the first one."""

    volume: str
    retention_s: int
    is_watched: bool
    clock_s: float | None
    """Its own clock, which goes on only while its node does."""
    retained_files: int | None
    retained_bytes: int | None
    removable_files: int | None
    open_files: int | None
    last_ends_at: datetime | None
    """When no file is retained any more if the node is on until then."""
    walked_at: datetime | None
    drift: tuple[str, ...]


class WormRetention:
    """Defines the jobs `volume.set-worm` and `volume.walk-worm`."""

    def __init__(
        self, kept: Intents[VolumeDocument], keeper: WormKeeper, guard: WormGuard, jobs: Jobs, clock: Clock
    ) -> None:
        self._kept = kept
        self._keeper = keeper
        self._guard = guard
        self._jobs = jobs
        self._clock = clock
        steps = (
            Step("check", self._check),
            Step("let go", self._let_go, is_final=True),
            Step("record", self._record, is_final=True),
            Step("walk", self._walk),
        )
        jobs.define(JobDefinition("volume.set-worm", steps, deadline_s=LONGEST_S))
        jobs.define(JobDefinition("volume.walk-worm", (Step("walk", self._walk),), deadline_s=LONGEST_S))

    async def show(self, name: str) -> WormView:
        """What is known of a volume that is write once. Raises NotFoundError for another one."""
        document = await self._kept.get(name)
        if document.worm_retention_s is None:
            text = f"the volume {name} is not write once"
            raise NotFoundError(text, reasons=[_not_worm(text)])
        known = self._keeper.watched.get(name)
        return self._view(document.name, document.worm_retention_s, known)

    def _view(self, name: str, retention_s: int, known: Watched | None) -> WormView:
        counts = None if known is None else known.counts
        clock_s = None if known is None else self._keeper.terms(known).clock_s
        ends_at = None
        if counts is not None and clock_s is not None and counts.last_ends_s > clock_s:
            ends_at = self._clock.now() + timedelta(seconds=round(counts.last_ends_s - clock_s))
        drift = []
        if known is None:
            drift.append("it is not watched: what is closed now is retained once it is")
        elif known.failed is not None:
            drift.append(f"its files could not all be looked at: {known.failed}")
        return WormView(
            name,
            retention_s,
            known is not None,
            clock_s,
            None if counts is None else counts.retained_files,
            None if counts is None else counts.retained_bytes,
            None if counts is None else counts.removable_files,
            None if counts is None else counts.open_files,
            ends_at,
            None if known is None else known.walked_at,
            tuple(drift),
        )

    async def set(self, name: str, retention_s: int | None, *, validate_only: bool) -> str | None:
        """Retain files longer or shorter from now on, all of them; None makes the volume an ordinary one.

        Shorter, and no more, are refused while a file is retained. The job's id, or None after the checks.
        """

        async def check() -> None:
            document = await self._kept.get(name)
            if document.worm_retention_s is None:
                text = f"the volume {name} is not write once"
                raise ConflictError(text, reasons=[_not_worm(text)])
            await self._refuse(document, retention_s)

        if validate_only:
            await check()
            return None
        parameters = {"name": name, FIELD: retention_s}
        return await self._jobs.start("volume.set-worm", f"volume:{name}", parameters, check=check)

    async def _refuse(self, document: VolumeDocument, retention_s: int | None) -> None:
        assert document.worm_retention_s is not None
        change = change_of(document.worm_retention_s, retention_s)
        if change is not None:
            await self._guard.refuse(document, change, FIELD)

    async def walk(self, name: str, *, validate_only: bool) -> str | None:
        """Look at every file now: what was not retained is, what may be removed can be. The job's id."""

        async def check() -> None:
            await self.show(name)

        if validate_only:
            await check()
            return None
        return await self._jobs.start("volume.walk-worm", f"volume:{name}", {"name": name}, check=check)

    # --- steps ---

    async def _check(self, job: JobContext) -> None:
        # Once more, as near as can be: what was closed since the request was checked is retained, too.
        await self._refuse(await self._kept.get(job.parameters["name"]), job.parameters[FIELD])

    async def _let_go(self, job: JobContext) -> None:
        if job.parameters[FIELD] is None:
            await self._keeper.end(await self._kept.get(job.parameters["name"]))

    async def _record(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["name"])
        await self._kept.put(document.name, replace(document, worm_retention_s=job.parameters[FIELD]))

    async def _walk(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["name"])
        if document.worm_retention_s is None:
            return
        await self._keeper.begin(document)
        known = self._keeper.watched[document.name]
        try:
            counts = await self._keeper.walk(known)
        except OSError as reason:
            raise UnavailableError(f"the files of {document.name} could not all be looked at: {reason}") from reason
        job.result = self._view(document.name, document.worm_retention_s, known)
        await job.log(_told(counts))


def _told(counts: Counts) -> str:
    return (
        f"{counts.retained_files} files are retained, {counts.removable_files} may be removed,"
        f" {counts.open_files} are open for writing"
    )


def _not_worm(text: str) -> Reason:
    return Reason("not-write-once", text, "make another volume with worm_retention_s", "volume")
