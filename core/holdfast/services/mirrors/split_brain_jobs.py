"""How a split brain is resolved: both sides kept as snapshots, then one gives way, by a person's word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.errors import ConflictError, InvalidError, Reason, RefusedError
from holdfast.hooks.replication import ConnectionState, Lineage, Role
from holdfast.hooks.volume import SnapshotSpec
from holdfast.services.documents import MirrorDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.history import MirrorHistories
from holdfast.services.mirrors.mounts import MirrorMounts
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.split_brain import SplitBrainCase, SplitBrains
from holdfast.services.mirrors.waits import MirrorWaits
from holdfast.services.partner import SLOW_S, PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock

LONGEST_S = 7 * 24 * 3600.0
MIB = 1024 * 1024
LEAST_RESERVE_BYTES = 8 * MIB
RESERVE_PART = 10


class SplitBrainJobs:
    """Defines the job `mirror.resolve`."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        split_brains: SplitBrains,
        sides: MirrorSides,
        mounts: MirrorMounts,
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
        self._split_brains = split_brains
        self._sides = sides
        self._mounts = mounts
        self._histories = histories
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._events = events
        self._node = node
        self._waits = MirrorWaits(drivers, clock)
        steps = (
            Step("snapshot here", self._snapshot_here, self._drop_here),
            Step("snapshot on the partner", self._snapshot_there, self._drop_there),
            Step("give way", self._give_way, is_final=True),
            Step("resync", self._resync),
            Step("mount", self._mount),
            Step("note", self._note),
        )
        jobs.define(JobDefinition("mirror.resolve", steps, LONGEST_S))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask of this side."""
        return {
            "mirror.snapshot": self._on_snapshot,
            "mirror.drop-snapshot": self._on_drop_snapshot,
            "mirror.rejoin": self._on_rejoin,
            "mirror.mount": self._on_mount,
            "mirror.note-resolved": self._on_note_resolved,
        }

    async def resolve(self, name: str, survivor: str, *, validate_only: bool) -> str | None:
        """Keep the survivor's data on both sides. Refused unless there is a split brain and both nodes answer."""

        async def check() -> None:
            document = await self._kept.get(name)
            if survivor not in (document.source, document.destination):
                text = f"the mirror {name} has no side on {survivor}"
                remedy = f"name {document.source} or {document.destination}"
                raise InvalidError(text, reasons=[Reason("unknown-node", text, remedy, "survivor")])
            case = await self._split_brains.case(name)
            _refuse(case, survivor)
            await self._refuse_without_room(document, case)

        if validate_only:
            await check()
            return None
        parameters = {"name": name, "survivor": survivor}
        locks = [f"volume:{member.on(self._node)}" for member in (await self._kept.get(name)).members]
        return await self._jobs.start("mirror.resolve", f"mirror:{name}", parameters, locks=locks, check=check)

    async def _refuse_without_room(self, document: MirrorDocument, case: SplitBrainCase) -> None:
        """Of this node; the partner says no by itself before anything is given up."""
        needed: dict[str, int] = {}
        for number, member in enumerate(document.members):
            pool = member.pools[self._node]
            if (await self._drivers.volume().get_volume(pool, member.on(self._node))).is_thin:
                continue
            needed[pool] = needed.get(pool, 0) + _reserve_bytes(member.size_bytes, case, number)
        for pool, size_bytes in needed.items():
            free_bytes = (await self._drivers.volume().get_pool(pool)).free_bytes
            if free_bytes < size_bytes:
                text = f"the pool {pool} has {free_bytes} bytes free, and the snapshots of this side need {size_bytes}"
                raise RefusedError(text, reasons=[Reason("no-space", text, "make room in the pool, or extend it")])

    # --- steps ---

    async def _document(self, job: JobContext) -> MirrorDocument:
        return await self._kept.get(job.parameters["name"])

    def _snapshot_name(self, job: JobContext) -> str:
        return f"sb-{job.job_id[:8]}"

    async def _snapshot_here(self, job: JobContext) -> None:
        document = await self._document(job)
        if "reserves" not in job.facts:
            case = await self._split_brains.case(document.name)
            _refuse(case, job.parameters["survivor"])
            job.facts["reserves"] = [
                _reserve_bytes(member.size_bytes, case, number) for number, member in enumerate(document.members)
            ]
        await self._snapshot(document, self._snapshot_name(job), job.facts["reserves"])

    async def _snapshot(self, document: MirrorDocument, name: str, reserves: list[int]) -> None:
        for member, reserve_bytes in zip(document.members, reserves, strict=True):
            pool, volume = member.pools[self._node], member.on(self._node)
            is_thin = (await self._drivers.volume().get_volume(pool, volume)).is_thin
            spec = SnapshotSpec(pool, volume, name, None if is_thin else reserve_bytes)
            await self._drivers.volume().create_snapshot(spec)
        taken = tuple(f"{member.on(self._node)}/{name}" for member in document.members)
        await self._histories.note_snapshots(document.name, taken)

    async def _drop_here(self, job: JobContext) -> None:
        # What was given up is nowhere else than in a snapshot: it is dropped only while nothing was.
        if await self._split_brains.look(job.parameters["name"]):
            await self._drop(await self._document(job), self._snapshot_name(job))

    async def _drop(self, document: MirrorDocument, name: str) -> None:
        for member in document.members:
            await self._drivers.volume().delete_snapshot(member.pools[self._node], member.on(self._node), name)
        await self._histories.note_snapshots(document.name, ())

    async def _snapshot_there(self, job: JobContext) -> None:
        body = {"name": job.parameters["name"], "snapshot": self._snapshot_name(job), "reserves": job.facts["reserves"]}
        await self._partner.call("mirror.snapshot", body, timeout_s=SLOW_S, job_id=job.job_id)

    async def _drop_there(self, job: JobContext) -> None:
        if await self._split_brains.look(job.parameters["name"]):
            body = {"name": job.parameters["name"], "snapshot": self._snapshot_name(job)}
            await self._partner.call("mirror.drop-snapshot", body, timeout_s=SLOW_S, job_id=job.job_id)

    async def _give_way(self, job: JobContext) -> None:
        name, survivor = job.parameters["name"], job.parameters["survivor"]
        if (await self._sides.status(name)).connection is ConnectionState.CONNECTED:
            return
        is_ours = survivor == self._node
        # The one that gives way first: whoever waits for it must find it so.
        calls = [self._rejoin_there, self._rejoin_here] if is_ours else [self._rejoin_here, self._rejoin_there]
        await calls[0](job, gives_way=True)
        await calls[1](job, gives_way=False)
        await self._waits.connected(name)
        await job.log(f"the changes of {(await self._document(job)).other(survivor)} give way to those of {survivor}")

    async def _rejoin_here(self, job: JobContext, *, gives_way: bool) -> None:
        await self._rejoin(await self._document(job), gives_way=gives_way)

    async def _rejoin_there(self, job: JobContext, *, gives_way: bool) -> None:
        body = {"name": job.parameters["name"], "gives_way": gives_way}
        await self._partner.call("mirror.rejoin", body, timeout_s=SLOW_S, job_id=job.job_id)

    async def _rejoin(self, document: MirrorDocument, *, gives_way: bool) -> None:
        driver = self._drivers.mirror()
        if gives_way:
            await self._mounts.leave_mirror(document)
            if (await driver.status(document.name)).role is Role.PRIMARY:
                text = f"the mirror {document.name} is in use on {self._node}, whose changes are to be given up"
                remedy = "stop the group or whatever uses it there"
                raise ConflictError(text, reasons=[Reason("in-use", text, remedy)])
        await driver.disconnect(document.name)
        await driver.connect(await self._sides.spec(document), discard_changes=gives_way)

    async def _resync(self, job: JobContext) -> None:
        await self._waits.synced(job.parameters["name"], job)

    async def _mount(self, job: JobContext) -> None:
        document = await self._document(job)
        await self._mounts.enter_mirror(document)
        await self._partner.call("mirror.mount", {"name": document.name}, timeout_s=SLOW_S, job_id=job.job_id)

    async def _note(self, job: JobContext) -> None:
        name = job.parameters["name"]
        await self._histories.note_resolved(name)
        await self._partner.call("mirror.note-resolved", {"name": name}, job_id=job.job_id)
        document = await self._document(job)
        snapshot = self._snapshot_name(job)
        job.result = {
            "survivor": job.parameters["survivor"],
            "snapshots": [f"{member.on(self._node)}/{snapshot}" for member in document.members],
        }
        await self._events.emit("mirror.split-brain-resolved", f"mirror:{name}", job.result)

    # --- what the partner asks ---

    async def _on_snapshot(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._snapshot(await self._kept.get(body["name"]), body["snapshot"], body["reserves"])

    async def _on_drop_snapshot(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._drop(await self._kept.get(body["name"]), body["snapshot"])

    async def _on_rejoin(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._rejoin(await self._kept.get(body["name"]), gives_way=body["gives_way"])

    async def _on_mount(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._mounts.enter_mirror(await self._kept.get(body["name"]))

    async def _on_note_resolved(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._histories.note_resolved(body["name"])


def _refuse(case: SplitBrainCase, survivor: str) -> None:
    """Raise RefusedError unless a person's choice can be carried out now."""
    unknown = [side for side in case.sides if side.unknown is not None]
    if unknown:
        text = f"{unknown[0].node} cannot be asked: {unknown[0].unknown}"
        raise RefusedError(text, reasons=[Reason("partner-away", text, "bring it back first: both sides are needed")])
    if not case.is_split_brain:
        text = f"the sides of the mirror {case.mirror} are not diverged"
        raise RefusedError(text, reasons=[Reason("no-split-brain", text, "start the mirror")])
    for side in case.sides:
        if side.node != survivor and side.sessions:
            text = f"{side.node} is to give way, and {', '.join(side.sessions)} is logged in there"
            raise RefusedError(text, reasons=[Reason("in-use", text, "stop the group on that node, or log it out")])
    unrelated = [volume.volume for volume in case.volumes if volume.lineage is Lineage.UNRELATED]
    if unrelated:
        text = f"the sides of {', '.join(unrelated)} have nothing in common"
        raise RefusedError(text, reasons=[Reason("unrelated", text, "take the mirror apart and make it anew")])


def _reserve_bytes(size_bytes: int, case: SplitBrainCase, number: int) -> int:
    """Room for what a resync overwrites, and as much again for what is written afterwards."""
    changed = sum(case.volumes[number].changed_bytes.get(side.node) or 0 for side in case.sides)
    return min(size_bytes, max(2 * changed, size_bytes // RESERVE_PART, LEAST_RESERVE_BYTES))
