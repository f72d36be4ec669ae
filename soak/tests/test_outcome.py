"""What a soak must never see is a violation, and its figures are those of its faults."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from soak.outcome import Outcome, Violation, gaps, judge, keep, percentile, table
from soak.plan import Fault, Kind, Role

CUT = Fault(4, Kind.POWER_CUT, Role.ACTIVE, (0.5,))
MOVED = Outcome(CUT, "a", "b", gap_ms=700.0, healed_s=6.0, acknowledged=900, checked_blocks=1024)
KILLED = replace(MOVED, fault=Fault(5, Kind.DAEMON_KILLED, Role.BOTH), active_after="a", gap_ms=12.0)


@pytest.mark.parametrize("outcome", [MOVED, KILLED, replace(MOVED, differing_bytes=0)])
def test_what_the_matrix_says_is_no_violation(outcome: Outcome) -> None:
    judge(outcome)


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (replace(MOVED, active_after="a"), "node a served before and node a afterwards; it was to move"),
        (replace(KILLED, active_after="b"), "it was to stay"),
        (replace(MOVED, gap_ms=9000.0), "waited 9000 ms"),
        (replace(KILLED, gap_ms=1600.0), "at most 1500 ms"),
        (replace(MOVED, restarted=("b",)), "node b restarted itself"),
        (replace(MOVED, differing_bytes=4096), "4096 bytes differ"),
    ],
)
def test_anything_else_is_a_violation(outcome: Outcome, told: str) -> None:
    with pytest.raises(Violation, match=told):
        judge(outcome)


def test_a_frozen_kernel_may_restart_and_may_move_or_not() -> None:
    frozen = replace(MOVED, fault=Fault(6, Kind.KERNEL_FROZEN, Role.ACTIVE, (0.4,)), restarted=("a",))
    judge(frozen)
    judge(replace(frozen, active_after="a", restarted=()))


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0), (0.501, 51.0)])
def test_percentiles_are_values_that_were_seen(share: float, value: float) -> None:
    assert percentile([float(each) for each in range(100, 0, -1)], share) == value


def test_gaps_are_told_by_kind_and_of_every_loss_of_a_node() -> None:
    frozen = replace(MOVED, fault=Fault(6, Kind.KERNEL_FROZEN, Role.ACTIVE, (0.05,)), active_after="a", gap_ms=60.0)
    told = gaps([MOVED, KILLED, frozen])
    assert told["all"] == {"count": 3, "p50_ms": 60.0, "p99_ms": 700.0, "max_ms": 700.0}
    assert told["loss of one node"]["count"] == 2
    assert told["loss of the active node that moved the service"]["p50_ms"] == 700.0
    assert told["daemon-killed of both"]["max_ms"] == 12.0


def test_a_result_is_kept_with_what_ended_it(tmp_path: Path) -> None:
    path = tmp_path / "results" / "soak.json"
    violation = {"fault": CUT.as_document(), "sentence": "both nodes served at once"}
    keep(path, {"seed": 3}, [KILLED], ended="violation", violation=violation, differing_bytes=None)
    kept = json.loads(path.read_text())
    assert (kept["machine"]["seed"], kept["faults"], kept["acknowledged_writes"]) == (3, 1, 900)
    assert (kept["violation"]["sentence"], kept["lost_writes"]) == ("both nodes served at once", None)
    assert kept["outcomes"][0]["gap_ms"] == 12.0
    assert "| daemon-killed of both | 1 | 12 ms | 12 ms | 12 ms |" in table(kept)


def test_a_soak_that_was_interrupted_at_once_has_a_result_too(tmp_path: Path) -> None:
    kept = keep(tmp_path / "x.json", {}, [], ended="interrupted", violation=None, differing_bytes=None)
    assert (kept["faults"], kept["gaps"]) == (0, {})
