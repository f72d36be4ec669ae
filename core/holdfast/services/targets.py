"""Targets: one document, written to both nodes by one call, so that what an initiator sees is the same on both."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holdfast.errors import ConflictError, HoldfastError, InvalidError, NotFoundError, Reason
from holdfast.hooks.target import TargetSession, TargetState
from holdfast.loading.discovery import PluginHooks
from holdfast.services.dependents import Dependents, refuse_if_used
from holdfast.services.documents import AccessDocument, MirrorDocument, TargetDocument, UnitDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.plans import Plans
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.values import Secret, from_plain, to_plain

IQN_PREFIX = "iqn.2026-01.com.example.holdfast"
"""Of targets without a name of their own. A vendor gives one under a domain of its own with `iqn`."""


@dataclass(frozen=True)
class AccessWanted:
    """An initiator as the caller names it, with its password in the clear, for as long as the call lasts."""

    initiator: str
    chap_user: str | None
    chap_password: Secret | None


@dataclass(frozen=True)
class TargetView:
    """A target: wanted, this node, other node."""

    name: str
    iqn: str
    mirror: str
    portals: tuple[str, ...]
    units: tuple[UnitDocument, ...]
    initiators: tuple[str, ...]
    this_node: TargetState
    other_node: TargetState | None
    is_equal_on_both: bool | None
    """None where the partner could not be asked."""
    sessions: tuple[TargetSession, ...]


class Targets:
    """Makes, shows and removes targets. They are served by the failover group that they belong to."""

    def __init__(
        self,
        kept: Intents[TargetDocument],
        mirrors: Intents[MirrorDocument],
        secrets: Secrets,
        jobs: Jobs,
        drivers: Drivers,
        dependents: Dependents,
        partner: PartnerLink,
        plans: Plans,
        hooks: PluginHooks,
    ) -> None:
        self._kept = kept
        self._mirrors = mirrors
        self._secrets = secrets
        self._jobs = jobs
        self._drivers = drivers
        self._dependents = dependents
        self._partner = partner
        self._plans = plans
        self._hooks = hooks
        create = (
            Step("record on the partner", self._record_partner, self._forget_partner),
            Step("record on this node", self._record_here, self._forget_here),
        )
        jobs.define(JobDefinition("target.create", create))
        delete = (Step("remove on the partner", self._forget_partner), Step("remove here", self._forget_here))
        jobs.define(JobDefinition("target.delete", delete))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {
            "target.adopt": self._on_adopt,
            "target.forget": self._on_forget,
            "target.state": self._on_state,
        }

    async def list(self) -> tuple[TargetView, ...]:
        """All targets, by name."""
        return tuple([await self._view(document) for document in (await self._kept.all()).values()])

    async def get(self, name: str) -> TargetView:
        """One target. Raises NotFoundError."""
        return await self._view(await self._kept.get(name))

    async def _view(self, document: TargetDocument) -> TargetView:
        here = await self.state(document.name)
        other: TargetState | None = None
        equal: bool | None = None
        try:
            there = await self._partner.call("target.state", {"name": document.name})
            other, equal = TargetState(there["state"]), there["shared"] == shared(document)
        except HoldfastError:
            pass  # shown as unknown: the partner's absence is reported where the partner is
        spec = await self._plans.target(document)
        return TargetView(
            name=document.name,
            iqn=document.iqn,
            mirror=document.mirror,
            portals=tuple(f"{portal.address}:{portal.port}" for portal in spec.portals),
            units=document.units,
            initiators=tuple(access.initiator for access in document.access),
            this_node=here,
            other_node=other,
            is_equal_on_both=equal,
            sessions=await self._drivers.target().list_sessions(document.iqn),
        )

    async def state(self, name: str) -> TargetState:
        """How much of a target is in this node's kernel."""
        document = await self._kept.get(name)
        return await self._drivers.target().state(await self._plans.target(document))

    async def create(
        self, wanted: TargetDocument, access: Sequence[AccessWanted], *, validate_only: bool
    ) -> str | None:
        """Make a target on both nodes. `wanted.access` and the units' serials are set here."""

        async def check() -> None:
            if await self._kept.find(wanted.name) is not None:
                raise ConflictError(f"there is a target {wanted.name}")
            if any(t.iqn == wanted.iqn for t in (await self._kept.all()).values()):
                text = f"another target has the IQN {wanted.iqn}"
                raise ConflictError(text, reasons=[Reason("iqn-taken", text, "choose another IQN", "iqn")])
            self._drivers.target()
            await self._check_units(wanted)
            await self._partner.call("ping", {})

        if validate_only:
            await check()
            return None
        kept = [
            AccessDocument(
                item.initiator,
                item.chap_user,
                None if item.chap_password is None else await self._secrets.put(item.chap_password),
            )
            for item in access
        ]
        units = tuple(replace(unit, serial=unit.serial or uuid.uuid4().hex) for unit in wanted.units)
        document = replace(wanted, access=tuple(kept), units=units)
        try:
            locks = [f"mirror:{wanted.mirror}"]
            parameters = {"target": document}
            target = f"target:{wanted.name}"
            return await self._jobs.start("target.create", target, parameters, locks=locks, check=check)
        except HoldfastError:
            await self._forget_secrets(document)
            raise

    async def _check_units(self, wanted: TargetDocument) -> None:
        try:
            mirror = await self._mirrors.get(wanted.mirror)
        except NotFoundError as reason:
            field = Reason("unknown-mirror", reason.message, "name a mirror of this pair", "mirror")
            raise InvalidError(reason.message, reasons=[field]) from reason
        volumes = {member.volume for member in mirror.members}
        for index, unit in enumerate(wanted.units):
            if unit.volume not in volumes:
                text = f"the volume {unit.volume} is not in the mirror {mirror.name}"
                remedy = f"name one of {', '.join(sorted(volumes))}"
                raise InvalidError(text, reasons=[Reason("not-mirrored", text, remedy, f"units.{index}.volume")])
        for what, values in (("lun", [u.lun for u in wanted.units]), ("volume", [u.volume for u in wanted.units])):
            if len(set(values)) != len(values):
                text = f"a {what} occurs twice"
                raise InvalidError(text, reasons=[Reason("twice", text, "name each once", "units")])
        taken = {u.volume: t.name for t in (await self._kept.all()).values() for u in t.units}
        for unit in wanted.units:
            if unit.volume in taken:
                text = f"the volume {unit.volume} is a LUN of the target {taken[unit.volume]}"
                raise ConflictError(text, reasons=[Reason("exported", text, "delete that target first", "units")])

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Remove a target from both nodes. Refused while a group serves it."""

        async def check() -> None:
            await self._kept.get(name)
            refuse_if_used(f"the target {name}", await self._dependents.of_target(name))

        if validate_only:
            await check()
            return None
        return await self._jobs.start("target.delete", f"target:{name}", {"name": name}, check=check)

    # --- both nodes ---

    async def adopt(self, document: TargetDocument) -> None:
        """Record a target, and tell the monitor."""
        await self._kept.put(document.name, document)
        await self._plans.write_if_possible()

    async def forget(self, name: str) -> None:
        """Take a target out of this node's kernel and record. Repeatable."""
        kept = await self._kept.find(name)
        if kept is None:
            return
        await self._drivers.target().remove(name, kept.document.iqn)
        await self._kept.remove(name)
        await self._forget_secrets(kept.document)
        await self._plans.write_if_possible()

    async def _forget_secrets(self, document: TargetDocument) -> None:
        for access in document.access:
            if access.chap_password is not None:
                await self._secrets.forget(access.chap_password)

    async def _on_adopt(self, body: dict[str, Any], job_id: str | None) -> Any:
        document = from_plain(TargetDocument, body["target"])
        kept = await self._kept.find(document.name)
        if kept is not None:
            if shared(kept.document) != shared(document):
                raise ConflictError(f"there is another target {document.name} on this node")
            return  # a repeated call of a job that was killed
        # References are of the node that made them: the secrets themselves come along, over mutual TLS.
        access = [
            replace(
                item,
                chap_password=None
                if item.chap_password is None
                else await self._secrets.put(Secret(body["secrets"][item.chap_password])),
            )
            for item in document.access
        ]
        await self.adopt(replace(document, access=tuple(access)))

    async def _on_forget(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self.forget(body["name"])

    async def _on_state(self, body: dict[str, Any], job_id: str | None) -> Any:
        document = await self._kept.get(body["name"])
        return {"state": await self.state(body["name"]), "shared": shared(document)}

    # --- steps ---

    def _name(self, job: JobContext) -> str:
        given = job.parameters
        return str(given["target"]["name"] if "target" in given else given["name"])

    async def _record_partner(self, job: JobContext) -> None:
        document = from_plain(TargetDocument, job.parameters["target"])
        references = [a.chap_password for a in document.access if a.chap_password is not None]
        secrets = {reference: (await self._secrets.get(reference)).reveal() for reference in references}
        body = {"target": to_plain(document), "secrets": secrets}
        await self._partner.call("target.adopt", body, job_id=job.job_id)

    async def _forget_partner(self, job: JobContext) -> None:
        await self._partner.call("target.forget", {"name": self._name(job)}, job_id=job.job_id)

    async def _record_here(self, job: JobContext) -> None:
        document = from_plain(TargetDocument, job.parameters["target"])
        await self.adopt(document)
        await self._hooks.tell("target_changed", target=document.name, what="created")
        job.result = await self.get(document.name)

    async def _forget_here(self, job: JobContext) -> None:
        await self.forget(self._name(job))
        await self._hooks.tell("target_changed", target=self._name(job), what="deleted")


def shared(document: TargetDocument) -> Any:
    """What must be equal on both nodes: all but the references to secrets, of which only whether there is one."""
    plain = to_plain(document)
    for access in plain["access"]:
        access["chap_password"] = access["chap_password"] is not None
    return plain
