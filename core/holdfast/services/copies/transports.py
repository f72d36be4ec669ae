"""How copies cross between this node and an agent: encrypted with the pair's certificates or a pinned one, or in clear.

The partner's certificate was pinned at pairing. A system that is not the partner is believed by a certificate that
a person gave. This node believes itself, for copies within it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import ConflictError, Reason
from holdfast.hooks.copying import Tls
from holdfast.hooks.replication import AgentSpec
from holdfast.peer.partner import PartnerFile
from holdfast.services.copies.replica_documents import Transport


@dataclass(frozen=True)
class AgentAt:
    """Where an agent is called, and what it must show there; of the partner, or this node, no certificate is given."""

    address: str
    port: int
    transport: Transport
    certificate: str | None = None


class Transports:
    """Knows the certificates. They lie in files that pairing writes, and are read anew each time."""

    def __init__(self, state_dir: Path) -> None:
        self._certificate = state_dir / "tls" / "certificate.pem"
        self._key = state_dir / "tls" / "key.pem"
        self._partners = PartnerFile(state_dir / "partner.json")

    async def own_agent(self, address: str, port: int, transport: Transport, sources: Iterable[str]) -> AgentSpec:
        """This node's agent; `sources` are certificates that are believed beside the partner's."""
        return AgentSpec(address, port, await self._tls(transport, sources))

    async def agent(self, address: str, port: int, transport: Transport, certificate: str | None) -> AgentSpec:
        """An agent to be called; with a certificate it must show that one, else the partner's or this node's."""
        tls = await self._tls(transport, ())
        if tls is not None and certificate is not None:
            tls = Tls(tls.certificate_file, tls.key_file, (certificate,))
        return AgentSpec(address, port, tls)

    async def reach(self, at: AgentAt) -> AgentSpec:
        """An agent to be called."""
        return await self.agent(at.address, at.port, at.transport, at.certificate)

    async def refuse_if_unknown(self, transport: Transport, certificate: str | None, *, is_of_this_node: bool) -> None:
        """Raise ConflictError where there is nothing that an encrypted agent could be believed by."""
        if transport is Transport.PLAIN or certificate is not None or is_of_this_node:
            return
        if await self._partner() is None:
            text = "this node has no partner, and no certificate of the destination was given to believe it by"
            remedy = "pair the nodes, or give the destination's certificate, or say transport plain"
            raise ConflictError(text, reasons=[Reason("no-certificate", text, remedy, "certificate")])

    async def certificate(self) -> str:
        """This node's, to be carried to a system that is not the partner."""
        return await asyncio.to_thread(self._certificate.read_text, "ascii")

    async def _partner(self) -> str | None:
        partner = await asyncio.to_thread(self._partners.load)
        return None if partner is None or partner.is_given_up else partner.certificate_pem

    async def _tls(self, transport: Transport, others: Iterable[str]) -> Tls | None:
        if transport is Transport.PLAIN:
            return None
        own, partner = await self.certificate(), await self._partner()
        known = [own, *([partner] if partner else []), *sorted(others)]
        return Tls(str(self._certificate), str(self._key), tuple(dict.fromkeys(known)))
