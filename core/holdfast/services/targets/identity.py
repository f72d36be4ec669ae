"""Whether a target is the same on both nodes: what was asked for, beside what both kernels have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.hooks.target import TargetState
from holdfast.planning.differences import Difference, Found, differences
from holdfast.services.documents import TargetDocument
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import Plans
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.store.intent import Intents
from holdfast.values import from_plain, to_plain


@dataclass(frozen=True)
class IdentityView:
    """How a target as it was asked for compares with what both kernels have."""

    name: str
    is_same: bool | None
    """None where the partner could not be asked and this node alone is as wanted."""
    differences: tuple[Difference, ...]
    serving_node: str | None
    not_asked: str | None
    """Why the partner could not be asked."""


class TargetIdentity:
    """Compares. It changes nothing."""

    def __init__(
        self, kept: Intents[TargetDocument], drivers: Drivers, partner: PartnerLink, plans: Plans, *, node: str
    ) -> None:
        self._kept = kept
        self._drivers = drivers
        self._partner = partner
        self._plans = plans
        self._node = node

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {"target.found": self._on_found}

    async def of(self, name: str) -> IdentityView:
        """Compare what was asked for with both nodes' kernels, field by field."""
        document = await self._kept.get(name)
        wanted = await self._plans.target(document)
        here = await self.found(document)
        there, why = None, None
        if document.mirror is not None:
            try:
                there = from_plain(Found, await self._partner.call("target.found", {"name": name}))
            except HoldfastError as reason:
                why = reason.message
        is_to_be_here = document.mirror is None or await self._is_in_started_group(name)
        found = differences(wanted, here, there, is_to_be_here=is_to_be_here)
        serving = self._node if here.serves else self._partner.name if there is not None and there.serves else None
        is_same = None if why is not None and not found else not found
        return IdentityView(name, is_same, found, serving, why)

    async def found(self, document: TargetDocument) -> Found:
        """What this node's kernel has of a target."""
        driver = self._drivers.target()
        spec = await driver.read(document.iqn)
        state = await driver.state(await self._plans.target(document))
        is_as_wanted = state in (TargetState.ACTIVE, TargetState.STAGED)
        return Found(spec, await driver.serves(document.iqn), is_as_wanted)

    async def _is_in_started_group(self, name: str) -> bool:
        plan = await self._plans.build()
        return plan is not None and any(g.is_started and name in g.targets for g in plan.plan.groups)

    async def _on_found(self, body: dict[str, Any], job_id: str | None) -> Any:
        return to_plain(await self.found(await self._kept.get(body["name"])))
