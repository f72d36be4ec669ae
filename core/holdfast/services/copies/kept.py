"""Copies that are kept on the destination: a snapshot after each good run, thinned by a rule.

So a source that is spoilt, and copied so, does not spoil the only copy. A snapshot is made only while the replica
share is held and the copy in it is the one that its source told to be verified.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from holdfast.errors import BusyError, HoldfastError, NoSpaceError, NotFoundError, Reason
from holdfast.hooks.replication import CopyNote
from holdfast.hooks.volume import SnapshotSpec
from holdfast.planning.copy_retention import KeptState, RetentionRule, kept_alerts, room_warnings, staying
from holdfast.services.copies.ages import is_sensible
from holdfast.services.copies.frozen import FrozenCopies
from holdfast.services.copies.kept_documents import KeptCopy, KeptCopyDocument, RetentionDocument
from holdfast.services.copies.replica_documents import ReplicaShareDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.snapshots.snapshots import RESERVE_PERCENT, Snapshots
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
TRY_AGAIN_S = 600.0


@dataclass(frozen=True)
class _Failure:
    frozen_at: datetime
    at_s: float
    text: str


class KeptCopies:
    """Keeps copies, shows them, and thins them."""

    def __init__(
        self,
        rules: Intents[RetentionDocument],
        kept: Intents[KeptCopyDocument],
        replicas: Intents[ReplicaShareDocument],
        frozen: FrozenCopies,
        snapshots: Snapshots,
        jobs: Jobs,
        drivers: Drivers,
        events: Events,
        clock: Clock,
    ) -> None:
        self._rules = rules
        self._kept = kept
        self._replicas = replicas
        self._frozen = frozen
        self._snapshots = snapshots
        self._jobs = jobs
        self._drivers = drivers
        self._events = events
        self._clock = clock
        self._failures: dict[str, _Failure] = {}
        self._passed_over: dict[str, datetime] = {}
        jobs.define(JobDefinition("replica-share.set-retention", (Step("record", self._record),)))
        steps = (Step("make the snapshot", self._make), Step("thin", self._thin))
        jobs.define(JobDefinition("replica-share.keep-copy", steps, on_failure=self._note_failure))

    # --- the rule ---

    async def rule(self, replica: str) -> RetentionDocument:
        """What is kept of a replica share. Raises NotFoundError for an unknown one."""
        uuid = await self._uuid(replica)
        found = await self._rules.find(replica)
        if found is None or found.document.replica_uuid != uuid:
            return RetentionDocument(replica, uuid, RetentionRule())
        return found.document

    async def _uuid(self, replica: str) -> str:
        kept = await self._replicas.find(replica)
        if kept is None:
            raise NotFoundError(f"there is no {self._replicas.kind} {replica!r}")
        return kept.uuid

    async def set_rule(
        self, replica: str, rule: RetentionRule, reserve_percent: int, *, validate_only: bool
    ) -> tuple[str | None, tuple[Reason, ...]]:
        """Say what is kept from the next run on; the job's id, and what a check warns of."""
        await self._uuid(replica)
        if validate_only:
            return None, await self._warnings(replica, rule, reserve_percent)
        given = {"replica": replica, "rule": vars(rule), "reserve_percent": reserve_percent}
        return await self._jobs.start("replica-share.set-retention", f"replica-retention:{replica}", given), ()

    async def _warnings(self, replica: str, rule: RetentionRule, reserve_percent: int) -> tuple[Reason, ...]:
        place = await self._frozen.place(replica)
        spec = await self._spec(place.share.volume, "any", reserve_percent)
        pool = await self._drivers.volume().get_pool(spec.pool)
        if spec.reserve_bytes is None:
            return ()
        held_bytes = sum(copy.snapshot.reserve_bytes for copy in await self.list(replica))
        return room_warnings(rule, spec.reserve_bytes, pool.free_bytes + held_bytes)

    async def _spec(self, volume: str, name: str, reserve_percent: int) -> SnapshotSpec:
        tenth = await self._snapshots.spec(volume, name, None)
        if tenth.reserve_bytes is None:  # it is thin
            return tenth
        reserve_bytes = max(tenth.reserve_bytes * reserve_percent // RESERVE_PERCENT, 1)
        return await self._snapshots.spec(volume, name, reserve_bytes)

    async def _record(self, job: JobContext) -> None:
        given = job.parameters
        uuid, rule = await self._uuid(given["replica"]), RetentionRule(**given["rule"])
        document = RetentionDocument(given["replica"], uuid, rule, given["reserve_percent"])
        await self._rules.put(given["replica"], document)
        job.result = {"replica": given["replica"], **given["rule"], "reserve_percent": given["reserve_percent"]}
        for warning in await self._warnings(given["replica"], rule, given["reserve_percent"]):
            await job.log(f"{warning.text}; {warning.remedy}")

    # --- showing ---

    async def list(self, replica: str) -> tuple[KeptCopy, ...]:
        """The copies that are kept of a replica share, the newest first. Raises NotFoundError."""
        uuid = await self._uuid(replica)
        there = {(s.volume, s.name): s for s in await self._snapshots.list()}
        found = [
            KeptCopy(document, there[document.volume, document.snapshot])
            for document in (await self._kept.all()).values()
            if document.replica_uuid == uuid and (document.volume, document.snapshot) in there
        ]
        return tuple(sorted(found, key=lambda copy: copy.document.frozen_at, reverse=True))

    async def alerts(self, replica: str) -> tuple[Reason, ...]:
        """What about them needs a person."""
        states = [
            KeptState(
                c.snapshot.name, c.snapshot.reserve_bytes, c.snapshot.used_percent, is_void=c.snapshot.is_overflown
            )
            for c in await self.list(replica)
        ]
        failure = self._failures.get(replica)
        return kept_alerts(replica, states, failure.text if failure else None)

    # --- keeping ---

    async def forever(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except HoldfastError as reason:
                log.warning("copies could not be looked at for keeping: %s", reason)
            except Exception:  # nobody else keeps them
                log.exception("looking at copies for keeping failed unexpectedly")

    async def look(self) -> None:
        """Start a job for each copy that a source told of and that is to be kept."""
        if not self._drivers.has("copy") or not (rules := await self._rules.all()):
            return
        notes = await self._drivers.copy().read_notes()
        for replica in rules.keys() & notes.keys():
            with contextlib.suppress(NotFoundError, BusyError):  # gone meanwhile, or a job is at it: the next look
                if not (await self.rule(replica)).rule.is_empty and await self._is_wanted(replica, notes[replica]):
                    await self._start(replica)

    async def _is_wanted(self, replica: str, note: CopyNote) -> bool:
        failure = self._failures.get(replica)
        if failure is not None and failure.frozen_at == note.frozen_at:
            return self._clock.boot_s() - failure.at_s >= TRY_AGAIN_S
        if not is_sensible(note) or self._passed_over.get(replica) == note.frozen_at:
            return False
        uuid = await self._uuid(replica)
        documents = (await self._kept.all()).values()
        return not any(d.replica_uuid == uuid and d.frozen_at == note.frozen_at for d in documents)

    async def _start(self, replica: str) -> str:
        place = await self._frozen.place(replica)
        locks = [f"share:{place.share.name}", f"volume:{place.share.volume}"]
        given = {"replica": replica, "volume": place.share.volume}
        return await self._jobs.start("replica-share.keep-copy", f"replica-share:{replica}", given, locks=locks)

    async def _make(self, job: JobContext) -> None:
        replica, volume = job.parameters["replica"], job.parameters["volume"]
        retention = await self.rule(replica)
        async with self._drivers.copy().hold(replica) as note:
            if note is None or not is_sensible(note):
                # It may have been made before the daemon died, while it was held: then it is what it is said to be.
                if (name := job.facts.get("snapshot")) is None or not await self._exists(volume, name):
                    job.facts["snapshot"] = None
                    told = (await self._drivers.copy().read_notes()).get(replica)
                    if told is not None:
                        self._passed_over[replica] = told.frozen_at
                    await job.log("the next run has begun: there was no time to keep the copy before it")
                return
            job.facts["frozen_at"] = note.frozen_at.isoformat()
            name = _name(note.frozen_at, retention.replica_uuid)
            job.facts["snapshot"] = name
            await job.keep_facts()
            document = KeptCopyDocument(
                replica, retention.replica_uuid, volume, name, note.task, note.source, note.frozen_at
            )
            await self._kept.put(document.key, document)
            spec = await self._spec(volume, name, retention.reserve_percent)
            try:
                await self._snapshots.take(spec)
            except NoSpaceError:
                await self._remove_surplus(job, retention, also=note.frozen_at)
                await self._snapshots.take(spec)
        self._failures.pop(replica, None)
        await job.log(f"the verified copy of {note.frozen_at} by {note.task} is kept in the snapshot {name}")

    async def _exists(self, volume: str, name: str) -> bool:
        return any(s.name == name for s in await self._snapshots.list(volume))

    async def _thin(self, job: JobContext) -> None:
        await self._remove_surplus(job, await self.rule(job.parameters["replica"]), also=None)
        job.result = {"snapshot": job.facts.get("snapshot"), "removed": job.facts.get("removed", [])}

    async def _remove_surplus(self, job: JobContext, retention: RetentionDocument, *, also: datetime | None) -> None:
        """Remove what is void, and what the rule keeps no longer; `also` is a copy about to be made."""
        copies = await self.list(retention.replica)
        intact = [copy.document.frozen_at for copy in copies if not copy.snapshot.is_overflown]
        kept = staying(retention.rule, [*intact, *([also] if also else [])])
        removed: list[str] = job.facts.setdefault("removed", [])
        for copy in copies:
            is_surplus = copy.snapshot.is_overflown or copy.document.frozen_at not in kept
            if is_surplus and await self._remove(job, copy):
                removed.append(copy.snapshot.name)
        alive = {copy.document.key for copy in await self.list(retention.replica)}
        for key, document in (await self._kept.all()).items():
            is_coming = also is not None and document.frozen_at == also
            if document.replica == retention.replica and key not in alive and not is_coming:
                await self._kept.remove(key)

    async def _remove(self, job: JobContext, copy: KeptCopy) -> bool:
        pool, volume, name = copy.snapshot.pool, copy.snapshot.volume, copy.snapshot.name
        try:
            await self._drivers.volume().delete_snapshot(pool, volume, name)
        except BusyError as reason:
            await job.log(f"the kept copy {name} is in use, and goes later: {reason.message}")
            return False
        if copy.snapshot.is_overflown:
            text = f"its reserve of {copy.snapshot.reserve_bytes} bytes was not enough"
            body: dict[str, Any] = {"snapshot": name, "frozen_at": copy.document.frozen_at, "reason": text}
            await self._events.emit("replica-share.kept-copy-void", f"replica-share:{copy.document.replica}", body)
        await job.log(f"the kept copy {name} of {copy.document.frozen_at} was removed")
        return True

    async def _note_failure(self, job: JobContext, reason: HoldfastError) -> None:
        replica = job.parameters["replica"]
        with contextlib.suppress(HoldfastError):
            told = (await self._drivers.copy().read_notes()).get(replica)
            if told is None:
                return
            if (name := job.facts.get("snapshot")) is not None and not await self._exists(
                job.parameters["volume"], name
            ):
                await self._kept.remove(f"{replica}/{name}")
            self._failures[replica] = _Failure(told.frozen_at, self._clock.boot_s(), reason.message)
            body = {"frozen_at": told.frozen_at, "reason": reason.message}
            await self._events.emit("replica-share.copy-not-kept", f"replica-share:{replica}", body)


def _name(frozen_at: datetime, uuid: str) -> str:
    at = frozen_at.astimezone(UTC)
    return f"copy-{at:%Y%m%dt%H%M%S}{at.microsecond // 1000:03}-{uuid[:4]}"
