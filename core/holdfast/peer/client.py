"""The peer client: asks the partner, and says plainly when it does not answer."""

from __future__ import annotations

import io
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from holdfast.errors import DeniedError, HoldfastError, InvalidError, Reason, UnavailableError
from holdfast.peer.identity import Identity, der_of, fingerprint_of
from holdfast.peer.partner import Partner
from holdfast.peer.tls import peer_client_context
from holdfast.peer.wire import (
    FEATURES,
    MAX_MESSAGE_BYTES,
    VERSION,
    error_from_plain,
    read_object,
    refuse_masked_secrets,
    refuse_unknown_version,
)
from holdfast.values import to_plain


@dataclass(frozen=True)
class PeerTimeouts:
    """`connect_s` bounds TCP and TLS together; what follows is bounded by each call."""

    connect_s: float = 2.0


class PeerClient:
    """Calls operations of the partner's peer server."""

    def __init__(self, identity: Identity, partner: Partner | None, timeouts: PeerTimeouts) -> None:
        self._identity = identity
        self._timeouts = timeouts
        self.set_partner(partner)

    def set_partner(self, partner: Partner | None) -> None:
        """Call this node from now on; calls under way end with the one they were made to."""
        self._partner = partner
        self._tls = None if partner is None else peer_client_context(self._identity, partner)

    async def call(
        self, operation: str, body: Mapping[str, Any], *, timeout_s: float, job_id: str | None = None
    ) -> Any:
        """Return what the partner's handler of `operation` answers to `body`.

        Raises what the handler raised, as the same class. By itself it raises UnavailableError, with the reason
        `not-paired` or `partner-unreachable` when nothing was done, `partner-silent` when the call may have been
        heard, so that its effect is unknown: look before deciding. A partner that has been paired with another node
        looks silent. Raises DeniedError when the node at the address is not the partner; it got nothing to read.
        A Secret in `body` must have been revealed: TypeError.
        """
        partner, tls = self._partner, self._tls
        if partner is None or tls is None:
            text = f"node {self._identity.node} has no partner"
            raise UnavailableError(text, reasons=[Reason("not-paired", text, "pair the two nodes")])
        refuse_masked_secrets(body)
        message = {"version": VERSION, "features": sorted(FEATURES), "body": to_plain(body), "job_id": job_id}
        answer = await self._exchange(partner, tls, operation, json.dumps(message).encode(), timeout_s)
        try:
            refuse_unknown_version(answer)
            if "error" not in answer:
                return answer["answer"]
            error = error_from_plain(answer["error"])
        except (KeyError, InvalidError) as reason:
            raise _not_understood(partner) from reason
        error.add_note(f"answered by node {partner.node} to {operation}")
        raise error

    async def close(self) -> None:
        """Call nobody any more."""
        self.set_partner(None)

    async def _exchange(
        self, partner: Partner, tls: ssl.SSLContext, operation: str, data: bytes, timeout_s: float
    ) -> dict[str, Any]:
        url = URL.build(scheme="https", host=partner.address, port=partner.port, path=f"/peer/v1/{operation}")
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=self._timeouts.connect_s)
        # One session a call: on a connection that was kept, a partner restarted since would look like one that took
        # the call and fell silent. Trust is asked for twice: the context knows one certificate, the connector its
        # fingerprint.
        pin = aiohttp.Fingerprint(bytes.fromhex(_fingerprint(partner)))
        connector = aiohttp.TCPConnector(ssl=pin)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
                ) as session,
                session.post(url, data=io.BytesIO(data), ssl=tls, allow_redirects=False) as response,
            ):
                return read_object(await _bounded(response, partner))
        except (aiohttp.ClientError, TimeoutError, OSError) as reason:
            raise _translate(partner, reason) from reason
        except InvalidError as reason:
            raise _not_understood(partner) from reason


async def _bounded(response: aiohttp.ClientResponse, partner: Partner) -> bytes:
    if response.status != 200:
        raise InvalidError(f"node {partner.node} answered with status {response.status}")
    data = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        data += chunk
        if len(data) > MAX_MESSAGE_BYTES:
            raise InvalidError(f"node {partner.node} answered with more than {MAX_MESSAGE_BYTES} bytes")
    return bytes(data)


def _fingerprint(partner: Partner) -> str:
    return fingerprint_of(der_of(partner.certificate_pem))


def _not_understood(partner: Partner) -> UnavailableError:
    text = f"the answer of node {partner.node} is not understood"
    return UnavailableError(text, reasons=[Reason("partner-silent", text, "look at the log of that node")])


def _translate(partner: Partner, reason: Exception) -> HoldfastError:
    where = f"node {partner.node} at {partner.address} port {partner.port}"
    why = str(reason) or type(reason).__name__
    if isinstance(reason, (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch)):
        text = f"{where} is not the partner: it shows another certificate than the pinned one"
        remedy = f"if {partner.node} was replaced, give the lost one up, and pair with the new one"
        return DeniedError(text, reasons=[Reason("partner-unknown", text, remedy)])
    if isinstance(reason, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        text = f"{where} can't be reached: {why}"
        return UnavailableError(text, reasons=[Reason("partner-unreachable", text, "start it, or mend the network")])
    # A refusal of this node's certificate ends up here, too: in TLS 1.3 the server judges it after the client has
    # begun to send, and asyncio's server drops the connection without the alert.
    text = f"{where} did not answer, so what it did is not known: {why}"
    remedy = "look at that node before repeating it; if it answers no call at all, pair the nodes again"
    return UnavailableError(text, reasons=[Reason("partner-silent", text, remedy)])
