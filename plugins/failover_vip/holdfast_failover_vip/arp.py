"""ARP on the wire: telling the network where an IPv4 address now lives, asking who has it, reading who claims it."""

from __future__ import annotations

import fcntl
import socket
import struct
from ipaddress import IPv4Address

from holdfast.errors import UnsupportedError

ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_NO_MAC = bytes(6)
_NO_ADDRESS = bytes(4)
_REQUEST = 1
_REPLY = 2
_HEAD = struct.pack("!HHBB", 1, 0x0800, 6, 4)
_FRAME_BYTES = 42
_SIOCGIFHWADDR = 0x8927


def packed_ipv4(address: str) -> bytes:
    """The four bytes of an address. Raises UnsupportedError if it is none of IPv4."""
    try:
        return IPv4Address(address).packed
    except ValueError as reason:
        raise UnsupportedError(f"{address} is not an IPv4 address") from reason


def mac_of(interface: str, through: socket.socket) -> bytes:
    """The address of a NIC, asked through any socket. Raises OSError if there is no such NIC."""
    answer: bytes = fcntl.ioctl(through, _SIOCGIFHWADDR, struct.pack("256s", interface.encode()[:15]))
    return answer[18:24]


def _request(mac: bytes, sender: bytes, target: bytes) -> bytes:
    ethernet = _BROADCAST + mac + struct.pack("!H", ETH_P_ARP)
    return ethernet + _HEAD + struct.pack("!H", _REQUEST) + mac + sender + _NO_MAC + target


def question(mac: bytes, address: bytes) -> bytes:
    """Who has `address`? It names no sender, so that no neighbour learns anything from it (RFC 5227, section 2.1)."""
    return _request(mac, _NO_ADDRESS, address)


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
        frame = _request(mac_of(interface, self._socket), packed, packed)
        self._socket.sendto(frame, (interface, ETH_P_ARP))

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
