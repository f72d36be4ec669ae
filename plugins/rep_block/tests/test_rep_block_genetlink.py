"""The encoding of the one request that goes by netlink."""

from __future__ import annotations

import struct

import pytest

from holdfast.errors import UnavailableError
from holdfast.hooks.replication import MirrorEndpoint
from holdfast_rep_block import genetlink as netlink


def answer_of(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 2, 0) + body


def drbd(number: int, payload: bytes = b"") -> bytes:
    return answer_of(30, struct.pack("=BBHIi", 10, 1, 0, 0xFFFFFFFF, number) + payload)


def test_attributes_are_padded_and_can_be_taken_apart() -> None:
    data = netlink.text(1, "abc") + netlink.u32(2, 7) + netlink.flag(3, True)
    assert len(data) % 4 == 0
    assert dict(netlink.attributes(data)) == {1: b"abc\0", 2: b"\7\0\0\0", 3: b"\1"}


def test_a_nested_attribute_is_marked_as_such() -> None:
    data = netlink.nested(5, netlink.u32(6, 3))
    assert struct.unpack_from("=HH", data) == (12, 5 | 0x8000)
    assert dict(netlink.attributes(data)) == {5: netlink.u32(6, 3)}


def test_addresses_are_the_kernels_structures() -> None:
    v4 = netlink.socket_address(MirrorEndpoint("10.77.2.11", 7790))
    assert v4 == b"\x02\x00\x1e\x6e\x0a\x4d\x02\x0b" + bytes(8)
    v6 = netlink.socket_address(MirrorEndpoint("fd00::1", 7790))
    assert (len(v6), v6[:4], v6[8:10], v6[23]) == (28, b"\x0a\x00\x1e\x6e", b"\xfd\x00", 1)


def test_a_request_says_how_long_it_is() -> None:
    data = netlink.message(30, 10, bytes(8), netlink.u32(1, 1), 2)
    assert struct.unpack_from("=IHHII", data) == (len(data), 30, 1, 2, 0)


@pytest.mark.parametrize(("number", "is_done"), [(101, True), (1, True), (125, False), (-1, False)])
def test_an_answer_says_whether_it_was_done(number: int, is_done: bool) -> None:
    assert netlink.parse_answer(drbd(number)).is_done is is_done


def test_the_kernels_words_are_kept() -> None:
    reply = netlink.nested(1, netlink.text(1, "connection already exists"))
    assert netlink.parse_answer(drbd(125, reply)) == netlink.Answer(125, "connection already exists")


@pytest.mark.parametrize("data", [b"", b"short", answer_of(2, struct.pack("=i", -2) + bytes(16))])
def test_what_is_no_answer_of_drbd_is_an_error(data: bytes) -> None:
    with pytest.raises(UnavailableError):
        netlink.parse_answer(data)
    with pytest.raises(UnavailableError):
        netlink.parse_family(data)


def test_the_family_is_found_by_its_name() -> None:
    body = struct.pack("=BBH", 1, 2, 0) + netlink.text(2, "drbd") + netlink.attribute(1, struct.pack("=H", 30))
    assert netlink.parse_family(answer_of(16, body)) == 30


def test_a_kernel_without_the_family_is_told() -> None:
    with pytest.raises(UnavailableError):
        netlink.ask(10, b"", family_name="nobody-has-it")
