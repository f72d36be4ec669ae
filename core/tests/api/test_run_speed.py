"""How long a run took, and how fast it sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.api.runs import json_lines
from holdfast.store.runs import Run, RunResult

BEGUN = "2026-03-01T12:00:00+00:00"


def run(ended_at: str | None, result: RunResult | None, **counts: int) -> Run:
    given: dict[str, Any] = {"schedule": None, "due_at": None, "started_at": BEGUN, "frozen_at": None}
    return Run(1, "t", "1", **given, ended_at=ended_at, result=result, reason=None, counts=counts or None)


@pytest.mark.parametrize(
    ("shown", "duration_s", "speed_bytes_s"),
    [
        (run("2026-03-01T12:00:10.250000+00:00", RunResult.OK, sent_bytes=3000, copying_ms=1500), 10.25, 2000),
        (run("2026-03-01T12:00:10+00:00", RunResult.OK, sent_bytes=3000, copying_ms=0), 10.0, None),
        (run("2026-03-01T12:00:10+00:00", RunResult.FAILED), 10.0, None),
        (run("2026-03-01T12:00:10+00:00", RunResult.OK, sent_bytes=3000), 10.0, None),
        (run("2026-03-01T11:59:00+00:00", RunResult.OK, sent_bytes=0, copying_ms=10), 0.0, 0),
        (run(None, None), None, None),
        (run(BEGUN, RunResult.SKIPPED), None, None),
    ],
)
def test_duration_and_speed_are_told_where_they_are_known(
    shown: Run, duration_s: float | None, speed_bytes_s: int | None
) -> None:

    told = json.loads(json_lines([shown]))
    assert (told["duration_s"], told["speed_bytes_s"]) == (duration_s, speed_bytes_s)
