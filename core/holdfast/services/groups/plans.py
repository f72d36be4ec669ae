"""The monitor's plan: all that a takeover needs, in one file, made anew from intent whenever that changes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.errors import InvalidError, UnavailableError
from holdfast.hooks.failover import MonitorPlan
from holdfast.hooks.links import Link
from holdfast.hooks.replication import MirrorSpec
from holdfast.hooks.target import InitiatorAccess, LogicalUnit, Portal, TargetSpec
from holdfast.hooks.volume import IoType
from holdfast.services.documents import (
    FailoverDocument,
    GroupDocument,
    InitiatorGroupDocument,
    MirrorDocument,
    MirrorMember,
    TargetDocument,
    VolumeDocument,
)
from holdfast.services.drivers import Drivers
from holdfast.services.nodes.maintenance_marks import MaintenanceMarks
from holdfast.services.targets.credentials import chap_of
from holdfast.services.volumes.file_io import directory_of, unit_path
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.system.files import write_atomically
from holdfast.values import Secret, from_plain, to_plain

log = logging.getLogger(__name__)

PLAN_VERSION = 2
LINKS = "links"


@dataclass(frozen=True)
class FileSystem:
    """One that whoever serves a mirror's group mounts: the files of its logical units lie in it."""

    mirror: str
    device: str
    directory: str


@dataclass(frozen=True)
class PlanFile:
    """The plan with the specifications of everything in it. It holds secrets: mode 0600."""

    plan: MonitorPlan
    mirrors: tuple[MirrorSpec, ...]
    targets: tuple[TargetSpec, ...]
    file_systems: tuple[FileSystem, ...] = ()


def plan_path(state_dir: Path) -> Path:
    """Where the plan lies."""
    return state_dir / "plan.json"


def read_plan(state_dir: Path) -> PlanFile | None:
    """The plan on disk, or None if none was written yet. Raises InvalidError when it is not one of ours."""
    try:
        text = plan_path(state_dir).read_text()
    except FileNotFoundError:
        return None
    found = from_plain(PlanFile, json.loads(text))
    if found.plan.version != PLAN_VERSION:
        raise InvalidError(f"the plan has version {found.plan.version}, and {PLAN_VERSION} is known here")
    return found


def target_spec(
    document: TargetDocument,
    portals: tuple[Portal, ...],
    devices: Mapping[str, tuple[str, int | None]],
    access: tuple[InitiatorAccess, ...],
) -> TargetSpec:
    """A target as its driver takes it; over a mirror all is the same on both nodes.

    `devices` gives for each of its volumes the device, or with file I/O the file and its size in bytes.

    An initiator that is named twice, by itself and in a group, is let in as it was named first.
    """
    once = {item.initiator: item for item in reversed(access)}
    return TargetSpec(
        name=document.name,
        iqn=document.iqn,
        portals=document.portals or portals,
        units=tuple(
            LogicalUnit(
                lun=unit.lun,
                name=f"{document.name}-{unit.lun}",
                device=devices[unit.volume][0],
                serial=unit.serial,
                vendor=unit.vendor,
                product=unit.product,
                is_read_only=unit.is_read_only,
                block_size_bytes=unit.block_size_bytes,
                may_unmap=unit.may_unmap,
                optimal_blocks=unit.optimal_blocks,
                file_bytes=devices[unit.volume][1],
                has_write_cache=unit.has_write_cache,
            )
            for unit in document.units
        ),
        access=tuple(once[name] for name in dict.fromkeys(item.initiator for item in access)),
        is_open=document.is_open,
    )


def mirror_link(mirror: MirrorDocument | None, links: tuple[Link, ...]) -> str | None:
    """The link whose two addresses a mirror's connection has too; None if there is none."""
    if mirror is None:
        return None
    ends = set(mirror.addresses.values())
    return next((link.name for link in links if {link.local_address, link.peer_address} == ends), None)


def _write_if_changed(path: Path, data: bytes) -> None:
    """Spare the disk: intent is looked at far more often than it changes."""
    if not path.exists() or path.read_bytes() != data:
        write_atomically(path, data, mode=0o600)


class Plans:
    """Writes the plan of this node and makes the monitor read it."""

    def __init__(
        self,
        *,
        node: str,
        state_dir: Path,
        mount_dir: Path,
        drivers: Drivers,
        secrets: Secrets,
        links: Intents[FailoverDocument],
        mirrors: Intents[MirrorDocument],
        volumes: Intents[VolumeDocument],
        targets: Intents[TargetDocument],
        initiator_groups: Intents[InitiatorGroupDocument],
        groups: Intents[GroupDocument],
        marks: MaintenanceMarks,
    ) -> None:
        self._node = node
        self._state_dir = state_dir
        self._mount_dir = mount_dir
        self._drivers = drivers
        self._secrets = secrets
        self._links = links
        self._mirrors = mirrors
        self._volumes = volumes
        self._targets = targets
        self._initiator_groups = initiator_groups
        self._groups = groups
        self._marks = marks
        self._partner: tuple[str, Secret] | None = None
        self._writing = asyncio.Lock()

    def set_partner(self, name: str, key: Secret) -> None:
        """Note whose heartbeats to trust. Before that no plan is written."""
        self._partner = (name, key)

    async def build(self) -> PlanFile | None:
        """The plan as intent has it now, or None without a partner."""
        if self._partner is None:
            return None
        partner, key = self._partner
        groups = await self._groups.all()
        mirrors = await self._mirrors.all()
        kept = await self._links.find(LINKS)
        links = kept.document if kept else FailoverDocument(())
        grouped = {group.mirror for group in groups.values()}
        plan = MonitorPlan(
            version=PLAN_VERSION,
            node=self._node,
            partner=partner,
            key=key,
            links=links.links,
            ping_nodes=links.ping_nodes,
            groups=tuple(
                replace(group.plan(), mirror_link=mirror_link(mirrors.get(group.mirror), links.links))
                for group in groups.values()
            ),
            lone_mirrors=tuple(name for name, m in mirrors.items() if m.is_started and name not in grouped),
            in_maintenance=await self._marks.nodes(),
            witness=links.witness,
        )
        served = {name for group in groups.values() for name in group.targets}
        targets = [await self.target(t) for name, t in (await self._targets.all()).items() if name in served]
        specs = tuple([await self._mirror_spec(m) for m in mirrors.values()])
        file_systems = [found for m in mirrors.values() for found in await self._file_systems(m)]
        return PlanFile(plan, specs, tuple(targets), tuple(file_systems))

    async def _file_systems(self, mirror: MirrorDocument) -> list[FileSystem]:
        found = []
        for member in mirror.members:
            if member.io_type is IoType.FILE:
                device = self._drivers.mirror().device_path(member.minor)
                found.append(FileSystem(mirror.name, device, str(await self._directory(member))))
        return found

    async def _directory(self, member: MirrorMember) -> Path:
        return directory_of(self._mount_dir, await self._volumes.get(member.on(self._node)))

    async def _mirror_spec(self, document: MirrorDocument) -> MirrorSpec:
        secret = await self._secrets.get(document.secret_reference) if document.is_authenticated else None
        return document.spec(self._node, secret)

    async def target(self, document: TargetDocument) -> TargetSpec:
        """A target's specification, with the addresses of the group that serves it."""
        groups = [g for g in (await self._groups.all()).values() if document.name in g.targets]
        portals = tuple(Portal(a.address) for group in groups for a in group.addresses)
        members = [m for name in document.initiator_groups for m in (await self._initiator_groups.get(name)).members]
        access = [
            InitiatorAccess(item.initiator, await chap_of(self._secrets, item), item.cmdsn_depth)
            for item in (*document.access, *members)
        ]
        return target_spec(document, portals, await self._devices(document), tuple(access))

    async def _devices(self, document: TargetDocument) -> dict[str, tuple[str, int | None]]:
        found: dict[str, tuple[str, int | None]] = {}
        if document.mirror is not None:
            for member in (await self._mirrors.get(document.mirror)).members:
                device = self._drivers.mirror().device_path(member.minor)
                if member.io_type is IoType.FILE:
                    device = unit_path(await self._directory(member))
                found[member.volume] = device, member.file_bytes
            return found
        for unit in document.units:
            volume = await self._volumes.get(unit.volume)
            device = (await self._drivers.volume().get_volume(volume.pool, volume.name)).device
            if volume.io_type is IoType.FILE:
                device = unit_path(directory_of(self._mount_dir, volume))
            found[unit.volume] = device, volume.file_bytes
        return found

    async def write(self) -> None:
        """Write the plan and return when the monitor has taken it.

        Raises UnavailableError when the monitor does not answer: the plan is on disk then, and the monitor reads it
        at its start.
        """
        async with self._writing:
            plan = await self.build()
            if plan is None:
                return
            data = json.dumps(to_plain(plan, reveal=True), indent=1).encode()
            await asyncio.to_thread(_write_if_changed, plan_path(self._state_dir), data)
            await self._drivers.failover().plan_written()

    async def write_if_possible(self) -> None:
        """The same, where a monitor that is away is no reason to stop: it reads the plan at its start."""
        try:
            await self.write()
        except UnavailableError as reason:
            log.warning("the monitor did not take the plan: %s", reason)
