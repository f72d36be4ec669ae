"""Bench 11: a volume full of data is made to read zero, by our driver / dd / blkdiscard -z / one call of the kernel.

.venv/bin/python -m benchmarks.zero_init [ROUNDS]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from benchmarks.bed import GIB, MIB, NODES, Bed, OurPair
from benchmarks.frame import Promise, Way, facts, keep, take_turns
from holdfast.services.mirrors.zeroing import TURN_S
from lab.processes import wait_until

READ_BACK = "samples are read back, the device is flushed, and asked whether it is thin, however large it is"
COPYING = "the disk is memory, and copying zeros into it is all that either does"


@dataclass(frozen=True)
class Kind:
    """A kind of device: its size, how many times as fast as dd it is to be, and why it is not."""

    size_bytes: int
    least: float
    reason: str = READ_BACK


KINDS = {
    "loop": Kind(GIB, 10.0),
    "thick_on_loop": Kind(GIB, 10.0),
    # Zeros are really written: the larger it is, the less does what is beside them count.
    "thick": Kind(2 * GIB, 1.5, COPYING),
    "thin": Kind(GIB, 1.5),
    # It keeps its data in the node's own memory.
    "scsi": Kind(GIB // 2, 1.5, COPYING),
    "drbd": Kind(GIB, 10.0),
}
OTHERS = ("dd", "blkdiscard")


def promised() -> tuple[Promise, ...]:
    """Of every device; of the limit, one call that checks nothing, nothing was promised."""
    found = []
    for name, kind in KINDS.items():
        ours = f"{name}_ours_s"
        found.append(Promise(f"{name}: times as fast as dd", f"{name}_dd_s", ours, kind.least, kind.reason))
        found.append(Promise(f"{name}: share of the best other way", f"{name}_best_s", ours, 0.95, READ_BACK))
        found.append(Promise(f"{name}: share of one call of the kernel", f"{name}_one_call_s", ours, None))
    return tuple(found)


def ways_of(name: str, device: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """What an agent is asked to time."""
    count = KINDS[name].size_bytes // MIB
    dd = ["dd", "if=/dev/zero", f"of={device}", "bs=1M", f"count={count}", "oflag=direct", "status=none"]
    return {
        "ours": ("zero_by_driver", {"path": device, "turn_s": TURN_S}),
        "dd": ("run", {"argv": dd}),
        "blkdiscard": ("run", {"argv": ["blkdiscard", "-z", device]}),
        "one_call": ("zero_by_one_call", {"path": device}),
    }


async def make_devices(bed: Bed) -> tuple[dict[str, str], OurPair]:
    """Each kind of device on `a`, and a connected mirror, Primary there."""
    # A file system between the loop and the disk writes zeros by marking, as disks do that have a command for it.
    bed.run(
        "a",
        f"""lvcreate --yes --quiet --name files --size 2304M bench; mkfs.xfs -q /dev/bench/files
        mkdir /files; mount /dev/bench/files /files; modprobe loop
        truncate -s 1024M /files/one; truncate -s 1100M /files/two
        losetup --direct-io=on /dev/loop0 /files/one; losetup --direct-io=on /dev/loop1 /files/two
        vgcreate --yes onloop /dev/loop1
        lvcreate --yes --quiet --wipesignatures n --zero n --name thick --size {GIB}b onloop
        modprobe sd_mod; modprobe scsi_debug dev_size_mb={KINDS["scsi"].size_bytes // MIB} lbpws=1 delay=0""",
    )
    assert wait_until(lambda: "sda" in bed.run("a", "ls /sys/block").split(), 10), "no disk of scsi_debug"
    bed.make_pool("pool", GIB + 64 * MIB)
    pair = OurPair(bed, "ours", 0, "ours", KINDS["drbd"].size_bytes)
    pair.make_volumes()
    await pair.start()
    await pair.promote()
    devices = {
        "loop": "/dev/loop0",
        "thick_on_loop": "/dev/onloop/thick",
        "thick": bed.make_volume("thick", KINDS["thick"].size_bytes),
        "thin": bed.make_volume("thin", KINDS["thin"].size_bytes, pool="pool"),
        "scsi": "/dev/sda",
        "drbd": pair.device,
    }
    return devices, pair


async def main(rounds: int) -> None:
    """Measure, print and keep."""
    async with Bed.up() as bed:
        about = facts(bed.node("a"))
        devices, pair = await make_devices(bed)
        agent, seeds = bed.agents["a"], count(1)

        async def zero(name: str, call: str, args: dict[str, Any]) -> Mapping[str, float]:
            device, size_bytes = devices[name], KINDS[name].size_bytes
            await agent.call("fill", path=device, seed=next(seeds), start=0, length=size_bytes)
            assert not await agent.call("is_zero", path=device, length=size_bytes), "what was filled seems to be zero"
            before = await bed.wire_bytes()
            found = {"s": await agent.call(call, **args)}
            assert await agent.call("is_zero", path=device, length=size_bytes), f"{device} is not zero after {call}"
            if name == "drbd":
                found["wire_bytes"] = await bed.wire_bytes() - before
                for node in NODES:
                    is_zero = await bed.agents[node].call("is_zero", path=pair.lower, length=size_bytes)
                    assert is_zero, f"the leg on {node} is not zero after {call}"
            return found

        ways: dict[str, Way] = {}
        for name, device in devices.items():
            for way, (call, args) in ways_of(name, device).items():
                ways[f"{name}_{way}"] = partial(zero, name, call, args)
        figures = await take_turns(rounds, ways)
        nothing = ["blkdiscard", "--version"]
        figures["start_of_a_process_s"] = [await agent.call("run", argv=nothing) for _ in range(rounds)]
    for name in devices:
        others = zip(*(figures[f"{name}_{way}_s"] for way in OTHERS), strict=True)
        figures[f"{name}_best_s"] = [min(each) for each in others]
    keep("zero_init", about, figures, promised())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
