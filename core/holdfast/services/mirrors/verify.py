"""Comparing both sides of a mirror, on demand and by schedule."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from holdfast.errors import BusyError, HoldfastError, Reason, RefusedError, UnavailableError
from holdfast.hooks.replication import ConnectionState, MirrorStatus, ReplicationState
from holdfast.planning.schedules import next_due
from holdfast.services.documents import MirrorDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.history import MirrorHistories, Verification
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.waits import POLL_S, MirrorWaits
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

log = logging.getLogger(__name__)

LONGEST_S = 7 * 24 * 3600.0
LOOK_AT_SCHEDULES_EVERY_S = 20.0
# Long enough for a node to boot.
CONNECTED_WITHIN_S = 300.0
# A monitor leaves a silent partner by force, and connects again within a second or a few.
STANDS_ALONE_AT_MOST_S = 10.0
# A link that is worse than this is a person's to look at.
BREAKS_AT_MOST = 5
# One at a time on a node: two would only make each other, and the applications, slower.
LOCK = "mirror-verify:this"


class MirrorVerify:
    """Defines the job `mirror.verify`, and starts it when its schedule says so."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        sides: MirrorSides,
        histories: MirrorHistories,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        events: Events,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._sides = sides
        self._histories = histories
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._events = events
        self._clock = clock
        self._node = node
        self._waits = MirrorWaits(drivers, clock)
        compare, note = Step("compare", self._compare), Step("note", self._note)
        jobs.define(JobDefinition("mirror.verify", (compare, note), LONGEST_S, self._note_failure))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask of this side."""
        return {"mirror.note-verification": self._on_note_verification}

    # --- comparing ---

    async def verify(self, name: str, *, validate_only: bool) -> str | None:
        """Compare both sides online; the job's result says how many bytes differ."""

        async def check() -> None:
            await self._kept.get(name)
            status = await self._sides.status(name)
            if any(v.replication is not ReplicationState.ESTABLISHED for v in status.volumes) or not status.volumes:
                text = f"the mirror {name} is not connected and quiet: {status.connection}"
                raise RefusedError(text, reasons=[Reason("not-connected", text, "start it, or wait for the resync")])
            for other in await self._kept.all():
                volumes = (await self._sides.status(other)).volumes
                if any(v.replication is ReplicationState.VERIFY for v in volumes):
                    text = f"the mirror {other} is being verified, asked by the partner"
                    raise BusyError(text, reasons=[Reason("verify-under-way", text, "wait for its end")])

        if validate_only:
            await check()
            return None
        return await self._jobs.start("mirror.verify", f"mirror:{name}", {"name": name}, locks=[LOCK], check=check)

    async def _compare(self, job: JobContext) -> None:
        name = job.parameters["name"]
        job.facts.setdefault("started_at", self._clock.now().isoformat())
        for breaks in range(BREAKS_AT_MOST + 1):
            if breaks:
                await job.log("the connection was lost: as soon as it is back and quiet, everything is compared again")
            status = await self._connected_and_quiet(name)
            lost_at = await self._lost_at(name)
            # One that is under way is followed: this daemon may have been started again meanwhile.
            if not _is_compared_now(status):
                await self._drivers.mirror().verify(name)
            found, is_whole = await self._followed(job, name)
            # Between two looks it may have been lost and found again, which the watcher has heard.
            if is_whole and await self._lost_at(name) == lost_at:
                job.facts["out_of_sync_bytes"] = found
                return
            if found:
                # Connecting again may have made the sides equal: that must not be told as if they had always been.
                raise UnavailableError(
                    f"the mirror {name} lost its connection while it was verified, "
                    f"and {found} bytes had been found to be out of sync: verify it again"
                )
        raise UnavailableError(f"the mirror {name} lost its connection each time it was verified")

    async def _lost_at(self, name: str) -> str | None:
        return (await self._histories.get(name)).lost_at

    async def _connected_and_quiet(self, name: str) -> MirrorStatus:
        """The status once no resync is under way, however long one takes.

        Raises UnavailableError soon when nothing connects it by itself: others may as soon as this job is over.
        """
        while True:
            status = await self._waits.until(name, _is_settled, "did not connect again", CONNECTED_WITHIN_S)
            if status.connection is ConnectionState.STANDALONE:
                await self._waits.until(
                    name,
                    _is_on_its_way,
                    "stays apart from its partner and cannot be verified now: it did not begin to connect",
                    STANDS_ALONE_AT_MOST_S,
                )
                continue
            if not _is_connected(status):
                raise UnavailableError(f"the mirror {name} is {status.connection.value} and cannot be verified now")
            if all(v.replication in (ReplicationState.ESTABLISHED, ReplicationState.VERIFY) for v in status.volumes):
                return status
            await self._clock.sleep(POLL_S)

    async def _followed(self, job: JobContext, name: str) -> tuple[int, bool]:
        """The most that a comparison found, in bytes, and whether it came to its end connected."""
        most = 0
        while True:
            await self._clock.sleep(POLL_S)
            status = await self._sides.status(name)
            if not _is_connected(status):
                return most, False
            most = max(most, sum(v.out_of_sync_bytes for v in status.volumes))
            if not _is_compared_now(status):
                return most, True
            done = [v.done_percent for v in status.volumes if v.done_percent is not None]
            rate = sum(v.rate_bytes_s or 0 for v in status.volumes)
            await job.progress(min(done) if done else None, f"comparing both sides, {rate} bytes a second")

    async def _note(self, job: JobContext) -> None:
        found = int(job.facts["out_of_sync_bytes"])
        name = job.parameters["name"]
        await self._keep(job, found, None)
        if found:
            await self._events.emit("mirror.out-of-sync", f"mirror:{name}", {"out_of_sync_bytes": found})
        job.result = {"out_of_sync_bytes": found, "is_equal": found == 0}
        await job.log(f"verified: {found} bytes out of sync")

    async def _note_failure(self, job: JobContext, reason: HoldfastError) -> None:
        await self._keep(job, None, reason.message)

    async def _keep(self, job: JobContext, found: int | None, reason: str | None) -> None:
        now = self._clock.now().isoformat()
        verification = Verification(job.job_id, str(job.facts.get("started_at", now)), now, found, reason)
        name = job.parameters["name"]
        await self._histories.add_verification(name, verification)
        try:
            body = {"name": name, "verification": to_plain(verification)}
            await self._partner.call("mirror.note-verification", body, job_id=job.job_id)
        except HoldfastError as unheard:
            # Its own history lacks it then; this node's has it.
            log.info("the partner did not take the result of verifying %s: %s", name, unheard)

    # --- by schedule ---

    async def next_verification(self, document: MirrorDocument) -> datetime | None:
        """When the next one is due, on the source, which starts it."""
        if document.schedule is None or not document.is_started:
            return None
        found = (await self._histories.get(document.name)).verifications
        # One that failed is no reason to try again at once, for ever.
        after = found[0].started_at if found else document.started_at
        return next_due(document.schedule, datetime.fromisoformat(after)) if after else None

    async def start_due(self) -> None:
        """Start what is due now, one; the others come after it."""
        now = self._clock.now()
        for document in (await self._kept.all()).values():
            due = await self.next_verification(document) if document.source == self._node else None
            if due is None or due > now:
                continue
            try:
                await self.verify(document.name, validate_only=False)
            except HoldfastError as reason:
                log.info("the mirror %s is due to be verified, and cannot be now: %s", document.name, reason)

    async def follow_schedules(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self._clock.sleep(LOOK_AT_SCHEDULES_EVERY_S)
            if self._drivers.has("mirror"):
                await self.start_due()

    # --- what the partner asks ---

    async def _on_note_verification(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._histories.add_verification(body["name"], from_plain(Verification, body["verification"]))


def _is_connected(status: MirrorStatus) -> bool:
    return status.connection is ConnectionState.CONNECTED


def _is_settled(status: MirrorStatus) -> bool:
    """Connected, or not on its way there: what is not up, or has left its partner, no kernel connects."""
    return _is_connected(status) or not status.is_up or status.connection is ConnectionState.STANDALONE


def _is_on_its_way(status: MirrorStatus) -> bool:
    return status.connection is not ConnectionState.STANDALONE


def _is_compared_now(status: MirrorStatus) -> bool:
    return any(v.replication is ReplicationState.VERIFY for v in status.volumes)
