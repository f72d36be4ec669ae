"""Watches the reserves of snapshots: measures how fast they fill, tells ahead, and does what the policy says.

The volume itself goes on in any case: a reserve that runs full voids its snapshot and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from holdfast.errors import BusyError, HoldfastError
from holdfast.hooks.base import Can
from holdfast.hooks.volume import Snapshot
from holdfast.planning.snapshot_fill import (
    Candidate,
    Drop,
    Extend,
    Filling,
    OverflowPolicy,
    Wait,
    decide,
)
from holdfast.planning.snapshot_fill import check as check_policy
from holdfast.planning.thin_snapshots import DropOf, ThinCandidate
from holdfast.services.documents import PoolDocument, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.snapshots.checks import policy_of
from holdfast.services.snapshots.documents import (
    SnapshotAlert,
    SnapshotDocument,
    SnapshotPolicyDocument,
    snapshot_lock,
)
from holdfast.services.snapshots.snapshots import Snapshots
from holdfast.services.snapshots.thin import ThinSnapshots, notice
from holdfast.services.snapshots.views import FillRates, alerts_of
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

log = logging.getLogger(__name__)

LOOK_EVERY_S = 15.0
LOOK_FOR_OTHERS_EVERY_S = 60.0
"""Where none was seen and none is on record: only runs of replication take some then."""
LOOK_CLOSER_EVERY_S = 2.0
"""While some reserve is about to be full."""
BOOKKEEPING_PERCENT = 1
"""Of a volume, on top of it: more than that no reserve can ever use."""


class SnapshotWatch:
    """Looks after the reserves, and keeps the policies of volumes."""

    def __init__(
        self,
        volumes: Intents[VolumeDocument],
        kept: Intents[SnapshotDocument],
        policies: Intents[SnapshotPolicyDocument],
        told: Intents[SnapshotAlert],
        snapshots: Snapshots,
        rates: FillRates,
        jobs: Jobs,
        drivers: Drivers,
        events: Events,
        clock: Clock,
        pools: Intents[PoolDocument],
    ) -> None:
        self._volumes = volumes
        self._kept = kept
        self._policies = policies
        self._told = told
        self._snapshots = snapshots
        self._rates = rates
        self._jobs = jobs
        self._drivers = drivers
        self._events = events
        self._clock = clock
        self._thin = ThinSnapshots(pools, drivers)
        self._said: dict[str, str] = {}
        self._saw_none_at_s: float | None = None
        jobs.define(JobDefinition("snapshot-policy.set", (Step("record", self._record),)))

    # --- policies of volumes ---

    async def policy(self, volume: str) -> OverflowPolicy:
        """That of a volume. Raises NotFoundError for the volume."""
        kept, found = await self._volumes.find(volume), await self._policies.find(volume)
        if kept is None:
            await self._volumes.get(volume)
        is_its_own = found is not None and kept is not None and found.document.volume_uuid == kept.uuid
        return found.document.policy if found is not None and is_its_own else OverflowPolicy()

    async def set_policy(self, volume: str, policy: OverflowPolicy, *, validate_only: bool) -> str | None:
        """Say what is done when a snapshot of the volume is about to overflow."""
        check_policy(policy)
        await self._volumes.get(volume)
        if validate_only:
            return None
        parameters = {"volume": volume, "policy": to_plain(policy)}
        return await self._jobs.start("snapshot-policy.set", f"snapshot-policy:{volume}", parameters)

    async def _record(self, job: JobContext) -> None:
        volume = job.parameters["volume"]
        kept = await self._volumes.find(volume)
        policy = from_plain(OverflowPolicy, job.parameters["policy"])
        await self._policies.put(volume, SnapshotPolicyDocument(volume, policy, kept.uuid if kept else ""))
        job.result = await self.shown_policy(volume)

    async def shown_policy(self, volume: str) -> dict[str, Any]:
        """That of a volume, and what it does not do for its snapshots."""
        kept = await self._volumes.find(volume)
        policy = await self.policy(volume)
        return {**to_plain(policy), "notice": notice(policy) if kept is not None and kept.document.is_thin else None}

    # --- watching ---

    async def forever(self) -> None:
        """Look until cancelled."""
        is_close = False
        while True:
            await self._clock.sleep(LOOK_CLOSER_EVERY_S if is_close else LOOK_EVERY_S)
            try:
                is_close = self._drivers.has("volume") and await self._is_worth_it() and await self.look()
            except HoldfastError as reason:
                log.warning("the reserves of snapshots could not be looked at: %s", reason)
            except Exception:  # nobody else looks after them
                log.exception("looking at the reserves of snapshots failed unexpectedly")

    async def _is_worth_it(self) -> bool:
        """A node without snapshots, such as one that only serves, is asked by no command four times a minute."""
        seen_at_s = self._saw_none_at_s
        is_due = seen_at_s is None or self._clock.boot_s() - seen_at_s >= LOOK_FOR_OTHERS_EVERY_S
        return is_due or bool(await self._kept.all())

    async def look(self) -> bool:
        """Measure, tell and act; whether some reserve is about to be full."""
        if Can.VOLUME_SNAPSHOT not in self._drivers.volume().can:
            return False
        found, now_s = await self._snapshots.list(), self._clock.boot_s()
        self._saw_none_at_s = None if found else now_s
        self._rates.forget_but({snapshot.device for snapshot in found})
        documents, policies = await self._kept.all(), await self._policies_of_now()
        await self._forget_absent(found, documents)
        is_close = False
        for snapshot in found:
            self._rates.note(snapshot, now_s)
            filling = self._rates.filling(snapshot)
            policy = policy_of(snapshot, documents.get(f"{snapshot.volume}/{snapshot.name}"), policies)
            await self._tell(snapshot, filling, policy)
            if filling is not None and alerts_of(snapshot, filling, policy):
                is_close = True
                of_volume = [other for other in found if other.volume == snapshot.volume]
                if await self._act(snapshot, filling, policy, of_volume, documents):
                    return True  # things are not what they were: look again first
        return await self._look_at_thin(found, documents, policies) or is_close

    async def _look_at_thin(
        self,
        found: tuple[Snapshot, ...],
        documents: Mapping[str, SnapshotDocument],
        policies: Mapping[str, SnapshotPolicyDocument],
    ) -> bool:
        """Whether a thin pool is so full that a policy speaks of it."""
        candidates: dict[str, list[ThinCandidate]] = {}
        for snapshot in found:
            document = documents.get(f"{snapshot.volume}/{snapshot.name}")
            if snapshot.is_thin and document is not None and document.taken_at is not None:
                policy = policy_of(snapshot, None, policies)
                is_needed = await self._is_needed(snapshot, document)
                candidate = ThinCandidate(snapshot.volume, snapshot.name, document.taken_at, is_needed, policy)
                candidates.setdefault(snapshot.pool, []).append(candidate)
        is_close = False
        for pool, of_pool in candidates.items():
            decision = await self._thin.decide(pool, of_pool)
            is_close = is_close or decision is not None
            if decision is not None:
                subject = f"pool:{pool}"
                volume = decision.volume if isinstance(decision, DropOf) else ""
                told = Drop(decision.name) if isinstance(decision, DropOf) else decision
                await self._carry_out(subject, volume, told)
        return is_close

    async def _policies_of_now(self) -> Mapping[str, SnapshotPolicyDocument]:
        """Without those of volumes that are no more; one of the same name that was made later has none."""
        found = {}
        for name, document in (await self._policies.all()).items():
            kept = await self._volumes.find(name)
            if kept is not None and kept.uuid == document.volume_uuid:
                found[name] = document
            else:
                await self._policies.remove(name)
        return found

    async def _forget_absent(self, found: tuple[Snapshot, ...], documents: Mapping[str, SnapshotDocument]) -> None:
        """Drop what is on record of snapshots that somebody removed behind our back, and what was told of those."""
        present = {f"{snapshot.volume}/{snapshot.name}" for snapshot in found}
        for key, document in documents.items():
            if key in present:
                continue
            try:
                self._jobs.locks.refuse_if_held(
                    [f"volume:{document.volume}", snapshot_lock(document.volume, document.name)]
                )
            except BusyError:
                continue  # it is being made, or taken anew after a rollback
            log.warning("the snapshot %s was removed from outside", key)
            await self._kept.remove(key)
        for subject in await self._told.all():
            if subject.removeprefix("snapshot:") not in present:
                await self._told.remove(subject)

    async def _tell(self, snapshot: Snapshot, filling: Filling | None, policy: OverflowPolicy) -> None:
        subject = snapshot_lock(snapshot.volume, snapshot.name)
        alerts, told = alerts_of(snapshot, filling, policy), await self._told.find(subject)
        if not alerts:
            # Not known while it is not active: what was told stays so.
            if told is not None and filling is not None:
                await self._told.remove(subject)
                await self._events.emit("snapshot.has-room", subject, {"used_percent": snapshot.used_percent})
            return
        if told is not None and told.document.is_overflown is snapshot.is_overflown:
            return
        kind = "snapshot.overflown" if snapshot.is_overflown else "snapshot.filling"
        log.warning("%s", alerts[0].text)
        forecast = self._rates.forecast(snapshot)
        body = {
            "text": alerts[0].text,
            "reserve_bytes": snapshot.reserve_bytes,
            "used_percent": snapshot.used_percent,
            "fill_bytes_s": forecast.fill_bytes_s,
            "full_in_s": forecast.full_in_s,
        }
        await self._events.emit(kind, subject, body)
        await self._told.put(subject, SnapshotAlert(subject, self._clock.now(), snapshot.is_overflown))

    async def _act(
        self,
        snapshot: Snapshot,
        filling: Filling,
        policy: OverflowPolicy,
        of_volume: list[Snapshot],
        documents: Mapping[str, SnapshotDocument],
    ) -> bool:
        """Do what the policy says; whether a snapshot was dropped by that."""
        driver = self._drivers.volume()
        if Can.SNAPSHOT_GROW not in driver.can:
            return False
        volume = await driver.get_volume(snapshot.pool, snapshot.volume)
        pool = await driver.get_pool(snapshot.pool)
        candidates = []
        for other in of_volume:
            document = documents.get(f"{other.volume}/{other.name}")
            if document is not None and document.taken_at is not None:
                candidates.append(
                    Candidate(other.name, document.taken_at, is_needed=await self._is_needed(other, document))
                )
        most_bytes = volume.size_bytes + volume.size_bytes * BOOKKEEPING_PERCENT // 100
        decision = decide(filling, policy, free_bytes=pool.free_bytes, most_bytes=most_bytes, others=candidates)
        subject = snapshot_lock(snapshot.volume, snapshot.name)
        await self._carry_out(subject, snapshot.volume, decision, snapshot.name)
        return isinstance(decision, Drop)

    async def _is_needed(self, snapshot: Snapshot, document: SnapshotDocument) -> bool:
        """Locked, in use, or taken by a person or for a rollback: what a schedule took comes again by itself."""
        if snapshot.is_overflown:
            return False
        is_locked = document.locked_until is not None and document.locked_until > self._clock.now()
        return is_locked or document.schedule is None or bool(await self._snapshots.users(snapshot, document))

    async def _carry_out(self, subject: str, volume: str, decision: Extend | Drop | Wait, name: str = "") -> None:
        """`subject` is a snapshot or a pool, `volume` the one whose snapshot is extended (`name`) or dropped."""
        said = repr(decision)
        is_new, self._said[subject] = self._said.get(subject) != said, said
        try:
            if isinstance(decision, Extend):
                log.info("%s: its policy gives it more room, %d bytes in all", subject, decision.to_bytes)
                await self._wait(await self._snapshots.extend(volume, name, decision.to_bytes, validate_only=False))
            elif isinstance(decision, Drop):
                log.warning("%s: its policy drops the snapshot %s to make room", subject, decision.name)
                body = {"dropped": decision.name, "volume": volume}
                await self._wait(await self._snapshots.delete(volume, decision.name, validate_only=False))
                await self._events.emit("snapshot.dropped", subject, body)
            elif is_new:
                log.warning("%s: nothing is done about its room: %s", subject, decision.why)
        except HoldfastError as reason:
            log.warning("%s: what its policy says could not be done, and is tried again: %s", subject, reason)

    async def _wait(self, job_id: str | None) -> None:
        if job_id is not None:
            await self._jobs.wait(job_id, 60.0)
