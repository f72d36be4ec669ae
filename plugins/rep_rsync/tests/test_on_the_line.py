"""Between a copy and its agent: what can be read there, and what becomes of a copy whose line goes dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from holdfast.errors import UnavailableError
from holdfast.hooks.copying import CopyOptions
from holdfast.hooks.replication import AgentSpec, CopyRun
from holdfast.testing.certificates import make_identity
from holdfast.testing.ports import free_port
from holdfast.testing.trees import differences, read_tree
from plugins.rep_rsync.tests.machine import Machine, wait_until

MIB = 1 << 20
# What is left after the cut is more than what sockets keep: the sender stands still, and notices.
LARGE_BYTES = 64 * MIB
CUT_AT_BYTES = 24 * MIB
WORDS = b"what nobody on the line is to read"
SILENT_AFTER_S = 2


class Line:
    """Carries bytes between a port of its own and the agent's, keeps what it saw, and goes dead when told."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.port = free_port()
        self.seen = bytearray()
        self.is_alive = asyncio.Event()
        self.is_alive.set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def run(self) -> CopyRun:
        return replace(self.machine.run, agent=replace(self.machine.spec, port=self.port))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.seen += data
                await self.is_alive.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self.machine.spec.address, self.machine.spec.port)
        for one, other in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(one, other))
            self._tasks.add(task)

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[Line]:
        async with await asyncio.start_server(self._connect, "127.0.0.1", self.port):
            yield self
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture(params=["in clear", "encrypted"])
def transport(machine: Machine, request: pytest.FixtureRequest) -> str:
    if request.param == "encrypted":
        tls = make_identity(machine.directory / "keys", "a")
        machine.spec = AgentSpec(machine.spec.address, machine.spec.port, tls)
    return str(request.param)


async def test_content_and_names_are_read_on_the_line_only_in_clear(machine: Machine, transport: str) -> None:
    (machine.source / "a name of a file").write_bytes(WORDS * 1000)
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    async with Line(machine).up() as line:
        await driver.copy(line.run, lambda progress: None)
    assert len(line.seen) > 1000
    for text in (WORDS, b"a name of a file", b"copier"):
        assert (text in line.seen) is (transport == "in clear"), text
    # In clear neither: it is answered by challenge.
    assert b"right" not in line.seen


async def test_a_copy_whose_line_goes_dead_fails_in_time_and_the_next_one_goes_on(
    machine: Machine, transport: str
) -> None:
    (machine.source / "deep").mkdir()
    (machine.source / "deep/large").write_bytes(os.urandom(LARGE_BYTES))
    driver = await machine.open(io_timeout_s=SILENT_AFTER_S, agent_io_timeout_s=SILENT_AFTER_S, connect_timeout_s=2)
    await driver.start_agent(machine.spec, (machine.share,))
    async with Line(machine).up() as line:
        limited = replace(line.run, options=CopyOptions(bandwidth_bytes_s=32 * MIB))
        copying = asyncio.create_task(driver.copy(limited, lambda progress: None))
        await wait_until(lambda: len(line.seen) > CUT_AT_BYTES, within_s=10)
        line.is_alive.clear()
        async with asyncio.timeout(3 * SILENT_AFTER_S + 4):
            with pytest.raises(UnavailableError):
                await copying
    assert not (machine.replica / "deep/large").exists()
    result = await machine.copy(driver)
    print(f"{transport}: of {LARGE_BYTES} bytes {result.literal_bytes} were sent after the cut")
    assert result.literal_bytes < LARGE_BYTES - CUT_AT_BYTES * 3 // 4
    assert differences(read_tree(machine.source), read_tree(machine.replica)) == ()
