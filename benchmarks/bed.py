"""The bed of the benchmarks of mirrors: two nodes with volumes, and mirrors by our driver and by DRBD's defaults."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.hooks.replication import ConnectionState, MirrorEndpoint, MirrorSpec, MirrorVolume
from holdfast.testing.mirror import eventually
from holdfast.values import Secret
from holdfast_rep_block.metadata import metadata_bytes
from lab import Lab, Node
from lab.layout import CHECKOUT
from tests.lab.mirror_remote import NodeAgent, RemoteMirrors

MIB = 1 << 20
GIB = 1 << 30
TOPOLOGY = CHECKOUT / "benchmarks" / "topology.toml"
DRBDSETUP = "/usr/lib/drbd/drbdsetup-84"
GROUP = "bench"
NODES = ("a", "b")
_HELPER = "/sys/module/drbd/parameters/usermode_helper"
_LINK_PORT = 7999


class Bed:
    """Both nodes, a volume group on each, and an agent in each."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.agents = {name: NodeAgent(lab.node(name), "benchmarks.node_agent") for name in NODES}
        self.drivers = {name: RemoteMirrors(agent) for name, agent in self.agents.items()}
        # What the driver named to the kernel when it was opened.
        self.our_helper = self.run("a", f"cat {_HELPER}").strip()
        for name in NODES:
            self.run(name, f"vgcreate --yes {GROUP} {self.node(name).device('data')}")

    @classmethod
    @contextlib.asynccontextmanager
    async def up(cls) -> AsyncIterator[Bed]:
        """Boot it, and take it down."""
        with Lab.start(topology=TOPOLOGY, state_dir=CHECKOUT / ".lab-bench") as lab:
            yield cls(lab)

    def node(self, name: str) -> Node:
        """A node by name."""
        return self.lab.node(name)

    def run(self, name: str, script: str, timeout_s: float = 120.0) -> str:
        """Run a shell script in a node; what it printed."""
        return self.node(name).run(["sh", "-ec", script], timeout_s=timeout_s).stdout.decode()

    def run_on_both(self, script: str) -> None:
        """Run a shell script in each node."""
        for name in NODES:
            self.run(name, script)

    async def both(self, call: str, **args: Any) -> list[Any]:
        """Have both agents do the same at the same time; what each answered, a's first."""
        return await asyncio.gather(*(self.agents[name].call(call, **args) for name in NODES))

    def make_volume(self, volume: str, size_bytes: int, *, pool: str | None = None, group: str = GROUP) -> str:
        """A volume of the same name and size on both nodes, thin if a pool is named; its device."""
        room = f"--virtualsize {size_bytes}b --thin {group}/{pool}" if pool else f"--size {size_bytes}b {group}"
        more = "" if pool else "--wipesignatures n --zero n"
        self.run_on_both(f"lvcreate --yes --quiet {more} --name {volume} {room} 2>/dev/null")
        return f"/dev/{group}/{volume}"

    def make_slow_group(self, group: str, size_bytes: int, write_ms: int) -> None:
        """A volume group on both nodes whose disk takes so long for each write, however many are under way.

        See Documentation/admin-guide/device-mapper/delay.rst; the kernel counts it in jiffies.
        """
        lower = self.make_volume(f"{group}-disk", size_bytes)
        table = f"0 {size_bytes // 512} delay {lower} 0 0 {lower} 0 {write_ms}"
        self.run_on_both(
            f"modprobe dm-delay; dmsetup create {group} --table '{table}'; dmsetup mknodes"
            f"; vgcreate --yes {group} /dev/mapper/{group}"
        )

    def make_pool(self, pool: str, size_bytes: int, *, chunk_bytes: int = 64 * 1024) -> None:
        """A thin pool on both nodes."""
        self.run_on_both(
            f"modprobe dm-thin-pool; lvcreate --yes --quiet --type thin-pool --size {size_bytes}b"
            f" --chunksize {chunk_bytes}b --poolmetadatasize 32M --name {pool} {GROUP} 2>/dev/null"
        )

    def remove_volumes(self, *volumes: str) -> None:
        """Remove volumes from both nodes."""
        self.run_on_both(f"lvremove --yes --quiet {' '.join(f'{GROUP}/{volume}' for volume in volumes)}")

    def mapped_bytes(self, name: str, volume: str) -> int:
        """How much of a thin volume the pool has given room to (thin-provisioning.txt, status)."""
        return int(self.run(name, f"dmsetup status {GROUP}-{volume.replace('-', '--')}").split()[3]) * 512

    async def are_equal(self, device: str, size_bytes: int, start_bytes: int = 0) -> bool:
        """Whether both nodes have the same on a device."""
        one, other = await self.both("digest", path=device, start=start_bytes, length=size_bytes)
        return bool(one == other)

    async def wire_bytes(self) -> int:
        """What both nodes have sent on the replication network, headers included."""
        return sum(await self.both("sent_bytes"))

    async def measure_link(self, length: int = 512 * MIB) -> float:
        """Seconds that one TCP connection from `a` to `b` takes for so much."""
        address = self.node("b").address("replication")
        taking = asyncio.ensure_future(self.agents["b"].call("sink", address=address, port=_LINK_PORT))
        took_s = await self.agents["a"].call("stream", address=address, port=_LINK_PORT, length=length)
        assert await taking == length
        return float(took_s)

    def use_helper(self, path: str) -> None:
        """What the kernel's DRBD runs at events, on both nodes: each mirror is measured with its own."""
        self.run_on_both(f"echo {path} > {_HELPER}")


@dataclass
class Pair(ABC):
    """A mirror of one volume on both nodes."""

    bed: Bed
    name: str
    minor: int
    volume: str
    size_bytes: int
    group: str = GROUP

    @property
    def device(self) -> str:
        """What is written to."""
        return f"/dev/drbd{self.minor}"

    @property
    def lower(self) -> str:
        """What lies below on each node."""
        return f"/dev/{self.group}/{self.volume}"

    @property
    def lower_metadata(self) -> str:
        """Where DRBD keeps its own."""
        return f"/dev/{self.group}/{self.volume}-meta"

    def make_volumes(self, pool: str | None = None) -> None:
        """The volume and its metadata's, both blank."""
        self.bed.make_volume(self.volume, self.size_bytes, pool=pool, group=self.group)
        self.bed.make_volume(f"{self.volume}-meta", metadata_bytes(self.size_bytes), pool=pool, group=self.group)
        if pool is None:
            self.bed.run_on_both(f"blkdiscard -z {self.lower_metadata}")

    def remove_volumes(self) -> None:
        """Take them away again."""
        self.bed.remove_volumes(self.volume, f"{self.volume}-meta")

    @abstractmethod
    def take_over_helper(self) -> None:
        """Let the kernel run this mirror's own program at events."""

    def specify(self) -> None:
        """Say on both nodes what the mirror is."""

    @abstractmethod
    async def start(self) -> None:
        """Bring it up on both nodes, and make it equal without a sync: the volumes must be."""

    async def promote(self) -> None:
        """Make `a` Primary."""
        await self._set_role("primary")

    async def _set_role(self, role: str) -> None:
        await self.bed.agents["a"].call("run", argv=[DRBDSETUP, role, str(self.minor)])

    async def down(self) -> None:
        """Take it out of both kernels."""
        for name in NODES:
            await self.bed.agents[name].call("run", argv=[DRBDSETUP, "down", self.name])

    async def invalidate(self) -> Mapping[str, float]:
        """Have `b` get everything anew from `a`: seconds, and bytes on the wire."""
        self.take_over_helper()
        before = await self.bed.wire_bytes()
        command = [DRBDSETUP, "invalidate", str(self.minor)]
        took_s = await self.bed.agents["b"].call("resync", minor=self.minor, command=command)
        await self.bed.agents["a"].call("wait_equal", minor=self.minor)
        return {"s": took_s, "wire_bytes": await self.bed.wire_bytes() - before}


class OurPair(Pair):
    """A mirror by the product's driver, with all that it sets."""

    def spec(self, name: str) -> MirrorSpec:
        """As a node sees it."""
        ends = {each: MirrorEndpoint(self.bed.node(each).address("replication"), 7700 + self.minor) for each in NODES}
        volume = MirrorVolume(self.volume, 0, self.minor, self.lower, self.lower_metadata, self.size_bytes)
        other = "b" if name == "a" else "a"
        return MirrorSpec(self.name, ends[name], ends[other], (volume,), Secret("what both of them know"))

    def take_over_helper(self) -> None:
        """See Pair."""
        self.bed.use_helper(self.bed.our_helper)

    async def on_both(self, call: str) -> None:
        """Have both drivers do the same."""
        await asyncio.gather(*(getattr(self.bed.drivers[name], call)(self.spec(name)) for name in NODES))

    async def start(self, *, zero: bool = False) -> None:
        """See Pair; as services/mirror_steps does it."""
        self.take_over_helper()
        if zero:
            await asyncio.gather(*(self.bed.drivers[n].zero(self.lower) for n in NODES))
        await self.on_both("create_metadata")
        await self.on_both("connect")
        for driver in self.bed.drivers.values():
            await eventually(driver, self.name, lambda status: status.connection is ConnectionState.CONNECTED, 20)
        await self.bed.drivers["a"].skip_first_sync(self.name)
        await self.bed.both("wait_equal", minor=self.minor)


class PeerPair(Pair):
    """A mirror by drbdadm from a configuration that says what must be said and nothing more."""

    def take_over_helper(self) -> None:
        """See Pair: what drbdadm itself names."""
        self.bed.use_helper("/sbin/drbdadm")

    def specify(self) -> None:
        """See Pair."""
        ends = " ".join(
            f"on {name} {{ address {self.bed.node(name).address('replication')}:{7700 + self.minor}; }}"
            for name in NODES
        )
        what = f"device {self.device}; disk {self.lower}; meta-disk {self.lower_metadata};"
        text = f"resource {self.name} {{ {what} {ends} }}\n"
        for name in NODES:
            self.bed.node(name).write_file(f"/etc/drbd.d/{self.name}.res", text.encode())
            self.bed.node(name).write_file("/etc/drbd.d/global_common.conf", b"global { usage-count no; }\n")

    async def admin(self, *words: str, only: str | None = None) -> None:
        """Run drbdadm on both nodes at the same time, or on one."""
        argv = ["drbdadm", *words, self.name]
        names = [only] if only else NODES
        await asyncio.gather(*(self.bed.agents[name].call("run", argv=argv) for name in names))

    async def start(self) -> None:
        """See Pair."""
        self.specify()
        self.take_over_helper()
        await self.admin("create-md", "--force")
        await self.admin("up")
        await self.admin("wait-connect", only="a")
        await self.admin("new-current-uuid", "--clear-bitmap", only="a")
        await self.bed.both("wait_equal", minor=self.minor)
