"""Pairing: two nodes come to trust each other's certificates by a code that a person carries.

    joiner                                        offerer
    hello: element, certificate, port      ->     counts a try
                                           <-     hello: element, certificate, port
    confirm, sealed: an old key held?      ->     knows now: right code, true certificate
    knows the same; **saves**              <-     confirm, sealed: does the old key stay?
    saved, sealed                          ->     **saves**, starts to serve
    done                                   <-     end, sealed: no error, or why it did not save

The joiner saves first. So an offerer never comes to trust a node that has not saved its trust in the offerer: whatever
message is lost, neither has saved, or both, or the joiner alone; the offerer then still trusts and serves nobody, and
the joiner knows (`half-paired`). Pairing again mends it, in either direction: that is always allowed between the same
two nodes, and changes no key that both already hold. A refusal sealed in the end frame proves that the offerer has not
saved; the joiner then returns to what it had before.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.errors import HoldfastError, Reason, UnavailableError
from holdfast.peer.code import make_code, read_code
from holdfast.peer.frames import Channel
from holdfast.peer.greeting import Side
from holdfast.peer.identity import Identity
from holdfast.peer.joining import join_over
from holdfast.peer.offering import OpenOffer, offer_over
from holdfast.peer.partner import Partner, PartnerFile
from holdfast.peer.tls import pairing_client_context, pairing_server_context
from holdfast.peer.wire import error_to_plain
from holdfast.system.clock import Clock
from holdfast.values import Secret

log = logging.getLogger(__name__)

OFFER_S = 300.0
TRIES = 3
_BACKLOG = 4

OnPaired = Callable[[Partner], Awaitable[None]]


@dataclass(frozen=True)
class PairingOffer:
    """What a person carries to the other node. The code is revealed once, in the answer to who asked for it."""

    code: Secret
    expires_at: datetime
    port: int


class Pairing:
    """Offers a code, or joins the node that offers one.

    `on_paired` is awaited on each side after it has saved, and must be repeatable: it starts the peer server. It
    must not call back into this object.
    """

    def __init__(
        self,
        identity: Identity,
        partners: PartnerFile,
        clock: Clock,
        *,
        listen_address: str,
        pairing_port: int,
        peer_port: int,
        on_paired: OnPaired,
    ) -> None:
        everywhere = ipaddress.ip_address(listen_address).is_unspecified
        self._side = Side(identity, partners, None if everywhere else listen_address, peer_port)
        self._clock = clock
        self._listen = (listen_address, pairing_port)
        self._on_paired = on_paired
        self._serving: asyncio.Task[None] | None = None
        self._commit = asyncio.Lock()

    async def offer(self) -> PairingOffer:
        """Show a new code and listen for who knows it: 5 minutes, 3 tries. It replaces an earlier offer.

        Raises UnavailableError when the pairing port can't be opened.
        """
        await self.close()
        shown = make_code()
        offer = OpenOffer(read_code(shown), self._clock.boot_s() + OFFER_S, TRIES, self._clock)
        expires_at = self._clock.now() + timedelta(seconds=OFFER_S)
        listener = _listen(*self._listen)
        port: int = listener.getsockname()[1]
        self._serving = asyncio.create_task(self._serve(listener, offer), name="pairing offer")
        self._serving.add_done_callback(lambda _: listener.close())  # even if it is cancelled before it begins
        log.info("node %s offers a pairing on port %s until %s", self._side.identity.node, port, expires_at)
        return PairingOffer(shown, expires_at, port)

    async def join(self, address: str, port: int, code: str) -> Partner:
        """Pair with the node at `address` that shows `code`. Repeating it with the same node is success.

        Raises InvalidError for what can't be a code; DeniedError for a wrong or expired one; ConflictError when one
        of the nodes is paired with another; UnavailableError when nobody answers, or with the reason `half-paired`.
        """
        typed = read_code(code)
        partners = self._side.partners
        before = partners.load()
        try:
            channel = await Channel.open(address, port, pairing_client_context())
        except (OSError, TimeoutError) as reason:
            raise _no_answer(address, port, reason) from reason
        try:
            return await join_over(channel, self._side, typed)
        except (OSError, EOFError, TimeoutError) as reason:
            raise _no_answer(address, port, reason) from reason
        finally:
            await channel.close()
            saved = partners.load()
            if saved is not None and saved != before:
                log.info("node %s is paired with node %s", self._side.identity.node, saved.node)
                await self._on_paired(saved)

    async def close(self) -> None:
        """Withdraw the offer. An exchange whose other side has already saved is brought to its end first."""
        if self._serving is None:
            return
        async with self._commit:
            self._serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._serving
        self._serving = None

    async def _serve(self, listener: socket.socket, offer: OpenOffer) -> None:
        """Hear one connection after the other, never two at once, until the offer is used, used up or over."""
        loop = asyncio.get_running_loop()
        expiry = asyncio.ensure_future(self._clock.sleep(offer.ends_at_boot_s - self._clock.boot_s()))
        accept: asyncio.Future[tuple[socket.socket, object]] | None = None
        try:
            while offer.is_open:
                accept = asyncio.ensure_future(loop.sock_accept(listener))
                await asyncio.wait({expiry, accept}, return_when=asyncio.FIRST_COMPLETED)
                if not accept.done():
                    break
                if await self._hear(accept.result()[0], offer):
                    break
        except Exception:
            # The top of a task: a fault must not lie hidden until somebody awaits it. The offer is over.
            log.exception("the pairing offer ended by a fault")
        finally:
            for waiting in (expiry, accept):
                if waiting is not None:
                    waiting.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await waiting

    async def _hear(self, connection: socket.socket, offer: OpenOffer) -> bool:
        """Serve one connection. True when it ended in a pairing."""
        try:
            channel = await Channel.accept(connection, pairing_server_context(self._side.identity))
        except (OSError, TimeoutError) as reason:
            log.debug("a connection to the pairing port did not become one: %s", reason)
            connection.close()
            return False
        try:
            partner = await offer_over(channel, self._side, offer, self._commit, self._started)
        except HoldfastError as reason:
            log.warning("a pairing was refused: %r", reason.message)  # quoted: a stranger may have written it
            with contextlib.suppress(OSError, TimeoutError):
                await channel.send(json.dumps({"error": error_to_plain(reason)}).encode())
            return False
        except (OSError, EOFError, TimeoutError) as reason:
            log.warning("a pairing broke off: %s", reason or type(reason).__name__)
            return False
        finally:
            await channel.close()
        return partner is not None

    async def _started(self, partner: Partner) -> None:
        log.info("node %s is paired with node %s", self._side.identity.node, partner.node)
        try:
            await self._on_paired(partner)
        except (HoldfastError, OSError) as reason:
            # Saved is saved: the pairing stands, and the next start of the daemon serves.
            log.error("node %s is paired, but can't serve its partner yet: %s", self._side.identity.node, reason)


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    try:
        listener = socket.create_server((address, port), family=family, backlog=_BACKLOG)
    except OSError as reason:
        raise UnavailableError(f"the pairing port {port} of {address} can't be opened: {reason}") from reason
    listener.setblocking(False)
    return listener


def _no_answer(address: str, port: int, reason: BaseException) -> UnavailableError:
    why = str(reason) or type(reason).__name__
    text = f"nobody answers a pairing at {address} port {port}: {why}"
    remedy = "check the address, and whether the other node still shows a code: one is good for 5 minutes and 3 tries"
    return UnavailableError(text, reasons=[Reason("pairing-unanswered", text, remedy, "address")])
