"""The wire between the host and the agent in a node: typed, length-prefixed frames over TCP."""

from __future__ import annotations

import socket
import struct

PORT = 7701
_HEADER = struct.Struct("!cI")

REQUEST = b"R"  # host to agent, first frame: a JSON object with `op`
INPUT = b"I"  # host to agent: standard input; an empty one closes it
SIGNAL = b"S"  # host to agent: the number of a signal for the process group, as text
STDOUT = b"O"  # agent to host
STDERR = b"E"  # agent to host
EXIT = b"X"  # agent to host, last frame of an exec: the return code, as text
ANSWER = b"A"  # agent to host, last frame of any other request: JSON, or a file's bytes
FAULT = b"F"  # agent to host, last frame: a JSON object with `errno` and `message`


def send(sock: socket.socket, kind: bytes, payload: bytes = b"") -> None:
    """Send one frame."""
    sock.sendall(_HEADER.pack(kind, len(payload)) + payload)


def receive(sock: socket.socket) -> tuple[bytes, bytes]:
    """Receive one frame. Raises EOFError at the end of the stream, TimeoutError as the socket says.

    A time limit is honoured between frames only: a frame that began is read to its end.
    """
    first = sock.recv(_HEADER.size)
    if not first:
        raise EOFError
    limit = sock.gettimeout()
    sock.settimeout(None if limit is None else max(limit, 30.0))
    try:
        kind, length = _HEADER.unpack(first + _exactly(sock, _HEADER.size - len(first)))
        return kind, _exactly(sock, length)
    finally:
        sock.settimeout(limit)


def _exactly(sock: socket.socket, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = sock.recv(min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
