"""Bench 11: a volume full of data is made to read zero, by our driver / dd / blkdiscard -z / one call of the kernel.

.venv/bin/python -m benchmarks.zero_init [ROUNDS]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from functools import partial
from itertools import count
from typing import Any

from benchmarks.bed import MIB, NODES, Bed, OurPair
from benchmarks.frame import Promise, Way, facts, keep, take_turns

SIZE_BYTES = 1024 * MIB
READ_BACK = "reading 64 samples back, and asking whether it is thin, take 30 to 50 ms, however large it is"
# How many times as fast as dd.
DEVICES = {"loop": 10.0, "thick_on_loop": 10.0, "thick": 1.5, "thin": 1.5, "drbd": 10.0}
OTHERS = ("dd", "blkdiscard", "one_call")


def promised() -> tuple[Promise, ...]:
    """Of every device."""
    found = []
    for device, least in DEVICES.items():
        found.append(Promise(f"{device}: times as fast as dd", f"{device}_dd_s", f"{device}_ours_s", least, READ_BACK))
        best = Promise(f"{device}: share of the best of all", f"{device}_best_s", f"{device}_ours_s", 0.95, READ_BACK)
        found.append(best)
    return tuple(found)


def ways_of(device: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """What an agent is asked to time."""
    dd = ["dd", "if=/dev/zero", f"of={device}", "bs=1M", f"count={SIZE_BYTES // MIB}", "oflag=direct", "status=none"]
    return {
        "ours": ("zero_by_driver", {"path": device}),
        "dd": ("run", {"argv": dd}),
        "blkdiscard": ("run", {"argv": ["blkdiscard", "-z", device]}),
        "one_call": ("zero_by_one_call", {"path": device}),
    }


async def make_devices(bed: Bed) -> tuple[dict[str, str], OurPair]:
    """Each kind of device on `a`, and a connected mirror, Primary there."""
    # A file system between the loop and the disk writes zeros by marking, as disks do that have a command for it.
    bed.run(
        "a",
        f"""lvcreate --yes --quiet --name files --size 2304M bench; mkfs.xfs -q /dev/bench/files; mkdir /files
        mount /dev/bench/files /files; truncate -s 1024M /files/one; truncate -s 1100M /files/two; modprobe loop
        losetup --direct-io=on /dev/loop0 /files/one; losetup --direct-io=on /dev/loop1 /files/two
        vgcreate --yes onloop /dev/loop1
        lvcreate --yes --quiet --wipesignatures n --zero n --name thick --size {SIZE_BYTES}b onloop""",
    )
    bed.make_pool("pool", 1100 * MIB)
    pair = OurPair(bed, "ours", 0, "ours", SIZE_BYTES)
    pair.make_volumes()
    bed.run_on_both(f"blkdiscard -z {pair.lower}")
    await pair.start()
    await pair.promote()
    devices = {
        "loop": "/dev/loop0",
        "thick_on_loop": "/dev/onloop/thick",
        "thick": bed.make_volume("thick", SIZE_BYTES),
        "thin": bed.make_volume("thin", SIZE_BYTES, pool="pool"),
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
            device = devices[name]
            await agent.call("fill", path=device, seed=next(seeds), start=0, length=SIZE_BYTES)
            assert not await agent.call("is_zero", path=device, length=SIZE_BYTES), "what was filled seems to be zero"
            before = await bed.wire_bytes()
            found = {"s": await agent.call(call, **args)}
            assert await agent.call("is_zero", path=device, length=SIZE_BYTES), f"{device} is not zero after {call}"
            if name == "drbd":
                found["wire_bytes"] = await bed.wire_bytes() - before
                for node in NODES:
                    is_zero = await bed.agents[node].call("is_zero", path=pair.lower, length=SIZE_BYTES)
                    assert is_zero, f"the leg on {node} is not zero after {call}"
            return found

        ways: dict[str, Way] = {}
        for name, device in devices.items():
            for way, (call, args) in ways_of(device).items():
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
