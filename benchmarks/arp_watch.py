"""Runs in the initiator: says when a node announces an address, by the clock that the writer uses.

    python3 -m benchmarks.arp_watch INTERFACE

One line for each packet of ARP: the sender's address, its MAC, and CLOCK_MONOTONIC in seconds.
"""

from __future__ import annotations

import os
import socket
import sys
import time

_ETH_P_ARP = 0x0806
_HEADER_BYTES = 14


def parse(frame: bytes) -> tuple[str, str] | None:
    """Address and MAC of the sender of an ARP packet for IPv4 (RFC 826); None for anything else."""
    packet = frame[_HEADER_BYTES:]
    if frame[12:14] != b"\x08\x06" or len(packet) < 28 or packet[:6] != b"\x00\x01\x08\x00\x06\x04":
        return None
    return socket.inet_ntoa(packet[14:18]), packet[8:14].hex(":")


def main() -> None:
    """Watch until killed."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP)) as listening:
        listening.bind((sys.argv[1], _ETH_P_ARP))
        os.write(1, b"ready\n")
        while True:
            frame = listening.recv(2048)
            now_s = time.monotonic()
            if said := parse(frame):
                os.write(1, f"{said[0]} {said[1]} {now_s:.6f}\n".encode())


if __name__ == "__main__":
    main()
