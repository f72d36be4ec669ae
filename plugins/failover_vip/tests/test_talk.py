"""What the partner is told of who is connected: only as long as this node serves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.errors import UnavailableError
from holdfast.hooks.failover import GroupState
from holdfast_failover_vip.talk import Talk
from holdfast_failover_vip.wire import Clients, Message

CONNECTED = (("192.0.2.7", 40_000),)


class Told(Talk):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def _send(self, message: Message, only: str | None = None) -> None:
        self.sent.append(message)

    async def about(self, group: Any) -> list[Message]:
        await self._send_clients_of(group)
        return self.sent


def group(
    state: GroupState,
    *,
    then: GroupState | None = None,
    is_idle_then: bool = True,
    found: tuple[Any, ...] | Exception = CONNECTED,
) -> Any:
    """A group that is in another state, or has something done to it, once its clients were read."""
    made = SimpleNamespace(plan=SimpleNamespace(name="g"), state=state, is_idle=True)

    async def refresh_clients() -> tuple[Any, ...]:
        made.state, made.is_idle = then or state, is_idle_then
        if isinstance(found, Exception):
            raise found
        return found

    made.refresh_clients = refresh_clients
    return made


async def test_the_partner_is_told_who_is_connected() -> None:
    assert await Told().about(group(GroupState.ACTIVE_SYNC)) == [Clients("g", CONNECTED)]


async def test_that_the_last_one_left_is_told_too() -> None:
    assert await Told().about(group(GroupState.ACTIVE_ALONE, found=())) == [Clients("g", ())]


async def test_what_was_read_while_the_group_was_let_go_is_not_told() -> None:
    """Its sessions are closed by then: the partner would wake nobody, and they would wait until they ask."""
    assert await Told().about(group(GroupState.ACTIVE_SYNC, then=GroupState.DEMOTING, found=())) == []
    assert await Told().about(group(GroupState.ACTIVE_SYNC, is_idle_then=False, found=())) == []


@pytest.mark.parametrize("state", [state for state in GroupState if not state.is_active])
async def test_a_node_that_does_not_serve_tells_nothing(state: GroupState) -> None:
    assert await Told().about(group(state)) == []


async def test_what_cannot_be_read_is_not_told() -> None:
    assert await Told().about(group(GroupState.ACTIVE_SYNC, found=UnavailableError("gone"))) == []
