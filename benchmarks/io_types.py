"""What a target's I/O types cost: block, file, and file with a write cache, at an initiator and without a network.

.venv/bin/python -m benchmarks.io_types [ROUNDS]

Node a serves, node b is the initiator (open-iscsi). Over the network most of a small write's time is the way there and
back; the loopback fabric on a shows what the type itself costs. The bare volume and the link are measured in the
same run.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count

from benchmarks import link
from benchmarks.bed import GROUP, MIB, Bed
from benchmarks.fio import Job, command, figures
from benchmarks.frame import Promise, Way, facts, keep, take_turns
from holdfast.hooks.target import LogicalUnit, Portal, TargetSpec
from lab.layout import CHECKOUT
from lab.processes import wait_until
from tests.lab.iscsi import drive
from tests.lab.worker import PYTHON, environment

SIZE_BYTES = 640 * MIB
REGION_BYTES = 256 * MIB
# What is read, and what is written for the first time, in a round; the latter somewhere else in each.
PART_BYTES = 16 * MIB
PLACES = REGION_BYTES, PART_BYTES
SECONDS = 1.5
TYPES = ("block", "file", "cached")
FABRICS = {"iscsi": "iqn.2026-01.org.holdfast.bench:io", "loop": "naa.5001405000000b01"}
WRITES = (
    Job("qd1", "randwrite", "4k", 1, REGION_BYTES, SECONDS),
    Job("seq", "write", "1M", 8, REGION_BYTES, SECONDS),
)
FIRST, AGAIN = (Job(name, "randread", "4k", 1, PART_BYTES) for name in ("first", "again"))


def promised() -> tuple[Promise, ...]:
    """What docs/targets.md says; beside it what each type costs, of which nothing was promised."""
    found = []
    for fabric in FABRICS:
        for kind in ("file", "cached"):
            text = f"{fabric}, {kind}: bytes read again over what the disk had to read for it, and a MiB"
            found.append(Promise(text, "read_bytes", f"{fabric}_{kind}_again_disk_bytes", 10.0))
            told = {"qd1": "write", "fresh": "first write to a place", "again": "read of what was read"}
            for job, what in told.items():
                text = f"{fabric}, {kind}: latency of a 4 KiB {what}, block over it"
                found.append(Promise(text, f"{fabric}_block_{job}_us", f"{fabric}_{kind}_{job}_us", None))
            text = f"{fabric}, {kind}: sequential writes, times block"
            found.append(Promise(text, f"{fabric}_{kind}_seq_mib_s", f"{fabric}_block_seq_mib_s", None))
    for kind in TYPES:
        text = f"iscsi, {kind}: latency of a 4 KiB write, bare volume + a round trip over it"
        found.append(Promise(text, "limit_qd1_us", f"iscsi_{kind}_qd1_us", None))
        text = f"iscsi, {kind}: sequential writes, share of min(bare volume, link)"
        found.append(Promise(text, f"iscsi_{kind}_seq_mib_s", "limit_seq_mib_s", None))
        text = f"loop, {kind}: latency of a 4 KiB write, bare volume over it"
        found.append(Promise(text, "bare_qd1_us", f"loop_{kind}_qd1_us", None))
    return tuple(found)


def make_units(bed: Bed) -> dict[str, dict[str, object]]:
    """A volume for each type and fabric, and a bare one, by the volume driver in a pool of its own on `a`."""
    bed.run("a", f"vgremove --quiet --yes {GROUP}; pvremove --quiet {bed.node('a').device('data')}")
    names = {f"{fabric}-{kind}": "block" if kind == "block" else "file" for fabric in FABRICS for kind in TYPES}
    words = [f"{name}={io_type}" for name, io_type in {"bare": "block", **names}.items()]
    argv = [PYTHON, "-m", "benchmarks.units_in_node", bed.node("a").device("data"), str(SIZE_BYTES), *words]
    done = bed.node("a").run(argv, env=environment("plugins/volume_lvm"), cwd=str(CHECKOUT), timeout_s=120)
    made: dict[str, dict[str, object]] = json.loads(done.stdout)
    return made


def serve(bed: Bed, fabric: str, units: Mapping[str, dict[str, object]]) -> None:
    """Have the target driver on `a` serve the three units of a fabric to anybody."""
    found = []
    for lun, kind in enumerate(TYPES, 1):
        made = units[f"{fabric}-{kind}"]
        unit = LogicalUnit(
            lun,
            f"{fabric}-{kind}",
            str(made["unit"]),
            f"{lun}{len(fabric)}".ljust(32, "0"),
            file_bytes=made["file_bytes"],  # type: ignore[arg-type]  # of JSON
            has_write_cache=kind == "cached",
        )
        found.append(unit)
    is_iscsi = fabric == "iscsi"
    portals = (Portal(bed.node("a").address("replication")),) if is_iscsi else ()
    spec = TargetSpec(f"io-{fabric}", FABRICS[fabric], portals, tuple(found), (), is_open=is_iscsi)
    [answer] = drive(bed.node("a"), "activate", spec=spec)
    assert "error" not in answer, answer


def disks(bed: Bed, name: str) -> dict[str, str]:
    """The SCSI disks of a node by type, told apart by their LUN, once all three are there."""
    script = "cd /sys/block; for d in sd*; do [ ! -e $d ] || echo $(basename $(readlink $d/device)) $d; done"

    def found() -> dict[int, str]:
        lines = [line.split() for line in bed.run(name, script).splitlines()]
        return {int(where.rpartition(":")[2]): f"/dev/{disk}" for where, disk in lines}

    assert wait_until(lambda: len(found()) == len(TYPES), 15), f"{name} sees {found()}"
    return {kind: found()[lun] for lun, kind in enumerate(TYPES, 1)}


def log_in(bed: Bed) -> None:
    """Log `b` in to the target of `a`."""
    node, record = bed.node("b"), f"iscsiadm -m node -T {FABRICS['iscsi']} -p {bed.node('a').address('replication')}"
    bed.run("b", "modprobe iscsi_tcp; mkdir -p /run/lock/iscsi")
    node.start_service("iscsid", ["iscsid", "--foreground", "--no-pid-file"])
    bed.run("b", f"{record} -o new; {record} -l")


async def verify(bed: Bed, node: str, disk: str, unit: str, seed: int) -> None:
    """What is written at the disk lies in the unit, past every cache; and that something else does not is seen."""
    await bed.agents[node].call("fill", path=disk, seed=seed, start=0, length=REGION_BYTES)
    bed.run("a", "sync")
    here = await bed.agents[node].call("digest", path=disk, start=0, length=REGION_BYTES)
    there = await bed.agents["a"].call("digest", path=unit, start=0, length=REGION_BYTES)
    assert here == there, f"what {node} wrote to {disk} does not lie in {unit}"
    other = await bed.agents["a"].call("digest", path=unit, start=0, length=8 * MIB)
    another = await bed.agents["a"].call("digest", path=unit, start=8 * MIB, length=8 * MIB)
    assert other != another, "the comparison sees no difference where there is one"


def read_from_disk_bytes(bed: Bed, volume: str) -> int:
    """What was read of a volume since the node was booted (Documentation/admin-guide/iostats.rst)."""
    return int(bed.run("a", f"cat /sys/dev/block/$(stat -L -c %Hr:%Lr {volume})/stat").split()[2]) * 512


async def measure(bed: Bed, node: str, disk: str, volume: str, places: Iterator[int]) -> Mapping[str, float]:
    """Writes; then, with the serving node's memory emptied, reads of every block once, and the same again.

    Each of `places` is a byte from which on nothing was written so far.
    """
    fresh = Job("fresh", "randwrite", "4k", 1, PART_BYTES, start_bytes=next(places))
    found = figures(bed.run(node, command(disk, [*WRITES, fresh])))
    bed.run("a", "sync; echo 3 >/proc/sys/vm/drop_caches")
    for job in (FIRST, AGAIN):
        before = read_from_disk_bytes(bed, volume)
        found |= figures(bed.run(node, command(disk, [job])))
        # And a MiB: nothing at all could not be divided by.
        found[f"{job.name}_disk_bytes"] = read_from_disk_bytes(bed, volume) - before + MIB
    return found


async def main(rounds: int) -> None:
    """Measure, print and keep."""
    async with Bed.up() as bed:
        about = facts(bed.node("a"))
        units = make_units(bed)
        bed.run_on_both("modprobe sd_mod")
        for fabric in FABRICS:
            serve(bed, fabric, units)
        log_in(bed)
        nodes = {"iscsi": "b", "loop": "a"}
        seen = {fabric: disks(bed, node) for fabric, node in nodes.items()}
        ways: dict[str, Way] = {}
        places = [(fabric, kind) for fabric in FABRICS for kind in TYPES]
        for seed, (fabric, kind) in enumerate(places):
            unit = units[f"{fabric}-{kind}"]
            await verify(bed, nodes[fabric], seen[fabric][kind], str(unit["unit"]), seed)
            way = partial(measure, bed, nodes[fabric], seen[fabric][kind], str(unit["volume"]), count(*PLACES))
            ways[f"{fabric}_{kind}"] = way

        volume = str(units["bare"]["volume"])
        bare = partial(measure, bed, "a", volume, volume, count(*PLACES))

        await bed.agents["a"].call("fill", path=volume, seed=99, start=0, length=REGION_BYTES)
        found = await take_turns(rounds, {"bare": bare, **ways, "link": partial(link.measure, bed)})
        for seed, (fabric, kind) in enumerate(places):
            unit = units[f"{fabric}-{kind}"]
            await verify(bed, nodes[fabric], seen[fabric][kind], str(unit["unit"]), 10 + seed)
    found["read_bytes"] = [float(PART_BYTES)]
    found["limit_qd1_us"] = [sum(each) for each in zip(found["bare_qd1_us"], found["link_round_trip_us"], strict=True)]
    found["limit_seq_mib_s"] = [min(each) for each in zip(found["bare_seq_mib_s"], found["link_mib_s"], strict=True)]
    keep("io_types", about, found, promised())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
