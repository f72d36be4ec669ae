"""A node's API in a thread, over TLS: it answers what a test scripts, and keeps what it was asked."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TOKEN = "hf_" + "a" * 43


@dataclass(frozen=True)
class Asked:
    """One request as the node saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """A status and a document, or for a stream its bytes; or the connection breaks instead."""

    document: Any = None
    status: int = 200
    raw: bytes | None = None
    breaks: bool = False


@dataclass
class FakeNode:
    """Give `replies` for a method and path, one after the other; the last is given for ever."""

    url: str
    certificate: Path
    token_file: Path
    asked: list[Asked] = field(default_factory=list)
    replies: dict[tuple[str, str], list[Reply]] = field(default_factory=dict)

    def on(self, method: str, path: str, *replies: Reply) -> None:
        """Script what a request is answered."""
        self.replies[method, path] = list(replies)

    def changes(self) -> list[Asked]:
        """What was asked but for reading."""
        return [asked for asked in self.asked if asked.method != "GET"]

    def answer(self, asked: Asked) -> Reply:
        """The next reply, which is a refusal where nothing is scripted."""
        self.asked.append(asked)
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply({"title": "denied", "code": "denied", "detail": "no token that is known"}, 401)
        replies = self.replies.get((asked.method, asked.path))
        if not replies:
            return Reply({"title": "not found", "code": "not-found", "detail": f"no {asked.path}"}, 404)
        return replies.pop(0) if len(replies) > 1 else replies[0]


def job(state: str = "done", **fields: Any) -> dict[str, Any]:
    """A job's document."""
    return {
        "id": "j1",
        "kind": "volume.create",
        "target": "v1",
        "state": state,
        "steps": [],
        "progress": {"percent": 40, "text": "writing"},
        "error": None,
        "result": None,
        "log": [],
        **fields,
    }


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as a node makes them; it names no host."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = folder / "key.pem"
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, secret


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    node: FakeNode

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses the certificate goes away in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    # Each test stops its server, and a connection that rests must not hold it up for long; but a busy machine may take
    # a second over a handshake.
    timeout = 3.0

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
        reply = self.server.node.answer(asked)
        if reply.breaks:
            self.close_connection = True
            return
        content = reply.raw
        if content is None:
            content = b"" if reply.document is None else json.dumps(reply.document).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        if reply.raw is None:
            self.send_header("Content-Length", str(len(content)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


Run = Callable[..., int]


def serve(node: FakeNode, key: Path) -> _Server:
    """A server that is not yet running, for `node`, whose url it sets."""
    server = _Server(("127.0.0.1", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(node.certificate, key)
    # The handshake belongs to the thread of the connection, not to the one that accepts.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.node = node
    node.url = f"https://127.0.0.1:{server.server_address[1]}"
    return server
