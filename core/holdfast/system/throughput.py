"""How fast a device is read and how fast a link carries, by short bounded tries: 32 MiB and a second at most.

The sender of a burst listens, and the receiver comes to it with a word that it was given over another, authenticated
connection. What is on its way at a time is held to what the link carries in 50 ms, so that a heartbeat or a ping of
the mirror on a slow link waits no longer for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import mmap
import os
import socket
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

_T = TypeVar("_T")

MOST_BYTES = 32 * 1024 * 1024
MOST_S = 0.7
DISK_MOST_S = 0.3
CHUNK_BYTES = 128 * 1024
READ_BYTES = 1024 * 1024
CONNECT_S = 2.0
TOKEN_BYTES = 32

_WORD_S = 0.2
"""Its first bytes come right after the connection is made: who takes longer is not the receiver."""
_WAITING = 16
_SMALL_BUFFER_BYTES = 64 * 1024
_LARGEST_BUFFER_BYTES = 4 * 1024 * 1024
_QUEUED_S = 0.05
# asm-generic/socket.h: beyond the limit of net.core.wmem_max, for those who may administer the network.
_SO_SNDBUFFORCE = 32


async def disk_rate(device: Path) -> int:
    """Bytes a second that reading `device` past the page cache gives. Raises OSError."""
    return await asyncio.to_thread(_read, device)


def _read(device: Path) -> int:
    descriptor = os.open(device, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        with mmap.mmap(-1, READ_BYTES) as buffer:  # aligned, as O_DIRECT wants it
            began_s, done = time.monotonic(), 0
            while done < MOST_BYTES and time.monotonic() - began_s < DISK_MOST_S:
                got = os.preadv(descriptor, [buffer], done)
                done += got
                if got < READ_BYTES:
                    break
            return round(done / max(time.monotonic() - began_s, 1e-6))
    finally:
        os.close(descriptor)


async def send_burst(address: str, port: int, receiver: str, ask: Callable[[str], Awaitable[_T]]) -> _T:
    """Send to who comes from `receiver` to `address`:`port` with the word `ask` is given; return what that returns.

    Nobody else is sent anything, or keeps the receiver from coming. Raises OSError if it cannot listen there.
    """
    word = token_hex(TOKEN_BYTES // 2)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Before it listens: connections inherit it, and the window is agreed on with it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL_BUFFER_BYTES)
        listener.bind((address, port))
        listener.listen(_WAITING)
        listener.settimeout(CONNECT_S)
        sending = asyncio.ensure_future(asyncio.to_thread(_serve, listener, receiver, word.encode()))
        try:
            return await ask(word)
        finally:
            # It uses the socket that is about to be closed, and ends by its own limits; nobody is waited for any more.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            await asyncio.wait([sending])


def _serve(listener: socket.socket, receiver: str, word: bytes) -> None:
    while True:
        try:
            connection, (comes_from, *_) = listener.accept()
        except OSError:
            return  # nobody came in time, or nobody is waited for any more
        # Who comes may break off at any moment. The receiver tells what it got, or that it got nothing.
        with connection, contextlib.suppress(OSError):
            if _same(comes_from, receiver) and _has_word(connection, word):
                _send(connection)
                return


def _same(comes_from: str, receiver: str) -> bool:
    # The kernel writes an address in one form only, and that of a link with its interface: "fe80::1%eth0".
    return ip_address(comes_from.partition("%")[0]) == ip_address(receiver.partition("%")[0])


def _has_word(connection: socket.socket, word: bytes) -> bool:
    connection.settimeout(_WORD_S)
    return hmac.compare_digest(connection.recv(TOKEN_BYTES), word)


def _send(connection: socket.socket) -> None:
    connection.settimeout(MOST_S)
    chunk, sent, buffer_bytes = bytes(CHUNK_BYTES), 0, _SMALL_BUFFER_BYTES
    began_s = time.monotonic()
    while sent < MOST_BYTES and time.monotonic() - began_s < MOST_S:
        sent += connection.send(chunk)
        rate_bytes_s = (sent - 2 * buffer_bytes) / max(time.monotonic() - began_s, 0.01)
        fitting_bytes = min(int(rate_bytes_s * _QUEUED_S), _LARGEST_BUFFER_BYTES)
        if fitting_bytes > 2 * buffer_bytes:
            buffer_bytes = fitting_bytes
            _widen(connection, buffer_bytes)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)  # until the receiver has it all, or has had enough


def _widen(connection: socket.socket, buffer_bytes: int) -> None:
    try:
        connection.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, buffer_bytes)
    except PermissionError:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)


async def receive_burst(local: str, address: str, port: int, word: str) -> int:
    """Come from `local` to the sender at `address`:`port`; bytes a second that arrived. Raises OSError."""
    return await asyncio.to_thread(_receive, local, address, port, word)


def _receive(local: str, address: str, port: int, word: str) -> int:
    with socket.create_connection((address, port), CONNECT_S, source_address=(local, 0)) as connection:
        connection.settimeout(MOST_S)
        connection.sendall(word.encode())
        buffer = bytearray(CHUNK_BYTES)
        first = connection.recv_into(buffer)
        if not first:
            raise ConnectionRefusedError("the sender did not take the word")
        began_s = last_s = time.monotonic()
        # What came at once with the first piece had waited in the network: it says nothing about the rate.
        done = 0
        while done < MOST_BYTES and last_s - began_s < MOST_S:
            connection.settimeout(max(began_s + MOST_S - last_s, 0.001))
            try:
                got = connection.recv_into(buffer)
            except TimeoutError:
                last_s = time.monotonic()
                break
            if not got:
                break
            done += got
            last_s = time.monotonic()
        return round((done or first) / max(last_s - began_s, 1e-6))
