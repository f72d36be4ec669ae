"""Zeroing: whole, checked, stoppable. The device here is a file; the kernel's own way is shown in the lab."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from holdfast.errors import NotFoundError, VerificationError
from holdfast_rep_block import zeroing
from holdfast_rep_block.zeroing import zero_device

SIZE = 10 * 1024 * 1024 + 4096


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(zeroing, "CHUNK_BYTES", 1024 * 1024)
    path = tmp_path / "device"
    path.write_bytes(b"\xa5" * SIZE)
    return path


def content(device: Path) -> bytes:
    return device.read_bytes()


def write_zeros(descriptor: int, offset: int, length: int) -> None:
    os.pwrite(descriptor, bytes(length), offset)


async def test_every_byte_becomes_zero_and_progress_only_grows(device: Path) -> None:
    told: list[tuple[int, int]] = []
    await zero_device(device, lambda done, size: told.append((done, size)), zero=write_zeros)
    assert content(device) == bytes(SIZE)
    assert told == sorted(told)
    assert len(told) == 11
    assert told[-1] == (SIZE, SIZE)


async def test_a_range_leaves_the_rest(device: Path) -> None:
    await zero_device(device, start_bytes=4096, end_bytes=8192, zero=write_zeros)
    found = content(device)
    assert found[4096:8192] == bytes(4096)
    assert found.count(0) == 4096


async def test_a_device_that_only_pretends_is_found_out(device: Path) -> None:
    def forget_the_last_chunk(descriptor: int, offset: int, length: int) -> None:
        if offset + length < SIZE:
            write_zeros(descriptor, offset, length)

    with pytest.raises(VerificationError):
        await zero_device(device, zero=forget_the_last_chunk)


async def test_cancelled_it_ends_after_the_chunk_under_way(device: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()
    done: list[int] = []

    def slow(descriptor: int, offset: int, length: int) -> None:
        inside.set()
        go_on.wait(5)
        write_zeros(descriptor, offset, length)
        done.append(offset)

    task = asyncio.ensure_future(zero_device(device, zero=slow))
    await asyncio.to_thread(inside.wait, 5)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done(), "the descriptor must not be closed under the thread that uses it"
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [0]


async def test_an_absent_device_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        await zero_device(tmp_path / "absent")
