"""Waking clients after a takeover: a bare ACK makes a client's kernel answer, and learn that its connection is gone.

Without it an initiator notices only when its own timers end.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Iterable

from holdfast.errors import UnsupportedError
from holdfast_failover_vip.arp import packed_ipv4
from holdfast_failover_vip.icmp import internet_checksum

_log = logging.getLogger(__name__)

AGAIN_AFTER_S = 0.55
"""Linux answers such a segment at most every 500 ms on a socket."""
_ACK = 0x10
_WINDOW = 1234


def tickle_segment(virtual_address: str, port: int, client_address: str, client_port: int) -> bytes:
    """An IPv4 packet: TCP ACK with sequence and acknowledgement 0. Raises UnsupportedError for IPv6."""
    source, target = packed_ipv4(virtual_address), packed_ipv4(client_address)

    def tcp(checksum: int) -> bytes:
        return struct.pack("!HHIIBBHHH", port, client_port, 0, 0, 5 << 4, _ACK, _WINDOW, checksum, 0)

    blank = tcp(0)
    pseudo = source + target + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(blank))
    segment = tcp(internet_checksum(pseudo + blank))
    # The kernel fills in the identification and the header's checksum.
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0, source, target)
    return head + segment


def _raw() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)


def send_tickle(virtual_address: str, port: int, client_address: str, client_port: int) -> None:
    """Send one. Raises OSError if it cannot be sent, UnsupportedError for IPv6."""
    with _raw() as sending:
        sending.sendto(tickle_segment(virtual_address, port, client_address, client_port), (client_address, 0))


async def tickle(virtual_addresses: Iterable[str], port: int, clients: Iterable[tuple[str, int]]) -> None:
    """Wake each old connection at once and a second time later; what cannot be sent is logged and passed over.

    `clients` are the connections that the old active node had: never name a new one, some initiators loop when
    they are disturbed while they log in. Which virtual address a client used is not known, so each is tried; a
    client without such a connection ignores it with a reset.
    """
    ours = tuple(virtual_addresses)
    packets: list[tuple[bytes, str]] = []
    for address, client_port in clients:
        for virtual_address in ours:
            try:
                packets.append((tickle_segment(virtual_address, port, address, client_port), address))
            except UnsupportedError:
                _log.info("%s is not woken at %s: only IPv4 connections are", address, virtual_address)
    if not packets:
        return
    with _raw() as sending:
        _send_all(sending, packets)
        await asyncio.sleep(AGAIN_AFTER_S)
        _send_all(sending, packets)


def _send_all(sending: socket.socket, packets: list[tuple[bytes, str]]) -> None:
    failures: dict[str, OSError] = {}
    for packet, address in packets:
        try:
            sending.sendto(packet, (address, 0))
        except OSError as reason:
            failures[address] = reason
    for address, failure in failures.items():
        _log.warning("client %s could not be woken: %s", address, failure)
