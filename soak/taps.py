"""Listens on the nodes' cables of the clients' network, outside of the nodes: no node can gloss over what is there."""

from __future__ import annotations

import selectors
import socket
import struct
import threading

from lab import Lab
from lab.netns import socket_in
from lab.network import link_name
from soak.acks import Ack, Acks, Frame

_ETH_P_ALL, _ETH_P_IP = 0x0003, 0x0800
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35  # asm-generic/socket.h
_LONGEST_BYTES = 1 << 16
_BUFFER_BYTES = 16 << 20
_LOOKS_EVERY_S = 0.2


class Taps:
    """Every write that a node acknowledges from now on. The instants are the host's, as the kernel saw the frames."""

    def __init__(self, lab: Lab, nodes: tuple[str, ...], network: str, address: str) -> None:
        """Listen to nothing yet; `address` is the virtual one."""
        self._acks = Acks(address)
        self._over = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._sockets: list[socket.socket] = []
        for node in nodes:
            tap = socket_in(lab.namespace, socket.SOCK_RAW, socket.AF_PACKET)
            tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            tap.setblocking(False)
            # With IP only, the kernel would not show what is on its way to the node (packet(7)).
            tap.bind((link_name(lab.topology, node, network), _ETH_P_ALL))
            self._selector.register(tap, selectors.EVENT_READ, node)
            self._sockets.append(tap)

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; not listening is no error."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(10)
        self._selector.close()
        for tap in self._sockets:
            tap.close()

    def take(self) -> list[Ack]:
        """What was acknowledged since the last time."""
        seen, self._acks.seen = self._acks.seen, []
        return seen

    def _listen(self) -> None:
        while not self._over.is_set():
            for key, _ in self._selector.select(_LOOKS_EVERY_S):
                assert isinstance(key.fileobj, socket.socket)
                try:
                    data, more, _, (_, protocol, kind, *_) = key.fileobj.recvmsg(_LONGEST_BYTES, 64)
                except BlockingIOError:
                    continue
                if protocol != _ETH_P_IP:
                    continue
                [(_, _, stamp)] = more
                seconds, nanoseconds = struct.unpack("=qq", stamp)
                is_from_node = kind != socket.PACKET_OUTGOING
                self._acks.take(Frame(key.data, is_from_node, seconds + nanoseconds / 1e9, data))
