"""The one request that is not made by drbdsetup: it would show the peers' secret in its argument list.

Generic netlink as in linux/netlink.h, linux/genetlink.h; DRBD's own words are in linux/drbd_genl.h. Encoding and
decoding are pure; `ask` is the only part that talks.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.errors import UnavailableError
from holdfast.hooks.replication import MirrorEndpoint

_NETLINK_GENERIC = 16
_CONTROLLER = 0x10
_ERROR = 2
_REQUEST = 0x1
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF

_GET_FAMILY = 3
_FAMILY_ID, _FAMILY_NAME = 1, 2
_FAMILY = "drbd"
_VERSION = 1

_REPLY, _CONTEXT = 1, 2
_INFO_TEXT = 1
_RESOURCE_NAME, _MY_ADDRESS, _PEER_ADDRESS = 2, 3, 4
_NO_MINOR = 0xFFFFFFFF

_ANSWER_S = 20.0
_LARGEST_ANSWER_BYTES = 65536

# drbd.h, enum drbd_ret_code and drbd_state_rv: what means that it was done.
_DONE = (101, 1)


@dataclass(frozen=True)
class Answer:
    """What DRBD said: its number, and its own words if it had any."""

    number: int
    text: str

    @property
    def is_done(self) -> bool:
        """Whether it did what was asked."""
        return self.number in _DONE


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute with its padding."""
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Attributes within one."""
    return attribute(kind | _NESTED, b"".join(attributes))


def u32(kind: int, value: int) -> bytes:
    """A number."""
    return attribute(kind, struct.pack("=I", value))


def flag(kind: int, value: bool) -> bytes:
    """A yes or no; DRBD keeps them as bytes."""
    return attribute(kind, bytes([value]))


def text(kind: int, value: str) -> bytes:
    """A text, ended by zero."""
    return attribute(kind, value.encode() + b"\0")


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Take attributes apart."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & _TYPE_MASK, data[at + 4 : at + length]
        at += length + -length % 4


def socket_address(endpoint: MirrorEndpoint) -> bytes:
    """An address as the kernel keeps it: struct sockaddr_in or sockaddr_in6."""
    address = ipaddress.ip_address(endpoint.address)
    port = struct.pack("!H", endpoint.port)
    if address.version == 6:
        return struct.pack("=H", socket.AF_INET6) + port + bytes(4) + address.packed + bytes(4)
    return struct.pack("=H", socket.AF_INET) + port + address.packed + bytes(8)


def context(name: str, local: MirrorEndpoint, remote: MirrorEndpoint) -> bytes:
    """Which connection of which resource is meant."""
    return nested(
        _CONTEXT,
        text(_RESOURCE_NAME, name),
        attribute(_MY_ADDRESS, socket_address(local)),
        attribute(_PEER_ADDRESS, socket_address(remote)),
    )


def message(family: int, command: int, header: bytes, payload: bytes, sequence: int) -> bytes:
    """One request whole."""
    body = struct.pack("=BBH", command, _VERSION, 0) + header + payload
    return struct.pack("=IHHII", 16 + len(body), family, _REQUEST, sequence, 0) + body


def parse_answer(data: bytes) -> Answer:
    """Read an answer of DRBD. Raises UnavailableError for one of netlink itself."""
    body = _body(data)
    (number,) = struct.unpack_from("=i", body, 8)
    words = ""
    for kind, payload in attributes(body[12:]):
        if kind == _REPLY:
            texts = [value for inner, value in attributes(payload) if inner == _INFO_TEXT]
            words = "; ".join(value.rstrip(b"\0").decode(errors="replace") for value in texts)
    return Answer(number, words)


def parse_family(data: bytes) -> int:
    """The number that the kernel gave the family. Raises UnavailableError."""
    for kind, payload in attributes(_body(data)[4:]):
        if kind == _FAMILY_ID:
            return int(struct.unpack("=H", payload)[0])
    raise UnavailableError("the kernel answers netlink requests for DRBD in a form that is not known")


def _body(data: bytes) -> bytes:
    if len(data) < 20:
        raise UnavailableError("the kernel's answer to a netlink request is cut off")
    _, kind, _, _, _ = struct.unpack_from("=IHHII", data)
    if kind == _ERROR:
        (number,) = struct.unpack_from("=i", data, 16)
        raise UnavailableError(f"the kernel refuses a netlink request: {socket_error(-number)}")
    return data[16:]


def socket_error(number: int) -> str:
    """An error number in words."""
    return os.strerror(number)


def ask(command: int, payload: bytes, *, family_name: str = _FAMILY) -> Answer:
    """Make DRBD carry out a command, and return what it answers. It blocks: call it in a thread.

    Raises UnavailableError when there is no DRBD, or no answer: then the effect is unknown.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC) as door:
            door.settimeout(_ANSWER_S)
            door.bind((0, 0))
            door.send(message(_CONTROLLER, _GET_FAMILY, b"", text(_FAMILY_NAME, family_name), 1))
            family = parse_family(door.recv(_LARGEST_ANSWER_BYTES))
            header = struct.pack("=II", _NO_MINOR, 0)
            door.send(message(family, command, header, payload, 2))
            return parse_answer(door.recv(_LARGEST_ANSWER_BYTES))
    except OSError as reason:
        raise UnavailableError(f"DRBD cannot be reached by netlink: {reason}") from reason
