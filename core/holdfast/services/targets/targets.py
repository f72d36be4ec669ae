"""Targets: one document, over a mirror written to both nodes by one call, so that initiators see the same on both."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holdfast.errors import BusyError, ConflictError, HoldfastError, InvalidError, NotFoundError, Reason, named_in
from holdfast.hooks.target import TargetSpec, TargetState
from holdfast.planning.initiator_profile import InitiatorProfile, initiator_profile
from holdfast.services.dependents import Dependents, refuse_if_used
from holdfast.services.documents import (
    InitiatorGroupDocument,
    MirrorDocument,
    TargetDocument,
    UnitDocument,
    VolumeDocument,
)
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import Plans
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.targets.checks import (
    notes,
    refuse_foreign_volumes,
    refuse_taken,
    refuse_twice,
    refuse_without_portal,
)
from holdfast.services.targets.credentials import AccessWanted, forget, keep, without_references
from holdfast.services.targets.watch import SessionView, TargetWatch
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.values import to_plain

IQN_PREFIX = "iqn.2026-01.com.example.holdfast"
"""Of targets without a name of their own. A vendor gives one under a domain of its own with `iqn`."""


@dataclass(frozen=True)
class TargetView:
    """A target: wanted, this node, other node."""

    name: str
    iqn: str
    mirror: str | None
    portals: tuple[str, ...]
    units: tuple[UnitDocument, ...]
    initiators: tuple[str, ...]
    initiator_groups: tuple[str, ...]
    is_open: bool
    this_node: TargetState
    other_node: TargetState | None
    is_equal_on_both: bool | None
    """None where the partner could not be asked, or has no part in it."""
    are_reservations_on_partner: bool | None
    """Whether a takeover would find what is reserved now; None unless this node serves a mirrored target."""
    sessions: tuple[SessionView, ...]
    notes: tuple[str, ...]


class Targets:
    """Makes, changes, shows and removes targets.

    Over a mirror they are served by the failover group that they belong to, else by this node alone.
    """

    def __init__(
        self,
        kept: Intents[TargetDocument],
        mirrors: Intents[MirrorDocument],
        volumes: Intents[VolumeDocument],
        initiator_groups: Intents[InitiatorGroupDocument],
        secrets: Secrets,
        jobs: Jobs,
        drivers: Drivers,
        dependents: Dependents,
        partner: PartnerLink,
        plans: Plans,
        watch: TargetWatch,
    ) -> None:
        self._kept = kept
        self._mirrors = mirrors
        self._volumes = volumes
        self._initiator_groups = initiator_groups
        self._secrets = secrets
        self._jobs = jobs
        self._drivers = drivers
        self._dependents = dependents
        self._partner = partner
        self._plans = plans
        self._watch = watch

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {"target.state": self._on_state, "target.close": self._on_close}

    # --- showing ---

    async def list(self) -> tuple[TargetView, ...]:
        """All targets, by name."""
        return tuple([await self._view(document) for document in (await self._kept.all()).values()])

    async def get(self, name: str) -> TargetView:
        """One target. Raises NotFoundError."""
        return await self._view(await self._kept.get(name))

    async def _view(self, document: TargetDocument) -> TargetView:
        portals, initiators = document.portals, tuple(access.initiator for access in document.access)
        why: tuple[str, ...] = ()
        try:
            spec = await self._plans.target(document)
            here = await self._drivers.target().state(spec)
            portals, initiators = spec.portals, tuple(access.initiator for access in spec.access)
        except HoldfastError as reason:  # one that is broken must not keep the others from being shown
            made = document.iqn in await self._drivers.target().list_iqns()
            here, why = TargetState.PARTIAL if made else TargetState.ABSENT, (f"it is broken: {reason.message}",)
        other: TargetState | None = None
        equal: bool | None = None
        if document.mirror is not None:
            try:
                there = await self._partner.call("target.state", {"name": document.name})
                other, equal = TargetState(there["state"]), there["shared"] == shared(document)
            except HoldfastError:
                pass  # shown as unknown: the partner's absence is reported where the partner is
        return TargetView(
            name=document.name,
            iqn=document.iqn,
            mirror=document.mirror,
            portals=tuple(f"{portal.address}:{portal.port}" for portal in portals),
            units=document.units,
            initiators=initiators,
            initiator_groups=document.initiator_groups,
            is_open=document.is_open,
            this_node=here,
            other_node=other,
            is_equal_on_both=equal,
            are_reservations_on_partner=await self._watch.are_on_partner(document),
            sessions=await self._watch.sessions(document.iqn),
            notes=(*why, *notes(document)),
        )

    async def state(self, name: str) -> TargetState:
        """How much of a target is in this node's kernel."""
        return await self._drivers.target().state(await self._plans.target(await self._kept.get(name)))

    async def initiator_profile(self, name: str) -> InitiatorProfile:
        """What an initiator of this target is to be set to. Raises NotFoundError, UnsupportedError."""
        spec = await self._plans.target(await self._kept.get(name))
        return initiator_profile(spec.iqn, spec.portals)

    async def foreign(self) -> tuple[TargetSpec, ...]:
        """Targets in this node's kernel that nobody asked Holdfast for. They are left alone."""
        driver = self._drivers.target()
        ours = {document.iqn for document in (await self._kept.all()).values()}
        found = [await driver.read(iqn) for iqn in await driver.list_iqns() if iqn not in ours]
        return tuple(spec for spec in found if spec is not None)

    async def _on_state(self, body: dict[str, Any], job_id: str | None) -> Any:
        document = await self._kept.get(body["name"])
        return {
            "state": await self.state(body["name"]),
            "shared": shared(document),
            "sessions": [s.initiator for s in await self._drivers.target().list_sessions(document.iqn)],
        }

    # --- changing; the steps are in `target_jobs` ---

    async def create(
        self, wanted: TargetDocument, access: Sequence[AccessWanted], *, validate_only: bool
    ) -> str | None:
        """Make a target. `wanted.access` and the units' serials are set here."""

        async def check() -> None:
            if await self._kept.find(wanted.name) is not None:
                raise ConflictError(f"there is a target {wanted.name}")
            await self._check(wanted)

        if validate_only:
            await check()
            return None
        document = await self._completed(wanted, access, None)
        return await self._start("target.create", document, {"target": document}, check)

    async def change(
        self, wanted: TargetDocument, access: Sequence[AccessWanted], *, validate_only: bool
    ) -> str | None:
        """Give a target other units, initiators, portals. Sessions that none of it concerns go on.

        Serials and passwords that are not given stay.
        """
        before = await self._kept.get(wanted.name)

        async def check() -> None:
            for field, old, new in (("iqn", before.iqn, wanted.iqn), ("mirror", before.mirror, wanted.mirror)):
                if old != new:
                    text = f"the {field} of the target {before.name} is {old}, and stays"
                    raise InvalidError(text, reasons=[Reason("stays", text, "make another target", field)])
            await self._check(wanted)

        if validate_only:
            await check()
            return None
        document = await self._completed(wanted, access, before)
        return await self._start("target.change", document, {"target": document, "before": before}, check)

    async def _completed(
        self, wanted: TargetDocument, access: Sequence[AccessWanted], before: TargetDocument | None
    ) -> TargetDocument:
        known = {item.initiator: item for item in (before.access if before else ())}
        serials = {unit.volume: unit.serial for unit in (before.units if before else ())}
        units = tuple(
            replace(unit, serial=unit.serial or serials.get(unit.volume) or uuid.uuid4().hex) for unit in wanted.units
        )
        kept = tuple([await keep(self._secrets, item, known.get(item.initiator)) for item in access])
        return replace(wanted, access=kept, units=units)

    async def _start(self, kind: str, document: TargetDocument, parameters: Mapping[str, Any], check: Any) -> str:
        try:
            locks = [f"mirror:{document.mirror}"] if document.mirror else [f"volume:{u.volume}" for u in document.units]
            return await self._jobs.start(kind, f"target:{document.name}", parameters, locks=locks, check=check)
        except HoldfastError:
            await forget(self._secrets, document.access)
            raise

    async def _check(self, wanted: TargetDocument) -> None:
        self._drivers.target()
        refuse_twice(wanted)
        refuse_without_portal(wanted)
        mirror = None
        if wanted.mirror is not None:
            try:
                mirror = await self._mirrors.get(wanted.mirror)
            except NotFoundError as reason:
                field = Reason("unknown-mirror", reason.message, "name a mirror of this pair", "mirror")
                raise InvalidError(reason.message, reasons=[field]) from reason
        with named_in("initiator_groups"):
            for group in wanted.initiator_groups:
                await self._initiator_groups.get(group)
        volumes = await self._volumes.all()
        mirrored = {volume.name for volume in volumes.values() if volume.mirrored_as or volume.mirror}
        refuse_foreign_volumes(wanted, mirror, volumes, mirrored)
        refuse_taken(wanted, [t for t in (await self._kept.all()).values() if t.name != wanted.name])
        if wanted.iqn in {spec.iqn for spec in await self.foreign()}:
            text = f"the kernel has a target {wanted.iqn} that Holdfast did not make"
            raise ConflictError(text, reasons=[Reason("foreign-target", text, "choose another IQN", "iqn")])
        if wanted.mirror is not None:
            await self._partner.call("ping", {})

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Remove a target. Refused while a group serves it, or an initiator is logged in."""

        async def check() -> None:
            document = await self._kept.get(name)
            refuse_if_used(f"the target {name}", await self._dependents.of_target(name))
            await self._refuse_sessions(document)

        if validate_only:
            await check()
            return None
        return await self._jobs.start("target.delete", f"target:{name}", {"name": name}, check=check)

    async def _refuse_sessions(self, document: TargetDocument) -> None:
        who = [
            f"{found.initiator}" + (f" at {found.address}" if found.address else "")
            for found in await self._drivers.target().list_sessions(document.iqn)
        ]
        if who:
            reasons = [
                Reason("session", f"{each} is logged in", "log it out there, or take it out of the target's access")
                for each in who
            ]
            raise BusyError(f"the target {document.name} is in use by: {', '.join(who)}", reasons=reasons)

    async def close_session(self, name: str, initiator: str) -> None:
        """End an initiator's sessions, on whichever node it has them. It may log in again."""
        document = await self._kept.get(name)
        try:
            await self._drivers.target().close_sessions(document.iqn, initiator)
        except NotFoundError:
            if document.mirror is None:
                raise
            await self._partner.call("target.close", {"name": name, "initiator": initiator})

    async def _on_close(self, body: dict[str, Any], job_id: str | None) -> Any:
        document = await self._kept.get(body["name"])
        await self._drivers.target().close_sessions(document.iqn, body["initiator"])


def shared(document: TargetDocument) -> Any:
    """What must be equal on both nodes: all but the references to secrets, of which only whether there is one."""
    plain = to_plain(document)
    plain["access"] = [without_references(access) for access in document.access]
    return plain
