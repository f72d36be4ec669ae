from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from holdfast.errors import (
    BusyError,
    DeniedError,
    HoldfastError,
    InvalidError,
    Reason,
    UnavailableError,
    UnsupportedError,
)
from holdfast.peer.client import PeerClient, PeerTimeouts
from holdfast.peer.identity import Identity
from holdfast.peer.partner import Partner
from holdfast.peer.server import CallContext
from holdfast.peer.tls import pairing_client_context, peer_client_context
from holdfast.peer.wire import MAX_MESSAGE_BYTES
from holdfast.values import Secret

LOOPBACK = "127.0.0.1"


def reason_of(error: HoldfastError) -> str:
    return error.reasons[0].code


async def post(node: Any, tls: ssl.SSLContext, data: bytes, path: str = "/peer/v1/ping") -> Any:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
        session.post(f"https://{LOOPBACK}:{node.peer_port}{path}", data=data, ssl=tls) as response,
    ):
        return json.loads(await response.read())


def listen(node: Any) -> list[Any]:
    """Let `node` answer to `tell`, and return the bodies it hears."""
    heard: list[Any] = []

    async def handler(body: dict[str, Any], context: CallContext) -> Any:
        heard.append(body)

    node.server.add("tell", handler)
    return heard


def signed_by(identity: Identity, directory: Path) -> Identity:
    """Make an identity whose certificate `identity` has signed, as a certificate authority would."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = serialization.load_pem_private_key(identity.key_path.read_bytes(), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    own = x509.load_pem_x509_certificate(identity.certificate_pem.encode())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "forged")]))
        .issuer_name(own.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
        .sign(signer, hashes.SHA256())
    )
    pem, pem_own = certificate.public_bytes(serialization.Encoding.PEM).decode(), identity.certificate_pem
    (directory / "forged.pem").write_text(pem + pem_own)
    (directory / "forged.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return replace(identity, certificate_path=directory / "forged.pem", key_path=directory / "forged.key")


class TestCalls:
    async def test_a_call_reaches_its_handler_with_its_context(self, pair: Any) -> None:
        a, b = pair
        heard: list[Any] = []

        async def handler(body: dict[str, Any], context: CallContext) -> Any:
            heard.append((body, context))
            return {"sum": body["x"] + 1}

        b.server.add("volume.look", handler)
        assert await a.client.call("volume.look", {"x": 1}, timeout_s=5, job_id="j1") == {"sum": 2}
        assert heard == [({"x": 1}, CallContext("a", "j1"))]

    async def test_an_error_arrives_as_the_same_class_and_says_who_answered(self, pair: Any) -> None:
        a, b = pair

        async def handler(body: dict[str, Any], context: CallContext) -> Any:
            raise BusyError("volume v0 is in use", reasons=[Reason("in-use", "by mirror m0", "stop m0")])

        b.server.add("fail", handler)
        with pytest.raises(BusyError, match="volume v0 is in use") as caught:
            await a.client.call("fail", {}, timeout_s=5)
        assert reason_of(caught.value) == "in-use"
        assert "answered by node b" in caught.value.__notes__[0]

    async def test_a_fault_in_a_handler_is_an_error_without_its_details(
        self, pair: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        a, b = pair

        async def handler(body: dict[str, Any], context: CallContext) -> Any:
            raise KeyError("hunter2")

        b.server.add("fault", handler)
        with pytest.raises(HoldfastError, match="node b failed") as caught:
            await a.client.call("fault", {}, timeout_s=5)
        assert "hunter2" not in str(caught.value)
        assert "the partner's call of /peer/v1/fault failed" in caplog.text

    async def test_an_operation_that_is_not_there_is_unsupported(self, pair: Any) -> None:
        with pytest.raises(UnsupportedError, match="no operation nothing"):
            await pair[0].client.call("nothing", {}, timeout_s=5)

    async def test_a_name_is_given_once_and_is_a_plain_word(self, pair: Any) -> None:
        async def handler(body: dict[str, Any], context: CallContext) -> Any:
            return None

        for name in ("ping", "", "-x", "a/b", "a\n"):
            with pytest.raises(ValueError, match="no name of a new operation"):
                pair[0].server.add(name, handler)

    async def test_ping_tells_who_answers_and_both_clocks(self, pair: Any) -> None:
        a, b = pair
        b.clock.step_wall(90)
        answer = await a.client.call("ping", {}, timeout_s=5)
        assert answer == {
            "node": "b",
            "node_id": b.identity.node_id,
            "now": b.clock.now().isoformat(),
            "boot_s": b.clock.boot_s(),
        }

    async def test_a_secret_travels_only_where_it_was_revealed(self, pair: Any) -> None:
        a, b = pair

        async def handler(body: dict[str, Any], context: CallContext) -> Any:
            return {"got": body, "masked": Secret("hunter2"), "meant": Secret("hunter2").reveal()}

        b.server.add("secret", handler)
        with pytest.raises(TypeError, match="password"):
            await a.client.call("secret", {"password": Secret("hunter2")}, timeout_s=5)
        answer = await a.client.call("secret", {"password": Secret("hunter2").reveal()}, timeout_s=5)
        assert answer == {"got": {"password": "hunter2"}, "masked": "***", "meant": "hunter2"}

    async def test_a_large_call_passes_and_a_larger_one_is_refused(self, pair: Any) -> None:
        a, b = pair

        async def handler(body: dict[str, Any], context: CallContext) -> Any:
            return len(body["text"])

        b.server.add("length", handler)
        fits = MAX_MESSAGE_BYTES - 1000
        assert await a.client.call("length", {"text": "x" * fits}, timeout_s=20) == fits
        with pytest.raises(InvalidError, match="bytes"):
            await a.client.call("length", {"text": "x" * (MAX_MESSAGE_BYTES + 1000)}, timeout_s=20)

    async def test_an_answer_that_is_too_large_is_not_read(self, pair: Any) -> None:
        a, b = pair

        async def handler(body: dict[str, Any], context: CallContext) -> Any:
            return "x" * (MAX_MESSAGE_BYTES + 1000)

        b.server.add("flood", handler)
        with pytest.raises(UnavailableError, match="not understood"):
            await a.client.call("flood", {}, timeout_s=20)

    @pytest.mark.parametrize(
        ("message", "code"),
        [
            ({"version": 2, "whatever": 1}, "peer-version"),
            ({"version": 0, "features": [], "body": {}, "job_id": None}, "peer-version"),
            ({"version": "1", "features": [], "body": {}, "job_id": None}, "peer-version"),
            ({"features": [], "body": {}, "job_id": None}, "peer-version"),
            ({"version": 1, "features": ["teleport"], "body": {}, "job_id": None}, "peer-feature"),
        ],
    )
    async def test_a_version_or_feature_not_known_is_refused_by_name(
        self, pair: Any, message: dict[str, Any], code: str
    ) -> None:
        a, b = pair
        answer = await post(b, peer_client_context(a.identity, a.partners.load()), json.dumps(message).encode())
        assert answer["error"]["code"] == "unsupported"
        assert answer["error"]["reasons"][0]["code"] == code
        assert "answer" not in answer

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[]",
            b"{" * 100,
            b'{"version":1,"features":[],"body":[],"job_id":null}',
            b'{"version":1,"features":[],"body":{},"job_id":7}',
        ],
    )
    async def test_a_call_not_understood_is_invalid(self, pair: Any, data: bytes) -> None:
        a, b = pair
        answer = await post(b, peer_client_context(a.identity, a.partners.load()), data)
        assert answer["error"]["code"] == "invalid"


class TestWhoMayCall:
    async def test_before_pairing_nothing_listens(self, make_node: Any) -> None:
        a = make_node("a")
        assert a.server.port is None
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((LOOPBACK, a.peer_port), timeout=2)

    async def test_before_pairing_there_is_nobody_to_call(self, make_node: Any) -> None:
        with pytest.raises(UnavailableError) as caught:
            await make_node("a").client.call("ping", {}, timeout_s=5)
        assert reason_of(caught.value) == "not-paired"

    async def test_a_third_certificate_is_refused(self, pair: Any, make_node: Any) -> None:
        heard = listen(pair[1])
        client = PeerClient(make_node("c").identity, pair[0].partners.load(), PeerTimeouts())
        with pytest.raises(UnavailableError) as caught:
            await client.call("tell", {}, timeout_s=5)
        assert reason_of(caught.value) == "partner-silent"
        assert heard == []
        await pair[0].client.call("tell", {}, timeout_s=5)
        assert heard == [{}]

    async def test_the_certificate_of_the_server_itself_is_refused(self, pair: Any) -> None:
        heard = listen(pair[1])
        client = PeerClient(pair[1].identity, pair[0].partners.load(), PeerTimeouts())
        with pytest.raises(UnavailableError):
            await client.call("tell", {}, timeout_s=5)
        assert heard == []

    async def test_a_certificate_that_the_partner_signed_is_refused(self, pair: Any, tmp_path: Path) -> None:
        """The partner's certificate is trusted, and is no authority: it can't vouch for a second one."""
        a, b = pair
        heard = listen(b)
        forged = signed_by(a.identity, tmp_path)
        client = PeerClient(forged, a.partners.load(), PeerTimeouts())
        with pytest.raises(UnavailableError):
            await client.call("tell", {}, timeout_s=5)
        assert heard == []

    async def test_a_second_certificate_among_the_trusted_is_refused_by_its_fingerprint(
        self, pair: Any, make_node: Any
    ) -> None:
        a, b = pair
        c = make_node("c")
        known: Partner = b.partners.load()
        heard = listen(b)
        await b.server.start(replace(known, certificate_pem=known.certificate_pem + c.identity.certificate_pem))
        with pytest.raises(DeniedError, match="only the partner"):
            await PeerClient(c.identity, a.partners.load(), PeerTimeouts()).call("tell", {}, timeout_s=5)
        assert heard == []
        await a.client.call("tell", {}, timeout_s=5)

    async def test_a_server_with_a_second_trusted_certificate_is_not_called(self, pair: Any, make_node: Any) -> None:
        a, b = pair
        c = make_node("c")
        heard = listen(c)
        await c.server.start(replace(b.partners.load(), port=0))
        known: Partner = a.partners.load()
        both = known.certificate_pem + c.identity.certificate_pem
        a.client.set_partner(replace(known, port=c.peer_port, certificate_pem=both))
        with pytest.raises(DeniedError, match="not the partner"):
            await a.client.call("tell", {}, timeout_s=5)
        assert heard == []

    async def test_no_certificate_gets_no_byte(self, pair: Any) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, pair[0].peer_port, ssl=pairing_client_context())
        writer.write(b"POST /peer/v1/ping HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()

    async def test_plain_http_gets_no_byte(self, pair: Any) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, pair[0].peer_port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert b"HTTP" not in await reader.read()
        writer.close()
        await writer.wait_closed()

    async def test_a_node_that_took_over_the_address_is_not_called(self, pair: Any, make_node: Any) -> None:
        a, b = pair
        impostor = make_node("b", "impostor")
        heard = listen(impostor)
        await impostor.server.start(replace(b.partners.load(), port=0))
        known: Partner = a.partners.load()
        a.client.set_partner(replace(known, port=impostor.peer_port))
        with pytest.raises(DeniedError, match="not the partner"):
            await a.client.call("tell", {"secret": "x"}, timeout_s=5)
        assert heard == []

    async def test_another_partner_replaces_the_first(self, pair: Any, make_node: Any) -> None:
        a, b = pair
        c = make_node("c")
        known: Partner = a.partners.load()
        await a.server.start(replace(known, node="c", certificate_pem=c.identity.certificate_pem))
        with pytest.raises(UnavailableError):
            await b.client.call("ping", {}, timeout_s=5)
        client = PeerClient(c.identity, b.partners.load(), PeerTimeouts())
        assert (await client.call("ping", {}, timeout_s=5))["node"] == "a"


class TestAPartnerThatIsDown:
    async def test_a_stopped_one_is_named_as_unreachable_at_once(self, pair: Any) -> None:
        a, b = pair
        await b.server.stop()
        began_s = time.monotonic()
        with pytest.raises(UnavailableError, match="node b") as caught:
            await a.client.call("ping", {}, timeout_s=5)
        assert reason_of(caught.value) == "partner-unreachable"
        assert time.monotonic() - began_s < 1

    async def test_one_that_accepts_nothing_is_given_up_after_the_connect_time(self, pair: Any) -> None:
        a, _ = pair
        client = PeerClient(a.identity, None, PeerTimeouts(connect_s=0.2))
        with socket.create_server((LOOPBACK, 0)) as mute:
            client.set_partner(replace(a.partners.load(), port=mute.getsockname()[1]))
            began_s = time.monotonic()
            with pytest.raises(UnavailableError) as caught:
                await client.call("ping", {}, timeout_s=30)
        assert reason_of(caught.value) == "partner-unreachable"
        assert time.monotonic() - began_s < 2

    async def test_one_that_takes_the_call_and_is_silent_leaves_the_effect_unknown(self, pair: Any) -> None:
        a, b = pair
        go_on = asyncio.Event()

        async def handler(body: dict[str, Any], context: CallContext) -> Any:
            await go_on.wait()

        b.server.add("slow", handler)
        with pytest.raises(UnavailableError) as caught:
            await a.client.call("slow", {}, timeout_s=0.3)
        go_on.set()
        assert reason_of(caught.value) == "partner-silent"

    async def test_a_caller_that_vanishes_cancels_nothing(self, pair: Any) -> None:
        a, b = pair
        ended = asyncio.Event()

        async def handler(body: dict[str, Any], context: CallContext) -> Any:
            await asyncio.sleep(0.3)
            ended.set()

        b.server.add("slow", handler)
        with pytest.raises(UnavailableError):
            await a.client.call("slow", {}, timeout_s=0.1)
        await asyncio.wait_for(ended.wait(), 5)

    async def test_one_that_was_restarted_is_called_again_at_once(self, pair: Any) -> None:
        a, b = pair
        await a.client.call("ping", {}, timeout_s=5)
        await b.server.stop()
        await b.server.start(b.partners.load())
        assert (await a.client.call("ping", {}, timeout_s=5))["node"] == "b"

    async def test_starting_and_stopping_may_be_repeated(self, pair: Any) -> None:
        b = pair[1]
        await b.server.start(b.partners.load())
        await b.server.stop()
        await b.server.stop()
        assert b.server.port is None

    async def test_a_closed_client_calls_nobody(self, pair: Any) -> None:
        await pair[0].client.close()
        with pytest.raises(UnavailableError):
            await pair[0].client.call("ping", {}, timeout_s=5)
