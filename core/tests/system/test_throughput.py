"""Bursts over real sockets and reads of real files, within their bounds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from pathlib import Path

import pytest

from holdfast.system import throughput
from holdfast.system.throughput import disk_rate, receive_burst, send_burst

# An address of this process: other tests have the port on theirs.
ADDRESS = f"127.{os.getpid() // 254 % 254 + 1}.{os.getpid() % 254 + 1}.2"
PORT = 7990
BOUND_S = 2.0


async def test_a_burst_arrives_at_some_rate_within_its_bounds() -> None:
    began_s = time.monotonic()
    rate = await send_burst(ADDRESS, PORT, ADDRESS, lambda word: receive_burst(ADDRESS, ADDRESS, PORT, word))
    assert rate > 1024 * 1024
    assert time.monotonic() - began_s < BOUND_S


async def test_an_address_is_the_same_in_whatever_form_it_is_written() -> None:
    rate = await send_burst("::1", PORT, "0:0:0:0:0:0:0:1", lambda word: receive_burst("::1", "::1", PORT, word))
    assert rate > 1024 * 1024


async def test_who_has_not_the_word_gets_nothing() -> None:
    async def ask(word: str) -> bytes:
        def steal() -> bytes:
            with socket.create_connection((ADDRESS, PORT), 1, (ADDRESS, 0)) as connection:
                connection.sendall(b"x" * len(word))
                return connection.recv(1)

        return await asyncio.to_thread(steal)

    assert await send_burst(ADDRESS, PORT, ADDRESS, ask) == b""
    with pytest.raises(OSError, match="word"):
        await send_burst(ADDRESS, PORT, ADDRESS, lambda word: receive_burst(ADDRESS, ADDRESS, PORT, "y" * len(word)))


async def test_who_else_comes_first_keeps_nobody_from_being_sent_to() -> None:
    stranger = ADDRESS[:-1] + "3"

    async def ask(word: str) -> tuple[list[bytes], int]:
        def knock(local: str, data: bytes) -> socket.socket:
            knocking = socket.create_connection((ADDRESS, PORT), 1, source_address=(local, 0))
            knocking.sendall(data)
            return knocking

        with contextlib.ExitStack() as stack:
            # The word itself from somewhere else; from the right place nothing, something else, and too much of it.
            tries = [(stranger, word.encode()), (ADDRESS, b""), (ADDRESS, b"x"), (ADDRESS, b"x" * 100_000)]
            knocking = [stack.enter_context(await asyncio.to_thread(knock, *each)) for each in tries]
            rate = await receive_burst(ADDRESS, ADDRESS, PORT, word)
            return [await asyncio.to_thread(_all_of, each) for each in knocking], rate

    got, rate = await send_burst(ADDRESS, PORT, ADDRESS, ask)
    assert got == [b""] * 4
    assert rate > 1024 * 1024


def _all_of(connection: socket.socket) -> bytes:
    connection.settimeout(1)
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(4096):
            got += data
    return got


async def test_nobody_who_comes_ends_it_and_frees_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "CONNECT_S", 0.2)

    async def ask(word: str) -> str:
        return word

    for _ in range(2):
        assert len(await send_burst(ADDRESS, PORT, ADDRESS, ask)) == throughput.TOKEN_BYTES


async def test_a_slow_receiver_is_sent_to_no_longer_than_the_bound() -> None:
    async def ask(word: str) -> float:
        def dawdle() -> float:
            began_s = time.monotonic()
            with socket.create_connection((ADDRESS, PORT), 1, (ADDRESS, 0)) as connection:
                connection.sendall(word.encode())
                while connection.recv(4096):
                    time.sleep(0.01)
                    if time.monotonic() - began_s > BOUND_S:
                        break
            return time.monotonic() - began_s

        return await asyncio.to_thread(dawdle)

    began_s = time.monotonic()
    await send_burst(ADDRESS, PORT, ADDRESS, ask)
    assert time.monotonic() - began_s < 2 * BOUND_S


async def test_no_receiver_where_nobody_listens() -> None:
    with pytest.raises(OSError, match="refused"):
        await receive_burst(ADDRESS, ADDRESS, PORT + 1, "0" * throughput.TOKEN_BYTES)


async def test_a_device_is_read_and_one_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.write_bytes(bytes(3 * 1024 * 1024 + 4096))
    assert await disk_rate(device) > 1024 * 1024
    with pytest.raises(FileNotFoundError):
        await disk_rate(tmp_path / "absent")
