"""Waking clients after a takeover: a bare ACK makes a client's kernel answer, and learn that its connection is gone.

Without it an initiator notices only when its own timers end.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Iterable
from ipaddress import ip_address

from holdfast.errors import UnsupportedError
from holdfast_failover_vip.icmp import internet_checksum

_log = logging.getLogger(__name__)

AGAIN_AFTER_S = 0.55
"""Linux answers such a segment at most every 500 ms on a socket."""
_ACK = 0x10
_WINDOW = 1234


def tickle_segment(virtual_address: str, port: int, client_address: str, client_port: int) -> bytes:
    """A packet: TCP ACK with sequence and acknowledgement 0. Raises UnsupportedError for addresses of two families."""
    ours, theirs = ip_address(virtual_address), ip_address(client_address)
    if ours.version != theirs.version:
        raise UnsupportedError(f"{client_address} cannot be connected to {virtual_address}")
    source, target = ours.packed, theirs.packed

    def tcp(checksum: int) -> bytes:
        return struct.pack("!HHIIBBHHH", port, client_port, 0, 0, 5 << 4, _ACK, _WINDOW, checksum, 0)

    blank = tcp(0)
    # The fields of RFC 793 and RFC 8200 differ in width, and not in sum.
    pseudo = source + target + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(blank))
    segment = tcp(internet_checksum(pseudo + blank))
    if ours.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(segment), socket.IPPROTO_TCP, 64) + source + target + segment
    # The kernel fills in the identification and the header's checksum.
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0, source, target)
    return head + segment


async def tickle(virtual_addresses: Iterable[str], port: int, clients: Iterable[tuple[str, int]]) -> None:
    """Wake each old connection at once and a second time later; what cannot be sent is logged and passed over.

    `clients` are the connections that the old active node had: never name a new one, some initiators loop when
    they are disturbed while they log in. Which virtual address a client used is not known, so each is tried; a
    client without such a connection ignores it with a reset.
    """
    ours = {address: ip_address(address).version for address in virtual_addresses}
    packets: list[tuple[bytes, str]] = []
    for address, client_port in clients:
        try:
            version = ip_address(address).version
            told = [tickle_segment(our, port, address, client_port) for our in ours if ours[our] == version]
        except (ValueError, struct.error):
            _log.warning("%s, port %s, is no client that could be woken", address, client_port)
            continue
        packets.extend((packet, address) for packet in told)
    if not packets:
        return
    _send_all(packets)
    await asyncio.sleep(AGAIN_AFTER_S)
    _send_all(packets)


def _send_all(packets: list[tuple[bytes, str]]) -> None:
    failures: dict[str, OSError] = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        told = [(packet, address) for packet, address in packets if (":" in address) == (family is socket.AF_INET6)]
        try:
            _send(family, told, failures)
        except OSError as reason:  # this kernel does not know the family
            failures |= dict.fromkeys((address for _, address in told), reason)
    for address, failure in failures.items():
        _log.warning("client %s could not be woken: %s", address, failure)


def _send(family: socket.AddressFamily, packets: list[tuple[bytes, str]], failures: dict[str, OSError]) -> None:
    if not packets:
        return
    # This protocol says that the packet comes with its header (raw(7); of IPv6 since Linux 4.5).
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW) as sending:
        for packet, address in packets:
            try:
                sending.sendto(packet, (address, 0))
            except OSError as reason:
                failures[address] = reason
