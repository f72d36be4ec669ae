"""The mirror driver of a lab node as an object of the test's own process, and the bed of the contract on two nodes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from typing import Any, ClassVar

from holdfast import errors
from holdfast.errors import HoldfastError, Reason
from holdfast.hooks.base import Can
from holdfast.hooks.replication import (
    DiskState,
    FenceArbiter,
    Lineage,
    MirrorDriver,
    MirrorEndpoint,
    MirrorSpec,
    MirrorStatus,
    MirrorVolume,
    SyncLimits,
)
from holdfast.testing.mirror import MirrorBed
from holdfast.values import from_plain, to_plain
from holdfast_rep_block.driver import DrbdMirrors
from lab import Lab, Node
from lab.layout import CHECKOUT

PYTHON = CHECKOUT / ".venv/bin/python"
MIB = 1 << 20


class NodeAgent:
    """The agent of one node, started once for each boot and shared by all tests."""

    def __init__(self, node: Node, module: str = "tests.lab.mirror_agent") -> None:
        path = f"{CHECKOUT}/core:{CHECKOUT}/plugins/rep_block"
        argv = [str(PYTHON), "-m", module]
        self._process = node.popen(argv, env={"PYTHONPATH": path}, cwd=str(CHECKOUT))
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._ready = threading.Event()
        self._waiting[0] = lambda _message: self._ready.set()
        threading.Thread(target=self._listen, daemon=True).start()
        if not self._ready.wait(30):
            raise AssertionError(f"the agent of {node.name} did not start: {self._process.stderr.decode()[-2000:]}")

    @property
    def is_alive(self) -> bool:
        return self._process.is_running

    @property
    def stderr(self) -> str:
        return self._process.stderr.decode(errors="replace")

    def _listen(self) -> None:
        for line in self._process.lines():
            message = json.loads(line)
            if handler := self._waiting.get(message["id"]):
                handler(message)
        for handler in list(self._waiting.values()):
            handler({"error": {"kind": "OSError", "errno": 5, "message": "the node went off"}})
        self._ready.set()

    def send(self, message: object) -> None:
        self._process.write(json.dumps(message).encode() + b"\n")

    async def call(self, call: str, tell: Callable[[Any], None] = lambda _told: None, **args: Any) -> Any:
        """Make the agent do something; `tell` hears what it tells meanwhile."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        number = next(self._numbers)

        def hear(message: dict[str, Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the test ended, and its loop with it
                loop.call_soon_threadsafe(take, message)

        def take(message: dict[str, Any]) -> None:
            if "tell" in message:
                tell(message["tell"])
            elif done.done():
                return
            elif "error" in message:
                done.set_exception(_error(message["error"]))
            else:
                done.set_result(message["result"])

        self._waiting[number] = hear
        self.send({"id": number, "call": call, "args": args})
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            self.send({"id": number, "cancel": True})
            with contextlib.suppress(BaseException):
                await asyncio.wait_for(done, 10)
            raise
        finally:
            self._waiting.pop(number, None)


def _error(plain: dict[str, Any]) -> BaseException:
    if plain["kind"] == "OSError":
        return OSError(plain["errno"], plain["message"])
    kind = getattr(errors, plain["kind"], None)
    reasons = [from_plain(Reason, reason) for reason in plain.get("reasons", ())]
    if kind is errors.SystemCommandError:
        return errors.SystemCommandError(["?"], None, plain["message"])
    if plain["kind"] == "KernelRefusedError":
        kind = errors.RefusedError
    if kind is None:
        return HoldfastError(f"{plain['kind']}: {plain['message']}")
    made: HoldfastError = kind(plain["message"], reasons=reasons)
    return made


class RemoteMirrors(MirrorDriver):
    """See MirrorDriver: every call is carried out by the driver in the node."""

    can: ClassVar[frozenset[Can]] = DrbdMirrors.can

    def __init__(self, agent: NodeAgent) -> None:
        self.agent = agent

    def metadata_bytes(self, size_bytes: int) -> int:
        from holdfast_rep_block.metadata import metadata_bytes

        return metadata_bytes(size_bytes)

    def largest_bytes(self, metadata_bytes: int) -> int:
        from holdfast_rep_block.metadata import largest_bytes

        return largest_bytes(metadata_bytes)

    def device_path(self, minor: int) -> str:
        return f"/dev/drbd{minor}"

    async def create_metadata(self, spec: MirrorSpec) -> None:
        await self.agent.call("create_metadata", spec=to_plain(spec))

    async def wipe_metadata(self, spec: MirrorSpec) -> None:
        await self.agent.call("wipe_metadata", spec=to_plain(spec))

    async def zero(
        self, device: str, *, done_bytes: int = 0, most_s: float | None = None, limit_bytes_s: int | None = None
    ) -> int:
        done = await self.agent.call(
            "zero", device=device, done_bytes=done_bytes, most_s=most_s, limit_bytes_s=limit_bytes_s
        )
        return int(done)

    async def attach(self, spec: MirrorSpec) -> MirrorStatus:
        return from_plain(MirrorStatus, await self.agent.call("attach", spec=to_plain(spec)))

    async def connect(self, spec: MirrorSpec, *, discard_changes: bool = False) -> MirrorStatus:
        plain = to_plain(spec, reveal=True)
        return from_plain(MirrorStatus, await self.agent.call("connect", spec=plain, discard_changes=discard_changes))

    async def disconnect(self, name: str, *, force: bool = False) -> None:
        await self.agent.call("disconnect", name=name, force=force)

    async def down(self, name: str) -> None:
        await self.agent.call("down", name=name)

    async def skip_first_sync(self, name: str) -> None:
        await self.agent.call("skip_first_sync", name=name)

    async def start_full_sync(self, spec: MirrorSpec) -> None:
        await self.agent.call("start_full_sync", spec=to_plain(spec, reveal=True))

    async def promote(self, name: str, *, numbers: Collection[int] | None = None) -> None:
        await self.agent.call("promote", name=name, numbers=None if numbers is None else sorted(numbers))

    async def demote(self, name: str) -> None:
        await self.agent.call("demote", name=name)

    async def outdate(self, name: str) -> DiskState:
        return DiskState(await self.agent.call("outdate", name=name))

    async def status(self, name: str) -> MirrorStatus:
        return from_plain(MirrorStatus, await self.agent.call("status", name=name))

    async def generations(self, name: str) -> tuple[str, ...]:
        return tuple(await self.agent.call("generations", name=name))

    def compare(self, mine: str, theirs: str) -> Lineage:
        from holdfast_rep_block.lineage import compare

        return compare(mine, theirs)

    async def list_up(self) -> tuple[str, ...]:
        return tuple(await self.agent.call("list_up"))

    async def watch(self) -> AsyncIterator[MirrorStatus]:
        heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        watching = asyncio.ensure_future(self.agent.call("watch", heard.put_nowait))
        try:
            while True:
                yield from_plain(MirrorStatus, await heard.get())
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def serve_fence_requests(self, arbiter: FenceArbiter) -> None:
        answering: set[asyncio.Task[None]] = set()

        async def answer(told: dict[str, Any]) -> None:
            verdict = await arbiter.fence_peer(told["mirror"])
            self.agent.send({"id": told["question"], "answer": verdict.value})

        def hear(told: dict[str, Any]) -> None:
            is_question = "question" in told
            heard = answer(told) if is_question else arbiter.mirror_event(told["mirror"], told["event"])
            answering.add(asyncio.ensure_future(heard))

        try:
            await self.agent.call("serve_fence_requests", hear)
        finally:
            for task in answering:
                task.cancel()
            await asyncio.gather(*answering, return_exceptions=True)

    async def verify(self, name: str) -> None:
        await self.agent.call("verify", name=name)

    async def pause_sync(self, name: str) -> None:
        await self.agent.call("pause_sync", name=name)

    async def resume_sync(self, name: str) -> None:
        await self.agent.call("resume_sync", name=name)

    async def limit_sync(self, name: str, limits: SyncLimits) -> None:
        await self.agent.call("limit_sync", name=name, limits=to_plain(limits))

    async def grow(self, name: str, *, new_part_is_zero: bool) -> MirrorStatus:
        answer = await self.agent.call("grow", name=name, new_part_is_zero=new_part_is_zero)
        return from_plain(MirrorStatus, answer)

    async def detach(self, name: str, number: int) -> MirrorStatus:
        return from_plain(MirrorStatus, await self.agent.call("detach", name=name, number=number))

    async def take_out(self, name: str, number: int) -> None:
        await self.agent.call("take_out", name=name, number=number)


class LabMirrorBed(MirrorBed):
    """Two nodes of the lab with a mirror of one volume on blank device-mapper volumes."""

    within_s = 20.0
    size_bytes = 32 * MIB
    data, metadata = "/dev/mapper/mirror-data", "/dev/mapper/mirror-meta"

    def __init__(self, lab: Lab, agents: dict[str, NodeAgent]) -> None:
        self.lab = lab
        self.second = {}
        self._agents = agents
        ends = {name: MirrorEndpoint(lab.node(name).address("replication"), 7790) for name in ("a", "b")}
        volume = MirrorVolume("v0", 0, 0, self.data, self.metadata, self.size_bytes)
        self.specs = {
            "a": MirrorSpec("m0", ends["a"], ends["b"], (volume,)),
            "b": MirrorSpec("m0", ends["b"], ends["a"], (volume,)),
        }

    def make_blank(self) -> None:
        """Take down what an earlier test left, and make the volumes anew."""
        for name in ("a", "b"):
            node = self.lab.node(name)
            # A frozen mirror cannot be taken down: power is the only way (failover.md, finding 7).
            if not self._is_down(node):
                self._agents.pop(name, None)
                node.cut()
                node.boot()
            self._make_volumes(node, blank=True)

    def _is_down(self, node: Node) -> bool:
        script = "! [ -e /proc/drbd ] || { /usr/lib/drbd/drbdsetup-84 down m0 && ! grep -q cs: /proc/drbd; }"
        try:
            return node.run(["sh", "-c", script], check=False, timeout_s=8).returncode == 0
        except (TimeoutError, OSError):
            return False

    def _make_volumes(self, node: Node, *, blank: bool) -> None:
        sectors, disk = self.size_bytes // 512, node.device("data")
        node.run(
            [
                "sh",
                "-ec",
                f"""modprobe dm-mod
                for name in data meta data1 meta1; do
                    [ ! -e /dev/mapper/mirror-$name ] || dmsetup remove mirror-$name
                done
                dmsetup create mirror-data --table '0 {sectors} linear {disk} 0'
                dmsetup create mirror-meta --table '0 8192 linear {disk} {2 * sectors}'
                dmsetup mknodes
                if {"true" if blank else "false"}; then
                    dd if=/dev/zero of={self.metadata} bs=1M count=4 oflag=direct status=none
                fi""",
            ]
        )

    def split_in_two(self) -> None:
        """Make it a mirror of two volumes."""
        self._make_second()
        for name, spec in self.specs.items():
            self.specs[name] = replace(spec, volumes=(*spec.volumes, self.second[name]))

    async def make_second(self) -> None:
        await asyncio.to_thread(self._make_second)

    def _make_second(self) -> None:
        """It lies behind the first one's room on the disk."""
        second = MirrorVolume("v1", 1, 1, "/dev/mapper/mirror-data1", "/dev/mapper/mirror-meta1", self.size_bytes)
        for name in self.specs:
            self.second[name] = second
            node, sectors = self.lab.node(name), self.size_bytes // 512
            start, disk = 3 * sectors, node.device("data")
            node.run(
                [
                    "sh",
                    "-ec",
                    f"""dmsetup create mirror-data1 --table '0 {sectors} linear {disk} {start}'
                    dmsetup create mirror-meta1 --table '0 8192 linear {disk} {start + sectors}'
                    dmsetup mknodes
                    dd if=/dev/zero of={second.metadata_device} bs=1M count=4 oflag=direct status=none
                    dd if=/dev/zero of={second.device} bs=1M count={self.size_bytes // MIB} oflag=direct status=none""",
                ]
            )

    def driver(self, node: str) -> RemoteMirrors:
        return RemoteMirrors(self._agent(node))

    def _agent(self, node: str) -> NodeAgent:
        if node not in self._agents or not self._agents[node].is_alive:
            self._agents[node] = NodeAgent(self.lab.node(node))
        return self._agents[node]

    async def write(self, node: str, offset: int, data: bytes, *, number: int = 0) -> None:
        await self._agent(node).call("write", path=f"/dev/drbd{number}", offset=offset, hex_data=data.hex())

    async def read(self, node: str, offset: int, length: int, *, number: int = 0) -> bytes:
        path = f"/dev/drbd{number}"
        return bytes.fromhex(await self._agent(node).call("read", path=path, offset=offset, length=length))

    async def write_lower(self, node: str, offset: int, data: bytes, *, number: int = 0) -> None:
        await self._agent(node).call("write", path=self._lower(number), offset=offset, hex_data=data.hex())

    async def read_lower(self, node: str, offset: int, length: int, *, number: int = 0) -> bytes:
        path = self._lower(number)
        return bytes.fromhex(await self._agent(node).call("read", path=path, offset=offset, length=length))

    def _lower(self, number: int) -> str:
        return self.data if number == 0 else f"{self.data}{number}"

    async def enlarge_lower(self, node: str, more_bytes: int) -> None:
        old, new = self.size_bytes // 512, (self.size_bytes + more_bytes) // 512
        assert new <= 2 * old, "behind it lies the metadata"
        disk = self.lab.node(node).device("data")
        script = f"""dd if=/dev/zero of={disk} bs=1M seek={self.size_bytes // MIB} count={more_bytes // MIB} \
            oflag=direct status=none
            dmsetup suspend mirror-data
            dmsetup load mirror-data --table '0 {new} linear {disk} 0'
            dmsetup resume mirror-data"""
        await asyncio.to_thread(self.lab.node(node).run, ["sh", "-ec", script])

    @contextlib.asynccontextmanager
    async def held_open(self, node: str, *, number: int = 0) -> AsyncIterator[None]:
        path = f"/dev/drbd{number}"
        await self._agent(node).call("hold", path=path)
        try:
            yield
        finally:
            await self._agent(node).call("release", path=path)

    async def cut_link(self) -> None:
        await asyncio.to_thread(self.lab.node("b").link, "replication", up=False)

    async def mend_link(self) -> None:
        await asyncio.to_thread(self.lab.node("b").link, "replication", up=True)

    async def power_cycle(self, node: str) -> None:
        def cycle() -> None:
            self._agents.pop(node, None)
            self.lab.node(node).cut()
            self.lab.node(node).boot()
            self._make_volumes(self.lab.node(node), blank=False)

        await asyncio.to_thread(cycle)
