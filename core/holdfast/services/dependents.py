"""Who uses what: nothing is destroyed or changed under something that depends on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from holdfast.errors import BusyError, ConflictError, Reason
from holdfast.services.copies.replica_documents import ReplicaShareDocument
from holdfast.services.copies.task_documents import TaskDocument
from holdfast.services.documents import (
    GroupDocument,
    MirrorDocument,
    ReplicationMode,
    ShareDocument,
    TargetDocument,
    VolumeDocument,
)
from holdfast.store.intent import Intents


@dataclass(frozen=True)
class Dependent:
    """Something that uses a thing."""

    noun: str
    name: str
    facts: dict[str, str] = field(default_factory=dict)


AlsoUsed = Callable[[str], Awaitable[Sequence[Dependent]]]
"""Called with the name of a share."""


class Dependents:
    """Answers from intent; drivers refuse besides when reality disagrees."""

    def __init__(
        self,
        *,
        volumes: Intents[VolumeDocument],
        shares: Intents[ShareDocument],
        replicas: Intents[ReplicaShareDocument],
        tasks: Intents[TaskDocument],
        mirrors: Intents[MirrorDocument],
        targets: Intents[TargetDocument],
        groups: Intents[GroupDocument],
        node: str,
    ) -> None:
        self._volumes = volumes
        self._shares = shares
        self._replicas = replicas
        self._tasks = tasks
        self._mirrors = mirrors
        self._targets = targets
        self._groups = groups
        self._node = node
        self._also: list[AlsoUsed] = []

    def also_of_share(self, used: AlsoUsed) -> None:
        """Have something besides asked who uses a share."""
        self._also.append(used)

    async def of_pool(self, name: str) -> tuple[Dependent, ...]:
        """Volumes in a pool."""
        return tuple(Dependent("volume", v.name) for v in (await self._volumes.all()).values() if v.pool == name)

    async def of_volume(self, name: str) -> tuple[Dependent, ...]:
        """Mirrors, targets and shares on a volume, and the tasks and replica shares on those."""
        mirrors = {
            mirror.name
            for mirror in (await self._mirrors.all()).values()
            if any(member.on(self._node) == name for member in mirror.members)
        }
        kept = await self._volumes.find(name)
        if kept is not None and kept.document.mirror is not None:
            mirrors.add(kept.document.mirror)  # which may not be on record yet
        found = [Dependent("mirror", mirror) for mirror in sorted(mirrors)]
        for target in (await self._targets.all()).values():
            if target.mirror is None and any(unit.volume == name for unit in target.units):
                found.append(Dependent("target", target.name))
        for share in (await self._shares.all()).values():
            if share.volume == name:
                found.append(Dependent("share", share.name))
                found.extend(await self.of_share(share.name))
        return tuple(found)

    async def of_share(self, name: str) -> tuple[Dependent, ...]:
        """Tasks that copy a share, and its opening as a destination."""
        tasks = [Dependent("replication-task", t.name) for t in (await self._tasks.all()).values() if t.share == name]
        replicas = [
            Dependent("replica-share", r.name) for r in (await self._replicas.all()).values() if r.share == name
        ]
        others = [dependent for used in self._also for dependent in await used(name)]
        return (*tasks, *replicas, *others)

    async def of_mirror(self, name: str) -> tuple[Dependent, ...]:
        """Targets and groups on a mirror."""
        targets = [Dependent("target", t.name) for t in (await self._targets.all()).values() if t.mirror == name]
        groups = [Dependent("group", g.name) for g in (await self._groups.all()).values() if g.mirror == name]
        return (*targets, *groups)

    async def of_target(self, name: str) -> tuple[Dependent, ...]:
        """Groups that serve a target."""
        return tuple(Dependent("group", g.name) for g in (await self._groups.all()).values() if name in g.targets)

    async def of_initiator_group(self, name: str) -> tuple[Dependent, ...]:
        """Targets that let a group of initiators in."""
        targets = (await self._targets.all()).values()
        return tuple(Dependent("target", t.name) for t in targets if name in t.initiator_groups)


def refuse_destination(volume: VolumeDocument) -> None:
    """Raise ConflictError for a volume that is set as a destination: nobody but a mirror may use it."""
    if volume.replication_mode is ReplicationMode.DESTINATION:
        text = f"the volume {volume.name} is set as a destination of replication"
        raise ConflictError(text, reasons=[Reason("destination", text, "set its replication mode to none", "volume")])


def refuse_if_used(what: str, dependents: Sequence[Dependent], others: Sequence[Reason] = ()) -> None:
    """Raise BusyError naming every dependent, and the other reasons why it is in use."""
    reasons = [
        Reason("in-use", f"{what} is used by the {d.noun} {d.name}", f"delete the {d.noun} {d.name} first")
        for d in dependents
    ]
    texts = [reason.text for reason in others]
    if dependents:
        texts.insert(0, f"{what} is used by: {', '.join(f'{d.noun} {d.name}' for d in dependents)}")
    if texts:
        raise BusyError("; ".join(texts), reasons=[*reasons, *others])
