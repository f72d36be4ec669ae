"""The monitor's plan: all that a takeover needs, in one file, made anew from intent whenever that changes."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import UnavailableError
from holdfast.hooks.failover import MonitorPlan
from holdfast.hooks.replication import MirrorDriver, MirrorSpec
from holdfast.hooks.target import Chap, InitiatorAccess, LogicalUnit, Portal, TargetSpec
from holdfast.services.documents import FailoverDocument, GroupDocument, MirrorDocument, TargetDocument
from holdfast.services.drivers import Drivers
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.system.files import write_atomically
from holdfast.values import Secret, from_plain, to_plain

log = logging.getLogger(__name__)

PLAN_VERSION = 1
LINKS = "links"


@dataclass(frozen=True)
class PlanFile:
    """The plan with the specifications of everything in it. It holds secrets: mode 0600."""

    plan: MonitorPlan
    mirrors: tuple[MirrorSpec, ...]
    targets: tuple[TargetSpec, ...]


def plan_path(state_dir: Path) -> Path:
    """Where the plan lies."""
    return state_dir / "plan.json"


def read_plan(state_dir: Path) -> PlanFile | None:
    """The plan on disk, or None if none was written yet. Raises InvalidError when it is not one of ours."""
    try:
        text = plan_path(state_dir).read_text()
    except FileNotFoundError:
        return None
    return from_plain(PlanFile, json.loads(text))


def target_spec(
    document: TargetDocument,
    mirror: MirrorDocument,
    portals: tuple[Portal, ...],
    driver: MirrorDriver,
    passwords: dict[str, Secret],
) -> TargetSpec:
    """A target as its driver takes it: the same on both nodes, for all of it comes from the shared documents."""
    minors = {member.volume: member.minor for member in mirror.members}
    return TargetSpec(
        name=document.name,
        iqn=document.iqn,
        portals=document.portals or portals,
        units=tuple(
            LogicalUnit(
                lun=unit.lun,
                name=f"{document.name}-{unit.lun}",
                device=driver.device_path(minors[unit.volume]),
                serial=unit.serial,
            )
            for unit in document.units
        ),
        access=tuple(
            InitiatorAccess(
                access.initiator,
                Chap(access.chap_user, passwords[access.chap_password])
                if access.chap_user is not None and access.chap_password is not None
                else None,
            )
            for access in document.access
        ),
    )


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
        drivers: Drivers,
        secrets: Secrets,
        links: Intents[FailoverDocument],
        mirrors: Intents[MirrorDocument],
        targets: Intents[TargetDocument],
        groups: Intents[GroupDocument],
    ) -> None:
        self._node = node
        self._state_dir = state_dir
        self._drivers = drivers
        self._secrets = secrets
        self._links = links
        self._mirrors = mirrors
        self._targets = targets
        self._groups = groups
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
        mirrors = {name: m for name, m in (await self._mirrors.all()).items() if m.is_started}
        kept = await self._links.find(LINKS)
        links = kept.document if kept else FailoverDocument((), None)
        grouped = {group.mirror for group in groups.values()}
        plan = MonitorPlan(
            version=PLAN_VERSION,
            node=self._node,
            partner=partner,
            key=key,
            links=links.links,
            ping_node=links.ping_node,
            groups=tuple(group.plan() for group in groups.values()),
            lone_mirrors=tuple(name for name in mirrors if name not in grouped),
        )
        served = {name for group in groups.values() for name in group.targets}
        targets = [await self.target(t) for name, t in (await self._targets.all()).items() if name in served]
        specs = tuple(m.spec(self._node) for m in (await self._mirrors.all()).values())
        return PlanFile(plan, specs, tuple(targets))

    async def target(self, document: TargetDocument) -> TargetSpec:
        """A target's specification, with the addresses of the group that serves it."""
        groups = [g for g in (await self._groups.all()).values() if document.name in g.targets]
        portals = tuple(Portal(a.address) for group in groups for a in group.addresses)
        passwords = {
            access.chap_password: await self._secrets.get(access.chap_password)
            for access in document.access
            if access.chap_password is not None
        }
        mirror = await self._mirrors.get(document.mirror)
        return target_spec(document, mirror, portals, self._drivers.mirror(), passwords)

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
