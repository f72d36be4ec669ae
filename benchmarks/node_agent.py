"""Runs in a node: the mirror driver, as the tests have it there, and what a benchmark times in the node itself."""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import random
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from holdfast_rep_block.zeroing import zero_range
from tests.lab.mirror_agent import Agent, main

MIB = 1 << 20
_WITHIN_S = 240.0
_LOOK_EVERY_S = 0.02


class BenchAgent(Agent):
    """See Agent. What is timed is timed here, without the way to the node."""

    async def _do_zero_by_driver(self, _number: int, path: str, turn_s: float) -> float:
        """In turns, as the job that makes a mirror has it done."""
        size_bytes, done_bytes = size_of(path), 0
        began_s = time.perf_counter()
        while done_bytes < size_bytes:
            done_bytes = await self._driver.zero(path, done_bytes=done_bytes, most_s=turn_s)
        return time.perf_counter() - began_s

    async def _do_zero_by_one_call(self, _number: int, path: str) -> float:
        return await _timed(zero_at_once, path)

    async def _do_run(self, _number: int, argv: list[str]) -> float:
        return await _timed(run, argv)

    async def _do_fill(self, _number: int, path: str, seed: int, start: int, length: int) -> float:
        return await _timed(fill, path, seed, start, length)

    async def _do_digest(self, _number: int, path: str, start: int, length: int) -> str:
        return await asyncio.to_thread(digest, path, start, length)

    async def _do_time_reading(self, _number: int, path: str, length: int) -> float:
        return await _timed(digest, path, 0, length, False)

    async def _do_is_zero(self, _number: int, path: str, length: int) -> bool:
        return await asyncio.to_thread(is_zero, path, length)

    async def _do_sink(self, _number: int, address: str, port: int) -> int:
        return await asyncio.to_thread(sink, address, port)

    async def _do_stream(self, _number: int, address: str, port: int, length: int) -> float:
        return await _timed(stream, address, port, length)

    async def _do_sent_bytes(self, _number: int) -> int:
        return await asyncio.to_thread(sent_bytes)

    async def _do_wait_equal(self, _number: int, minor: int) -> None:
        await asyncio.to_thread(wait_equal, minor)

    async def _do_resync(self, _number: int, minor: int, command: list[str]) -> float:
        """Seconds from the command that starts it to both sides being equal."""
        began_s = time.perf_counter()
        await asyncio.to_thread(run, command)
        await asyncio.to_thread(wait_equal, minor)
        return time.perf_counter() - began_s


async def _timed(work: Callable[..., Any], *arguments: Any) -> float:
    def both() -> float:
        began_s = time.perf_counter()
        work(*arguments)
        return time.perf_counter() - began_s

    return await asyncio.to_thread(both)


def sent_bytes() -> int:
    """What the node has sent on the replication network since it was booted, headers included."""
    return int(Path("/sys/class/net/replication/statistics/tx_bytes").read_text())


def run(argv: list[str]) -> None:
    """Run a command to its end, which must be a good one."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=_WITHIN_S)
    if done.returncode:
        raise OSError(done.returncode, f"{argv}: {done.stderr}{done.stdout}")


def size_of(path: str) -> int:
    """Of a block device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)


def zero_at_once(path: str) -> None:
    """The least that any program must do: tell the kernel to zero all of it."""
    descriptor = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    try:
        zero_range(descriptor, 0, os.lseek(descriptor, 0, os.SEEK_END))
    finally:
        os.close(descriptor)


def fill(path: str, seed: int, start: int, length: int) -> None:
    """Write what no other seed writes, each MiB marked with its place, past the page cache."""
    with mmap.mmap(-1, MIB) as buffer:
        buffer[:] = random.Random(seed).randbytes(MIB)  # noqa: S311 - data, no secret
        descriptor = os.open(path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        try:
            for offset in range(start, start + length, MIB):
                buffer[:8] = offset.to_bytes(8, "little")
                if os.pwrite(descriptor, buffer, offset) != MIB:
                    raise OSError(5, f"{path} took only a part of a MiB at {offset}")
        finally:
            os.close(descriptor)


def chunks(path: str, start: int, length: int) -> Iterator[bytes | mmap.mmap]:
    """What lies on a device, read past the page cache, MiB by MiB."""
    with mmap.mmap(-1, MIB) as buffer:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        try:
            for offset in range(start, start + length, MIB):
                if os.preadv(descriptor, [buffer], offset) != MIB:
                    raise OSError(5, f"{path} gave only a part of a MiB at {offset}")
                yield buffer
        finally:
            os.close(descriptor)


def digest(path: str, start: int, length: int, is_asked: bool = True) -> str:
    """A checksum of a range; with `is_asked` False it is read only."""
    found = hashlib.sha1(usedforsecurity=False)
    for chunk in chunks(path, start, length):
        if is_asked:
            found.update(chunk)
    return found.hexdigest()


def is_zero(path: str, length: int) -> bool:
    """Whether every byte of it is zero."""
    nothing = bytes(MIB)
    return all(bytes(chunk) == nothing for chunk in chunks(path, 0, length))


def sink(address: str, port: int) -> int:
    """Take what one peer sends, and tell it how much it was."""
    taken, buffer = 0, bytearray(MIB)
    with socket.create_server((address, port)) as door:
        door.settimeout(_WITHIN_S)
        peer, _ = door.accept()
        with peer:
            while got := peer.recv_into(buffer):
                taken += got
            peer.sendall(taken.to_bytes(8, "big"))
    return taken


def stream(address: str, port: int, length: int) -> None:
    """Send so much by one TCP connection, and wait until it is there."""
    until_s = time.monotonic() + 10
    while True:
        try:
            peer = socket.create_connection((address, port), timeout=_WITHIN_S)
            break
        except ConnectionRefusedError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.05)
    with peer:
        piece = bytes(MIB)
        for _ in range(length // MIB):
            peer.sendall(piece)
        peer.shutdown(socket.SHUT_WR)
        if int.from_bytes(peer.recv(8), "big") != length:
            raise OSError(5, "the peer did not get all of it")


def wait_equal(minor: int) -> None:
    """Look at /proc/drbd until both sides are connected and UpToDate."""
    line = re.compile(rf"^\s*{minor}: cs:Connected ro:\S+ ds:UpToDate/UpToDate ", re.MULTILINE)
    until_s = time.monotonic() + _WITHIN_S
    while not line.search(found := Path("/proc/drbd").read_text()):
        if time.monotonic() > until_s:
            raise OSError(110, f"minor {minor} did not become equal: {found}")
        time.sleep(_LOOK_EVERY_S)


if __name__ == "__main__":
    asyncio.run(main(BenchAgent))
