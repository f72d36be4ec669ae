"""ARP on the wire: telling the network where an address now lives, and hearing who else claims it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address

from holdfast.errors import UnsupportedError

_ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_NO_MAC = bytes(6)
_NO_ADDRESS = bytes(4)
_REQUEST = 1
_REPLY = 2
_HEAD = struct.pack("!HHBB", 1, 0x0800, 6, 4)
_FRAME_BYTES = 42
_SIOCGIFHWADDR = 0x8927
_PACKET_OUTGOING = 4
_FRAMES_PER_WAKE = 64


def packed_ipv4(address: str) -> bytes:
    """The four bytes of an address. Raises UnsupportedError if it is none of IPv4."""
    try:
        return IPv4Address(address).packed
    except ValueError as reason:
        raise UnsupportedError(f"{address} is not an IPv4 address") from reason


def _mac_of(interface: str, through: socket.socket) -> bytes:
    answer: bytes = fcntl.ioctl(through, _SIOCGIFHWADDR, struct.pack("256s", interface.encode()[:15]))
    return answer[18:24]


def _own_macs(through: socket.socket) -> set[bytes]:
    macs = set()
    for _, name in socket.if_nameindex():
        try:
            macs.add(_mac_of(name, through))
        except OSError:  # it went away meanwhile
            continue
    return macs


def _request(mac: bytes, sender: bytes, target: bytes) -> bytes:
    ethernet = _BROADCAST + mac + struct.pack("!H", _ETH_P_ARP)
    return ethernet + _HEAD + struct.pack("!H", _REQUEST) + mac + sender + _NO_MAC + target


def claimant(frame: bytes, address: bytes) -> bytes | None:
    """The MAC that this frame says `address` lives at; None if it claims no such thing."""
    if len(frame) < _FRAME_BYTES or frame[14:20] != _HEAD or frame[28:32] != address:
        return None
    if int.from_bytes(frame[20:22], "big") not in (_REQUEST, _REPLY):
        return None
    return frame[22:28]


class ArpSender:
    """One packet socket for announcements on any interface; it is kept because closing one takes milliseconds."""

    def __init__(self) -> None:
        # Protocol 0: it sends only; the kernel queues nothing to it.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)

    def send_gratuitous(self, interface: str, address: str) -> None:
        """Announce that `address` lives here, in request form. Raises OSError if the interface cannot send."""
        packed = packed_ipv4(address)
        frame = _request(_mac_of(interface, self._socket), packed, packed)
        self._socket.sendto(frame, (interface, _ETH_P_ARP))

    def close(self) -> None:
        """Let go; may be repeated."""
        self._socket.close()


def send_gratuitous(interface: str, address: str) -> None:
    """Announce once, with a socket of its own: see `ArpSender.send_gratuitous`."""
    sender = ArpSender()
    try:
        sender.send_gratuitous(interface, address)
    finally:
        sender.close()


class ArpProbe:
    """Asks who has `address`, and calls `on_answer` with the MAC of every foreign station that claims it.

    It listens from the start until closed, whether it probes or not, so it also serves as the guard of an address
    that is up. Make it inside a running loop. While the interface is missing it is deaf (`is_listening`), and each
    `send` tries again.
    """

    def __init__(self, interface: str, address: str, on_answer: Callable[[bytes], None]) -> None:
        self._interface = interface
        self._address = packed_ipv4(address)
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
            mac = _mac_of(self._interface, self._socket)
            self._socket.send(_request(mac, _NO_ADDRESS, self._address))
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
            opened.bind((self._interface, _ETH_P_ARP))
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
                frame, (_, _, kind, *_) = self._socket.recvfrom(128)
            except OSError:  # nothing left, or the interface went down, which the next send finds out
                return
            mac = None if kind == _PACKET_OUTGOING else claimant(frame, self._address)
            if mac is not None and mac not in _own_macs(self._socket):
                self._on_answer(mac)
