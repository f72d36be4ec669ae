"""A node that is lost for good is replaced by a blank machine, while its partner serves."""

from __future__ import annotations

import pytest

from demo import blocks, files
from demo.bed import Bed, wait_for
from demo.client import Refused
from demo.report import Report
from tests.lab.product import empty_disks
from tests.lab.serving import IN_SYNC_WITHIN_S, WELL, Watch, move_back, state, states, written

pytestmark = [
    pytest.mark.lab(seconds=75),
    pytest.mark.long,
    pytest.mark.timed,
    pytest.mark.timeout(180, func_only=True),
]

MOVED_AT_MOST_MS = blocks.TAKES_OVER_WITHIN_S * 1000


def test_a_blank_machine_takes_the_place_of_a_node_that_is_lost(bed: Bed, device: str) -> None:
    with pytest.raises(Refused) as refusal:
        bed.b.api.change("POST", "/v1/pairing/give-up?confirm=a")
    codes = {reason["code"] for reason in refusal.value.problem["reasons"]}
    assert codes == {"partner-answers", "partner-heard"}

    with Watch(bed) as watch, written(bed, device, "replaced", MOVED_AT_MOST_MS):
        bed.a.node.cut()
        wait_for(lambda: state(bed.b) == "active-alone", blocks.TAKES_OVER_WITHIN_S, "node b serves alone")
        empty_disks(bed.lab, "a")
        bed.b.api.change("POST", "/v1/pairing/give-up?confirm=a")
        bed.a.node.boot()
        bed.start_blank("a")
        pool = {"name": files.POOL, "disks": [bed.a.node.device("data")]}
        bed.a.api.change("POST", "/v1/pools", pool)
        files.pair_with(bed.b, bed.a)
        rebuilt = bed.b.api.change("POST", "/v1/pairing/rebuild")["result"]
        wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node a stands by, in sync")
    assert rebuilt["mirrors"] == [blocks.MIRROR]
    assert watch.seen <= {("a",), (), ("b",)}
    blocks.verify(bed, Report())
    with written(bed, device, "moved to it", MOVED_AT_MOST_MS):
        move_back(bed)
