"""The replication link as it is, and as servers have it: 1 Gbit/s, and some time there and back.

The lab's own link carries more than two processors can write: what is measured there says how much a mirror costs
them. Shaped by netem in both nodes the link is what is waited for, as between two machines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median

from benchmarks.bed import MIB, NODES, Bed

# tc-netem(8). The delay is one way; the queue is far longer than the nodes' socket buffers, so that nothing is dropped.
SHAPE = "netem rate 1gbit delay 50us limit 10000"
GIGABIT_MIB_S = 10**9 / 8 / MIB * 1448 / 1514
"""What TCP can carry over it: netem counts Ethernet's header, and a packet of 1,500 bytes has 1,448 of payload."""
_LEAST_SHARE = 0.7


@contextmanager
def gigabit(bed: Bed) -> Iterator[None]:
    """Shape the link both ways. Fails if a packet was dropped, for then that was the limit."""
    bed.run_on_both(f"modprobe sch_netem; tc qdisc add dev replication root {SHAPE}")
    try:
        yield
        for name in NODES:
            dropped = packets_dropped(bed.run(name, "tc -s qdisc show dev replication"))
            assert dropped == 0, f"the shaped link of {name} dropped {dropped} packets"
    finally:
        bed.run_on_both("tc qdisc del dev replication root")


def packets_dropped(text: str) -> int:
    """By `tc -s qdisc show`. Raises ValueError if there is no netem in it."""
    if not (found := re.search(r"^qdisc netem .*?\(dropped (\d+),", text, re.DOTALL)):
        raise ValueError(f"the link is not shaped: {text}")
    return int(found[1])


def round_trip_us(bed: Bed) -> float:
    """4 KiB there and a few bytes back, as a write and its answer: half of each kind of echo, the middle of many."""
    halves = []
    for size in (4068, 56):
        said = bed.run("a", f"ping -n -c 200 -i 0.005 -s {size} {bed.node('b').address('replication')}")
        halves.append(median(float(ms) * 1000 for ms in re.findall(r"time=([\d.]+) ms", said)) / 2)
    return sum(halves)


async def measure(bed: Bed, length: int = 256 * MIB) -> Mapping[str, float]:
    """What it carries, and how long a write's way is."""
    return {"mib_s": length / MIB / await bed.measure_link(length), "round_trip_us": round_trip_us(bed)}


async def measure_gigabit(bed: Bed, length: int = 256 * MIB) -> Mapping[str, float]:
    """The same of the shaped link, which must be what it was shaped to."""
    with gigabit(bed):
        found = await measure(bed, length)
    share = found["mib_s"] / GIGABIT_MIB_S
    assert _LEAST_SHARE < share < 1.02, f"shaped to 1 Gbit/s the link carried {found['mib_s']:.0f} MiB/s"
    return found
