"""The peer server: what the partner, and nobody else, may ask of this node."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from holdfast.errors import DeniedError, HoldfastError, InvalidError, Reason, UnavailableError, UnsupportedError
from holdfast.peer.identity import Identity, der_of, fingerprint_of
from holdfast.peer.partner import Partner
from holdfast.peer.tls import HANDSHAKE_S, peer_server_context
from holdfast.peer.wire import (
    FEATURES,
    MAX_MESSAGE_BYTES,
    VERSION,
    error_to_plain,
    read_object,
    refuse_unknown_version,
)
from holdfast.system.clock import Clock, SystemClock
from holdfast.system.listening import listen, stop_listening
from holdfast.values import to_plain

log = logging.getLogger(__name__)

_OPERATION = re.compile(r"[a-z][a-z0-9._-]{0,63}\Z")
_SHUTDOWN_S = 5.0


@dataclass(frozen=True)
class CallContext:
    """Who calls, and for which of its jobs."""

    node: str
    job_id: str | None


Handler = Callable[[dict[str, Any], CallContext], Awaitable[Any]]


class PeerServer:
    """Answers `POST /peer/v1/{operation}` over mutual TLS 1.3 to the one pinned certificate.

    It listens only between `start` and `stop`. Operations may be added at any time.
    """

    def __init__(self, identity: Identity, *, address: str, port: int, clock: Clock | None = None) -> None:
        self._identity = identity
        self._address = address
        self._port = port
        self._clock = clock or SystemClock()
        self._handlers: dict[str, Handler] = {}
        self._partner: Partner | None = None
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self.add("ping", self._ping)

    @property
    def port(self) -> int | None:
        """The port that is listened on, None while it is not."""
        return None if self._listener is None else int(self._listener.sockets[0].getsockname()[1])

    def add(self, operation: str, handler: Handler) -> None:
        """Let the partner call `operation`. Secrets in the answer are masked unless `handler` reveals them."""
        if not _OPERATION.match(operation) or operation in self._handlers:
            raise ValueError(f"{operation!r} is no name of a new operation")
        self._handlers[operation] = handler

    async def start(self, partner: Partner) -> None:
        """Serve `partner` and nobody else. Repeating it changes nothing; another partner replaces the first.

        Raises UnavailableError when the port can't be opened.
        """
        if self._listener is not None and partner == self._partner:
            return
        await self.stop()
        app = web.Application(client_max_size=MAX_MESSAGE_BYTES)
        app.router.add_post("/peer/v1/{operation}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        self._partner, self._runner = partner, runner
        try:
            tls = peer_server_context(self._identity, partner)
            self._listener = await listen(runner, self._address, self._port, tls, handshake_s=HANDSHAKE_S)
        except OSError as reason:
            await self.stop()
            text = f"the peer port {self._port} of {self._address} can't be opened: {reason}"
            raise UnavailableError(text) from reason
        log.info("node %s serves its partner %s on port %s", self._identity.node, partner.node, self.port)

    async def stop(self) -> None:
        """Serve nobody. Calls under way get a few seconds to end; stopping again is success."""
        if self._listener is not None:
            await stop_listening(self._listener)
        if self._runner is not None:
            await self._runner.cleanup()
        self._listener = self._runner = self._partner = None

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            answer = await self._call(request, self._known_caller(request))
            document = {"version": VERSION, "features": sorted(FEATURES), "answer": to_plain(answer)}
        except HoldfastError as reason:
            log.info("the partner's call of %s was refused: %s", request.path, reason)
            document = {"version": VERSION, "features": sorted(FEATURES), "error": error_to_plain(reason)}
        except web.HTTPException:
            raise
        except Exception:
            # The top of a call, as the API is of a request: a fault in a handler must not end the connection mute.
            log.exception("the partner's call of %s failed", request.path)
            fault = HoldfastError(f"node {self._identity.node} failed in a way that it logged")
            document = {"version": VERSION, "features": sorted(FEATURES), "error": error_to_plain(fault)}
        return web.json_response(document)

    def _known_caller(self, request: web.Request) -> Partner:
        """TLS has let nobody else in; the pinned fingerprint is compared again, as what is meant."""
        tls = request.get_extra_info("ssl_object")
        der = None if tls is None else tls.getpeercert(binary_form=True)
        partner = self._partner
        if partner is None or der is None:
            raise DeniedError("only the partner may call this node")
        if not hmac.compare_digest(fingerprint_of(der), fingerprint_of(der_of(partner.certificate_pem))):
            raise DeniedError("only the partner may call this node")
        return partner

    async def _call(self, request: web.Request, partner: Partner) -> Any:
        try:
            message = read_object(await request.read())
        except web.HTTPRequestEntityTooLarge as reason:
            raise InvalidError(f"a call may have {MAX_MESSAGE_BYTES} bytes") from reason
        refuse_unknown_version(message)
        body, job_id = message.get("body"), message.get("job_id")
        if not isinstance(body, dict) or not isinstance(job_id, str | None):
            raise InvalidError("a call has an object as body and a text as job_id")
        operation = request.match_info["operation"]
        handler = self._handlers.get(operation)
        if handler is None:
            text = f"node {self._identity.node} knows no operation {operation}"
            remedy = "let both nodes run the same version with the same plugins"
            raise UnsupportedError(text, reasons=[Reason("peer-operation", text, remedy)])
        return await handler(body, CallContext(partner.node, job_id))

    async def _ping(self, body: dict[str, Any], context: CallContext) -> dict[str, Any]:
        return {
            "node": self._identity.node,
            "node_id": self._identity.node_id,
            "now": self._clock.now().isoformat(),
            "boot_s": self._clock.boot_s(),
        }
