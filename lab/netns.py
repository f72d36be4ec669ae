"""Sockets and threads in another network namespace."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace: str) -> None:
    """Move the calling thread, and it alone, into a named network namespace.

    There is no way back offered: use a thread made for it. Raises OSError.
    """
    with open(Path("/run/netns") / namespace, "rb") as handle:
        if _libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"cannot enter network namespace {namespace}: {os.strerror(code)}")


def socket_in(
    namespace: str,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    family: socket.AddressFamily = socket.AF_INET,
    protocol: int = 0,
) -> socket.socket:
    """An unconnected socket that belongs to the namespace, usable from any thread.

    A socket stays in the namespace of the thread that made it (setns(2)).
    """
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def make() -> None:
        try:
            enter(namespace)
            made.append(socket.socket(family, kind, protocol))
        except OSError as reason:
            failed.append(reason)

    thread = threading.Thread(target=make, name=f"netns-{namespace}")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def connect(namespace: str, address: str, port: int, timeout_s: float) -> socket.socket:
    """A TCP connection opened inside the namespace; blocking, without a time limit, once made."""
    sock = socket_in(namespace)
    try:
        sock.settimeout(timeout_s)
        sock.connect((address, port))
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock
