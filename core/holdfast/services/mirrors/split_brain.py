"""Diverged sides: found, described for a person, and never resolved by itself.

Evidence of both nodes makes the case; a person names the survivor. Before anything is given up, both sides are kept
as snapshots. What the other side changed is then overwritten by bitmap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.errors import HoldfastError, Reason, RefusedError
from holdfast.hooks.replication import ConnectionState, Lineage, MirrorStatus
from holdfast.services.documents import MirrorDocument, MirrorMember, TargetDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.mirrors.history import MirrorHistories, MirrorHistory
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.store.intent import Intents
from holdfast.values import from_plain, to_plain


@dataclass(frozen=True)
class Evidence:
    """What one node knows of its side."""

    node: str
    status: MirrorStatus
    generations: tuple[str, ...]
    history: MirrorHistory
    sessions: tuple[str, ...]
    """Initiators that are logged in to a target on this mirror now."""


@dataclass(frozen=True)
class SideCase:
    """One side as a person judges it; `unknown` says why it could not be asked."""

    node: str
    role: str | None
    last_writer_since: str | None
    """Since when it is, or until when it was, the side in use."""
    lost_partner_at: str | None
    sessions: tuple[str, ...]
    snapshots: tuple[str, ...]
    unknown: str | None = None


@dataclass(frozen=True)
class VolumeCase:
    """One volume: how its sides stand to each other, and what each changed since they last were one."""

    volume: str
    number: int
    lineage: Lineage
    diverged_at: str | None
    changed_bytes: dict[str, int | None]
    """By node, in whole 4 KiB blocks."""


@dataclass(frozen=True)
class SplitBrainCase:
    """The case file."""

    mirror: str
    is_split_brain: bool
    found_at: str | None
    sides: tuple[SideCase, ...]
    volumes: tuple[VolumeCase, ...]


class SplitBrains:
    """Finds and describes them."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        targets: Intents[TargetDocument],
        histories: MirrorHistories,
        drivers: Drivers,
        partner: PartnerLink,
        events: Events,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._targets = targets
        self._histories = histories
        self._drivers = drivers
        self._partner = partner
        self._events = events
        self._node = node

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask of this side."""
        return {"mirror.evidence": self._on_evidence}

    async def evidence(self, name: str) -> Evidence:
        """What this node knows. Raises NotFoundError."""
        await self._kept.get(name)
        driver = self._drivers.mirror()
        status = await driver.status(name)
        generations = await driver.generations(name) if status.is_up else ()
        return Evidence(self._node, status, generations, await self._histories.get(name), await self._sessions_on(name))

    async def _sessions_on(self, name: str) -> tuple[str, ...]:
        if not self._drivers.has("target"):
            return ()
        found: set[str] = set()
        for target in (await self._targets.all()).values():
            if target.mirror == name:
                found |= {session.initiator for session in await self._drivers.target().list_sessions(target.iqn)}
        return tuple(sorted(found))

    async def case(self, name: str) -> SplitBrainCase:
        """The case file, also where there is no split brain. Raises NotFoundError."""
        document = await self._kept.get(name)
        here, there, unknown = await self.evidence(name), None, None
        try:
            there = from_plain(Evidence, await self._partner.call("mirror.evidence", {"name": name}))
        except HoldfastError as reason:
            unknown = reason.message
        volumes = tuple(
            self._volume_case(document, position, member, here, there)
            for position, member in enumerate(document.members)
        )
        is_split = any(volume.lineage is Lineage.DIVERGED for volume in volumes) and not _is_connected(here)
        # The partner is away: what was found while it was here still holds.
        is_split = is_split or (there is None and here.history.split_brain_at is not None)
        sides = (_side(here), _side(there) if there else _unknown(document.other(self._node), unknown))
        return SplitBrainCase(name, is_split, here.history.split_brain_at if is_split else None, sides, volumes)

    def _volume_case(
        self, document: MirrorDocument, position: int, member: MirrorMember, here: Evidence, there: Evidence | None
    ) -> VolumeCase:
        other = document.other(self._node)
        lineage = Lineage.UNRELATED
        if there is not None and position < min(len(here.generations), len(there.generations)):
            lineage = self._drivers.mirror().compare(here.generations[position], there.generations[position])
        lost = [e.history.lost_at for e in (here, there) if e is not None and e.history.lost_at is not None]
        changed = {self._node: _changed_bytes(here, member.number), other: _changed_bytes(there, member.number)}
        return VolumeCase(member.volume, member.number, lineage, min(lost, default=None), changed)

    async def look(self, name: str) -> bool:
        """Whether both sides diverged; the first time, it is told and remembered."""
        case = await self.case(name)
        history = await self._histories.get(name)
        if case.is_split_brain and history.split_brain_at is None:
            await self._histories.note_split_brain(name)
            body = {"volumes": [v.volume for v in case.volumes if v.lineage is Lineage.DIVERGED]}
            await self._events.emit("mirror.split-brain", f"mirror:{name}", body)
        elif not case.is_split_brain and history.split_brain_at is not None:
            # Resolved by a person with the kernel's own tools, perhaps.
            await self._histories.note_resolved(name)
            await self._events.emit("mirror.split-brain-over", f"mirror:{name}", {})
        return case.is_split_brain

    async def refuse_if_split(self, name: str) -> None:
        """Raise RefusedError while both sides are diverged."""
        if await self.look(name):
            text = f"both sides of the mirror {name} were changed apart, and nothing is done until a person chooses"
            remedy = f"read GET /v1/mirrors/{name}/split-brain, then choose the survivor"
            raise RefusedError(text, reasons=[Reason("split-brain", text, remedy)])

    async def _on_evidence(self, body: dict[str, Any], job_id: str | None) -> Any:
        return to_plain(await self.evidence(body["name"]))


def _is_connected(evidence: Evidence) -> bool:
    return evidence.status.connection is ConnectionState.CONNECTED


def _changed_bytes(evidence: Evidence | None, number: int) -> int | None:
    if evidence is None:
        return None
    return next((v.out_of_sync_bytes for v in evidence.status.volumes if v.number == number), None)


def _side(evidence: Evidence) -> SideCase:
    history, role = evidence.history, evidence.status.role.value
    since = history.promoted_at if role == "Primary" else history.demoted_at
    return SideCase(evidence.node, role, since, history.lost_at, evidence.sessions, history.snapshots)


def _unknown(node: str, reason: str | None) -> SideCase:
    return SideCase(node, None, None, None, (), (), reason)
