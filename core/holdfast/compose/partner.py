"""The ways to the other node: who it is, how it is called, and what it may ask."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from holdfast.compose.ground import Ground
from holdfast.compose.services import Services
from holdfast.errors import HoldfastError
from holdfast.peer.client import PeerClient, PeerTimeouts
from holdfast.peer.identity import Identity
from holdfast.peer.pairing import Pairing
from holdfast.peer.partner import Partner, PartnerFile
from holdfast.peer.server import CallContext, PeerServer
from holdfast.services.nodes.nodes import Nodes
from holdfast.services.partner import PeerHandler

log = logging.getLogger(__name__)


class PartnerSide:
    """What is made once, and told later who the partner is."""

    def __init__(self, ground: Ground, services: Services, identity: Identity) -> None:
        peer = ground.config.peer
        self._ground = ground
        self.identity = identity
        self.partners = PartnerFile(ground.config.state_dir / "partner.json")
        self.client = PeerClient(identity, None, PeerTimeouts())
        self.server = PeerServer(identity, address=peer.address, port=peer.port, clock=ground.clock)
        for operation, handler in services.peer_handlers():
            self.server.add(operation, _in_job_of_caller(handler))
        self.pairing = Pairing(
            identity,
            self.partners,
            ground.clock,
            listen_address=peer.address,
            pairing_port=peer.pairing_port,
            peer_port=peer.port,
            on_paired=self.set_partner,
        )
        self.nodes = Nodes(identity, self.pairing, ground.partner, ground.clock)
        services.node_replacement.forsake_by(self.forsake)

    async def forsake(self) -> None:
        """Note durably that the partner is lost for good; call and serve it no more. Repeating it is success."""
        partner = await asyncio.to_thread(self.partners.load)
        if partner is not None:
            given_up = replace(partner, is_given_up=True)
            await asyncio.to_thread(self.partners.save, given_up)
            self.know(given_up)
            await self.serve(given_up)

    async def set_partner(self, partner: Partner) -> None:
        """Call a partner, and serve it, from now on."""
        self.know(partner)
        await self.serve(partner)

    def know(self, partner: Partner) -> None:
        """Call a partner from now on, unless it is given up. Waits for nothing."""
        self.client.set_partner(None if partner.is_given_up else partner)
        self._ground.partner.set(partner.node, self.client, is_given_up=partner.is_given_up)
        self.nodes.set_partner(partner)
        self._ground.plans.set_partner(partner.node, partner.key)

    async def serve(self, partner: Partner) -> None:
        """Answer a partner from now on, unless it is given up, and give the monitor a plan with it.

        A plan that cannot be made, or that the monitor refuses, is told as drift at each pass of the reconciler, and no
        reason to be without a daemon. Raises UnavailableError when the peer port can't be opened.
        """
        if partner.is_given_up:
            await self.server.stop()
        else:
            await self.server.start(partner)
        if self._ground.drivers.has("failover"):
            try:
                await self._ground.plans.write()
            except HoldfastError as reason:
                log.warning("the monitor has no plan with %s: %s", partner.node, reason)


def _in_job_of_caller(handler: PeerHandler) -> Callable[[dict[str, Any], CallContext], Awaitable[Any]]:
    async def answer(body: dict[str, Any], context: CallContext) -> Any:
        return await handler(body, context.job_id)

    return answer
