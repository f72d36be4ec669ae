"""Bench 8: two zeroed volumes become a mirror, by our driver (first_sync zero) / by drbdadm with its first sync.

.venv/bin/python -m benchmarks.mirror_create [ROUNDS]
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping

from benchmarks.bed import GIB, MIB, NODES, Bed, OurPair, PeerPair
from benchmarks.frame import Promise, facts, keep, take_turns

# The smallest is all that the other way can be given five times in a few minutes.
SMALL_BYTES = 256 * MIB
PROMISED = (
    Promise("256 MiB: times as fast as DRBD's first sync", "peer_256mib_s", "thin_256mib_s", 10.0),
    Promise("64 GiB: times as fast as its greatest rate allows", "peer_64gib_s", "thin_64gib_s", 100.0),
    Promise("1 GiB over 1 TiB: the same time", "thin_1gib_s", "thin_1tib_s", 0.5),
    Promise("1 TiB: 5 s or less", "five_s", "thin_1tib_s", 1.0),
    Promise("1 GiB: less than 1 MiB on the wire", "one_mib_bytes", "thin_1gib_wire_bytes", 1.0),
    Promise("1 GiB, thick: times as fast as the other's 256 MiB", "peer_256mib_s", "thick_1gib_s", 10.0),
    Promise("1 TiB: less than 1 MiB on the wire", "one_mib_bytes", "thin_1tib_wire_bytes", 1.0),
)


async def make_ours(bed: Bed, size_bytes: int, pool: str | None) -> Mapping[str, float]:
    """From two blank volumes to both sides in sync; then what one writes, both have."""
    pair = OurPair(bed, "ours", 0, "ours", size_bytes)
    pair.make_volumes(pool)
    before, began_s = await bed.wire_bytes(), time.perf_counter()
    await pair.start(zero=True)
    found = {"s": time.perf_counter() - began_s, "wire_bytes": await bed.wire_bytes() - before}
    if pool:
        # Nothing is mapped: every byte reads zero, however many there are.
        assert [bed.mapped_bytes(name, "ours") for name in NODES] == [0, 0], "zeros were written to a thin volume"
    await check(bed, pair)
    await pair.down()
    pair.remove_volumes()
    return found


async def check(bed: Bed, pair: OurPair | PeerPair) -> None:
    """Compare both legs: all of a small one; of a large one both ends, after something was written to each."""
    await pair.promote()
    ends = (0, pair.size_bytes - 8 * MIB)
    blank = await bed.agents["a"].call("digest", path=pair.lower, start=0, length=8 * MIB)
    for start in ends:
        await bed.agents["a"].call("fill", path=pair.device, seed=start // MIB + 1, start=start, length=4 * MIB)
    if pair.size_bytes <= GIB:
        assert await bed.are_equal(pair.lower, pair.size_bytes), f"both sides of {pair.name} differ"
    for start in ends:
        assert await bed.are_equal(pair.lower, 8 * MIB, start), f"both sides of {pair.name} differ"
    written = await bed.agents["b"].call("digest", path=pair.lower, start=0, length=8 * MIB)
    assert written != blank, "the comparison sees no difference where there is one"


async def make_peer(bed: Bed, pool: str) -> Mapping[str, float]:
    """The same by drbdadm's defaults: the new Primary's data are sent whole."""
    pair = PeerPair(bed, "peer", 1, "peer", SMALL_BYTES)
    pair.make_volumes(pool)
    pair.specify()
    pair.take_over_helper()
    before, began_s = await bed.wire_bytes(), time.perf_counter()
    await pair.admin("create-md", "--force")
    await pair.admin("up")
    await pair.admin("primary", "--force", only="a")
    await bed.both("wait_equal", minor=1)
    found = {"s": time.perf_counter() - began_s, "wire_bytes": await bed.wire_bytes() - before}
    await check(bed, pair)
    await pair.down()
    pair.remove_volumes()
    return found


async def main(rounds: int) -> None:
    """Measure, print and keep."""
    async with Bed.up() as bed:
        about = facts(bed.node("a"))
        bed.make_pool("pool", 3 * GIB)
        figures = await take_turns(
            rounds,
            {
                "thin_256mib": lambda: make_ours(bed, SMALL_BYTES, "pool"),
                "thin_1gib": lambda: make_ours(bed, GIB, "pool"),
                "thin_64gib": lambda: make_ours(bed, 64 * GIB, "pool"),
                "thin_1tib": lambda: make_ours(bed, 1024 * GIB, "pool"),
                "thick_1gib": lambda: make_ours(bed, GIB, None),
                "peer_256mib": lambda: make_peer(bed, "pool"),
            },
        )
    figures |= {"five_s": [5.0], "one_mib_bytes": [float(MIB)]}
    # It starts slowly, so that a small size must not be counted up: at its c-max-rate it takes that long at least.
    figures["peer_64gib_s"] = [64 * GIB / (100 * MIB)]
    keep("mirror_create", about, figures, PROMISED)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
