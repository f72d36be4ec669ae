"""A client of a node's JSON API that trusts that node's certificate and no other."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

WAIT_S = 60
_OVER = ("done", "undone", "failed", "cancelled")


class Refused(Exception):
    """An answer that is a problem, or a job that did not end well; its text is the problem's."""

    def __init__(self, asked: str, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        super().__init__(f"{asked}: {tell(problem)}")


def tell(problem: dict[str, Any]) -> str:
    """A problem as one sentence, with its reasons and remedies."""
    told = [str(problem.get("detail") or problem.get("message") or problem)]
    for reason in problem.get("reasons", ()):
        where = f"{reason['field']}: " if reason.get("field") else ""
        told.append(f"{where}{reason['text']} ({reason['remedy']})")
    return "; ".join(dict.fromkeys(told))


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    document: Any


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, data: bytes | None, headers: dict[str, str]
) -> Answer:
    try:
        connection.request(method, path, body=data, headers=headers)
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as reason:
        raise ConnectionError(f"{method} {path}: the answer broke off: {reason!r}") from reason
    return Answer(response.status, json.loads(body) if body else None)


class Api:
    """Calls to one node. Each opens a connection: the node may have lost its power since the last."""

    def __init__(self, connect: Callable[[], socket.socket], certificate_pem: str, token: str) -> None:
        """Pin the certificate. The names in it do not matter: it is this one or none."""
        self._connect = connect
        self._tls = ssl.create_default_context(cadata=certificate_pem)
        self._tls.check_hostname = False
        self._token: str | None = token

    def send(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = WAIT_S + 30.0,
        with_token: bool = True,
    ) -> Answer:
        """Send bytes as they are; whatever comes back is an answer. Raises OSError."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        if with_token:
            sent["Authorization"] = f"Bearer {self._token}"
        with self._connection(timeout_s) as connection:
            return _exchange(connection, method, path, data, sent)

    @contextmanager
    def _connection(self, timeout_s: float) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection("node", timeout=timeout_s)
        raw = self._connect()
        raw.settimeout(timeout_s)
        try:
            connection.sock = self._tls.wrap_socket(raw)
            yield connection
        finally:
            connection.close()
            raw.close()

    def call(self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Any:
        """Send a document; the answer's document. Raises Refused, OSError."""
        data = None if body is None else json.dumps(body).encode()
        answer = self.send(method, path, data, headers=headers)
        if answer.status >= 400:
            raise Refused(f"{method} {path}", answer.status, answer.document)
        return answer.document

    def get(self, path: str) -> Any:
        """What is there."""
        return self.call("GET", path)

    def get_all(self, paths: Sequence[str]) -> list[Any]:
        """What is there, all asked over one connection: a handshake costs a node more than an answer."""
        found = []
        with self._connection(WAIT_S) as connection:
            for path in paths:
                answer = _exchange(connection, "GET", path, None, {"Authorization": f"Bearer {self._token}"})
                if answer.status >= 400:
                    raise Refused(f"GET {path}", answer.status, answer.document)
                found.append(answer.document)
        return found

    def items(self, path: str) -> list[Any]:
        """The first page of a list."""
        found: list[Any] = self.get(path)["items"]
        return found

    def change(self, method: str, path: str, body: Any = None, *, within_s: float = 300.0) -> Any:
        """Change something and follow the job to its end; the job's document. Raises Refused, TimeoutError."""
        sent = None if method == "DELETE" else body or {}
        job = self.call(method, path, sent, headers={"Prefer": f"wait={WAIT_S}"})
        return self.follow(job, f"{method} {path}", within_s=within_s)

    def follow(self, job: Any, asked: str, *, within_s: float = 300.0) -> Any:
        """Wait for a job's end; its last document. Raises Refused, TimeoutError."""
        deadline = time.monotonic() + within_s
        while job["state"] not in _OVER:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{asked}: the job {job['id']} is not over after {within_s:.0f} s: {job}")
            time.sleep(0.25)  # seldom enough not to be what the node is busy with
            job = self.get(f"/v1/jobs/{job['id']}")
        if job["state"] != "done":
            raise Refused(f"{asked} ({job['state']})", 200, job["error"] or {})
        return job

    def wait_until_it_answers(self, within_s: float) -> None:
        """Return when the node answers at all. Raises TimeoutError."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                self.get("/v1/node")
            except OSError as reason:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the API does not answer within {within_s:.0f} s: {reason}") from reason
                time.sleep(0.1)
            else:
                return
