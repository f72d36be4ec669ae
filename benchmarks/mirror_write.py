"""Bench 7: what a mirror costs a writer, bare volume / our mirror / DRBD by its defaults; flushes are on in all.

.venv/bin/python -m benchmarks.mirror_write [ROUNDS]
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Mapping
from statistics import median

from benchmarks.bed import MIB, Bed, OurPair, PeerPair
from benchmarks.frame import Promise, facts, keep, take_turns

SIZE_BYTES = 512 * MIB
REGION_BYTES = 256 * MIB
SECONDS = 2
CPU = "each kernel of the lab has one processor: a mirrored write waits for processors and a switch, not for a disk"
EXTENTS = "what is written fits into the default activity log, and the disk is memory: what we set saves nothing here"
PROMISED = (
    Promise("sequential: share of min(disk, link)", "ours_seq_mib_s", "limit_seq_mib_s", 0.97, CPU),
    Promise("depth 1: the limit, local + a round trip, over our latency", "limit_qd1_us", "ours_qd1_us", 1 / 1.1, CPU),
    Promise("depth 16: times the writes of DRBD's defaults", "ours_qd16_iops", "peer_qd16_iops", 1.15, EXTENTS),
    Promise("depth 1: no fewer writes than DRBD's defaults", "ours_qd1_iops", "peer_qd1_iops", 1.0),
    Promise("sequential: no slower than DRBD's defaults", "ours_seq_mib_s", "peer_seq_mib_s", 1.0),
)
JOBS = {"seq": ("write", "1M", 8), "qd1": ("randwrite", "4k", 1), "qd16": ("randwrite", "4k", 16)}


def fio(device: str) -> list[str]:
    """The command line: three jobs, one after the other."""
    argv = ["fio", "--output-format=json", "--thread", "--ioengine=libaio", "--direct=1"]
    argv += [f"--filename={device}", f"--size={REGION_BYTES}"]
    for name, (kind, block, depth) in JOBS.items():
        argv += [f"--name={name}", "--stonewall", f"--rw={kind}", f"--bs={block}", f"--iodepth={depth}"]
        argv += ["--time_based", f"--runtime={SECONDS}"]
    return argv


def read_fio(text: str) -> dict[str, float]:
    """Its figures."""
    found = {}
    for job in json.loads(text[text.index("{") :])["jobs"]:
        name, written = job["jobname"], job["write"]
        if job["error"]:
            raise OSError(job["error"], f"job {name} of fio failed")
        if name == "seq":
            found["seq_mib_s"] = written["bw_bytes"] / MIB
        else:
            found[f"{name}_iops"] = written["iops"]
            found[f"{name}_us"] = written["lat_ns"]["mean"] / 1000
            found[f"{name}_worst_us"] = written["lat_ns"]["max"] / 1000
    return found


def round_trip_us(bed: Bed) -> float:
    """A packet of 4 KiB there and back, the middle of many."""
    said = bed.run("a", f"ping -n -c 200 -i 0.005 -s 4068 {bed.node('b').address('replication')}")
    return median(float(ms) * 1000 for ms in re.findall(r"time=([\d.]+) ms", said))


async def verified(bed: Bed, pairs: tuple[OurPair | PeerPair, ...], seed: int) -> None:
    """What is written to a mirror lies on both nodes; and that something else does not is seen, too."""
    for pair in pairs:
        await bed.agents["a"].call("fill", path=pair.device, seed=seed, start=REGION_BYTES, length=16 * MIB)
        assert await bed.are_equal(pair.lower, SIZE_BYTES), f"both sides of {pair.name} differ"
    one = await bed.agents["a"].call("digest", path=pairs[0].lower, start=REGION_BYTES, length=8 * MIB)
    other = await bed.agents["a"].call("digest", path=pairs[0].lower, start=REGION_BYTES + 8 * MIB, length=8 * MIB)
    assert one != other, "the comparison sees no difference where there is one"


async def main(rounds: int) -> None:
    """Measure, print and keep."""
    async with Bed.up() as bed:
        about = facts(bed.node("a"))
        bare = bed.make_volume("bare", SIZE_BYTES)
        pairs = OurPair(bed, "ours", 0, "ours", SIZE_BYTES), PeerPair(bed, "peer", 1, "peer", SIZE_BYTES)
        for pair in pairs:
            pair.make_volumes()
            bed.run_on_both(f"blkdiscard -z {pair.lower}")
            await pair.start()
            await pair.promote()
        await verified(bed, pairs, 1)

        async def writes(device: str) -> Mapping[str, float]:
            return read_fio(bed.run("a", " ".join(fio(device))))

        async def link() -> Mapping[str, float]:
            return {"mib_s": 512 / await bed.measure_link(512 * MIB), "round_trip_us": round_trip_us(bed)}

        figures = await take_turns(
            rounds,
            {
                "bare": lambda: writes(bare),
                "ours": lambda: writes(pairs[0].device),
                "peer": lambda: writes(pairs[1].device),
                "link": link,
            },
        )
        await verified(bed, pairs, 2)
    figures["limit_seq_mib_s"] = [
        min(each) for each in zip(figures["bare_seq_mib_s"], figures["link_mib_s"], strict=True)
    ]
    local, trip = figures["bare_qd1_us"], figures["link_round_trip_us"]
    figures["limit_qd1_us"] = [sum(each) for each in zip(local, trip, strict=True)]
    keep("mirror_write", about, figures, PROMISED)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
