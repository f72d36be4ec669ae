"""This node and its partner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from holdfast import __version__
from holdfast.errors import HoldfastError
from holdfast.peer.identity import Identity
from holdfast.peer.pairing import Pairing, PairingOffer
from holdfast.peer.partner import Partner
from holdfast.services.partner import PartnerLink
from holdfast.system.clock import Clock


@dataclass(frozen=True)
class PartnerView:
    """The other node. `clock_difference_s` is how far its clock is ahead of ours.

    `is_given_up`: a person said that it is lost for good, and its place waits for another machine of its name.
    """

    node: str
    node_id: str
    address: str
    port: int
    answers: bool
    unknown: str | None
    clock_difference_s: float | None
    is_given_up: bool


@dataclass(frozen=True)
class NodeView:
    """This node."""

    node: str
    node_id: str
    version: str
    certificate_sha256: str
    now: datetime
    boot_s: float
    partner: PartnerView | None


class Nodes:
    """Shows the nodes and pairs them."""

    def __init__(self, identity: Identity, pairing: Pairing, link: PartnerLink, clock: Clock) -> None:
        self._identity = identity
        self._pairing = pairing
        self._link = link
        self._clock = clock
        self._partner: Partner | None = None

    def set_partner(self, partner: Partner) -> None:
        """Note who the partner is."""
        self._partner = partner

    async def get(self) -> NodeView:
        """This node, and its partner as it answers now."""
        return NodeView(
            node=self._identity.node,
            node_id=self._identity.node_id,
            version=__version__,
            certificate_sha256=self._identity.fingerprint,
            now=self._clock.now(),
            boot_s=self._clock.boot_s(),
            partner=await self._partner_view(),
        )

    async def _partner_view(self) -> PartnerView | None:
        partner = self._partner
        if partner is None:
            return None
        difference_s, unknown = None, None
        try:
            difference_s = await self._link.clock_difference_s()
        except HoldfastError as reason:
            unknown = reason.message
        return PartnerView(
            partner.node,
            partner.node_id,
            partner.address,
            partner.port,
            unknown is None,
            unknown,
            difference_s,
            partner.is_given_up,
        )

    def partner_name(self) -> str:
        """The partner's name. Raises ConflictError when there is none."""
        return self._link.name

    async def offer_pairing(self) -> PairingOffer:
        """Show a one-time code."""
        return await self._pairing.offer()

    async def join(self, address: str, port: int, code: str) -> NodeView:
        """Pair with the node that shows `code`."""
        await self._pairing.join(address, port, code)
        return await self.get()
