"""What the settings file may say."""

from __future__ import annotations

import pytest

from holdfast.config import Config, parse_config
from holdfast.errors import InvalidError


def test_what_is_not_said_has_its_default() -> None:
    assert parse_config({"node": "a"}, source="x") == Config("a")
    assert parse_config({"node": "a", "run_log_days": 7}, source="x").run_log_days == 7


@pytest.mark.parametrize("days", [0, -1, 3651, "90", 1.5, True])
def test_the_log_of_runs_is_kept_for_a_bounded_time(days: object) -> None:
    with pytest.raises(InvalidError) as refused:
        parse_config({"node": "a", "run_log_days": days}, source="x")
    assert refused.value.reasons[0].field == "run_log_days"
