"""The sockets that carry heartbeats: one on each link, tied to that link's interface and addresses."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable

from holdfast.hooks.links import Link
from holdfast_failover_vip.arp import packed_ipv4
from holdfast_failover_vip.wire import MAX_BYTES

RETRY_S = 0.5
_PRIORITY = 6
_DATAGRAMS_PER_WAKE = 64
# The socket is bound to what is no longer there; only a new one helps.
_STALE = (errno.EINVAL, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL)


class LinkSockets:
    """Sends and receives on every link; `on_datagram` gets the link's name and the bytes.

    Only what comes from the link's peer address is passed on, and of anything else `on_refused` gets link and reason;
    authenticity is judged by `wire`. A link whose
    address is not there yet is opened as soon as it is. Make it inside a running loop.
    """

    def __init__(
        self,
        links: tuple[Link, ...],
        on_datagram: Callable[[str, bytes], None],
        on_refused: Callable[[str, str], None],
    ) -> None:
        for link in links:
            packed_ipv4(link.local_address)
            packed_ipv4(link.peer_address)
        self._links = {link.name: link for link in links}
        self._on_datagram = on_datagram
        self._on_refused = on_refused
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[str, socket.socket] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._open_missing()

    def is_open(self, link_name: str) -> bool:
        """Whether this link can be used at all."""
        return link_name in self._sockets

    def send(self, link_name: str, data: bytes) -> bool:
        """Send to the peer on one link, never waiting. False: it was not sent, whatever the reason."""
        link, sending = self._links[link_name], self._sockets.get(link_name)
        if sending is None:
            return False
        try:
            sending.sendto(data, (link.peer_address, link.port))
        except OSError as reason:
            if reason.errno in _STALE:
                self._shut(link_name)
                self._retry_later()
            return False
        return True

    def discard(self) -> None:
        """Throw away what waits to be read: this machine slept, and it tells of a world that is gone."""
        for waiting in self._sockets.values():
            with contextlib.suppress(OSError):
                while True:
                    waiting.recv(MAX_BYTES)

    def close(self) -> None:
        """Close all; may be repeated."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for name in tuple(self._sockets):
            self._shut(name)
        self._links = {}

    def _open_missing(self) -> None:
        self._retry = None
        for name, link in self._links.items():
            if name not in self._sockets:
                try:
                    self._sockets[name] = self._open(link)
                except OSError:
                    self._retry_later()

    def _retry_later(self) -> None:
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._open_missing)

    def _open(self, link: Link) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _PRIORITY)
            if link.interface in {name for _, name in socket.if_nameindex()}:
                # Otherwise a route could carry this link's heartbeats over another link, and one cut would look
                # like none.
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.interface.encode() + b"\0")
            opened.bind((link.local_address, link.port))
        except OSError:
            opened.close()
            raise
        self._loop.add_reader(opened.fileno(), self._read, link, opened)
        return opened

    def _shut(self, name: str) -> None:
        closing = self._sockets.pop(name, None)
        if closing is not None:
            self._loop.remove_reader(closing.fileno())
            closing.close()

    def _read(self, link: Link, ready: socket.socket) -> None:
        for _ in range(_DATAGRAMS_PER_WAKE):
            try:
                data, (source, _) = ready.recvfrom(MAX_BYTES + 1)
            except OSError:  # nothing left, an error the kernel kept for us, or closed by on_datagram
                return
            if source == link.peer_address:
                self._on_datagram(link.name, data)
            else:
                self._on_refused(link.name, f"it came from {source}")
