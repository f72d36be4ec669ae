"""The links and the ping node: given once, set on both nodes (S52 to S55)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.errors import InvalidError, Reason
from holdfast.hooks.failover import Link, MonitorStatus
from holdfast.services.documents import FailoverDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.plans import LINKS, Plans
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.values import from_plain, to_plain


class Links:
    """Sets and shows what carries heartbeats."""

    def __init__(
        self,
        kept: Intents[FailoverDocument],
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        plans: Plans,
    ) -> None:
        self._kept = kept
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
        return (kept.document if kept else FailoverDocument((), None)), await self._drivers.failover().status()

    async def set(self, wanted: FailoverDocument, *, validate_only: bool) -> str | None:
        """Set links and ping node on both nodes."""

        async def check() -> None:
            self._drivers.failover()
            addresses = [a for link in wanted.links for a in (link.local_address, link.peer_address)]
            if len(set(addresses)) != len(addresses):
                text = "an address occurs twice among the links"
                raise InvalidError(
                    text, reasons=[Reason("twice", text, "give each link addresses of its own", "links")]
                )
            if len({link.name for link in wanted.links}) != len(wanted.links):
                text = "two links have the same name"
                raise InvalidError(text, reasons=[Reason("twice", text, "name each link differently", "links")])
            if wanted.ping_node in addresses:
                text = f"{wanted.ping_node} is one of the two nodes"
                remedy = "name a third system that answers ICMP"
                raise InvalidError(text, reasons=[Reason("ping-node", text, remedy, "ping_node")])
            await self._partner.call("ping", {})

        if validate_only:
            await check()
            return None
        return await self._jobs.start("failover.set", "failover:links", {"links": wanted}, check=check)

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


def seen_from_partner(document: FailoverDocument) -> FailoverDocument:
    """The same links with both ends exchanged. The NICs have the same names on both nodes of an appliance."""
    links = tuple(
        Link(link.name, link.interface, link.peer_address, link.local_address, link.port) for link in document.links
    )
    return FailoverDocument(links, document.ping_node)
