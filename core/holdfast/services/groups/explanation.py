"""Why a group is served as it is: what both nodes foresee, and what both decided."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from holdfast.errors import HoldfastError
from holdfast.hooks.failover import Decision
from holdfast.hooks.forecast import Forecast
from holdfast.planning.explanation import Said, in_order, joined
from holdfast.services.documents import GroupDocument
from holdfast.services.drivers import Drivers
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.store.intent import Intents
from holdfast.values import from_plain, to_plain

T = TypeVar("T")
Numbered = tuple[tuple[int, Decision], ...]

_DIGITS = 9


@dataclass(frozen=True)
class NotAsked:
    """A node that could not be asked: what only it knows is missing."""

    node: str
    why: str


@dataclass(frozen=True)
class ForecastView:
    """What would happen now, and who could not be asked."""

    said: tuple[Said, ...]
    not_asked: tuple[NotAsked, ...]


@dataclass(frozen=True)
class DecisionsView:
    """Decisions of both nodes, oldest first, and who could not be asked."""

    decisions: Numbered
    next_page_token: str | None
    not_asked: tuple[NotAsked, ...]


class GroupExplanation:
    """Asks both nodes. It changes nothing."""

    def __init__(self, kept: Intents[GroupDocument], drivers: Drivers, partner: PartnerLink, *, node: str) -> None:
        self._kept = kept
        self._drivers = drivers
        self._partner = partner
        self._node = node

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {"group.forecast": self._on_forecast, "group.decisions": self._on_decisions}

    async def forecast(self, name: str) -> ForecastView:
        """What each fault would lead to now. Raises NotFoundError, or why this node's monitor says nothing either."""
        await self._kept.get(name)

        async def there() -> tuple[Forecast, ...]:
            plain = await self._partner.call("group.forecast", {"name": name})
            return tuple(from_plain(Forecast, item) for item in plain)

        told, not_asked = await self._ask(lambda: self._drivers.failover().forecast(name), there)
        return ForecastView(joined(told), not_asked)

    async def decisions(self, name: str, page_token: str | None, most: int) -> DecisionsView:
        """What both nodes' monitors decided about the group. Raises NotFoundError."""
        await self._kept.get(name)
        nodes = sorted((self._node, self._partner.name)) if self._partner.is_paired else [self._node]
        # One number for each node, in one: the last that was seen of it.
        digits = (page_token or "").zfill(2 * _DIGITS)
        seen = {node: int(digits[i * _DIGITS : (i + 1) * _DIGITS]) for i, node in enumerate(nodes)}

        async def there() -> Numbered:
            body = {"name": name, "after": seen[self._partner.name], "most": most}
            plain = await self._partner.call("group.decisions", body)
            return tuple((int(number), from_plain(Decision, decision)) for number, decision in plain)

        kept, not_asked = await self._ask(lambda: self._decided(name, seen[self._node], most), there)
        found = in_order(kept, most)
        for number, decision in found:
            seen[decision.node] = number
        token = "".join(f"{seen[node]:0{_DIGITS}d}" for node in nodes).ljust(2 * _DIGITS, "0")
        return DecisionsView(found, token if len(found) == most else None, not_asked)

    async def _ask(
        self, here: Callable[[], Awaitable[T]], there: Callable[[], Awaitable[T]]
    ) -> tuple[dict[str, T], tuple[NotAsked, ...]]:
        """What both nodes answer, and who does not. Raises this node's refusal if nobody answers."""
        answers: dict[str, T] = {}
        not_asked: list[NotAsked] = []
        refusal = None
        try:
            answers[self._node] = await here()
        except HoldfastError as reason:
            refusal = reason
            not_asked.append(NotAsked(self._node, reason.message))
        try:
            answers[self._partner.name] = await there()
        except HoldfastError as reason:
            other = self._partner.name if self._partner.is_paired else "the partner"
            not_asked.append(NotAsked(other, reason.message))
        if refusal is not None and not answers:
            raise refusal
        return answers, tuple(not_asked)

    async def _decided(self, name: str, after: int, most: int) -> Numbered:
        kept = await self._drivers.failover().decisions(after=after)
        return tuple((number, decision) for number, decision in kept if decision.group == name)[:most]

    async def _on_forecast(self, body: dict[str, Any], job_id: str | None) -> Any:
        return to_plain(await self._drivers.failover().forecast(body["name"]))

    async def _on_decisions(self, body: dict[str, Any], job_id: str | None) -> Any:
        return to_plain(await self._decided(body["name"], body["after"], body["most"]))
