"""What stands between a group and its start: every unmet requirement of both nodes, with its remedy (S57)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.errors import HoldfastError, RefusedError
from holdfast.hooks.failover import Unmet
from holdfast.hooks.replication import DiskState, MirrorStatus
from holdfast.services.documents import FailoverDocument, GroupDocument, MirrorDocument, TargetDocument
from holdfast.services.drivers import Drivers
from holdfast.services.groups.links import seen_from_partner
from holdfast.services.groups.plans import Plans
from holdfast.services.nodes.maintenance_marks import MaintenanceMarks
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.targets.targets import shared
from holdfast.store.intent import Intents
from holdfast.values import from_plain, to_plain


class Preflight:
    """Judges a group on both nodes. It changes nothing."""

    def __init__(
        self,
        groups: Intents[GroupDocument],
        mirrors: Intents[MirrorDocument],
        targets: Intents[TargetDocument],
        drivers: Drivers,
        partner: PartnerLink,
        plans: Plans,
        marks: MaintenanceMarks,
        *,
        node: str,
    ) -> None:
        self._groups = groups
        self._mirrors = mirrors
        self._targets = targets
        self._drivers = drivers
        self._partner = partner
        self._plans = plans
        self._marks = marks
        self._node = node

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {"group.preflight": self._on_preflight}

    async def both(self, group: GroupDocument) -> tuple[tuple[str, Unmet], ...]:
        """Unmet requirements with the node each is of."""
        found = [(self._node, unmet) for unmet in await self.here(group)]
        try:
            await self._partner.refuse_if_clocks_differ()
            links = await self._links()
            body = {
                "group": to_plain(group),
                "targets": await self._shared_targets(group),
                "links": None if links is None else to_plain(seen_from_partner(links)),
            }
            answer = await self._partner.call("group.preflight", body)
        except RefusedError as reason:
            found.append((self._node, Unmet("clocks", reason.message, "synchronise both nodes with NTP")))
        except HoldfastError as reason:
            remedy = "start the partner, mend the management link, or pair the nodes"
            found.append((self._node, Unmet("partner", reason.message, remedy)))
        else:
            found.extend((self._partner.name, from_plain(Unmet, item)) for item in answer)
        return tuple(found)

    async def _shared_targets(self, group: GroupDocument) -> dict[str, Any]:
        return {name: shared(await self._targets.get(name)) for name in group.targets}

    async def _links(self) -> FailoverDocument | None:
        plan = await self._plans.build()
        return None if plan is None else FailoverDocument(plan.plan.links, plan.plan.ping_nodes, plan.plan.witness)

    async def here(self, group: GroupDocument) -> tuple[Unmet, ...]:
        """Unmet requirements of this node."""
        found = []
        if not group.targets:
            found.append(Unmet("no-target", "the group serves no target", "add a target to the group"))
        if not group.addresses:
            remedy = "give it an address with PUT /v1/groups/NAME"
            found.append(Unmet("no-virtual-address", "the group has no virtual IP address", remedy))
        if await self._marks.find(self._node) is not None:
            text = f"{self._node} is in maintenance and would not take over"
            found.append(Unmet("in-maintenance", text, "end it: POST /v1/node/maintenance/end"))
        try:
            status = await self._drivers.mirror().status(group.mirror)
            found.extend(judge_mirror(status))
            plan = await self._plans.build()
            if plan is not None:
                found.extend(await self._drivers.failover().preflight(plan.plan, group.plan()))
        except HoldfastError as reason:
            found.append(Unmet(reason.code, reason.message, "see GET /v1/plugins and the log of holdfastd"))
        return tuple(found)

    async def _on_preflight(self, body: dict[str, Any], job_id: str | None) -> Any:
        group = from_plain(GroupDocument, body["group"])
        found = list(await self.here(group))
        kept = await self._groups.find(group.name)
        if kept is None or kept.document != group:
            remedy = "change the group once more: one call writes it to both nodes"
            found.append(Unmet("group-differs", "the group is not the same on both nodes", remedy))
        # A partner of a former version sends none. Majorities of two different sets of ping nodes prove nothing.
        links = body.get("links")
        if links is not None and from_plain(FailoverDocument, links) != await self._links():
            text = "the links, the ping nodes or the witness are not the same on both nodes"
            found.append(Unmet("links-differ", text, "set them once more: PUT /v1/failover writes both nodes"))
        for name, wanted in body["targets"].items():
            target = await self._targets.find(name)
            if target is None or shared(target.document) != wanted:
                remedy = "delete the target and make it again: one call writes it to both nodes"
                found.append(Unmet("target-differs", f"the target {name} is not the same on both nodes", remedy))
        return [to_plain(item) for item in found]


def judge_mirror(status: MirrorStatus) -> tuple[Unmet, ...]:
    """What is wrong with a mirror that a group is to rest on."""
    if not status.is_up:
        return (
            Unmet("mirror-down", f"the mirror {status.name} is not running", "start it: POST /v1/mirrors/NAME/start"),
        )
    if status.is_in_sync:
        return ()
    disks = {v.disk for v in status.volumes} | {v.peer_disk for v in status.volumes}
    worst = ", ".join(sorted(disks - {DiskState.UP_TO_DATE})) or "out of sync"
    text = f"the mirror {status.name} is {status.connection}, {worst}"
    return (Unmet("mirror-not-in-sync", text, "mend the replication link, or wait for the resync to end"),)
