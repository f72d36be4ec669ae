"""Runs in a node: one mirror driver, and the devices below and above it, driven by lines of JSON on the standard input.

Each request is `{"id": 1, "call": "promote", "args": {...}}`; it is answered by `{"id": 1, "result": ...}` or
`{"id": 1, "error": ...}`, with `{"id": 1, "tell": ...}` before for what is told meanwhile. `{"id": 1, "cancel": true}`
cancels, `{"id": 1, "answer": ...}` answers the question of a fence request.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.hooks.base import Host
from holdfast.hooks.replication import FenceAnswer, FenceArbiter, MirrorSpec, SyncLimits
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.values import from_plain, to_plain
from holdfast_rep_block.driver import DrbdMirrors, open_driver
from holdfast_rep_block.probe import probe
from holdfast_rep_block.settings import Settings

STATE = Path("/var/lib/holdfast/plugins/drbd")
RUN = Path("/run/holdfast/drbd")
BLOCK = 4096
_READ_BLOCKS = 1024


class Device:
    """A block device opened past the page cache, held open until `close`."""

    def __init__(self, path: str, flags: int = os.O_RDWR) -> None:
        self._descriptor = os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC)

    def write(self, offset: int, data: bytes) -> None:
        with mmap.mmap(-1, len(data)) as buffer:
            buffer.write(data)
            assert os.pwritev(self._descriptor, [buffer], offset) == len(data)

    def read(self, offset: int, length: int) -> bytes:
        with mmap.mmap(-1, length) as buffer:
            assert os.preadv(self._descriptor, [buffer], offset) == length
            return bytes(buffer)

    def close(self) -> None:
        os.close(self._descriptor)


class Agent:
    """Carries out requests, each in a task of its own."""

    def __init__(self, driver: DrbdMirrors, host: Host) -> None:
        self._driver = driver
        self._host = host
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._questions: dict[int, asyncio.Future[str]] = {}
        self._held: dict[str, Device] = {}

    async def serve(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 26)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            request = json.loads(line)
            number = request["id"]
            if "cancel" in request:
                if task := self._tasks.get(number):
                    task.cancel()
            elif "answer" in request:
                # The kernel may have stopped asking meanwhile.
                if question := self._questions.pop(number, None):
                    question.set_result(request["answer"])
            else:
                self._tasks[number] = group.create_task(self._carry_out(number, request))
        for task in self._tasks.values():
            task.cancel()

    async def _carry_out(self, number: int, request: dict[str, Any]) -> None:
        try:
            began_s = time.monotonic()
            result = await self._call(number, request["call"], request["args"])
            _send({"id": number, "result": to_plain(result), "took_s": time.monotonic() - began_s})
        except asyncio.CancelledError:
            _send({"id": number, "error": {"kind": "CancelledError", "message": "cancelled"}})
        except HoldfastError as error:
            reasons = to_plain(error.reasons)
            _send({"id": number, "error": {"kind": type(error).__name__, "message": str(error), "reasons": reasons}})
        except OSError as error:
            _send({"id": number, "error": {"kind": "OSError", "errno": error.errno, "message": str(error)}})
        finally:
            self._tasks.pop(number, None)

    async def _call(self, number: int, call: str, args: dict[str, Any]) -> object:
        if "spec" in args:
            args["spec"] = from_plain(MirrorSpec, args["spec"])
        if "limits" in args:
            args["limits"] = from_plain(SyncLimits, args["limits"])
        if own := getattr(self, f"_do_{call}", None):
            wanted: Callable[..., Awaitable[object]] = own
            return await wanted(number, **args)
        result = getattr(self._driver, call)(**args)
        return await result if asyncio.iscoroutine(result) else result

    async def _do_watch(self, number: int) -> None:
        async for status in self._driver.watch():
            _send({"id": number, "tell": to_plain(status)})

    async def _do_probe(self, _number: int) -> object:
        return await probe(Settings(), self._host)

    async def _do_serve_fence_requests(self, number: int) -> None:
        await self._driver.serve_fence_requests(_Asking(self._questions, number))

    async def _do_write(self, _number: int, path: str, offset: int, hex_data: str) -> None:
        await asyncio.to_thread(self._with, path, lambda device: device.write(offset, bytes.fromhex(hex_data)))

    async def _do_read(self, _number: int, path: str, offset: int, length: int) -> str:
        found = await asyncio.to_thread(self._with, path, lambda device: device.read(offset, length))
        return bytes(found).hex()

    def _with(self, path: str, use: Callable[[Device], Any]) -> Any:
        device = Device(path)
        try:
            return use(device)
        finally:
            device.close()

    async def _do_hold(self, _number: int, path: str) -> None:
        self._held[path] = await asyncio.to_thread(Device, path)

    async def _do_release(self, _number: int, path: str) -> None:
        self._held.pop(path).close()

    async def _do_timed(self, _number: int, steps: list[list[Any]]) -> list[float]:
        """Carry out calls of the driver one after the other; the seconds that each one took."""
        took_s = []
        for call, args in steps:
            began_s = time.monotonic()
            await getattr(self._driver, call)(**args)
            took_s.append(time.monotonic() - began_s)
        return took_s

    async def _do_stamp(self, number: int, path: str, blocks: int) -> None:
        """Write growing numbers to changing places, one after the other, telling each one that was acknowledged."""
        device = Device(path)
        try:
            count = 0
            while True:
                count += 1
                place = count * 7919 % blocks
                _send({"id": number, "tell": ["try", place, count, time.monotonic()]})
                await asyncio.to_thread(device.write, place * BLOCK, count.to_bytes(8, "little") * (BLOCK // 8))
                _send({"id": number, "tell": ["ack", place, count, time.monotonic()]})
        finally:
            device.close()

    async def _do_stamps(self, _number: int, path: str, blocks: int) -> list[int]:
        """The number that each block begins with, as `stamp` wrote it."""

        def numbers(device: Device) -> list[int]:
            found = []
            for first in range(0, blocks, _READ_BLOCKS):
                data = device.read(first * BLOCK, min(_READ_BLOCKS, blocks - first) * BLOCK)
                found += [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), BLOCK)]
            return found

        return list(await asyncio.to_thread(self._with, path, numbers))


class _Asking(FenceArbiter):
    """Passes each question on to the test."""

    def __init__(self, questions: dict[int, asyncio.Future[str]], number: int) -> None:
        self._questions = questions
        self._number = number

    async def fence_peer(self, mirror: str) -> FenceAnswer:
        question = max((*self._questions, 1_000_000)) + 1
        self._questions[question] = asyncio.get_running_loop().create_future()
        _send({"id": self._number, "tell": {"question": question, "mirror": mirror}})
        try:
            return FenceAnswer(await self._questions[question])
        finally:
            self._questions.pop(question, None)

    async def mirror_event(self, mirror: str, event: str) -> None:
        _send({"id": self._number, "tell": {"event": event, "mirror": mirror}})


def _send(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def main(kind: type[Agent] = Agent) -> None:
    """Serve until the input ends."""
    for directory in (STATE, RUN):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
    host = Host("lab", SystemCommands(), KernelFs(), SystemClock(), STATE, RUN)
    driver = await open_driver(Settings(), host)
    _send({"id": 0, "result": "ready"})
    async with asyncio.TaskGroup() as group:
        await kind(driver, host).serve(group)


if __name__ == "__main__":
    asyncio.run(main())
