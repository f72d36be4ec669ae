"""Who acknowledged which write, from the frames on the wire; and whether two nodes did so at once.

Pure: frames with their instants go in. iSCSI as in RFC 7143, 11.2 to 11.4: 48 bytes of header, then data padded to 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

PORT = 3260
_HEADER_BYTES = 48
_SEQUENCES = 1 << 32
_TCP, _IPV4 = 6, b"\x08\x00"
_COMMAND, _RESPONSE = 0x01, 0x21
_OPCODES = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3F}
_WRITES = {0x0A, 0x2A, 0x8A, 0xAA, 0x2E, 0x8E}


class Frame(NamedTuple):
    """An Ethernet frame on the cable of a node."""

    node: str
    is_from_node: bool
    at_s: float
    data: bytes


@dataclass(frozen=True)
class Ack:
    """A write that a node answered with GOOD."""

    node: str
    asked_s: float
    """When the command was on that node's cable."""
    answered_s: float


class _Pdus:
    """The headers in one direction of a connection."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._partial = b""
        self._skip = 0

    def feed(self, sequence: int, data: bytes) -> Iterator[bytes]:
        """Headers that are whole by now. What was sent again counts once; after a hole it begins anew."""
        if self._next is None:
            self._next = sequence
        behind = (self._next - sequence) % _SEQUENCES
        if behind < _SEQUENCES // 2:
            data = data[behind:]
        else:
            self._next, self._partial, self._skip = sequence, b"", 0
        self._next = (self._next + len(data)) % _SEQUENCES
        while data:
            if self._skip:
                taken = min(self._skip, len(data))
                self._skip -= taken
                data = data[taken:]
                continue
            wanted = _HEADER_BYTES - len(self._partial)
            self._partial, data = self._partial + data[:wanted], data[wanted:]
            if self._partial[0] & 0x3F not in _OPCODES:
                self._partial = b""  # in the middle of something: the next segment may begin with a header
                return
            if len(self._partial) == _HEADER_BYTES:
                header, self._partial = self._partial, b""
                length = int.from_bytes(header[5:8])
                self._skip = 4 * header[4] + (length + 3) // 4 * 4
                yield header


@dataclass
class _Connection:
    to_node: _Pdus = field(default_factory=_Pdus)
    from_node: _Pdus = field(default_factory=_Pdus)
    asked_s: dict[bytes, float] = field(default_factory=dict)
    """Writes that are not answered yet, by their tags."""


class Acks:
    """Collects acknowledged writes from frames; those of one node in the order in which they were on its cable."""

    def __init__(self, address: str) -> None:
        """`address` is the virtual one."""
        self.seen: list[Ack] = []
        self._address = bytes(map(int, address.split(".")))
        self._connections: dict[tuple[str, bytes], _Connection] = {}

    def take(self, frame: Frame) -> None:
        """Look at a frame; what is not iSCSI to or from the address is nothing."""
        data = frame.data
        if len(data) < 54 or data[12:14] != _IPV4 or data[23] != _TCP:
            return
        transport = 14 + 4 * (data[14] & 0x0F)
        source, destination = struct.unpack_from("!HH", data, transport)
        mine, theirs = (data[26:30], data[30:34]) if frame.is_from_node else (data[30:34], data[26:30])
        if mine != self._address or (source if frame.is_from_node else destination) != PORT:
            return
        client = theirs + (destination if frame.is_from_node else source).to_bytes(2)
        if data[transport + 13] & 0x02:  # a SYN: whatever had this port before is over
            self._connections.pop((frame.node, client), None)
            return
        end = 14 + int.from_bytes(data[16:18])
        payload = data[transport + 4 * (data[transport + 12] >> 4) : end]
        if not payload:
            return
        connection = self._connections.setdefault((frame.node, client), _Connection())
        sequence = int.from_bytes(data[transport + 4 : transport + 8])
        pdus = connection.from_node if frame.is_from_node else connection.to_node
        for header in pdus.feed(sequence, payload):
            self._take_header(frame, connection, header)

    def _take_header(self, frame: Frame, connection: _Connection, header: bytes) -> None:
        opcode, tag = header[0] & 0x3F, header[16:20]
        if not frame.is_from_node and opcode == _COMMAND and header[32] in _WRITES:
            connection.asked_s[tag] = frame.at_s
        elif frame.is_from_node and opcode == _RESPONSE:
            asked_s = connection.asked_s.pop(tag, None)
            if asked_s is not None and header[2:4] == b"\0\0":
                self.seen.append(Ack(frame.node, asked_s, frame.at_s))


@dataclass(frozen=True)
class Reigns:
    """Who acknowledged writes, one after the other."""

    nodes: tuple[str, ...]
    late: int
    """Answers to commands of before the other node began: a kernel that was paused sends what it had ready."""


def reigns(acks: Iterable[Ack]) -> Reigns:
    """Who acknowledged, in turns. Two nodes that do so at once are many turns, more than there were takeovers."""
    nodes: list[str] = []
    began_s, late = 0.0, 0
    for ack in sorted(acks, key=lambda ack: ack.answered_s):
        if nodes and ack.node == nodes[-1]:
            continue
        if nodes and ack.asked_s < began_s:
            late += 1
            continue
        nodes.append(ack.node)
        began_s = ack.answered_s
    return Reigns(tuple(nodes), late)
