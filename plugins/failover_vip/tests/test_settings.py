"""Timers that are not safe together are refused, each inequality by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from marshmallow import ValidationError

from holdfast_failover_vip.settings import Settings, SettingsSchema
from holdfast_failover_vip.timers import Timers


def load(**settings: Any) -> Settings:
    loaded: Settings = SettingsSchema().load(settings)
    return loaded


def test_the_first_values_hold_together() -> None:
    assert Timers().violations() == ()
    assert load() == Settings()


def test_the_standby_waits_longer_than_the_active() -> None:
    timers = Timers()
    assert timers.isolated_ms < timers.dead_ms < timers.promote_ms


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"heartbeat_ms": 9, "stall_ms": 100}, "heartbeat_ms >= 10"),
        ({"burst_ms": 9}, "burst_ms >= 10"),
        ({"gap_probes": 1}, "gap_probes >= 2"),
        ({"suspect_ms": 149}, "suspect_ms >= 3 * heartbeat_ms"),
        ({"dead_ms": 339}, "suspect_ms + gap_probes * burst_ms + jitter_ms <= dead_ms"),
        ({"promote_margin_ms": 49}, "promote_margin_ms >= heartbeat_ms"),
        ({"stall_ms": 201}, "stall_ms + 2 * heartbeat_ms + jitter_ms <= dead_ms"),
        ({"stall_ms": 99}, "stall_ms >= 2 * heartbeat_ms"),
        ({"unsteady_dead_ms": 349}, "unsteady_dead_ms >= dead_ms"),
        ({"alone_ms": 1399}, "alone_ms >= 4 * dead_ms"),
        ({"client_lost_ms": 799}, "client_lost_ms >= 4 * calm_probe_ms"),
        ({"handover_ms": 1399}, "handover_ms >= 4 * dead_ms"),
    ],
)
def test_each_inequality_is_refused_by_itself(change: dict[str, int], text: str) -> None:
    violations = replace(Timers(), **change).violations()
    assert len(violations) == 1
    assert text in violations[0]
    with pytest.raises(ValidationError):
        load(timers=change)


def test_timers_at_the_bounds_are_taken() -> None:
    assert load(timers={"dead_ms": 340, "stall_ms": 190}).timers == replace(Timers(), dead_ms=340, stall_ms=190)


@pytest.mark.parametrize(
    "settings",
    [
        {"timers": {"no_timer_ms": 1}},
        {"timers": {"dead_ms": "350"}},
        {"timers": {"dead_ms": 0}},
        {"unknown": 1},
        {"is_realtime": "yes"},
    ],
)
def test_what_is_no_setting_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        load(**settings)
