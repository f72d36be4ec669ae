"""Mirrors, the user's side: made by one call from the source, the same document on both nodes (S30 to S36)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from holdfast.errors import (
    ConflictError,
    HoldfastError,
    InvalidError,
    NotFoundError,
    Reason,
    RefusedError,
    UnsupportedError,
)
from holdfast.hooks.replication import MirrorStatus, ReplicationState
from holdfast.hooks.volume import VolumeKind
from holdfast.services.dependents import Dependents, refuse_if_used
from holdfast.services.documents import MirrorDocument, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.mirror_sides import MirrorSides
from holdfast.services.partner import PartnerLink
from holdfast.store.intent import Intents
from holdfast.values import from_plain


class FirstSync(StrEnum):
    """How both sides become equal."""

    ZERO = "zero"
    """Zero both sides and skip the sync: for volumes that nobody has used yet."""
    FULL = "full"
    """Send all of the source."""


@dataclass(frozen=True)
class SideView:
    """One side of a mirror; `status` is None where it could not be asked, and `unknown` says why."""

    node: str
    address: str
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
        is_source = self._node == document.source
        other = document.destination if is_source else document.source
        return MirrorView(
            name=document.name,
            task=document.name if is_source else f"{document.name}-reverse",
            direction="source" if is_source else "destination",
            source=document.source,
            destination=document.destination,
            volumes=tuple(member.volume for member in document.members),
            is_started=document.is_started,
            started_at=document.started_at,
            this_node=SideView(self._node, document.addresses[self._node], here, None),
            other_node=SideView(other, document.addresses[other], there, unknown),
            is_in_sync=here.is_in_sync,
        )

    async def create(
        self, name: str, volumes: Sequence[str], first_sync: FirstSync, *, validate_only: bool
    ) -> str | None:
        """Mirror volumes of this node to the partner. The job makes everything on both nodes."""

        async def check() -> None:
            if await self._kept.find(name) is not None:
                raise ConflictError(f"there is a mirror {name}")
            self._drivers.mirror()
            # Without somebody who answers its fence requests a source would freeze for ever at the first loss.
            self._drivers.failover()
            for volume in volumes:
                await self._check_volume(volume, first_sync)
            await self._partner.refuse_if_clocks_differ()
            await self._sides.own_address()

        if validate_only:
            await check()
            return None
        parameters = {"name": name, "volumes": list(volumes), "first_sync": first_sync}
        locks = [f"volume:{volume}" for volume in volumes]
        return await self._jobs.start("mirror.create", f"mirror:{name}", parameters, locks=locks, check=check)

    async def _check_volume(self, name: str, first_sync: FirstSync) -> None:
        try:
            document = await self._volumes.get(name)
        except NotFoundError as reason:
            field = Reason("unknown-volume", reason.message, "name a volume of this node", "volumes")
            raise InvalidError(reason.message, reasons=[field]) from reason
        if document.kind is VolumeKind.NAS:
            text = f"{name} is of kind nas, and only volumes of kind iscsi and fc can be mirrored as yet"
            raise UnsupportedError(
                text, reasons=[Reason("kind", text, "mirror a volume of kind iscsi or fc", "volumes")]
            )
        refuse_if_used(f"the volume {name}", await self._dependents.of_volume(name))
        if first_sync is FirstSync.ZERO and not document.is_blank:
            text = f"the volume {name} may hold data, and zeroing would destroy it"
            raise RefusedError(text, reasons=[Reason("not-blank", text, "use first_sync full", "first_sync")])

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Take a mirror apart. The volumes of both nodes stay, each with its copy."""

        async def check() -> None:
            await self._kept.get(name)
            refuse_if_used(f"the mirror {name}", await self._dependents.of_mirror(name))

        return await self._start("mirror.delete", name, check, validate_only=validate_only)

    async def start(self, name: str, *, validate_only: bool) -> str | None:
        """Connect both sides and keep them connected."""

        async def check() -> None:
            await self._kept.get(name)

        return await self._start("mirror.start", name, check, validate_only=validate_only)

    async def stop(self, name: str, *, validate_only: bool) -> str | None:
        """Disconnect both sides. Refused while a group rests on it."""

        async def check() -> None:
            await self._kept.get(name)
            refuse_if_used(f"the mirror {name}", await self._dependents.of_mirror(name))

        return await self._start("mirror.stop", name, check, validate_only=validate_only)

    async def verify(self, name: str, *, validate_only: bool) -> str | None:
        """Compare both sides online; the job's result says how many bytes differ."""

        async def check() -> None:
            await self._kept.get(name)
            status = await self._sides.status(name)
            if any(v.replication is not ReplicationState.ESTABLISHED for v in status.volumes) or not status.volumes:
                text = f"the mirror {name} is not connected and quiet: {status.connection}"
                raise RefusedError(text, reasons=[Reason("not-connected", text, "start it, or wait for the resync")])

        return await self._start("mirror.verify", name, check, validate_only=validate_only)

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
