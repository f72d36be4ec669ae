"""What a failover group may consist of, as far as this node's records say."""

from __future__ import annotations

from holdfast.errors import ConflictError, InvalidError, Reason, named_in
from holdfast.planning.addresses import judge_group
from holdfast.services.documents import FailoverDocument, GroupDocument, MirrorDocument, TargetDocument
from holdfast.services.groups.plans import LINKS
from holdfast.store.intent import Intents


class GroupChecks:
    """Judges a group before it is made or changed. It changes nothing."""

    def __init__(
        self,
        kept: Intents[GroupDocument],
        links: Intents[FailoverDocument],
        mirrors: Intents[MirrorDocument],
        targets: Intents[TargetDocument],
    ) -> None:
        self._kept = kept
        self._links = links
        self._mirrors = mirrors
        self._targets = targets

    async def refuse_unfit(self, wanted: GroupDocument) -> None:
        """Raise what is wrong with a group: an unknown mirror or target, or what another group or a link has."""
        with named_in("mirror"):
            await self._mirrors.get(wanted.mirror)
        others = [g for g in (await self._kept.all()).values() if g.name != wanted.name]
        for group in others:
            if group.mirror == wanted.mirror:
                raise ConflictError(f"the mirror {wanted.mirror} is in the group {group.name}")
            for address in {a.address for a in wanted.addresses} & {a.address for a in group.addresses}:
                text = f"the address {address} is in the group {group.name}"
                reason = Reason("address-in-use", text, "choose an address that no group has", "addresses")
                raise ConflictError(text, reasons=[reason])
        kept = await self._links.find(LINKS)
        failover = kept.document if kept else FailoverDocument(())
        if reasons := judge_group(wanted.addresses, failover.links, failover.ping_nodes):
            raise InvalidError("; ".join(reason.text for reason in reasons), reasons=reasons)
        for name in wanted.targets:
            with named_in("targets"):
                target = await self._targets.get(name)
            if target.mirror != wanted.mirror:
                text = f"the target {name} is on the mirror {target.mirror}"
                raise InvalidError(text, reasons=[Reason("mirror", text, "name targets of this mirror", "targets")])
