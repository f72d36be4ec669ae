"""Who else claims a virtual address: asked and overheard on its NIC, by ARP or by neighbour discovery."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address

from holdfast_failover_vip import arp, neighbour

_SO_ATTACH_FILTER = 26
_PACKET_OUTGOING = 4
_FRAMES_PER_WAKE = 64


class ClaimProbe:
    """Asks who has `address`, and calls `on_answer` with the MAC of every foreign station that claims it.

    It listens from the start until closed, whether it probes or not, so it also serves as the guard of an address
    that is up. Make it inside a running loop. While the interface is missing it is deaf (`is_listening`), and each
    `send` tries again.
    """

    def __init__(self, interface: str, address: str, on_answer: Callable[[bytes], None]) -> None:
        self._interface = interface
        self._is_ipv6 = ip_address(address).version == 6
        self._wire = neighbour if self._is_ipv6 else arp
        self._address = ip_address(address).packed
        self._on_answer = on_answer
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._is_closed = False
        self._open()

    @property
    def is_listening(self) -> bool:
        """Whether silence means anything."""
        return self._socket is not None

    def send(self) -> bool:
        """Ask once, naming no sender, so that no neighbour learns anything from it. False: it was not sent."""
        if self._is_closed or not (self._socket or self._open()):
            return False
        assert self._socket is not None
        try:
            mac = arp.mac_of(self._interface, self._socket)
            self._socket.send(self._wire.question(mac, self._address))
        except BlockingIOError:
            return False
        except OSError as reason:
            # While the interface is down the socket stays good, and closing one takes milliseconds.
            if reason.errno in (errno.ENXIO, errno.ENODEV):
                self._shut()
            return False
        return True

    def close(self) -> None:
        """Stop listening; may be repeated."""
        self._is_closed = True
        self._shut()

    def _open(self) -> bool:
        # Protocol 0 until it is bound: otherwise it would hear every interface for a moment.
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            if self._is_ipv6:
                _attach(opened, neighbour.ADVERTISEMENTS_ONLY)
            opened.bind((self._interface, neighbour.ETH_P_IPV6 if self._is_ipv6 else arp.ETH_P_ARP))
        except OSError:
            opened.close()
            return False
        self._socket = opened
        self._loop.add_reader(opened.fileno(), self._read)
        return True

    def _shut(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _read(self) -> None:
        for _ in range(_FRAMES_PER_WAKE):
            if self._socket is None:  # closed by on_answer
                return
            try:
                frame, (_, _, kind, *_) = self._socket.recvfrom(256)
            except OSError:  # nothing left, or the interface went down, which the next send finds out
                return
            mac = None if kind == _PACKET_OUTGOING else self._wire.claimant(frame, self._address)
            if mac is not None and mac not in _own_macs(self._socket):
                self._on_answer(mac)


def _attach(to: socket.socket, instructions: bytes) -> None:
    kept = ctypes.create_string_buffer(instructions)
    program = struct.pack("HP", len(instructions) // 8, ctypes.addressof(kept))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _own_macs(through: socket.socket) -> set[bytes]:
    macs = set()
    for _, name in socket.if_nameindex():
        try:
            macs.add(arp.mac_of(name, through))
        except OSError:  # it went away meanwhile
            continue
    return macs
