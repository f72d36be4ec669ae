"""The offerer's part of a pairing. The whole exchange is drawn in `pairing`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from holdfast.errors import DeniedError, HoldfastError, Reason, UnavailableError
from holdfast.peer.agreement import Agreement, Role, transcript_of
from holdfast.peer.frames import Channel
from holdfast.peer.greeting import Hello, Side, is_held
from holdfast.peer.identity import der_of
from holdfast.peer.partner import Partner
from holdfast.peer.wire import error_to_plain, read_object
from holdfast.system.clock import Clock
from holdfast.values import Secret

_NEW_CODE = "make a new offer on the node that shows the code"


@dataclass
class OpenOffer:
    """A code that is good until `ends_at_boot_s` (CLOCK_BOOTTIME) and for `tries_left` more connections."""

    code: Secret
    ends_at_boot_s: float
    tries_left: int
    clock: Clock

    @property
    def is_open(self) -> bool:
        """Say whether another try would be heard."""
        return self.tries_left > 0 and self.clock.boot_s() < self.ends_at_boot_s

    def take_try(self) -> None:
        """Count a try. Raises DeniedError when the code is no longer good."""
        self.refuse_when_expired()
        if self.tries_left <= 0:
            raise DeniedError("the code is used up", reasons=[Reason("code-used-up", "no try is left", _NEW_CODE)])
        self.tries_left -= 1

    def refuse_when_expired(self) -> None:
        """Raise DeniedError after the end."""
        if self.clock.boot_s() >= self.ends_at_boot_s:
            text = "the code has expired"
            raise DeniedError(text, reasons=[Reason("code-expired", text, _NEW_CODE)])

    def wrong_code(self) -> DeniedError:
        """Say that the code was wrong and what is left."""
        text = f"the code is wrong, or somebody stands between the nodes; tries left: {self.tries_left}"
        remedy = "compare the code with the one shown" if self.tries_left else _NEW_CODE
        return DeniedError(text, reasons=[Reason("wrong-code", text, remedy, "code")])


async def offer_over(
    channel: Channel,
    side: Side,
    offer: OpenOffer,
    commit: asyncio.Lock,
    on_paired: Callable[[Partner], Awaitable[None]],
) -> Partner | None:
    """Pair with the node at the other end if it knows the code. None means: it was told why not, under seal.

    `commit` is held while this side saves, starts to serve and says so: whoever wants to end this exchange takes
    it first. Raises the error to tell the other side; OSError, EOFError, TimeoutError.
    """
    join_hello = await channel.receive()
    hello = Hello.read(join_hello)
    # Counted before the code takes part in anything: the arithmetic of spake2 does not take constant time, so the
    # number of measurements is bounded, too, and not only that of guesses.
    offer.take_try()
    agreement = await asyncio.to_thread(Agreement, Role.OFFER, offer.code)
    offer_hello = side.hello(agreement.element)
    await channel.send(offer_hello)
    mine = der_of(side.identity.certificate_pem)
    transcript = transcript_of(join_hello=join_hello, offer_hello=offer_hello, offer_certificate=mine)
    keys = await asyncio.to_thread(agreement.conclude, bytes.fromhex(hello.element), transcript)
    frame = read_object(await channel.receive())
    offer.refuse_when_expired()
    try:
        confirm = keys.unseal("confirm", frame)
    except DeniedError as reason:
        raise offer.wrong_code() from reason

    partner = side.admit(hello, channel.peer_address, keys.heartbeat_key)
    held = side.held_key()
    proof = None
    if held is not None and is_held(confirm.get("held"), keys, held, Role.JOIN):
        # Both hold the same key: it stays, so that pairing again never silences the heartbeats of a working pair.
        partner = replace(partner, key=held)
        proof = keys.proof_of(held, Role.OFFER)
    await channel.send(keys.seal("confirm", {"is_kept": proof is not None, "held": proof}))
    keys.unseal("saved", read_object(await channel.receive()))
    async with commit:
        error = _save(side, hello, partner)
        if error is None:
            await on_paired(partner)
        await channel.send(keys.seal("end", {"error": None if error is None else error_to_plain(error)}))
    return partner if error is None else None


def _save(side: Side, hello: Hello, partner: Partner) -> HoldfastError | None:
    try:
        side.admit(hello, partner.address, partner.key)  # again: this node may have joined another one meanwhile
        side.partners.save(partner)
    except HoldfastError as reason:
        return reason
    except OSError as reason:
        return UnavailableError(f"node {side.identity.node} could not save the pairing: {reason}")
    return None
