"""What an initiator must know to be told which targets there are: one for each node, the same on both."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.services.documents import AccessDocument, DiscoveryDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.targets.credentials import (
    AccessWanted,
    ChapWanted,
    chap_of,
    forget,
    in_the_clear,
    keep,
    with_own_references,
)
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.values import from_plain, to_plain

DISCOVERY = "discovery"


@dataclass(frozen=True)
class DiscoveryView:
    """What discovery asks for; no user means that it asks for nothing."""

    chap_user: str | None
    mutual_user: str | None
    is_in_force: bool
    """Whether this node's kernel asks for exactly that."""


class Discovery:
    """Sets and shows the authentication of discovery."""

    def __init__(
        self,
        kept: Intents[DiscoveryDocument],
        secrets: Secrets,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
    ) -> None:
        self._kept = kept
        self._secrets = secrets
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._applying = asyncio.Lock()
        steps = (Step("set on the partner", self._set_partner), Step("set on this node", self._set_here))
        jobs.define(JobDefinition("discovery.set", steps, on_failure=self._forget_new))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {"discovery.adopt": self._on_adopt}

    async def get(self) -> DiscoveryView:
        """What discovery asks for."""
        kept = await self._kept.find(DISCOVERY)
        document = kept.document if kept else None
        chap = await chap_of(self._secrets, document) if document else None
        differs = await self._drivers.target().discovery_differs(chap)
        return DiscoveryView(
            document.chap_user if document else None, document.mutual_user if document else None, not differs
        )

    async def set(self, wanted: ChapWanted | None, *, validate_only: bool) -> str | None:
        """Have discovery ask for credentials on both nodes, or for none."""
        before = await self._kept.find(DISCOVERY)

        async def check() -> None:
            self._drivers.target()
            if self._partner.is_paired:
                await self._partner.call("ping", {})

        if validate_only:
            await check()
            return None
        document = None
        if wanted is not None:
            known = AccessDocument("discovery", **vars(before.document)) if before else None
            kept = await keep(self._secrets, AccessWanted("discovery", wanted), known)
            document = DiscoveryDocument(
                str(kept.chap_user), str(kept.chap_password), kept.mutual_user, kept.mutual_password
            )
        try:
            return await self._jobs.start("discovery.set", "discovery:node", {"discovery": document}, check=check)
        except HoldfastError:
            await forget(self._secrets, [document] if document else [])
            raise

    async def apply(self) -> None:
        """Bring this node's kernel to what is on record, as after a boot."""
        async with self._applying:  # one after the other, or one with an older secret could come last
            kept = await self._kept.find(DISCOVERY)
            chap = await chap_of(self._secrets, kept.document) if kept else None
            if await self._drivers.target().discovery_differs(chap):
                await self._drivers.target().set_discovery(chap)

    async def _on_adopt(self, body: dict[str, Any], job_id: str | None) -> Any:
        plain = body["discovery"]
        document = None if plain is None else from_plain(DiscoveryDocument, plain)
        if document is not None:
            document = await with_own_references(self._secrets, document, body["secrets"])
        await self._adopt(document)

    async def _adopt(self, document: DiscoveryDocument | None) -> None:
        kept = await self._kept.find(DISCOVERY)
        if document is None:
            await self._kept.remove(DISCOVERY)
        else:
            await self._kept.put(DISCOVERY, document)
        if kept is not None and kept.document != document:
            await forget(self._secrets, [kept.document])
        await self.apply()

    async def hand_over(self, job_id: str) -> tuple[str, ...]:
        """Have the partner ask for the same; return what that is, if there is any."""
        kept = await self._kept.find(DISCOVERY)
        if kept is None:
            return ()
        await self._tell_partner(job_id, kept.document)
        return ("discovery-auth",)

    async def _tell_partner(self, job_id: str, document: DiscoveryDocument | None) -> None:
        secrets = {} if document is None else await in_the_clear(self._secrets, [document])
        body = {"discovery": to_plain(document), "secrets": secrets}
        await self._partner.call("discovery.adopt", body, job_id=job_id)

    async def _set_partner(self, job: JobContext) -> None:
        if self._partner.is_paired:
            plain = job.parameters["discovery"]
            await self._tell_partner(job.job_id, None if plain is None else from_plain(DiscoveryDocument, plain))

    async def _set_here(self, job: JobContext) -> None:
        plain = job.parameters["discovery"]
        await self._adopt(None if plain is None else from_plain(DiscoveryDocument, plain))
        job.result = await self.get()

    async def _forget_new(self, job: JobContext, reason: HoldfastError) -> None:
        plain = job.parameters["discovery"]
        kept = await self._kept.find(DISCOVERY)
        document = None if plain is None else from_plain(DiscoveryDocument, plain)
        if document is not None and (kept is None or kept.document != document):
            await forget(self._secrets, [document])
