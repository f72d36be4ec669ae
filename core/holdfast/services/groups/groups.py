"""Failover groups, the user's side (S50 to S62). Who serves a group is decided by the monitors, not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holdfast.errors import ConflictError, HoldfastError, InvalidError, Reason, RefusedError
from holdfast.hooks.failover import Decision, GroupStatus, Unmet
from holdfast.services.documents import GroupDocument
from holdfast.services.drivers import Drivers
from holdfast.services.groups.checks import GroupChecks
from holdfast.services.groups.history import GroupHistories
from holdfast.services.groups.plans import Plans
from holdfast.services.groups.preflight import Preflight
from holdfast.services.jobs import Jobs
from holdfast.services.nodes.maintenance_marks import MaintenanceMarks
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.store.intent import Intents
from holdfast.values import from_plain, to_plain


@dataclass(frozen=True)
class GroupView:
    """A group: wanted, and as both monitors see it. None where a monitor could not be asked."""

    document: GroupDocument
    active_node: str | None
    this_node: GroupStatus | None
    other_node: GroupStatus | None
    in_maintenance: tuple[str, ...] = ()
    """Nodes that a person works on: none of them begins to serve it by itself."""


class Groups:
    """Makes, shows, starts, stops and moves groups. The steps are in `group_jobs`."""

    def __init__(
        self,
        kept: Intents[GroupDocument],
        checks: GroupChecks,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        plans: Plans,
        preflight: Preflight,
        marks: MaintenanceMarks,
        histories: GroupHistories,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._checks = checks
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._plans = plans
        self._preflight = preflight
        self._marks = marks
        self._histories = histories
        self._node = node

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {
            "group.adopt": self._on_adopt,
            "group.forget": self._on_forget,
            "group.status": self._on_status,
            "group.documents": self._on_documents,
            "group.switch-over": self._on_switch_over,
        }

    async def list(self) -> tuple[GroupView, ...]:
        """All groups, by name."""
        return tuple([await self._view(document) for document in (await self._kept.all()).values()])

    async def get(self, name: str) -> GroupView:
        """One group. Raises NotFoundError."""
        return await self._view(await self._kept.get(name))

    async def _view(self, document: GroupDocument) -> GroupView:
        here = await self.status(document.name)
        there = None
        try:
            plain = await self._partner.call("group.status", {"name": document.name})
            there = None if plain is None else from_plain(GroupStatus, plain)
        except HoldfastError:
            pass  # shown as unknown
        active = next(
            (node for node, s in ((self._node, here), (self._other(), there)) if s is not None and s.state.is_active),
            None,
        )
        if active is None and there is None and here is not None:
            active = here.active_node  # as this node's monitor hears from the other one
        return GroupView(document, active, here, there, await self._marks.nodes())

    def _other(self) -> str:
        return self._partner.name if self._partner.is_paired else ""

    async def status(self, name: str) -> GroupStatus | None:
        """A group as this node's monitor sees it, or None."""
        status = await self._drivers.failover().status()
        return next((group for group in status.groups if group.name == name), None)

    async def decisions(self, after: int) -> tuple[tuple[int, Decision], ...]:
        """What this node's monitor decided, numbered."""
        return await self._drivers.failover().decisions(after=after)

    async def preflight(self, name: str) -> tuple[tuple[str, Unmet], ...]:
        """Every unmet requirement of both nodes, each with the node it is of; empty: the group can start."""
        return await self._preflight.both(await self._kept.get(name))

    async def create(self, wanted: GroupDocument, *, validate_only: bool) -> str | None:
        """Make a group on both nodes, stopped."""

        async def check() -> None:
            if await self._kept.find(wanted.name) is not None:
                raise ConflictError(f"there is a group {wanted.name}")
            await self._checks.refuse_unfit(wanted)
            await self._partner.call("ping", {})

        return await self._start("group.create", wanted, check, validate_only=validate_only)

    async def change(self, wanted: GroupDocument, *, validate_only: bool) -> str | None:
        """Give a stopped group other targets or addresses, on both nodes."""
        kept = await self._kept.get(wanted.name)
        fresh = replace(kept, revision=kept.revision + 1, targets=wanted.targets, addresses=wanted.addresses)

        async def check() -> None:
            await self._refuse_if_started(wanted.name)
            if kept.mirror != wanted.mirror:
                text = f"the group {wanted.name} rests on the mirror {kept.mirror}"
                raise InvalidError(text, reasons=[Reason("mirror", text, "make another group", "mirror")])
            await self._checks.refuse_unfit(fresh)
            await self._partner.call("ping", {})

        return await self._start("group.create", fresh, check, validate_only=validate_only)

    async def _start(self, kind: str, document: GroupDocument, check: Any, *, validate_only: bool) -> str | None:
        if validate_only:
            await check()
            return None
        locks = [f"mirror:{document.mirror}", *(f"target:{name}" for name in document.targets)]
        before = await self._kept.find(document.name)
        parameters = {"group": document, "before": None if before is None else before.document}
        return await self._jobs.start(kind, f"group:{document.name}", parameters, locks=locks, check=check)

    async def _refuse_if_started(self, name: str) -> None:
        group = await self._kept.get(name)
        if group.is_started:
            text = f"the group {name} is started"
            raise ConflictError(text, reasons=[Reason("started", text, f"stop it: POST /v1/groups/{name}/stop")])

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Remove a stopped group from both nodes. Its mirror and targets stay."""

        async def check() -> None:
            await self._refuse_if_started(name)

        return await self._simple("group.delete", name, check, {}, validate_only=validate_only)

    async def start(self, name: str, *, validate_only: bool) -> str | None:
        """Serve a group. Refused with every unmet requirement."""

        async def check() -> None:
            unmet = await self.preflight(name)
            if unmet:
                reasons = [Reason(item.code, f"{node}: {item.text}", item.remedy) for node, item in unmet]
                raise RefusedError(f"the group {name} cannot start: {len(reasons)} requirements", reasons=reasons)

        return await self._simple("group.start", name, check, {}, validate_only=validate_only)

    async def stop(self, name: str, *, validate_only: bool) -> str | None:
        """Serve a group no more, on either node."""

        async def check() -> None:
            await self._kept.get(name)

        return await self._simple("group.stop", name, check, {}, validate_only=validate_only)

    async def switch_over(self, name: str, to: str | None, *, validate_only: bool) -> str | None:
        """Move a group to a node orderly; to the other one if none is named; None for `to` toggles."""
        view = await self.get(name)
        nodes = (self._node, self._partner.name)
        wanted = to or next((node for node in nodes if node != view.active_node), None)

        async def check() -> None:
            if wanted not in nodes:
                text = f"{wanted} is no node of this pair"
                raise InvalidError(text, reasons=[Reason("unknown-node", text, f"name {' or '.join(nodes)}", "to")])
            if wanted in view.in_maintenance:
                text = f"{wanted} is in maintenance"
                raise RefusedError(text, reasons=[Reason("in-maintenance", text, "end it there")])
            if view.active_node is None:
                text = f"no node serves the group {name}"
                raise RefusedError(text, reasons=[Reason("not-active", text, "start the group")])

        return await self._simple("group.switch-over", name, check, {"to": wanted}, validate_only=validate_only)

    async def fail_back(self, name: str, *, validate_only: bool) -> str | None:
        """Move a group to its preferred node."""
        group = await self._kept.get(name)
        return await self.switch_over(name, group.preferred, validate_only=validate_only)

    async def resync(self, name: str, *, validate_only: bool) -> str | None:
        """Bring the stale side up to date; the job ends when both are equal (S61)."""

        async def check() -> None:
            await self._kept.get(name)

        return await self._simple("group.resync", name, check, {}, validate_only=validate_only)

    async def grant_promotion(self, name: str, confirm: str) -> None:
        """A person's word that this node may serve the group although the other cannot be asked."""
        await self._drivers.failover().grant_promotion(name, confirm=confirm)

    async def _simple(
        self, kind: str, name: str, check: Any, more: Mapping[str, Any], *, validate_only: bool
    ) -> str | None:
        await self._kept.get(name)
        if validate_only:
            await check()
            return None
        return await self._jobs.start(kind, f"group:{name}", {"name": name, **more}, check=check)

    # --- both nodes ---

    async def hand_over(self, job_id: str) -> tuple[str, ...]:
        """Have the partner adopt every group; return what they are."""
        groups = (await self._kept.all()).values()
        for group in groups:
            await self._partner.call("group.adopt", {"group": to_plain(group)}, job_id=job_id)
        return tuple(f"group {group.name}" for group in groups)

    async def adopt(self, document: GroupDocument) -> bool:
        """Record a group unless a newer revision is on record; tell the monitor. Whether it was taken."""
        kept = await self._kept.find(document.name)
        if kept is not None and kept.document.revision > document.revision:
            return False
        if kept is None or kept.document != document:
            await self._kept.put(document.name, document)
        await self._plans.write()
        return True

    async def forget(self, name: str) -> None:
        """Drop the record of a stopped group, and tell the monitor.

        One that is away holds nothing of it: that must not keep a group from being removed, or a job from undoing.
        """
        await self._kept.remove(name)
        await self._histories.forget(name)
        await self._plans.write_if_possible()

    async def document(self, name: str) -> GroupDocument:
        """What was asked for. Raises NotFoundError."""
        return await self._kept.get(name)

    async def adopt_newer(self) -> Sequence[str]:
        """Take from the partner what it changed while this node was away; return their names."""
        plain = await self._partner.call("group.documents", {})
        taken = []
        for item in plain:
            document = from_plain(GroupDocument, item)
            kept = await self._kept.find(document.name)
            if kept is not None and kept.document.revision < document.revision:
                await self.adopt(document)
                taken.append(document.name)
        return taken

    async def _on_adopt(self, body: dict[str, Any], job_id: str | None) -> Any:
        document = from_plain(GroupDocument, body["group"])
        if not await self.adopt(document):
            raise ConflictError(f"this node has a newer revision of the group {document.name}")

    async def _on_forget(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self.forget(body["name"])

    async def _on_status(self, body: dict[str, Any], job_id: str | None) -> Any:
        status = await self.status(body["name"])
        return None if status is None else to_plain(status)

    async def _on_documents(self, body: dict[str, Any], job_id: str | None) -> Any:
        return [to_plain(group) for group in (await self._kept.all()).values()]

    async def _on_switch_over(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._drivers.failover().switch_over(body["name"], to=body["to"], deadline_s=body["deadline_s"])
