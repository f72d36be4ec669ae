"""Announcing an IPv6 address: the unsolicited neighbour advertisement."""

from __future__ import annotations

import fcntl
import socket
import struct
from ipaddress import IPv6Address

_ADVERTISEMENT = 136
_OVERRIDE = 0x20000000
_TARGET_LINK_LAYER = 2
_SIOCGIFHWADDR = 0x8927
_ALL_NODES = "ff02::1"


def send_advertisement(interface: str, address: str) -> None:
    """Tell all nodes of the link that `address` lives here. Raises OSError if the interface cannot send."""
    index = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6) as sending:
        answer: bytes = fcntl.ioctl(sending, _SIOCGIFHWADDR, struct.pack("256s", interface.encode()[:15]))
        # Receivers discard what may have crossed a router: the hop limit must be untouched.
        sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sending.bind((address, 0, 0, index))
        head = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE)  # the kernel fills in the checksum
        option = struct.pack("!BB", _TARGET_LINK_LAYER, 1) + answer[18:24]
        sending.sendto(head + IPv6Address(address).packed + option, (_ALL_NODES, 0, 0, index))
