"""Bench 7: what a mirror costs a writer, bare volume / our mirror / DRBD by its defaults; flushes are on in all.

.venv/bin/python -m benchmarks.mirror_write [ROUNDS]

Over the lab's own link, and over one of 1 Gbit/s; and small writes all over volumes that the default activity log does
not cover.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from benchmarks import link
from benchmarks.bed import GIB, MIB, Bed, OurPair, Pair, PeerPair
from benchmarks.fio import Job, command, figures
from benchmarks.frame import Promise, facts, keep, take_turns

SIZE_BYTES = 512 * MIB
REGION_BYTES = 256 * MIB
WIDE_BYTES = 16 * GIB
SECONDS = 1.5
CPU = "each kernel of the lab has one processor: a mirrored write waits for processors and a switch, not for a disk"
EXTENTS = "what is written fits into the default activity log: what we set saves nothing here"
MEMORY = "the disk is memory: an entry of the activity log is written in no time, for many writes at once"
DRBDS_OWN = "DRBD's defaults take as long, and a TCP exchange of that size no longer than the limit's round trip"
FLUSHES = "a write takes four times the disk's time by either, with or without an entry of the activity log"
# As a disk that turns.
SLOW, WRITE_MS = "slow", 10
JOBS = (
    Job("seq", "write", "1M", 8, REGION_BYTES, SECONDS),
    Job("qd1", "randwrite", "4k", 1, REGION_BYTES, SECONDS),
    Job("qd16", "randwrite", "4k", 16, REGION_BYTES, SECONDS),
)
WIDE = Job("qd16", "randwrite", "4k", 16, WIDE_BYTES, 2 * SECONDS)
# One small write to each extent of the activity log, 4 MiB, and 4,092 KiB left out behind it.
EACH_EXTENT = Job("warm", "write:4092k", "4k", 16, WIDE_BYTES, io_bytes=WIDE_BYTES // 1024)


def promised() -> tuple[Promise, ...]:
    """Over both links."""
    found = []
    for name, prefix, reason in (("", "", CPU), ("1 Gbit/s, ", "gbit_", DRBDS_OWN)):
        ours, peer, limit = f"{prefix}ours", f"{prefix}peer", f"{prefix}limit"
        found += [
            Promise(
                f"{name}sequential: share of min(disk, link)", f"{ours}_seq_mib_s", f"{limit}_seq_mib_s", 0.97, reason
            ),
            Promise(
                f"{name}depth 1: the limit, local + a round trip, over our latency",
                f"{limit}_qd1_us",
                f"{ours}_qd1_median_us",
                1 / 1.1,
                reason,
            ),
            Promise(
                f"{name}depth 16: times the writes of DRBD's defaults",
                f"{ours}_qd16_iops",
                f"{peer}_qd16_iops",
                1.15,
                EXTENTS,
            ),
            Promise(
                f"{name}depth 1: no fewer writes than DRBD's defaults", f"{ours}_qd1_iops", f"{peer}_qd1_iops", 1.0
            ),
            Promise(f"{name}sequential: no slower than DRBD's defaults", f"{ours}_seq_mib_s", f"{peer}_seq_mib_s", 1.0),
        ]
    for prefix, disk, reason in (("wide", "", MEMORY), ("slow", f" of a disk that takes {WRITE_MS} ms", FLUSHES)):
        text = f"16 GiB{disk}, depth 16: times the writes of DRBD's defaults"
        found.append(Promise(text, f"{prefix}_ours_qd16_iops", f"{prefix}_peer_qd16_iops", 1.15, reason))
    return tuple(found)


async def verified(bed: Bed, pairs: tuple[Pair, ...], seed: int) -> None:
    """What is written to a mirror lies on both nodes; and that something else does not is seen, too."""
    for pair in pairs:
        await bed.agents["a"].call("fill", path=pair.device, seed=seed, start=REGION_BYTES, length=16 * MIB)
        assert await bed.are_equal(pair.lower, SIZE_BYTES), f"both sides of {pair.name} differ"
    one = await bed.agents["a"].call("digest", path=pairs[0].lower, start=REGION_BYTES, length=8 * MIB)
    other = await bed.agents["a"].call("digest", path=pairs[0].lower, start=REGION_BYTES + 8 * MIB, length=8 * MIB)
    assert one != other, "the comparison sees no difference where there is one"


async def make_pairs(bed: Bed) -> tuple[Pair, ...]:
    """Ours and the other's; both on volumes that are large; both on large ones of a slow disk. All Primary on `a`."""
    ours, peer = OurPair(bed, "ours", 0, "ours", SIZE_BYTES), PeerPair(bed, "peer", 1, "peer", SIZE_BYTES)
    bed.make_slow_group(SLOW, 2 * WIDE_BYTES + GIB, WRITE_MS)
    wide = (
        OurPair(bed, "wours", 2, "wours", WIDE_BYTES),
        PeerPair(bed, "wpeer", 3, "wpeer", WIDE_BYTES),
        OurPair(bed, "sours", 4, "sours", WIDE_BYTES, SLOW),
        PeerPair(bed, "speer", 5, "speer", WIDE_BYTES, SLOW),
    )
    for pair in (ours, peer, *wide):
        # Blank: the disks were never written to.
        pair.make_volumes()
        await pair.start()
        await pair.promote()
    for pair in wide:
        bed.run("a", command(pair.device, [EACH_EXTENT]))
    return ours, peer, *wide


async def main(rounds: int) -> None:
    """Measure, print and keep."""
    async with Bed.up() as bed:
        about = facts(bed.node("a"))
        bare = bed.make_volume("bare", SIZE_BYTES)
        pairs = ours, peer, wide_ours, wide_peer, slow_ours, slow_peer = await make_pairs(bed)
        await verified(bed, pairs, 1)

        async def writes(device: str, *jobs: Job) -> Mapping[str, float]:
            return figures(bed.run("a", command(device, jobs)))

        async def over_gigabit(device: str) -> Mapping[str, float]:
            with link.gigabit(bed):
                return await writes(device, *JOBS)

        found = await take_turns(
            rounds,
            {
                "bare": lambda: writes(bare, *JOBS),
                "ours": lambda: writes(ours.device, *JOBS),
                "peer": lambda: writes(peer.device, *JOBS),
                "link": lambda: link.measure(bed),
                "gbit_ours": lambda: over_gigabit(ours.device),
                "gbit_peer": lambda: over_gigabit(peer.device),
                "gbit_link": lambda: link.measure_gigabit(bed),
                "wide_ours": lambda: writes(wide_ours.device, WIDE),
                "wide_peer": lambda: writes(wide_peer.device, WIDE),
                "slow_ours": lambda: writes(slow_ours.device, WIDE),
                "slow_peer": lambda: writes(slow_peer.device, WIDE),
            },
        )
        await verified(bed, pairs, 2)
    for prefix in ("", "gbit_"):
        carried, trip = found[f"{prefix}link_mib_s"], found[f"{prefix}link_round_trip_us"]
        found[f"{prefix}limit_seq_mib_s"] = [min(each) for each in zip(found["bare_seq_mib_s"], carried, strict=True)]
        # Medians on both sides: a node whose alarm was lost stands still for 50 ms (lab/timer.c), and netem sets many.
        found[f"{prefix}limit_qd1_us"] = [sum(each) for each in zip(found["bare_qd1_median_us"], trip, strict=True)]
    keep("mirror_write", about, found, promised())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
