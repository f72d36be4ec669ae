"""Neighbour discovery on the wire (RFC 4861): what `arp.py` is to IPv4 addresses, to IPv6 addresses."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address

from holdfast_failover_vip.arp import mac_of
from holdfast_failover_vip.icmp import internet_checksum

ETH_P_IPV6 = 0x86DD
_SOLICITATION = 135
_ADVERTISEMENT = 136
_OVERRIDE = 0x20000000
_TARGET_LINK_LAYER = 2
_ALL_NODES = "ff02::1"
_SOLICITED_NODE = IPv6Address("ff02::1:ff00:0").packed[:13]
_HOPS = 255
"""Receivers discard what may have crossed a router: the hop limit must be untouched."""
_PACKET, _ICMP, _TARGET, _OPTIONS = 14, 54, 62, 78
"""Where they begin in a frame without extension headers."""
ADVERTISEMENTS_ONLY = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 20),  # the next header
        (0x15, 0, 3, socket.IPPROTO_ICMPV6),
        (0x30, 0, 0, _ICMP),  # its type
        (0x15, 0, 1, _ADVERTISEMENT),
        (0x06, 0, 0, 256),  # take it
        (0x06, 0, 0, 0),  # leave it
    )
)
"""A socket filter, in the instructions of bpf(4): who listens for claims must not be woken by every frame of data."""


def send_advertisement(interface: str, address: str) -> None:
    """Tell all nodes of the link that `address` lives here. Raises OSError if the interface cannot send."""
    index = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6) as sending:
        mac = mac_of(interface, sending)
        sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
        sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sending.bind((address, 0, 0, index))
        head = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE)  # the kernel fills in the checksum
        option = struct.pack("!BB", _TARGET_LINK_LAYER, 1) + mac
        sending.sendto(head + IPv6Address(address).packed + option, (_ALL_NODES, 0, 0, index))


def question(mac: bytes, address: bytes) -> bytes:
    """Who has `address`? As in the detection of duplicates (RFC 4862, section 5.4.2) it names no sender."""
    group = _SOLICITED_NODE + address[13:]
    blank = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address
    pseudo = bytes(16) + group + struct.pack("!II", len(blank), socket.IPPROTO_ICMPV6)
    message = struct.pack("!BBHI", _SOLICITATION, 0, internet_checksum(pseudo + blank), 0) + address
    packet = struct.pack("!IHBB", 6 << 28, len(message), socket.IPPROTO_ICMPV6, _HOPS) + bytes(16) + group
    return b"\x33\x33" + group[12:] + mac + struct.pack("!H", ETH_P_IPV6) + packet + message


def claimant(frame: bytes, address: bytes) -> bytes | None:
    """The MAC that this frame says `address` lives at; None if it claims no such thing."""
    if len(frame) < _OPTIONS or frame[12:14] != struct.pack("!H", ETH_P_IPV6) or frame[_TARGET:_OPTIONS] != address:
        return None
    if (frame[_PACKET + 6], frame[_PACKET + 7]) != (socket.IPPROTO_ICMPV6, _HOPS):
        return None
    if (frame[_ICMP], frame[_ICMP + 1]) != (_ADVERTISEMENT, 0):
        return None
    at = _OPTIONS
    while at + 8 <= len(frame) and frame[at + 1] > 0:
        if frame[at] == _TARGET_LINK_LAYER:
            return frame[at + 2 : at + 8]
        at += 8 * frame[at + 1]
    # It may be left out of an answer to a single node; then the frame itself comes from there.
    return frame[6:12]
