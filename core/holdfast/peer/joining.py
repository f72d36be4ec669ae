"""The joiner's part of a pairing. The whole exchange is drawn in `pairing`."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from holdfast.errors import DeniedError, HoldfastError, Reason, UnavailableError
from holdfast.peer.agreement import Agreement, Keys, Role, transcript_of
from holdfast.peer.frames import Channel
from holdfast.peer.greeting import Hello, Side, is_held, read_frame
from holdfast.peer.identity import fingerprint_of, read_certificate
from holdfast.peer.partner import Partner, PartnerFile
from holdfast.peer.wire import error_from_plain
from holdfast.values import Secret

# The offerer starts to serve before it says the end.
END_S = 20.0


async def join_over(channel: Channel, side: Side, code: Secret) -> Partner:
    """Pair with the node at the other end, which offers `code`.

    Raises DeniedError for a wrong code; ConflictError; OSError, EOFError or TimeoutError, nothing being saved; and
    UnavailableError with the reason `half-paired` when only the last answer was lost: this side is saved then.
    """
    agreement = await asyncio.to_thread(Agreement, Role.JOIN, code)
    join_hello = side.hello(agreement.element)
    await channel.send(join_hello)
    offer_hello = await channel.receive()
    hello = Hello.read(offer_hello)
    shown = channel.peer_certificate()
    if read_certificate(hello.certificate_pem).fingerprint != fingerprint_of(shown):
        raise DeniedError("somebody stands between the nodes: the connection shows another certificate than greeted")
    side.admit(hello, channel.peer_address, Secret(""))
    transcript = transcript_of(join_hello=join_hello, offer_hello=offer_hello, offer_certificate=shown)
    keys = await asyncio.to_thread(agreement.conclude, bytes.fromhex(hello.element), transcript)

    held = side.held_key()
    await channel.send(keys.seal("confirm", {"held": keys.proof_of(held, Role.JOIN) if held else None}))
    reply = keys.unseal("confirm", read_frame(await channel.receive()))
    partner = side.admit(hello, channel.peer_address, keys.heartbeat_key)
    if reply.get("is_kept") is True:
        if held is None or not is_held(reply.get("held"), keys, held, Role.OFFER):
            raise DeniedError("the other side claims a key of an earlier pairing that it does not hold")
        partner = replace(partner, key=held)
    return await _save_and_conclude(channel, side.partners, keys, partner)


async def _save_and_conclude(channel: Channel, partners: PartnerFile, keys: Keys, partner: Partner) -> Partner:
    before = partners.load()
    partners.save(partner)
    try:
        await channel.send(keys.seal("saved", {}))
        end = keys.unseal("end", read_frame(await channel.receive(timeout_s=END_S)))
    except (OSError, EOFError, TimeoutError, HoldfastError) as reason:
        text = f"node {partner.node} did not confirm that it saved the pairing, so it may not know this node"
        remedy = "pair the same two nodes again with a new code"
        raise UnavailableError(text, reasons=[Reason("half-paired", text, remedy)]) from reason
    if end.get("error") is not None:
        # Sealed, so it is the offerer itself that says it has not saved.
        _restore(partners, before)
        raise error_from_plain(end["error"])
    return partner


def _restore(partners: PartnerFile, before: Partner | None) -> None:
    if before is None:
        partners.forget()
    else:
        partners.save(before)
