"""What an operator does to groups that are served under load: maintenance, a drill, a drain before a shutdown."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from demo import blocks
from demo.bed import Bed, StorageNode, wait_for
from lab.layout import CHECKOUT
from tests.lab.serving import IN_SYNC_WITHIN_S, WELL, Watch, boot_again, move_back, serves, state, states, written

pytestmark = [
    pytest.mark.lab(seconds=105),
    pytest.mark.timed,
    pytest.mark.in_order,
    pytest.mark.timeout(120, func_only=True),
]

MOVED_AT_MOST_MS = blocks.TAKES_OVER_WITHIN_S * 1000
GROUP = f"/v1/groups/{blocks.GROUP}"
HOLDFAST = str(CHECKOUT / ".venv/bin/holdfast")
# Many times as long as an unmarked node waits before it takes over.
NEVER_PROMOTED_S = 5.0
# It suspects while it can know that its data are the newest: a loop that was late for once ends that.
WAITS = ("suspect", "standby-not", "manual")


def marks(storage: StorageNode) -> list[str]:
    """The nodes in maintenance, by the word of a node."""
    return [mark["node"] for mark in storage.api.get("/v1/node")["in_maintenance"]]


def reasons(storage: StorageNode) -> str:
    """Why the group is not better than it is, by the word of a node."""
    return "; ".join(blocks.group_of(storage)["this_node"]["reasons"])


def told(report: dict[str, Any]) -> str:
    """A drill in one line."""
    moves = [f"{m['source']} to {m['destination']}: {m['gap_ms']} ms" for m in report["moves"]]
    steps = [d["timeline_ms"] for m in report["moves"] for d in m["decisions"] if d["timeline_ms"]]
    return f"drill: {', '.join(moves)}; {steps}"


def test_a_drill_goes_there_and_back_under_load_and_keeps_what_it_took(bed: Bed, device: str) -> None:
    with Watch(bed) as watch, written(bed, device, "drill", MOVED_AT_MOST_MS):
        report = bed.b.api.change("POST", f"{GROUP}/drill")["result"]
    print(told(report))
    assert ("a", "b") not in watch.seen
    assert states(bed) == WELL
    assert (report["is_ok"], report["reason"], report["was_interrupted"]) == (True, None, False)
    assert [(m["source"], m["destination"]) for m in report["moves"]] == [("a", "b"), ("b", "a")]
    for move in report["moves"]:
        assert 0 < move["gap_ms"] < MOVED_AT_MOST_MS
        by_node = {d["node"]: d["timeline_ms"] for d in move["decisions"] if d["timeline_ms"]}
        assert list(by_node[move["source"]])[-1] == "partner serves"
        assert list(by_node[move["destination"]])[-1] == "address up"
    for storage in (bed.a, bed.b):
        assert storage.api.items(f"{GROUP}/drills") == [report]


def test_a_node_in_maintenance_is_drained_and_takes_over_only_after_its_end(bed: Bed, device: str) -> None:
    with Watch(bed) as watch:
        with written(bed, device, "drain", MOVED_AT_MOST_MS):
            result = bed.a.api.change("POST", "/v1/node/maintenance", {"reason": "new fans"})["result"]
            wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node b serves and node a stands by")
        assert result == {"moved": [blocks.GROUP], "kept": []}
        assert (marks(bed.a), marks(bed.b)) == (["a"], ["a"])
        assert "a is in maintenance" in reasons(bed.b)

        bed.a.node.cut()
        boot_again(bed.a)
        wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node a has caught up, in maintenance still")
        assert marks(bed.a) == ["a"]

        bed.b.node.cut()
        wait_for(lambda: state(bed.a) in WAITS, 30, "node a misses node b")
        time.sleep(NEVER_PROMOTED_S)
        assert state(bed.a) in WAITS
        assert not serves(bed.a.node)
        assert "takes over on a person's word only" in reasons(bed.a)

        # The job tells the partner last, which has no power: nobody waits for that here.
        bed.a.api.call("POST", "/v1/node/maintenance/end", {}, headers={"Prefer": "respond-async"})
        wait_for(lambda: state(bed.a) in ("active-alone", "manual"), 30, "node a takes over, or asks")
        if state(bed.a) == "manual":
            bed.a.api.call("POST", f"{GROUP}/promote", {"confirm": blocks.GROUP})
            wait_for(lambda: state(bed.a) == "active-alone", 30, "node a takes over on a person's word")
        print([d["sentence"] for d in bed.a.api.items("/v1/decisions?page_size=1000")][-3:])
        with written(bed, device, "after", MOVED_AT_MOST_MS):
            pass
        boot_again(bed.b)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "node b stands by")
        wait_for(lambda: (marks(bed.a), marks(bed.b)) == ([], []), 60, "node b knows that it is over")
    assert ("a", "b") not in watch.seen


def test_the_verb_of_a_shutdown_hands_over_so_that_a_node_can_go_down(bed: Bed, device: str) -> None:
    with Watch(bed) as watch, written(bed, device, "shutdown", MOVED_AT_MOST_MS) as writing:
        done = bed.a.node.run([HOLDFAST, "node", "drain", "--within", "45", "--timeout", "80", "--json"])
        assert json.loads(done.stdout)["result"] == {"moved": [blocks.GROUP], "kept": []}
        assert state(bed.b) in ("active-sync", "active-alone")
        bed.a.node.cut()
        writing.wait_acknowledged(200, 30)
        # Nobody is left to hand it to: it stays, and a script can tell.
        kept = bed.b.node.run([HOLDFAST, "node", "drain", "--json"], check=False, timeout_s=60)
        assert kept.returncode == 4
        assert [item["group"] for item in json.loads(kept.stdout)["result"]["kept"]] == [blocks.GROUP]
        boot_again(bed.a)
    assert ("a", "b") not in watch.seen
    move_back(bed)
