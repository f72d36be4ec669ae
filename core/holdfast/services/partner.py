"""The other node, as services reach it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from holdfast.errors import ConflictError, Reason, RefusedError, UnavailableError
from holdfast.system.clock import Clock

QUICK_S = 10.0
SLOW_S = 60.0

LARGEST_CLOCK_DIFFERENCE_S = 5.0

PeerHandler = Callable[[dict[str, Any], str | None], Awaitable[Any]]
"""Answers one operation of the partner: its body, and the id of the partner's job that asks."""


class PeerCaller(Protocol):
    """A client of the partner's peer server."""

    async def call(
        self, operation: str, body: Mapping[str, Any], *, timeout_s: float, job_id: str | None = None
    ) -> Any:
        """Raises what the partner raised, or UnavailableError when it does not answer."""
        ...


class PartnerLink:
    """Calls the partner; without one, says how to get one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._name: str | None = None
        self._caller: PeerCaller | None = None
        self.is_given_up = False
        """Whether a person said that it is lost for good."""

    def set(self, name: str | None, caller: PeerCaller | None, *, is_given_up: bool = False) -> None:
        """Note who the partner is."""
        self._name = name
        self._caller = caller
        self.is_given_up = is_given_up

    @property
    def is_paired(self) -> bool:
        """Whether there is a partner."""
        return self._name is not None

    @property
    def name(self) -> str:
        """The partner's name. Raises ConflictError when there is none."""
        if self._name is None:
            text = "this node has no partner"
            remedy = "pair the nodes: POST /v1/pairing/offer on one, POST /v1/pairing/join on the other"
            raise ConflictError(text, reasons=[Reason("not-paired", text, remedy)])
        return self._name

    async def call(
        self, operation: str, body: Mapping[str, Any], *, timeout_s: float = QUICK_S, job_id: str | None = None
    ) -> Any:
        """Ask the partner. Raises ConflictError without one, UnavailableError when it is away, or its own refusal."""
        name = self.name
        if self.is_given_up:
            text = f"the partner {name} was given up as lost"
            raise UnavailableError(text, reasons=[Reason("given-up", text, f"pair with a new node called {name}")])
        if self._caller is None:
            raise UnavailableError(f"the partner {name} cannot be reached yet")
        return await self._caller.call(operation, body, timeout_s=timeout_s, job_id=job_id)

    async def release(
        self, operation: str, body: Mapping[str, Any], *, timeout_s: float = QUICK_S, job_id: str | None = None
    ) -> None:
        """Have the partner let go of something. One that was given up has nothing to let go of."""
        if not self.is_given_up:
            await self.call(operation, body, timeout_s=timeout_s, job_id=job_id)

    async def clock_difference_s(self) -> float:
        """How far the partner's wall clock is ahead of ours, half the round trip taken off."""
        before = self._clock.now()
        answer = await self.call("ping", {})
        after = self._clock.now()
        middle = before + (after - before) / 2
        return (datetime.fromisoformat(answer["now"]) - middle).total_seconds()

    async def refuse_if_clocks_differ(self) -> None:
        """Raise RefusedError, saying by how much, when the nodes' clocks are too far apart (S35)."""
        difference_s = await self.clock_difference_s()
        if abs(difference_s) > LARGEST_CLOCK_DIFFERENCE_S:
            text = f"the clock of {self.name} differs by {difference_s:+.1f} s; at most {LARGEST_CLOCK_DIFFERENCE_S} s"
            raise RefusedError(text, reasons=[Reason("clocks", text, "synchronise both nodes with NTP")])
