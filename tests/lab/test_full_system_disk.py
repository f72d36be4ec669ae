"""Under a served group the system disks of both nodes have no byte left."""

from __future__ import annotations

import pytest

from demo import blocks
from demo.bed import Bed, StorageNode, wait_for
from demo.files import POOL
from tests.lab.serving import (
    IN_SYNC_WITHIN_S,
    WELL,
    Watch,
    boot_again,
    move_back,
    states,
    written,
)
from tests.lab.test_mirrors import sh

pytestmark = [
    pytest.mark.lab(seconds=45),
    pytest.mark.long,
    pytest.mark.timed,
    pytest.mark.timeout(150, func_only=True),
]

MOVED_AT_MOST_MS = blocks.TAKES_OVER_WITHIN_S * 1000
FILLER = "/etc/filler"
EXTRA = {"pool": POOL, "name": "extra", "size_bytes": 16 << 20, "kind": "iscsi"}


def fill(storage: StorageNode) -> None:
    """Leave no byte free where /etc, /var and all else of the system lies."""
    sh(storage, f"for size in 1M 512; do dd if=/dev/zero of={FILLER}-$size bs=$size 2>/dev/null || true; done")
    assert int(sh(storage, "df --output=avail -B1 / | tail -n 1")) < 4096


def test_a_full_system_disk_is_no_obstacle_to_a_takeover(bed: Bed, device: str) -> None:
    for storage in (bed.a, bed.b):
        fill(storage)
    with Watch(bed) as watch, written(bed, device, "full-system", MOVED_AT_MOST_MS) as writing:
        writing.wait_acknowledged(200, 30)
        assert states(bed) == WELL
        bed.a.node.cut()
        wait_for(lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves the group")
        writing.wait_acknowledged(200, 30)
        boot_again(bed.a)
        wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node a stands by")
    assert watch.seen <= {(), ("a",), ("b",)}
    # Nothing of what it has to keep lies there.
    bed.b.api.change("POST", "/v1/volumes", EXTRA)
    bed.b.api.change("DELETE", f"/v1/volumes/{EXTRA['name']}?confirm={EXTRA['name']}")
    sh(bed.b, f"rm -f {FILLER}-*")
    move_back(bed)
