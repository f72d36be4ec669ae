"""Mirrors, the user's side: made by one call from the source, the same document on both nodes (S30 to S36)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from holdfast.errors import ConflictError, HoldfastError, InvalidError, NotFoundError, Reason, RefusedError
from holdfast.hooks.replication import MirrorStatus, SyncLimits
from holdfast.hooks.volume import VolumeKind
from holdfast.planning.mirror_alerts import MirrorFacts, alerts
from holdfast.planning.mirror_link import LinkMeasurement
from holdfast.planning.schedules import Schedule
from holdfast.planning.schedules import check as check_schedule
from holdfast.planning.write_once import Act
from holdfast.services.dependents import Dependent, Dependents, refuse_destination, refuse_if_used
from holdfast.services.documents import FirstSyncRecord, MirrorDocument, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.behind import why_held
from holdfast.services.mirrors.history import MirrorHistories, Verification
from holdfast.services.mirrors.modes import ReplicationModes
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.split_brain import SplitBrains
from holdfast.services.mirrors.verify import MirrorVerify
from holdfast.services.mirrors.wanted import FirstSync, MirrorWanted
from holdfast.services.partner import PartnerLink
from holdfast.services.volumes.file_io import refuse_chosen
from holdfast.services.worm.guard import WormGuard
from holdfast.store.intent import Intents
from holdfast.values import from_plain


@dataclass(frozen=True)
class SideView:
    """One side of a mirror; `status` is None where it could not be asked, and `unknown` says why."""

    node: str
    address: str
    devices: dict[str, str]
    """The logical volume of each volume."""
    status: MirrorStatus | None
    unknown: str | None


@dataclass(frozen=True)
class MirrorView:
    """A mirror as the API shows it: wanted, this node, other node."""

    name: str
    task: str
    """The name that this node's task has: on the destination, the reverse task's."""
    direction: str
    source: str
    destination: str
    volumes: tuple[str, ...]
    is_started: bool
    started_at: str | None
    this_node: SideView
    other_node: SideView
    is_in_sync: bool
    has_split_brain: bool
    is_authenticated: bool
    limits: SyncLimits
    schedule: Schedule | None
    next_verification_at: str | None
    last_verification: Verification | None
    first_sync: FirstSyncRecord | None
    link: LinkMeasurement | None
    alerts: tuple[Reason, ...]


class Mirrors:
    """Makes, shows, starts, stops and removes mirrors. The steps are in `mirror_jobs`."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        volumes: Intents[VolumeDocument],
        jobs: Jobs,
        drivers: Drivers,
        dependents: Dependents,
        partner: PartnerLink,
        sides: MirrorSides,
        histories: MirrorHistories,
        split_brains: SplitBrains,
        verify: MirrorVerify,
        modes: ReplicationModes,
        guard: WormGuard,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._volumes = volumes
        self._jobs = jobs
        self._drivers = drivers
        self._dependents = dependents
        self._partner = partner
        self._sides = sides
        self._histories = histories
        self._split_brains = split_brains
        self._verify = verify
        self._modes = modes
        self._guard = guard
        self._node = node

    async def list(self) -> tuple[MirrorView, ...]:
        """All mirrors, by name."""
        return tuple([await self._view(document) for document in (await self._kept.all()).values()])

    async def get(self, name: str) -> MirrorView:
        """One mirror. Raises NotFoundError."""
        return await self._view(await self._kept.get(name))

    async def _view(self, document: MirrorDocument) -> MirrorView:
        here = await self._sides.status(document.name)
        there, unknown = None, None
        try:
            plain = await self._partner.call("mirror.status", {"name": document.name})
            there = from_plain(MirrorStatus, plain)
        except HoldfastError as reason:
            unknown = reason.message
        history = await self._histories.get(document.name)
        is_split = history.split_brain_at is not None
        facts = MirrorFacts(here, document.is_started, is_split, history.unrepaired_bytes, document.link)
        due = await self._verify.next_verification(document)
        return MirrorView(
            name=document.name,
            task=document.name if self._node == document.source else f"{document.name}-reverse",
            direction="source" if self._node == document.source else "destination",
            source=document.source,
            destination=document.destination,
            volumes=tuple(member.volume for member in document.members),
            is_started=document.is_started,
            started_at=document.started_at,
            this_node=_side(document, self._node, here, None),
            other_node=_side(document, document.other(self._node), there, unknown),
            is_in_sync=here.is_in_sync,
            has_split_brain=is_split,
            is_authenticated=document.is_authenticated,
            limits=document.limits,
            schedule=document.schedule,
            next_verification_at=due.isoformat() if due is not None else None,
            last_verification=history.verifications[0] if history.verifications else None,
            first_sync=document.first_sync,
            link=document.link,
            alerts=alerts(facts),
        )

    async def verifications(self, name: str) -> tuple[Verification, ...]:
        """What comparisons of both sides found, the newest first. Raises NotFoundError."""
        await self._kept.get(name)
        return (await self._histories.get(name)).verifications

    async def create(self, wanted: MirrorWanted, *, validate_only: bool) -> str | None:
        """Mirror volumes of this node to the partner. The job makes everything on both nodes."""

        async def check() -> None:
            if await self._kept.find(wanted.name) is not None:
                raise ConflictError(f"there is a mirror {wanted.name}")
            await self.refuse_unfit(wanted)

        if validate_only:
            await check()
            return None
        locks = [f"volume:{volume}" for volume in wanted.volumes]
        target = f"mirror:{wanted.name}"
        return await self._jobs.start("mirror.create", target, asdict(wanted), locks=locks, check=check)

    async def refuse_unfit(self, wanted: MirrorWanted) -> None:
        """Refuse whatever keeps these volumes from being mirrored to the partner; every refusal names its field."""
        is_zeroed = wanted.first_sync is FirstSync.ZERO
        if wanted.zero_limit_bytes_s is not None and not is_zeroed:
            text = "there is nothing to zero with the first sync full, and no limit for it"
            remedy = "leave it out, or use first_sync zero"
            raise InvalidError(text, reasons=[Reason("no-zeroing", text, remedy, "zero_limit_bytes_s")])
        self._drivers.mirror()
        # Without somebody who answers its fence requests a source would freeze for ever at the first loss.
        self._drivers.failover()
        kinds = {await self._check_volume(volume, wanted.first_sync) for volume in wanted.volumes}
        for volume in wanted.chosen:
            if kept := await self._volumes.find(volume):
                refuse_chosen(kept.document)
        if VolumeKind.NAS in kinds and len(kinds) > 1:
            text = "file systems and block volumes cannot be in one mirror: a failover group moves only the latter"
            raise InvalidError(text, reasons=[Reason("mixed-kinds", text, "make a mirror for each", "volumes")])
        await self._partner.refuse_if_clocks_differ()
        await self._sides.own_address()
        await self._modes.refuse_unfit(wanted.chosen, wanted.volumes, is_zeroed=is_zeroed)

    async def _check_volume(self, name: str, first_sync: FirstSync) -> VolumeKind:
        try:
            document = await self._volumes.get(name)
        except NotFoundError as reason:
            field = Reason("unknown-volume", reason.message, "name a volume of this node", "volumes")
            raise InvalidError(reason.message, reasons=[field]) from reason
        refuse_destination(document)
        await self._guard.refuse(document, Act.MIRROR, "volumes")
        if document.is_torn:
            text = f"the volume {name} is a copy that never was complete"
            raise RefusedError(text, reasons=[Reason("torn", text, "mirror the side that has the data", "volumes")])
        # Shares and their tasks use the directory, which stays where it is; everybody else uses the device.
        users = await self._dependents.of_volume(name)
        others = [d for d in users if not (_is_file(d) and document.kind is VolumeKind.NAS)]
        refuse_if_used(f"the volume {name}", others)
        if first_sync is FirstSync.ZERO and not document.is_blank:
            text = f"the volume {name} may hold data, and zeroing would destroy it"
            raise RefusedError(text, reasons=[Reason("not-blank", text, "use first_sync full", "first_sync")])
        return document.kind

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Take a mirror apart. The volumes of both nodes stay, each with its copy."""

        async def check() -> None:
            document = await self._kept.get(name)
            refuse_if_used(f"the mirror {name}", await self._dependents.of_mirror(name))
            has_files = any(member.kind is VolumeKind.NAS for member in document.members)
            if has_files and document.source != self._node:
                text = f"the file systems of the mirror {name} are mounted on {document.source}"
                raise RefusedError(text, reasons=[Reason("not-source", text, f"ask {document.source} to delete it")])

        return await self._start("mirror.delete", name, check, validate_only=validate_only)

    async def start(self, name: str, *, validate_only: bool) -> str | None:
        """Connect both sides and keep them connected. Refused while they are diverged."""

        async def check() -> None:
            await self._kept.get(name)
            await self._split_brains.refuse_if_split(name)
            if held := await why_held(await self._sides.status(name), self._histories, self._partner):
                raise RefusedError(held.text, reasons=[held])

        return await self._start("mirror.start", name, check, validate_only=validate_only)

    async def stop(self, name: str, *, validate_only: bool) -> str | None:
        """Disconnect both sides. Refused while a group rests on it."""

        async def check() -> None:
            await self._kept.get(name)
            refuse_if_used(f"the mirror {name}", await self._dependents.of_mirror(name))

        return await self._start("mirror.stop", name, check, validate_only=validate_only)

    async def change(
        self,
        name: str,
        limits: SyncLimits | None,
        schedule: Schedule | None,
        *,
        with_schedule: bool,
        validate_only: bool,
    ) -> str | None:
        """Change how fast resyncs may be, and when it is verified by itself; what is not given stays."""

        async def check() -> None:
            await self._kept.get(name)
            if schedule is not None:
                check_schedule(schedule)
            if limits is not None and limits.max_bytes_s and (limits.min_bytes_s or 0) > limits.max_bytes_s:
                text = "the least rate of a resync is above the most"
                raise InvalidError(text, reasons=[Reason("bad-limits", text, "correct one of them", "min_bytes_s")])

        await check()
        if validate_only:
            return None
        document = await self._kept.get(name)
        schedule = schedule if with_schedule else document.schedule
        parameters = {"name": name, "limits": limits or document.limits, "schedule": schedule}
        return await self._jobs.start("mirror.change", f"mirror:{name}", parameters, check=check)

    async def hold_sync(self, name: str, *, is_held: bool, validate_only: bool) -> str | None:
        """Pause a resync, or let it go on."""

        async def check() -> None:
            await self._kept.get(name)

        word = "pause" if is_held else "resume"
        return await self._start(f"mirror.{word}-sync", name, check, validate_only=validate_only)

    async def _start(self, kind: str, name: str, check: Any, *, validate_only: bool) -> str | None:
        if validate_only:
            await check()
            return None
        return await self._jobs.start(kind, f"mirror:{name}", {"name": name}, check=check)

    async def mark_started(self, name: str, *, is_started: bool, at: str | None) -> MirrorDocument:
        """Note whether a mirror is to be connected."""
        document = replace(await self._kept.get(name), is_started=is_started, started_at=at)
        await self._kept.put(name, document)
        return document


def _side(document: MirrorDocument, node: str, status: MirrorStatus | None, unknown: str | None) -> SideView:
    devices = {member.volume: member.devices[node] for member in document.members}
    return SideView(node, document.addresses[node], devices, status, unknown)


def _is_file(dependent: Dependent) -> bool:
    return dependent.noun in ("share", "replication-task", "replica-share")
