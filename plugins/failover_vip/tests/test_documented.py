"""What `docs/failover.md` says is so: its timers, its states, and that every test it names exists."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from holdfast.hooks.failover import GroupState
from holdfast_failover_vip.timers import Timers

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs/failover.md").read_text()


def missing_tests(text: str) -> list[str]:
    """The tests and modules of tests that are named, and are not there."""
    modules = [path for top in ("plugins", "tests") for path in (ROOT / top).rglob("test_*.py")]
    there = {name for path in modules for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M)}
    there |= {path.name for path in modules} | {str(path.relative_to(ROOT)) for path in modules}
    return sorted(set(re.findall(r"`((?:[\w/]+/)?test_\w+(?:\.py)?)`", text)) - there)


def test_every_test_it_names_exists() -> None:
    assert missing_tests(TEXT) == []
    assert missing_tests("by `test_of_nothing` in `tests/lab/test_nothing.py`") == [
        "test_of_nothing",
        "tests/lab/test_nothing.py",
    ]


def test_its_timers_are_those_of_the_table() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", TEXT, re.M))
    assert rows == {each.name: str(getattr(Timers(), each.name)) for each in fields(Timers)}


def test_its_states_are_all_states() -> None:
    named = re.findall(r"^\| `([a-z-]+)` \|", TEXT, re.M)
    assert sorted(named) == sorted(state.value for state in GroupState)


def test_its_inequalities_are_those_that_are_checked() -> None:
    said = re.sub(r"\s+", " ", TEXT)
    broken = Timers(
        suspect_ms=1,
        promote_margin_ms=0,
        stall_ms=10_000,
        unsteady_dead_ms=1,
        alone_ms=1,
        handover_ms=1,
        client_lost_ms=1,
    )
    found = [text.removeprefix("it must hold that ") for text in broken.violations()]
    assert len(found) >= 7
    assert [text for text in found if f"`{text}`" not in said] == []
