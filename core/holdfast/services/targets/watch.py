"""What happens at targets between two requests: who logs in, how much is moved, and what is reserved.

Persistent reservations of a mirrored target are carried to the partner as soon as they are seen, so that a takeover
finds them there. A takeover that comes before is told as what it is: a reservation that was lost.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.hooks.base import Can
from holdfast.hooks.target import Reservations, TargetSession
from holdfast.services.documents import TargetDocument
from holdfast.services.drivers import Drivers
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

log = logging.getLogger(__name__)

CARRY_EVERY_S = 0.25
LOOK_EVERY_S = 10.0
SEND_ANYWAY_S = 60.0
RATE_OVER_AT_LEAST_S = 1.0


@dataclass(frozen=True)
class SessionView:
    """A login, with what this daemon saw of it. Rates are over the time since the last look, None at the first."""

    initiator: str
    address: str | None
    port: int | None
    first_seen_at: str
    commands: int | None
    read_bytes: int | None
    written_bytes: int | None
    commands_per_s: float | None
    read_bytes_per_s: float | None
    written_bytes_per_s: float | None


@dataclass(frozen=True)
class _Seen:
    first_seen_at: str
    looked_at_s: float
    session: TargetSession
    rates: tuple[float | None, float | None, float | None]


Key = tuple[str, str, str | None, int | None]


class TargetWatch:
    """Looks at targets now and again, for as long as the daemon runs."""

    def __init__(self, kept: Intents[TargetDocument], drivers: Drivers, partner: PartnerLink, clock: Clock) -> None:
        self._kept = kept
        self._drivers = drivers
        self._partner = partner
        self._clock = clock
        self._seen: dict[Key, _Seen] = {}
        self._sent: dict[str, tuple[str, float]] = {}
        self._looked_at_s = -LOOK_EVERY_S
        self._is_behind = False

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {"target.reservations": self._on_reservations}

    async def forever(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(CARRY_EVERY_S)
            try:
                await self.once()
            except HoldfastError as reason:
                log.debug("targets could not be looked at: %s", reason)
            except Exception:  # it goes on with the next look: nobody else carries reservations
                log.exception("looking at targets failed unexpectedly")

    async def once(self) -> None:
        """Carry what is reserved; now and again note who is logged in."""
        if not self._drivers.has("target"):
            return
        documents = (await self._kept.all()).values()
        await self._carry_all([document for document in documents if self._is_carried(document)])
        if self._clock.boot_s() - self._looked_at_s >= LOOK_EVERY_S:
            self._looked_at_s = self._clock.boot_s()
            for document in documents:
                await self.sessions(document.iqn)

    # --- sessions ---

    async def sessions(self, iqn: str) -> tuple[SessionView, ...]:
        """Who is logged in, since when as far as this daemon saw it, and how busy."""
        found = await self._drivers.target().list_sessions(iqn)
        keys = {(iqn, s.initiator, s.id, s.port): s for s in found}
        for gone in [key for key in self._seen if key[0] == iqn and key not in keys]:
            del self._seen[gone]
        return tuple(self._view(key, session) for key, session in keys.items())

    def _view(self, key: Key, session: TargetSession) -> SessionView:
        now_s = self._clock.boot_s()
        before = self._seen.get(key)
        if before is None:
            before = self._seen[key] = _Seen(self._clock.now().isoformat(), now_s, session, (None, None, None))
        elif now_s - before.looked_at_s >= RATE_OVER_AT_LEAST_S:
            rates = rates_of(before.session, session, now_s - before.looked_at_s)
            before = self._seen[key] = _Seen(before.first_seen_at, now_s, session, rates)
        return SessionView(
            initiator=session.initiator,
            address=session.address,
            port=session.port,
            first_seen_at=before.first_seen_at,
            commands=session.commands,
            read_bytes=session.read_bytes,
            written_bytes=session.written_bytes,
            commands_per_s=before.rates[0],
            read_bytes_per_s=before.rates[1],
            written_bytes_per_s=before.rates[2],
        )

    # --- reservations ---

    async def are_on_partner(self, document: TargetDocument) -> bool | None:
        """Whether the partner has what is reserved at this moment; None unless this node serves a mirrored target."""
        driver = self._drivers.target()
        if not self._is_carried(document) or not await driver.serves(document.iqn):
            return None
        try:
            found = await driver.read_reservations([unit.serial for unit in document.units])
        except HoldfastError:  # the log says why, and the other targets are shown all the same
            return False
        return all(self._sent.get(unit.serial, (None, 0.0))[0] == unit.text for unit in found)

    def _is_carried(self, document: TargetDocument) -> bool:
        can = self._drivers.target().can
        return document.mirror is not None and self._partner.is_paired and Can.TARGET_RESERVATIONS in can

    async def _carry_all(self, documents: Sequence[TargetDocument]) -> None:
        try:
            for document in documents:
                await self._carry(document)
        except HoldfastError as reason:
            if not self._is_behind:
                log.warning("the partner does not know what is reserved, and is told again and again: %s", reason)
            self._is_behind = True
            return
        if self._is_behind:
            log.info("the partner knows again what is reserved")
        self._is_behind = False

    async def _carry(self, document: TargetDocument) -> None:
        driver = self._drivers.target()
        serials = [unit.serial for unit in document.units]
        if not await driver.serves(document.iqn):
            # The partner may have something newer by the time this node serves again.
            for serial in serials:
                self._sent.pop(serial, None)
            return
        now_s = self._clock.boot_s()
        for found in await driver.read_reservations(serials):
            text, sent_at_s = self._sent.get(found.serial, (None, 0.0))
            if text == found.text and now_s - sent_at_s < SEND_ANYWAY_S:
                continue
            await self._partner.call("target.reservations", {"reservations": to_plain(found)}, timeout_s=2.0)
            self._sent[found.serial] = found.text, now_s

    async def _on_reservations(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._drivers.target().keep_reservations(from_plain(Reservations, body["reservations"]))


def rates_of(
    before: TargetSession, now: TargetSession, over_s: float
) -> tuple[float | None, float | None, float | None]:
    """Commands, bytes read and bytes written a second between two looks at one login."""

    def rate(old: int | None, new: int | None) -> float | None:
        # A count that went back was begun anew by the kernel: nothing is known of the time between.
        return None if old is None or new is None or new < old else round((new - old) / over_s, 1)

    return (
        rate(before.commands, now.commands),
        rate(before.read_bytes, now.read_bytes),
        rate(before.written_bytes, now.written_bytes),
    )
