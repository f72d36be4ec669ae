"""Bench 10: a resync of what is equal already, and of a thin volume that is a tenth full onto an empty one.

.venv/bin/python -m benchmarks.resync_lean [ROUNDS]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from itertools import count

from benchmarks.bed import GIB, MIB, Bed, OurPair, Pair, PeerPair
from benchmarks.frame import Promise, facts, keep, take_turns

SIZE_BYTES = 128 * MIB
THIN_BYTES, USED_BYTES = 512 * MIB, 51 * MIB
PROMISED = (
    Promise("equal data: bytes of DRBD's defaults over ours", "peer_equal_wire_bytes", "ours_equal_wire_bytes", 100.0),
    Promise("equal data: times as fast", "peer_equal_s", "ours_equal_s", 1.0),
    Promise("a tenth used: what is used over the bytes sent", "used_bytes", "ours_thin_wire_bytes", 1 / 1.05),
    Promise("a tenth used: what is used over what the copy takes", "used_bytes", "ours_thin_mapped_bytes", 1 / 1.05),
    Promise("a tenth used: times as fast", "peer_thin_s", "ours_thin_s", 1.0),
)


async def main(rounds: int) -> None:
    """Measure, print and keep."""
    async with Bed.up() as bed:
        about = facts(bed.node("a"))
        bed.make_pool("pool", 3 * GIB)
        seeds = count(1)
        equal = OurPair(bed, "ours", 0, "ours", SIZE_BYTES), PeerPair(bed, "peer", 1, "peer", SIZE_BYTES)
        thin = OurPair(bed, "oursthin", 2, "oursthin", THIN_BYTES), PeerPair(bed, "peerthin", 3, "peerthin", THIN_BYTES)
        for pair in (*equal, *thin):
            is_thin = pair.size_bytes == THIN_BYTES
            pair.make_volumes("pool" if is_thin else None)
            await pair.start()
            await pair.promote()
            length = USED_BYTES if is_thin else SIZE_BYTES
            await bed.agents["a"].call("fill", path=pair.device, seed=next(seeds), start=0, length=length)

        async def resync(pair: Pair) -> Mapping[str, float]:
            found = dict(await pair.invalidate())
            assert await bed.are_equal(pair.lower, pair.size_bytes), f"both sides of {pair.name} differ"
            return found

        async def resync_thin(pair: Pair) -> Mapping[str, float]:
            # Below DRBD the copy is emptied, as a new volume in place of a lost one is.
            bed.run("b", f"blkdiscard --force {pair.lower}")
            assert bed.mapped_bytes("b", pair.volume) == 0
            assert not await bed.are_equal(pair.lower, THIN_BYTES), (
                "the comparison sees no difference where there is one"
            )
            found = await resync(pair)
            return {**found, "mapped_bytes": bed.mapped_bytes("b", pair.volume)}

        figures = await take_turns(
            rounds,
            {
                "ours_equal": lambda: resync(equal[0]),
                "peer_equal": lambda: resync(equal[1]),
                "ours_thin": lambda: resync_thin(thin[0]),
                "peer_thin": lambda: resync_thin(thin[1]),
            },
        )
    figures["used_bytes"] = [float(USED_BYTES)]
    keep("resync_lean", about, figures, PROMISED)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
