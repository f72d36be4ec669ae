"""A pair that is busy with everything at once: none of it moves a group."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from demo import files
from demo.bed import MONITOR, Bed, StorageNode, wait_for
from lab import Node
from tests.lab.serving import IN_SYNC_WITHIN_S, WELL, Watch, epochs, states, takeovers, written

pytestmark = [
    pytest.mark.lab(seconds=300),
    pytest.mark.long,
    pytest.mark.timed,
    pytest.mark.timeout(4200, func_only=True),
]

MINUTES = float(os.environ.get("HOLDFAST_LOAD_MINUTES", "3"))
LOSSY = os.environ.get("HOLDFAST_LOSSY_LINK", "replication")
LOSS_PERCENT = 5
BURNERS = 2
"""For each node, which has one processor."""
LOAD = "load"


@contextmanager
def lossy(node: Node, link: str) -> Iterator[None]:
    node.run(["modprobe", "sch_netem"])
    node.run(["tc", "qdisc", "add", "dev", link, "root", "netem", "loss", f"{LOSS_PERCENT}%"])
    try:
        yield
    finally:
        node.run(["tc", "qdisc", "del", "dev", link, "root"])


@contextmanager
def burning(storage: StorageNode, device: str) -> Iterator[None]:
    """Every cycle of the processor, and every request that the disk takes."""
    node = storage.node
    scripts = ["while :; do :; done"] * BURNERS
    scripts += [f"while :; do dd if=/dev/zero of={device} bs=1M oflag=direct 2>/dev/null || :; done"]
    scripts += [f"while :; do dd if={device} of=/dev/null bs=64k iflag=direct 2>/dev/null || :; done"]
    running = [node.popen(["sh", "-c", script]) for script in scripts]
    try:
        yield
    finally:
        for process in running:
            process.kill()


def load_volume(storage: StorageNode) -> str:
    """A volume of the node alone in the pool of the mirror: what is written there takes the mirror's disk."""
    made = storage.api.change(
        "POST", "/v1/volumes", {"pool": files.POOL, "name": LOAD, "size_bytes": 256 * files.MIB, "kind": "iscsi"}
    )
    assert made["state"] == "done"
    return f"/dev/{files.POOL}/{LOAD}"


def test_load_on_everything_and_a_lossy_link_move_nothing(bed: Bed, device: str) -> None:
    before = epochs(bed), [takeovers(storage) for storage in (bed.a, bed.b)]
    devices = {storage.name: load_volume(storage) for storage in (bed.a, bed.b)}
    with Watch(bed) as watch, written(bed, device, "load", 60_000.0) as writing:
        with ExitStack() as everything:
            for storage in (bed.a, bed.b):
                everything.enter_context(lossy(storage.node, LOSSY))
                everything.enter_context(burning(storage, devices[storage.name]))
            ends_s = time.monotonic() + MINUTES * 60
            seen = writing.acknowledged
            while time.monotonic() < ends_s:
                time.sleep(min(30.0, max(ends_s - time.monotonic(), 0.1)))
                loads = [storage.node.read_file("/proc/loadavg").decode().split()[0] for storage in (bed.a, bed.b)]
                print(f"{writing.acknowledged - seen} writes more; load {loads}", flush=True)
                seen = writing.acknowledged
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "both nodes are well")
    after = epochs(bed), [takeovers(storage) for storage in (bed.a, bed.b)]
    for storage in (bed.a, bed.b):
        log = storage.node.service_log(MONITOR).read_text().splitlines()
        print(storage.name, len([line for line in log if "slept" in line]), "stalls;", log[-5:])
        print([d["sentence"] for d in storage.api.items("/v1/decisions?page_size=1000")])
    assert after == before
    assert watch.seen <= {(), ("a",)}
