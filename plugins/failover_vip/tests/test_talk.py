"""What the partner is told: who is connected, only as long as this node serves; and that this side is stale."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.errors import UnavailableError
from holdfast.hooks.failover import GroupPlan, GroupState
from holdfast_failover_vip.facts import FenceSay, NodeFacts, Verdict
from holdfast_failover_vip.talk import Talk
from holdfast_failover_vip.wire import Clients, FenceAsk, FenceReply, Message

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


# --- a side that cannot be outdated ---

ASKED = FenceAsk("m", 5, "nonce")


class Hanging:
    """A group whose mirror is outdated only once it is let go on."""

    def __init__(self, name: str, state: GroupState) -> None:
        self.plan = GroupPlan(name, 1, "m", (), (), preferred="a", is_started=True)
        self.state, self.record, self.mirror = state, None, None
        self.peer = SimpleNamespace(state=GroupState.FROZEN)
        self.goes_on = asyncio.Event()
        self.restarts: list[str] = []

    async def outdate_for_partner(self, _epoch: int) -> FenceSay:
        await self.goes_on.wait()
        return FenceSay(Verdict.OUTDATED, 0)

    async def restart_for_partner(self, why: str) -> None:
        self.restarts.append(why)


class Asked(Told):
    """Is asked to be stale."""

    def __init__(self, *groups: Any, outdate_ms: int, is_heard: bool = True) -> None:
        super().__init__()
        self._is_heard = is_heard
        self._groups = {each.plan.name: each for each in groups}
        self._plan = SimpleNamespace(node="b")  # type: ignore[assignment]
        self._timers = SimpleNamespace(outdate_ms=outdate_ms)  # type: ignore[assignment]

    def _net(self) -> NodeFacts:
        return NodeFacts(is_heard=self._is_heard)

    async def answers(self, group: Any) -> list[Message]:
        await self._outdate(ASKED, group)
        return self.sent


SAYS_OUTDATED = [FenceReply("m", "nonce", Verdict.OUTDATED, 0)]


async def test_a_side_that_becomes_stale_in_time_says_so_and_goes_on() -> None:
    group = Hanging("g", GroupState.STANDBY_NOT)
    group.goes_on.set()
    assert await Asked(group, outdate_ms=10_000).answers(group) == SAYS_OUTDATED
    assert group.restarts == []


async def test_a_side_that_hangs_restarts_its_node_and_says_nothing_before() -> None:
    group = Hanging("g", GroupState.STANDBY_NOT)
    asked = Asked(group, outdate_ms=10)
    answering = asyncio.ensure_future(asked.answers(group))
    await asyncio.sleep(0.1)
    assert (group.restarts, asked.sent) == (["its data did not become stale within 10 ms"], [])
    group.goes_on.set()  # it was the disk: the answer is still right, should the node live to give it
    assert await answering == SAYS_OUTDATED


async def assert_not_restarted(asked: Asked, group: Hanging) -> None:
    answering = asyncio.ensure_future(asked.answers(group))
    await asyncio.sleep(0.1)
    assert group.restarts == []
    group.goes_on.set()
    assert await answering == SAYS_OUTDATED


@pytest.mark.parametrize("state", [GroupState.ACTIVE_SYNC, GroupState.ACTIVE_ALONE, GroupState.PROMOTING])
async def test_a_node_that_serves_another_group_is_not_restarted_for_it(state: GroupState) -> None:
    group, other = Hanging("g", GroupState.STANDBY_NOT), Hanging("other", state)
    await assert_not_restarted(Asked(group, other, outdate_ms=10), group)
    assert other.restarts == []


@pytest.mark.parametrize("state", [state for state in GroupState if state is not GroupState.FROZEN])
async def test_a_node_whose_partner_no_longer_waits_is_not_restarted(state: GroupState) -> None:
    group = Hanging("g", GroupState.STANDBY_NOT)
    group.peer.state = state
    await assert_not_restarted(Asked(group, outdate_ms=10), group)


async def test_a_node_that_does_not_hear_its_partner_is_not_restarted() -> None:
    group = Hanging("g", GroupState.STANDBY_NOT)
    await assert_not_restarted(Asked(group, outdate_ms=10, is_heard=False), group)
