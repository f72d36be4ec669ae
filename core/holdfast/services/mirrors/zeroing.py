"""Both sides of a new mirror made to read zero at the same time, so that the first sync can be skipped.

Each side is asked for about a second of work at a time, and after each how far it came is kept with the job. A daemon
that was killed, on either node, loses no more than that second, and a cancelled job waits no longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import ConflictError, UnavailableError
from holdfast.services.documents import MirrorDocument, MirrorMember
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.partner import PartnerLink
from holdfast.services.steps import JobContext
from holdfast.system.clock import Clock
from holdfast.values import to_plain

# One turn < the time for its answer < a reboot < how long the partner may be away.
TURN_S = 1.0
ANSWER_S = 10.0
AWAY_S = 600.0
ASK_AGAIN_S = 1.0

FACT = "zeroed_bytes"
"""Node to volume to how many of its bytes are zero, durably."""

Turn = Callable[[str, int], Awaitable[int]]
"""Zeroes a volume for a turn from so many bytes on; how many are zero then."""


@dataclass
class _Side:
    node: str
    turn: Turn
    done_bytes: dict[str, int]
    """Volume to how many of its bytes are zero; this is the job's own fact."""
    rate_bytes_s: float | None = field(default=None, init=False)

    @property
    def total_done_bytes(self) -> int:
        return sum(self.done_bytes.values())


class Zeroing:
    """One run of the step. A second one goes on where the first one was."""

    def __init__(
        self,
        job: JobContext,
        document: MirrorDocument,
        sides: MirrorSides,
        partner: PartnerLink,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._job = job
        self._document = document
        self._own_sides = sides
        self._partner = partner
        self._clock = clock
        self._limit_bytes_s: int | None = job.parameters.get("zero_limit_bytes_s")
        self._is_resumed = FACT in job.facts
        facts = job.facts.setdefault(FACT, {})
        turns = ((node, self._turn_here), (document.other(node), self._turn_there))
        self._sides = tuple(_Side(name, turn, facts.setdefault(name, {})) for name, turn in turns)
        self._total_bytes = sum(member.size_bytes for member in document.members)

    async def run(self) -> None:
        """Zero both sides. If one fails, so does the other. Raises what the drivers raise."""
        if self._is_resumed:
            await self._job.log(f"zeroing goes on where it was: {self._text()}")
        work = [asyncio.ensure_future(self._zero(side)) for side in self._sides]
        try:
            # The first that fails is what is told.
            await asyncio.gather(*work)
        finally:
            for one in work:
                one.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _zero(self, side: _Side) -> None:
        for member in self._document.members:
            # What an earlier run finished is asked for once more: nothing is left to be zeroed, and all is looked at.
            while await self._take_turn(side, member) < member.size_bytes:
                pass

    async def _take_turn(self, side: _Side, member: MirrorMember) -> int:
        before, began_s = side.done_bytes.get(member.volume, 0), self._clock.boot_s()
        done = await side.turn(member.volume, before)
        took_s = self._clock.boot_s() - began_s
        if done <= before < member.size_bytes:
            raise ConflictError(f"the volume {member.on(side.node)} of {side.node} has no more than {done} bytes")
        side.done_bytes[member.volume] = done
        if done > before and took_s > 0:
            side.rate_bytes_s = (done - before) / took_s
        await self._job.keep_facts()
        percent = sum(s.total_done_bytes for s in self._sides) / (2 * self._total_bytes) * 100
        await self._job.progress(percent, self._text())
        return done

    def _text(self) -> str:
        return "; ".join(
            f"{side.node}: {side.total_done_bytes} of {self._total_bytes} bytes are zeroed"
            + (f", {side.rate_bytes_s:.0f} bytes/s" if side.rate_bytes_s is not None else "")
            for side in self._sides
        )

    async def _turn_here(self, volume: str, done_bytes: int) -> int:
        return await self._own_sides.zero(
            self._document, volume, done_bytes=done_bytes, most_s=TURN_S, limit_bytes_s=self._limit_bytes_s
        )

    async def _turn_there(self, volume: str, done_bytes: int) -> int:
        body: dict[str, Any] = {
            "mirror": to_plain(self._document),
            "volume": volume,
            "done_bytes": done_bytes,
            "most_s": TURN_S,
            "limit_bytes_s": self._limit_bytes_s,
        }
        away_since_s: float | None = None
        while True:
            try:
                answer = await self._partner.call("mirror.zero", body, timeout_s=ANSWER_S, job_id=self._job.job_id)
            except UnavailableError as reason:
                now_s = self._clock.boot_s()
                if away_since_s is None:
                    away_since_s = now_s
                    await self._job.log(f"zeroing waits for {self._partner.name}: {reason.message}")
                if now_s - away_since_s >= AWAY_S:
                    raise
                await self._clock.sleep(ASK_AGAIN_S)
            else:
                return int(answer["done_bytes"])


def proof(document: MirrorDocument) -> list[str]:
    """Why the first sync was not needed, in sentences."""
    return [
        f"every byte of {member.devices[node]} on {node} was zeroed by this job, before anybody had access"
        for member in document.members
        for node in sorted(member.devices)
    ]
