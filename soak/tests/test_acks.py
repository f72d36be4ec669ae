"""From frames it is known who acknowledged which write, and two nodes that do so at once are found."""

from __future__ import annotations

import struct

import pytest

from soak.acks import Ack, Acks, Frame, reigns

ADDRESS, CLIENT = "10.77.1.200", "10.77.1.21"
GOOD, CHECK_CONDITION = 0, 2
WRITE, READ = 0x2A, 0x28


def frame(node: str, at_s: float, payload: bytes, sequence: int, *, is_answer: bool, port: int, flags: int) -> Frame:
    packed = [bytes(map(int, address.split("."))) for address in (CLIENT, ADDRESS)]
    ports = (port, 3260)
    if is_answer:
        packed, ports = packed[::-1], ports[::-1]
    tcp = struct.pack("!HHIIBBHHH", *ports, sequence % (1 << 32), 0, 5 << 4, flags, 0, 0, 0)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0) + b"".join(packed)
    data = bytes(12) + b"\x08\x00" + ip + tcp + payload
    return Frame(node, is_answer, at_s, data.ljust(60, b"\0"))


def command(tag: int, operation: int = WRITE, data: bytes = b"") -> bytes:
    header = bytearray(48)
    header[0], header[5:8], header[16:20], header[32] = 0x01, len(data).to_bytes(3), tag.to_bytes(4), operation
    return bytes(header) + data + bytes(-len(data) % 4)


def response(tag: int, status: int = GOOD) -> bytes:
    header = bytearray(48)
    header[0], header[3], header[16:20] = 0x21, status, tag.to_bytes(4)
    return bytes(header)


class Wire:
    """Frames of one connection to a node."""

    def __init__(self, acks: Acks, node: str, port: int = 40000, first: int = 0xFFFFFFC0) -> None:
        self.acks, self.node, self.port = acks, node, port
        self.sequences = {False: first, True: first}
        self.acks.take(frame(node, 0, b"", first, is_answer=False, port=port, flags=0x02))

    def send(self, at_s: float, payload: bytes, *, is_answer: bool, again_bytes: int = 0, lost_bytes: int = 0) -> None:
        sequence = self.sequences[is_answer] + lost_bytes - again_bytes
        self.acks.take(frame(self.node, at_s, payload, sequence, is_answer=is_answer, port=self.port, flags=0x18))
        self.sequences[is_answer] = sequence + len(payload)

    def write(self, tag: int, at_s: float) -> None:
        self.send(at_s, command(tag, data=bytes(4096)), is_answer=False)
        self.send(at_s + 0.001, response(tag), is_answer=True)


@pytest.fixture
def acks() -> Acks:
    return Acks(ADDRESS)


@pytest.fixture
def wire(acks: Acks) -> Wire:
    return Wire(acks, "a")


def test_a_write_that_was_answered_good_is_acknowledged(acks: Acks, wire: Wire) -> None:
    wire.write(1, 5.0)
    wire.write(2, 6.0)
    assert acks.seen == [Ack("a", 5.0, 5.001), Ack("a", 6.0, 6.001)]


def test_reads_errors_and_answers_to_nothing_are_no_acknowledged_writes(acks: Acks, wire: Wire) -> None:
    wire.send(1.0, command(1, READ), is_answer=False)
    wire.send(1.1, command(2), is_answer=False)
    wire.send(1.2, response(1) + response(2, CHECK_CONDITION) + response(3), is_answer=True)
    assert acks.seen == []


def test_commands_are_found_wherever_segments_end(acks: Acks, wire: Wire) -> None:
    stream = command(1, data=bytes(4096)) + command(2, data=b"odd") + command(3)
    for at in range(0, len(stream), 1000):
        wire.send(1.0 + at / 1e6, stream[at : at + 1000], is_answer=False)
    wire.send(2.0, response(1) + response(2)[:20], is_answer=True)
    wire.send(2.1, response(2)[20:] + response(3), is_answer=True)
    assert [ack.answered_s for ack in acks.seen] == [2.0, 2.1, 2.1]


def test_what_was_sent_again_counts_once(acks: Acks, wire: Wire) -> None:
    wire.write(1, 1.0)
    wire.send(3.0, response(1), is_answer=True, again_bytes=48)
    wire.send(3.1, response(1) + response(1), is_answer=True, again_bytes=48)
    assert len(acks.seen) == 1


def test_after_a_hole_it_goes_on(acks: Acks, wire: Wire) -> None:
    wire.send(1.0, command(1, data=bytes(4096))[:1000], is_answer=False)
    wire.send(1.1, command(2), is_answer=False, lost_bytes=3144)
    wire.send(1.2, response(2), is_answer=True)
    assert len(acks.seen) == 1


def test_a_new_connection_from_the_same_port_is_another(acks: Acks, wire: Wire) -> None:
    wire.send(1.0, command(1), is_answer=False)
    again = Wire(acks, "a", first=77)
    again.send(2.0, response(1), is_answer=True)
    assert acks.seen == []
    again.write(1, 3.0)
    assert len(acks.seen) == 1


def test_what_only_passes_by_a_nodes_cable_is_not_its_answer(acks: Acks, wire: Wire) -> None:
    Wire(acks, "b").send(1.0, command(1, data=bytes(4096)), is_answer=False)
    wire.write(1, 1.0)
    assert {ack.node for ack in acks.seen} == {"a"}


@pytest.mark.parametrize("data", [b"", bytes(60), b"\xff" * 60, bytes(12) + b"\x08\x06" + bytes(60)])
def test_other_frames_are_nothing(acks: Acks, data: bytes) -> None:
    acks.take(Frame("a", True, 1.0, data))
    assert acks.seen == []


def test_a_takeover_is_one_turn_more() -> None:
    assert reigns([Ack("a", 1, 2), Ack("a", 3, 4), Ack("b", 5, 6), Ack("b", 7, 8)]).nodes == ("a", "b")


def test_two_nodes_that_acknowledge_at_once_are_many_turns() -> None:
    both = [Ack("ab"[turn % 2], turn, turn + 0.5) for turn in range(8)]
    assert reigns(both).nodes == ("a", "b") * 4


def test_one_write_acknowledged_by_who_was_replaced_is_two_turns_too_many() -> None:
    assert reigns([Ack("a", 1, 2), Ack("b", 5, 6), Ack("a", 7, 8), Ack("b", 8.5, 9)]).nodes == ("a", "b", "a", "b")


def test_an_answer_that_was_ready_before_the_other_began_is_late_and_no_turn() -> None:
    told = reigns([Ack("a", 1, 2), Ack("b", 5, 6), Ack("a", 4.9, 7), Ack("b", 7.5, 8)])
    assert (told.nodes, told.late) == (("a", "b"), 1)


def test_nobody_is_no_turn() -> None:
    assert reigns([]).nodes == ()
