"""The links, the ping nodes and the witness: given once, set on both nodes (S52 to S55)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.errors import InvalidError, Reason
from holdfast.hooks.failover import MonitorStatus
from holdfast.hooks.links import Link, WitnessHost
from holdfast.peer.identity import read_certificate
from holdfast.planning.addresses import judge_links, judge_witness
from holdfast.services.documents import FailoverDocument, GroupDocument
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import LINKS, Plans
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.values import from_plain, to_plain


class Links:
    """Sets and shows what carries heartbeats."""

    def __init__(
        self,
        kept: Intents[FailoverDocument],
        groups: Intents[GroupDocument],
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        plans: Plans,
    ) -> None:
        self._kept = kept
        self._groups = groups
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._plans = plans
        steps = (Step("set on the partner", self._set_partner), Step("set on this node", self._set_here))
        jobs.define(JobDefinition("failover.set", steps))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {"failover.adopt": self._on_adopt}

    async def get(self) -> tuple[FailoverDocument, MonitorStatus]:
        """What was set, and how the monitor sees it."""
        kept = await self._kept.find(LINKS)
        return (kept.document if kept else FailoverDocument(())), await self._drivers.failover().status()

    async def set(self, wanted: FailoverDocument, *, validate_only: bool) -> str | None:
        """Set links, ping nodes and witness on both nodes."""

        async def check() -> None:
            self._drivers.failover()
            virtual = {a.address: name for name, g in (await self._groups.all()).items() for a in g.addresses}
            reasons = (
                *judge_links(wanted.links, wanted.ping_nodes, virtual),
                *judge_witness(wanted.witness, wanted.links, virtual),
                *_judge_certificate(wanted.witness),
            )
            if reasons:
                raise InvalidError("; ".join(reason.text for reason in reasons), reasons=reasons)
            await self._partner.call("ping", {})

        if validate_only:
            await check()
            return None
        return await self._jobs.start("failover.set", "failover:links", {"links": wanted}, check=check)

    async def hand_over(self, job_id: str) -> tuple[str, ...]:
        """Have the partner adopt links and ping node, as it sees them; return what that is, if there is any."""
        kept = await self._kept.find(LINKS)
        if kept is None:
            return ()
        body = {"links": to_plain(seen_from_partner(kept.document))}
        await self._partner.call("failover.adopt", body, job_id=job_id)
        return ("failover",)

    async def adopt(self, document: FailoverDocument) -> None:
        """Record, and tell the monitor."""
        await self._kept.put(LINKS, document)
        await self._plans.write_if_possible()

    async def _on_adopt(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self.adopt(from_plain(FailoverDocument, body["links"]))

    async def _set_partner(self, job: JobContext) -> None:
        document = seen_from_partner(from_plain(FailoverDocument, job.parameters["links"]))
        await self._partner.call("failover.adopt", {"links": to_plain(document)}, job_id=job.job_id)

    async def _set_here(self, job: JobContext) -> None:
        document = from_plain(FailoverDocument, job.parameters["links"])
        await self.adopt(document)
        job.result = document


def _judge_certificate(witness: WitnessHost | None) -> tuple[Reason, ...]:
    if witness is None:
        return ()
    try:
        read_certificate(witness.certificate)
    except InvalidError as reason:
        remedy = "give what `holdfast-witness --show-certificate` prints on the witness"
        return (Reason("certificate", reason.message, remedy, "witness.certificate"),)
    return ()


def seen_from_partner(document: FailoverDocument) -> FailoverDocument:
    """The same links with both ends exchanged. The NICs have the same names on both nodes of an appliance."""
    links = tuple(
        Link(link.name, link.interface, link.peer_address, link.local_address, link.port) for link in document.links
    )
    return FailoverDocument(links, document.ping_nodes, document.witness)
