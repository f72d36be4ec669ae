"""The step-wise way to a mirror (S31, S32): volumes that are there on both nodes, set to source and destination.

A destination is given up: no share, target, snapshot or other mirror may use it, and a mirror may overwrite it. Of each
volume of the partner it is told what keeps a volume of this node from being mirrored to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holdfast.errors import HoldfastError, InvalidError, Reason, RefusedError
from holdfast.hooks.volume import Volume, VolumeKind
from holdfast.planning.write_once import Act
from holdfast.services.dependents import Dependent, Dependents, refuse_if_used
from holdfast.services.documents import ReplicationMode, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.volumes.file_io import refuse_destination_mode
from holdfast.services.volumes.views import is_mounted_by_itself
from holdfast.services.volumes.volumes import Volumes
from holdfast.services.worm.guard import WormGuard
from holdfast.store.intent import Intents
from holdfast.values import from_plain, to_plain


@dataclass(frozen=True)
class Candidate:
    """A volume of the partner, and all that keeps it from being the destination; it can be one if there is nothing."""

    name: str
    pool: str
    kind: VolumeKind
    size_bytes: int
    replication_mode: ReplicationMode
    is_blank: bool
    reasons: tuple[Reason, ...]


class ReplicationModes:
    """Sets modes, and tells which volumes fit together."""

    def __init__(
        self,
        kept: Intents[VolumeDocument],
        volumes: Volumes,
        jobs: Jobs,
        drivers: Drivers,
        dependents: Dependents,
        partner: PartnerLink,
        guard: WormGuard,
    ) -> None:
        self._kept = kept
        self._guard = guard
        self._volumes = volumes
        self._jobs = jobs
        self._drivers = drivers
        self._dependents = dependents
        self._partner = partner
        steps = (
            # As long as it is no destination no mirror of the partner's can have begun to use it.
            Step("clear the metadata", self._clear),
            # Before it is unmounted: after a restart the reconciler would mount it again.
            Step("record", self._record, self._unrecord),
            Step("unmount", self._unmount, self._mount_as_before),
            Step("mount", self._mount),
        )
        jobs.define(JobDefinition("volume.set-mode", steps))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {"volume.candidates": self._on_candidates}

    # --- modes ---

    async def set(self, name: str, mode: ReplicationMode, *, clear_metadata: bool, validate_only: bool) -> str | None:
        """Set a volume to source or destination, or to neither; the job's id, None where only the checks were wanted.

        Refused while a mirror has the volume; as a destination also while anything else uses it.
        """

        async def check() -> None:
            document = await self._kept.get(name)
            if mode is ReplicationMode.DESTINATION:
                refuse_destination_mode(document)
                await self._guard.refuse(document, Act.GIVE_UP, "mode")
            is_given_up = mode is ReplicationMode.DESTINATION
            users = await (self._dependents.of_volume(name) if is_given_up else self._mirrors_of(name))
            refuse_if_used(f"the volume {name}", users)
            if is_given_up:
                await self._volumes.refuse_snapshots(document)

        if validate_only:
            await check()
            return None
        parameters = {"name": name, "mode": mode, "clear_metadata": clear_metadata}
        return await self._jobs.start("volume.set-mode", f"volume:{name}", parameters, check=check)

    async def _mirrors_of(self, name: str) -> tuple[Dependent, ...]:
        return tuple(user for user in await self._dependents.of_volume(name) if user.noun == "mirror")

    async def _record(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["name"])
        job.facts.setdefault("before", to_plain(document))
        await self._kept.put(document.name, replace(document, replication_mode=ReplicationMode(job.parameters["mode"])))

    async def _unrecord(self, job: JobContext) -> None:
        if "before" in job.facts:
            # Only what the job changed: a mirror may have taken the volume meanwhile.
            document, before = await self._kept.get(job.parameters["name"]), self._before(job)
            await self._kept.put(document.name, replace(document, replication_mode=before.replication_mode))

    def _before(self, job: JobContext) -> VolumeDocument:
        return from_plain(VolumeDocument, job.facts["before"])

    async def _unmount(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["name"])
        if document.kind is VolumeKind.NAS and not is_mounted_by_itself(document):
            await self._drivers.volume().unmount(str(self._volumes.directory(document)))

    async def _mount_as_before(self, job: JobContext) -> None:
        await self._mount_if_its_own(self._before(job))

    async def _clear(self, job: JobContext) -> None:
        if job.parameters["clear_metadata"]:
            document = await self._kept.get(job.parameters["name"])
            refuse_if_used(f"the volume {document.name}", await self._mirrors_of(document.name))
            await self._drivers.volume().delete_metadata(document.pool, document.name)

    async def _mount(self, job: JobContext) -> None:
        document = await self._kept.get(job.parameters["name"])
        try:
            await self._mount_if_its_own(document)
        except HoldfastError as reason:  # what a mirror left half there is shown with the volume
            await job.log(f"the volume {document.name} has no file system that can be mounted: {reason.message}")
        job.result = await self._volumes.get(document.name)

    async def _mount_if_its_own(self, document: VolumeDocument) -> None:
        if document.kind is VolumeKind.NAS and is_mounted_by_itself(document):
            await self._volumes.mount(document.name)

    # --- which volumes fit together ---

    async def destinations(self, name: str) -> tuple[Candidate, ...]:
        """All volumes of the partner, by name, each with what keeps it from being a mirror of this node's volume.

        Raises NotFoundError, ConflictError without a partner, and UnavailableError when it does not answer.
        """
        document = await self._kept.get(name)
        return await self._judged(document, await self._candidates())

    async def _candidates(self) -> tuple[Candidate, ...]:
        return from_plain(tuple[Candidate, ...], await self._partner.call("volume.candidates", {}))

    async def _judged(self, document: VolumeDocument, found: Sequence[Candidate]) -> tuple[Candidate, ...]:
        size_bytes = (await self._drivers.volume().get_volume(document.pool, document.name)).size_bytes
        return tuple(replace(c, reasons=(*c.reasons, *_mismatches(document, size_bytes, c))) for c in found)

    async def refuse_unfit(self, chosen: Mapping[str, str], volumes: Sequence[str], *, is_zeroed: bool) -> None:
        """Refuse what cannot be the other side of one of `volumes`, by volume; all reasons name their field."""
        if not chosen:
            return
        found = await self._candidates()
        for volume, destination in chosen.items():
            if volume not in volumes:
                text, remedy = f"{volume} is none of the volumes to be mirrored", "name it in volumes, too"
                raise InvalidError(text, reasons=[Reason("not-mirrored", text, remedy, _field(volume))])
            judged = await self._judged(await self._kept.get(volume), found)
            self._refuse_unfit(volume, destination, judged, is_zeroed=is_zeroed)
        if len(set(chosen.values())) < len(chosen):
            text = "a destination volume is named twice"
            raise InvalidError(text, reasons=[Reason("twice", text, "name each once", "destination_volumes")])

    def _refuse_unfit(self, volume: str, destination: str, judged: Sequence[Candidate], *, is_zeroed: bool) -> None:
        candidate = next((each for each in judged if each.name == destination), None)
        if candidate is None:
            usable = ", ".join(each.name for each in judged if not each.reasons) or "none is usable"
            text, remedy = f"{self._partner.name} has no volume {destination}", f"name one of: {usable}"
            raise InvalidError(text, reasons=[Reason("unknown-volume", text, remedy, _field(volume))])
        if candidate.reasons:
            why = "; ".join(reason.text for reason in candidate.reasons)
            text = f"{destination} of {self._partner.name} cannot be the destination of {volume}: {why}"
            raise RefusedError(text, reasons=[replace(reason, field=_field(volume)) for reason in candidate.reasons])
        if is_zeroed and not candidate.is_blank:
            text = f"{destination} of {self._partner.name} may hold data, and is zeroed by nobody unasked"
            raise RefusedError(text, reasons=[Reason("not-blank", text, "use first_sync full", "first_sync")])

    async def _on_candidates(self, body: dict[str, Any], job_id: str | None) -> Any:
        actual = {(volume.pool, volume.name): volume for volume in await self._drivers.volume().list_volumes()}
        kept = (await self._kept.all()).values()
        return to_plain(tuple([await self._candidate(each, actual.get((each.pool, each.name))) for each in kept]))

    async def _candidate(self, document: VolumeDocument, actual: Volume | None) -> Candidate:
        reasons = [
            Reason("in-use", f"the {user.noun} {user.name} uses it", f"delete the {user.noun} {user.name} first")
            for user in await self._dependents.of_volume(document.name)
        ]
        if document.replication_mode is not ReplicationMode.DESTINATION:
            text = f"its replication mode is {document.replication_mode.value}"
            reasons.append(Reason("not-destination", text, "set it to destination there: what is on it is given up"))
        if actual is None:
            text = f"it is not in the pool {document.pool}: it was removed from outside"
            reasons.append(Reason("gone", text, "delete it there, and make it again"))
        return Candidate(
            document.name,
            document.pool,
            document.kind,
            document.size_bytes if actual is None else actual.size_bytes,
            document.replication_mode,
            document.is_blank,
            tuple(reasons),
        )


def _field(volume: str) -> str:
    return f"destination_volumes.{volume}"


def _mismatches(document: VolumeDocument, size_bytes: int, candidate: Candidate) -> list[Reason]:
    """Both sides of a mirror are equal in size (S35), and of one kind."""
    reasons = []
    if candidate.size_bytes != size_bytes:
        text = f"it has {candidate.size_bytes} bytes, and {document.name} has {size_bytes}"
        reasons.append(Reason("size", text, "make one of the same size"))
    if candidate.kind is not document.kind:
        text = f"it is of kind {candidate.kind.value}, and {document.name} of kind {document.kind.value}"
        reasons.append(Reason("kind", text, "make one of the same kind"))
    return reasons
