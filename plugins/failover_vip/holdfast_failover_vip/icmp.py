"""Echo requests: a sign of life from the partner's kernel even when its monitor is silent, and from the ping node."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable

from holdfast_failover_vip.arp import packed_ipv4

_ECHO_REPLY = 0
_ECHO_REQUEST = 8
_SOL_RAW = 255
_ICMP_FILTER = 1
_IP_PKTINFO = 8
_SO_SNDBUFFORCE = 32
_SEND_BYTES = 2 << 20
_TOKEN_BYTES = 16
_MOST_UNANSWERED = 512
_PACKETS_PER_WAKE = 64


def internet_checksum(data: bytes) -> int:
    """The ones' complement sum of RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(identifier: int, sequence: int, token: bytes) -> bytes:
    """The ICMP message, ready to be sent."""
    blank = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identifier, sequence)
    checksum = internet_checksum(blank + token)
    return struct.pack("!BBHHH", _ECHO_REQUEST, 0, checksum, identifier, sequence) + token


def answered_token(packet: bytes, identifier: int) -> bytes | None:
    """The token in an echo reply to us, read from a packet with its IP header; None if it is none of ours."""
    start = (packet[0] & 0x0F) * 4 if packet else 0
    message = packet[start:]
    if len(message) != 8 + _TOKEN_BYTES:
        return None
    kind, code, _, theirs, _ = struct.unpack("!BBHHH", message[:8])
    return message[8:] if (kind, code, theirs) == (_ECHO_REPLY, 0, identifier) else None


class Echo:
    """Sends echo requests and calls `on_answer` with who answered which number: once for each request.

    Every request carries a random token of its own, so a repeated, foreign or invented reply is no sign of life.
    Make it inside a running loop.
    """

    def __init__(self, on_answer: Callable[[str, int], None]) -> None:
        self._on_answer = on_answer
        self._loop = asyncio.get_running_loop()
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._sequence = 0
        self._sockets: dict[str | None, socket.socket] = {}
        self._unanswered: dict[bytes, tuple[str, int]] = {}

    def send(self, address: str, *, interface: str | None, source: str | None, number: int) -> bool:
        """Ask `address` once, at once; `number` comes back with its answer. False: it was not sent.

        Raises UnsupportedError for an address that is not of IPv4.
        """
        target = packed_ipv4(address)
        sender = packed_ipv4(source) if source else bytes(4)
        token = os.urandom(_TOKEN_BYTES)
        self._sequence = (self._sequence + 1) & 0xFFFF
        request = echo_request(self._identifier, self._sequence, token)
        information = struct.pack("=i4s4s", 0, sender, bytes(4))
        # Before it is sent: over a loopback the answer is there when the call returns.
        self._remember(token, (socket.inet_ntoa(target), number))
        try:
            through = self._sockets.get(interface) or self._open(interface)
            through.sendmsg([request], [(socket.IPPROTO_IP, _IP_PKTINFO, information)], 0, (address, 0))
        except OSError as reason:
            self._unanswered.pop(token, None)
            # It may be bound to an interface that was replaced by one of the same name. The one that is bound to none
            # stays: an address that no route leads to must not cost the answers of the others.
            if interface is not None and not isinstance(reason, BlockingIOError):
                self._shut(interface)
            return False
        return True

    def close(self) -> None:
        """Stop listening; may be repeated."""
        for interface in tuple(self._sockets):
            self._shut(interface)
        self._unanswered.clear()

    def _remember(self, token: bytes, asked: tuple[str, int]) -> None:
        self._unanswered[token] = asked
        if len(self._unanswered) > _MOST_UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]

    def _open(self, interface: str | None) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
        try:
            # A raw socket gets a copy of every ICMP message of the machine; only replies matter.
            opened.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF ^ (1 << _ECHO_REPLY)))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 6)
            # What is asked of a dead neighbour waits in the kernel for seconds, and fills this buffer meanwhile.
            opened.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BYTES)
            if interface is not None:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        except OSError:
            opened.close()
            raise
        self._sockets[interface] = opened
        self._loop.add_reader(opened.fileno(), self._read, opened)
        return opened

    def _shut(self, interface: str | None) -> None:
        closing = self._sockets.pop(interface, None)
        if closing is not None:
            self._loop.remove_reader(closing.fileno())
            closing.close()

    def _read(self, ready: socket.socket) -> None:
        for _ in range(_PACKETS_PER_WAKE):
            try:
                packet, (source, *_) = ready.recvfrom(256)
            except OSError:  # nothing left, an error the kernel kept for us, or closed by on_answer
                return
            token = answered_token(packet, self._identifier)
            asked = None if token is None else self._unanswered.get(token)
            if token is not None and asked is not None and asked[0] == source:
                del self._unanswered[token]
                self._on_answer(*asked)
