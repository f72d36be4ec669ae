"""Zeroing: whole, checked, stoppable, limited. The device here is a file; the kernel's own way is shown in the lab."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from holdfast.errors import NotFoundError, VerificationError
from holdfast_rep_block.zeroing import Pace, next_piece_bytes, zero_device

MIB = 1024 * 1024
SIZE = 10 * MIB + 4096


class SteppingClock:
    """Time passes only by sleeping, and by what a device is said to take."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def boot_s(self) -> float:
        return self.now_s

    def now(self) -> object:
        raise AssertionError

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)
        self.now_s += delay_s


class Device:
    """A file in the place of a device, and what was done to it in which order."""

    def __init__(self, path: Path, clock: SteppingClock) -> None:
        self.path = path
        self.done: list[tuple[str, int, int]] = []
        self.takes_s = 0.0
        self._clock = clock

    def zero(self, descriptor: int, offset: int, length: int) -> None:
        os.pwrite(descriptor, bytes(length), offset)
        self.done.append(("zero", offset, length))
        self._clock.now_s += self.takes_s

    @property
    def pieces(self) -> list[int]:
        return [length for what, _, length in self.done if what == "zero"]


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def pace(clock: SteppingClock) -> Pace:
    return Pace(clock)  # type: ignore[arg-type]  # no wall clock


@pytest.fixture
def device(tmp_path: Path, clock: SteppingClock, monkeypatch: pytest.MonkeyPatch) -> Device:
    path = tmp_path / "device"
    path.write_bytes(b"\xa5" * SIZE)
    made = Device(path, clock)
    really = os.fsync

    def flush(descriptor: int) -> None:
        really(descriptor)
        made.done.append(("flush", 0, 0))

    monkeypatch.setattr(os, "fsync", flush)
    return made


async def test_every_byte_becomes_zero_in_pieces_that_grow_on_a_fast_device(device: Device, pace: Pace) -> None:
    assert await zero_device(device.path, pace, zero=device.zero) == SIZE
    assert device.path.read_bytes() == bytes(SIZE)
    assert device.pieces == [4 * MIB, SIZE - 4 * MIB]


async def test_a_range_leaves_the_rest(device: Device, pace: Pace) -> None:
    await zero_device(device.path, pace, start_bytes=4096, end_bytes=8192, zero=device.zero)
    found = device.path.read_bytes()
    assert found[4096:8192] == bytes(4096)
    assert found.count(0) == 4096


async def test_what_was_zeroed_before_is_left_and_looked_at(device: Device, pace: Pace) -> None:
    with device.path.open("r+b") as file:
        file.write(bytes(6 * MIB))
    assert await zero_device(device.path, pace, done_bytes=6 * MIB, zero=device.zero) == SIZE
    assert device.done[0] == ("zero", 6 * MIB, 4 * MIB)
    assert device.path.read_bytes() == bytes(SIZE)


async def test_what_was_wrongly_said_to_be_zero_is_found_out(device: Device, pace: Pace) -> None:
    with pytest.raises(VerificationError):
        await zero_device(device.path, pace, done_bytes=6 * MIB, zero=device.zero)


async def test_a_device_that_only_pretends_is_found_out(device: Device, pace: Pace) -> None:
    def forget_the_last_piece(descriptor: int, offset: int, length: int) -> None:
        if offset + length < SIZE:
            device.zero(descriptor, offset, length)

    with pytest.raises(VerificationError):
        await zero_device(device.path, pace, zero=forget_the_last_piece)


@pytest.mark.parametrize("place", [0, 5_150_000, SIZE - 1])
async def test_a_byte_that_was_left_where_a_sample_is_read_is_found_out(device: Device, pace: Pace, place: int) -> None:
    def leave_one(descriptor: int, offset: int, length: int) -> None:
        device.zero(descriptor, offset, length)
        os.pwrite(descriptor, b"\1", place)

    with pytest.raises(VerificationError):
        await zero_device(device.path, pace, zero=leave_one)


async def test_what_lies_before_or_behind_a_range_is_no_matter(device: Device, pace: Pace) -> None:
    assert await zero_device(device.path, pace, start_bytes=4096, end_bytes=8 * MIB, zero=device.zero) == 8 * MIB - 4096


@pytest.mark.parametrize("most_s", [0.0, 1.5])
async def test_when_its_time_is_over_it_tells_only_what_was_flushed(
    device: Device, clock: SteppingClock, most_s: float
) -> None:
    device.takes_s = 1.0
    pace = Pace(clock, most_s)  # type: ignore[arg-type]
    done = await zero_device(device.path, pace, zero=device.zero)
    # A slow device gets smaller pieces.
    assert device.pieces == ([4 * MIB] if most_s == 0.0 else [4 * MIB, 2 * MIB])
    assert done == sum(device.pieces)
    assert device.done[-1] == ("flush", 0, 0)
    found = device.path.read_bytes()
    assert (found[:done].count(0), found[done:].count(0)) == (done, 0)


@pytest.mark.parametrize("takes_s", [0.0, 0.05, 0.3])
async def test_a_limit_makes_pieces_small_and_holds_whatever_the_device_takes(
    device: Device, clock: SteppingClock, takes_s: float
) -> None:
    limit_bytes_s = 4 * MIB
    device.takes_s, began_s = takes_s, clock.now_s
    await zero_device(device.path, Pace(clock, None, limit_bytes_s), zero=device.zero)  # type: ignore[arg-type]
    assert max(device.pieces) == limit_bytes_s // 8
    least_s = max(SIZE / limit_bytes_s, takes_s * len(device.pieces))
    assert clock.now_s - began_s == pytest.approx(least_s, abs=0.06)  # the last piece is a small one
    # A device that is slower than the limit is not held up besides.
    assert (takes_s > limit_bytes_s // 8 / limit_bytes_s) == (clock.slept_s == [])


@pytest.mark.parametrize(
    ("piece_bytes", "took_s", "next_bytes"),
    [
        (4 * MIB, 0.01, 8 * MIB),
        (4 * MIB, 0.2, 4 * MIB),
        (4 * MIB, 2.0, 2 * MIB),
        (200 * MIB, 0.01, 256 * MIB),
        (64 * 1024, 9.0, 64 * 1024),
    ],
)
def test_the_next_piece_follows_the_device(piece_bytes: int, took_s: float, next_bytes: int) -> None:
    assert next_piece_bytes(piece_bytes, took_s, 256 * MIB) == next_bytes


async def test_cancelled_it_ends_after_the_piece_under_way(device: Device, pace: Pace) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(descriptor: int, offset: int, length: int) -> None:
        inside.set()
        go_on.wait(5)
        device.zero(descriptor, offset, length)

    task = asyncio.ensure_future(zero_device(device.path, pace, zero=slow))
    await asyncio.to_thread(inside.wait, 5)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done(), "the descriptor must not be closed under the thread that uses it"
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(device.pieces) == 1


async def test_an_absent_device_is_told(tmp_path: Path, pace: Pace) -> None:
    with pytest.raises(NotFoundError):
        await zero_device(tmp_path / "absent", pace)
