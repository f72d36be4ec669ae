"""Bench 9: one side's data are void and all differ; everything is sent, by our settings / by DRBD's defaults.

Over the lab's own link, and over one of 1 Gbit/s.

.venv/bin/python -m benchmarks.resync_full [ROUNDS]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from functools import partial
from itertools import count

from benchmarks import link
from benchmarks.bed import MIB, Bed, OurPair, Pair, PeerPair
from benchmarks.frame import Promise, Way, facts, keep, take_turns

SIZE_BYTES = 256 * MIB
CHECKSUMS = "both sides read and hash first, which spares what is equal (resync_lean) and costs where all differs"
PROMISED = (
    Promise("times as fast as DRBD's defaults", "peer_s", "ours_s", 5.0),
    Promise("share of min(link, disk)", "limit_s", "ours_s", 0.8, CHECKSUMS),
    Promise("1 Gbit/s: times as fast as DRBD's defaults", "gbit_peer_s", "gbit_ours_s", 5.0),
    Promise("1 Gbit/s: share of min(link, disk)", "gbit_limit_s", "gbit_ours_s", 0.8),
)


async def main(rounds: int) -> None:
    """Measure, print and keep."""
    async with Bed.up() as bed:
        about = facts(bed.node("a"))
        bare = bed.make_volume("bare", SIZE_BYTES)
        pairs = OurPair(bed, "ours", 0, "ours", SIZE_BYTES), PeerPair(bed, "peer", 1, "peer", SIZE_BYTES)
        seeds = count(1)
        for pair in pairs:
            pair.make_volumes()
            await pair.start()
            await pair.promote()
            await bed.agents["a"].call("fill", path=pair.device, seed=next(seeds), start=0, length=SIZE_BYTES)

        async def resync(pair: Pair) -> Mapping[str, float]:
            # Below DRBD, so that it differs everywhere and nothing can be spared.
            await bed.agents["b"].call("fill", path=pair.lower, seed=next(seeds), start=0, length=SIZE_BYTES)
            assert not await bed.are_equal(pair.lower, SIZE_BYTES), (
                "the comparison sees no difference where there is one"
            )
            found = await pair.invalidate()
            assert await bed.are_equal(pair.lower, SIZE_BYTES), f"both sides of {pair.name} differ after the resync"
            assert found["wire_bytes"] > SIZE_BYTES, "not everything was sent"
            return found

        async def over_gigabit(pair: Pair) -> Mapping[str, float]:
            with link.gigabit(bed):
                return await resync(pair)

        async def disks() -> Mapping[str, float]:
            return {
                "write_s": await bed.agents["b"].call("fill", path=bare, seed=1, start=0, length=SIZE_BYTES),
                "read_s": await bed.agents["a"].call("time_reading", path=bare, length=SIZE_BYTES),
            }

        ways: dict[str, Way] = {
            "ours": partial(resync, pairs[0]),
            "peer": partial(resync, pairs[1]),
            "gbit_ours": partial(over_gigabit, pairs[0]),
            "gbit_peer": partial(over_gigabit, pairs[1]),
            "link": partial(link.measure, bed),
            "gbit_link": partial(link.measure_gigabit, bed),
            "disks": disks,
        }
        figures = await take_turns(rounds, ways)
    for prefix in ("", "gbit_"):
        link_s = [SIZE_BYTES / MIB / mib_s for mib_s in figures[f"{prefix}link_mib_s"]]
        slowest = zip(link_s, figures["disks_write_s"], figures["disks_read_s"], strict=True)
        figures[f"{prefix}limit_s"] = [max(each) for each in slowest]
    keep("resync_full", about, figures, PROMISED)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
