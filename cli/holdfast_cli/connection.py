"""One pinned TLS connection to a node's API, over the standard library.

The daemon's certificate is its own and self-signed, so neither a host name nor an authority says who answers: the
certificate must be the very one in the file. That is compared before a byte of the request, and with it
the token, is sent.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from holdfast_cli.errors import CommandError, Exit, ProblemError, exit_code_of
from holdfast_cli.session import Endpoint

CONNECT_TIMEOUT_S = 10.0
# Above what the daemon takes for an answer that is no job; events are kept alive more often.
READ_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Answer:
    """What the API answered; `document` is None where there was no body."""

    status: int
    document: Any


def _accepted(answer: Answer) -> Answer:
    """The answer, if it is no error. Raises ProblemError."""
    if answer.status < http.client.BAD_REQUEST:
        return answer
    document = answer.document if isinstance(answer.document, dict) else {"title": f"status {answer.status}"}
    raise ProblemError(exit_code_of(answer.status), document)


class _PinnedConnection(http.client.HTTPSConnection):
    """Whenever it connects, it makes sure that `certificate` (DER) is what the other side proved to hold."""

    def __init__(self, host: str, port: int, certificate: bytes) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        # Not less than the usual check but more: `connect` compares the whole certificate.
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        super().__init__(host, port, timeout=CONNECT_TIMEOUT_S, context=context)
        self._certificate = certificate

    def connect(self) -> None:
        super().connect()
        assert isinstance(self.sock, ssl.SSLSocket)
        if self.sock.getpeercert(binary_form=True) != self._certificate:
            self.close()
            raise CommandError(
                Exit.UNREACHABLE,
                f"{self.host}:{self.port} answers with another certificate than the expected one",
                "name the certificate file of that node with --certificate; if it is the right one already, "
                "something else answers at this address",
            )
        self.sock.settimeout(READ_TIMEOUT_S)


class Connection:
    """The API of one node. Not for several threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._open: _PinnedConnection | None = None
        self._token: str | None = None

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Send one request and return the answer.

        Raises ProblemError when the answer is an error, CommandError when the daemon cannot be reached, is not the
        expected one, or does not answer in time.
        """
        response = self._send(method, path, query, body, {"Accept": "application/json"})
        with response:
            try:
                text = response.read()
            except (OSError, http.client.HTTPException) as reason:
                raise self._lost(reason) from reason
        return _accepted(Answer(response.status, _parse(text, response.status)))

    def stream(self, path: str, *, headers: Mapping[str, str], query: Mapping[str, str] | None = None) -> Iterator[str]:
        """Yield the lines of a GET that goes on, without their ends, until the daemon ends it.

        Raises as `request` does, ProblemError when it is refused, and ConnectionError when the stream broke and may
        be taken up again.
        """
        response = self._send("GET", path, query, None, {"Accept": "text/event-stream", **headers})
        with response:
            if response.status != http.client.OK:
                _accepted(Answer(response.status, _parse(response.read(), response.status)))
                raise CommandError(Exit.FAILURE, f"{path} answered with status {response.status} instead of a stream")
            try:
                while line := response.readline():
                    yield line.decode(errors="replace").rstrip("\r\n")
            except (OSError, http.client.HTTPException) as reason:
                raise ConnectionError(str(reason)) from reason
            finally:
                self.close()

    def close(self) -> None:
        """Close the connection; the next request opens it anew."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        target = f"{path}?{urlencode(query)}" if query else path
        sent = {**headers, "Authorization": f"Bearer {self._read_token()}"}
        if body is not None:
            sent["Content-Type"] = "application/json"
        encoded = None if body is None else json.dumps(body).encode()
        is_fresh = self._open is None
        connection = self._connect()
        try:
            connection.request(method, target, body=encoded, headers=sent)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as reason:
            self.close()
            # The daemon closes connections that rest. Only what changes nothing may be sent twice.
            if method == "GET" and not is_fresh and not isinstance(reason, TimeoutError):
                return self._send(method, path, query, body, headers)
            raise self._lost(reason) from reason

    def _connect(self) -> _PinnedConnection:
        if self._open is not None:
            return self._open
        host, port = self._address()
        connection = _PinnedConnection(host, port, self._read_certificate())
        try:
            connection.connect()
        except (OSError, http.client.HTTPException) as reason:
            raise CommandError(
                Exit.UNREACHABLE,
                f"nothing answers at {self._endpoint.url}: {reason}",
                "see whether holdfastd runs there, or name another address with --url or HOLDFAST_URL",
            ) from reason
        self._open = connection
        return connection

    def _address(self) -> tuple[str, int]:
        try:
            parts = urlsplit(self._endpoint.url)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme != "https" or not host or parts.path.strip("/"):
            raise CommandError(
                Exit.USAGE,
                f"{self._endpoint.url} is not an address of an API",
                "give one such as https://10.0.0.1:8443",
            )
        return host, port or 8443

    def _read_certificate(self) -> bytes:
        file = self._endpoint.certificate
        try:
            return ssl.PEM_cert_to_DER_cert(file.read_text())
        except OSError as reason:
            raise CommandError(
                Exit.UNREACHABLE,
                f"the certificate of the node cannot be read: {file}: {reason.strerror}",
                "run as root on the node, or name a copy of its certificate with --certificate",
            ) from reason
        except ValueError as reason:
            raise CommandError(
                Exit.USAGE, f"{file} holds no certificate", "name the node's certificate, in PEM, with --certificate"
            ) from reason

    def _read_token(self) -> str:
        if self._token is None:
            file = self._endpoint.token_file
            try:
                self._token = file.read_text().strip()
            except OSError as reason:
                raise CommandError(
                    Exit.DENIED,
                    f"the API token cannot be read: {file}: {reason.strerror}",
                    "run as root on the node, or name a file with a token with --token-file",
                ) from reason
            # It becomes a header: nothing but one printable word may stand there.
            if not self._token.isascii() or not self._token.isprintable() or " " in self._token or not self._token:
                raise CommandError(Exit.DENIED, f"{file} holds no API token", "name the right file with --token-file")
        return self._token

    def _lost(self, reason: Exception) -> CommandError:
        if isinstance(reason, TimeoutError):
            return CommandError(
                Exit.TIMEOUT,
                f"{self._endpoint.url} did not answer within {READ_TIMEOUT_S:.0f} s",
                "a change may have begun all the same: see `holdfast job list`",
            )
        return CommandError(
            Exit.UNREACHABLE,
            f"the connection to {self._endpoint.url} broke: {reason or type(reason).__name__}",
            "a change may have begun all the same: see `holdfast job list` once the daemon answers",
        )


def _parse(text: bytes, status: int) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError as reason:
        raise CommandError(
            Exit.FAILURE,
            f"the answer (status {status}) is not JSON",
            "see whether --url names the API of a Holdfast node",
        ) from reason
