"""The sides of a mirror part and join again: how what is marked as different, and would stay so, is sent."""

from __future__ import annotations

from holdfast.hooks.replication import ConnectionState, Role
from holdfast.services.documents import MirrorDocument
from holdfast.services.drivers import Drivers
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.waits import MirrorWaits
from holdfast.services.partner import PartnerLink
from holdfast.services.steps import JobContext
from holdfast.store.intent import Intents
from holdfast.values import to_plain


class MirrorRejoin:
    """Steps that other jobs share. Each may be repeated, also after a reboot of either node."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        sides: MirrorSides,
        drivers: Drivers,
        partner: PartnerLink,
        waits: MirrorWaits,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._sides = sides
        self._drivers = drivers
        self._partner = partner
        self._waits = waits
        self._node = node

    async def part(self, name: str, overwritten_node: str, job: JobContext) -> None:
        """Have the node that is to be overwritten disconnect: the other one, Primary, begins a new generation."""
        if overwritten_node == self._node:
            await self._drivers.mirror().disconnect(name)
        else:
            await self._partner.call("mirror.disconnect", {"name": name}, job_id=job.job_id)
        await self._waits.until(name, lambda s: s.connection is not ConnectionState.CONNECTED, "did not part")

    async def join(self, name: str, job: JobContext) -> None:
        """Connect both sides, bringing up what is down."""
        document = await self._kept.get(name)
        await self._partner.call("mirror.connect", {"mirror": to_plain(document)}, job_id=job.job_id)
        await self._sides.connect(document)
        await self._waits.connected(name)

    async def send_marked(self, name: str, job: JobContext) -> None:
        """Have what is marked sent, if anything is and no resync is under way: from the side that is Primary.

        Two sides whose lower devices grew while they were apart take that up when they meet, and mark the new part on
        both; a resync of it they do not begin, for neither has the newer generation.
        """
        status = await self._sides.status(name)
        if status.marked_bytes:
            other = (await self._kept.get(name)).other(self._node)
            await self.part(name, other if status.role is Role.PRIMARY else self._node, job)
            await self.join(name, job)
