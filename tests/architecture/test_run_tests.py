"""The test command: what it makes of the ends of its parts, and how it deals modules to labs."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def load(path: Path) -> ModuleType:
    """A file as a module, whatever its name."""
    loader = importlib.machinery.SourceFileLoader(path.name.replace("-", "_").removesuffix(".py") + "_read", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


judge = load(CHECKOUT / "tools" / "run-tests").judge
share_out = load(CHECKOUT / "tests" / "lab" / "conftest.py").share_out


@pytest.mark.parametrize(
    ("codes", "is_choice", "verdict"),
    [
        ([0, 0, 0, 0], False, 0),
        ([0, 1, 0, 0], False, 1),
        ([0, 0, 0, 3], False, 3),
        ([0, -9, 0, 0], False, 1),  # a signal ended it
        ([-9, 0, 2, 0], False, 1),
        ([0, 0, 0, 5], False, 5),  # nobody asked for fewer tests
        ([5, 0, 5, 5], True, 0),
        ([5, 1, 5, 5], True, 1),
        ([5, 5, 5, 5], True, 5),  # no test at all
        ([], False, 5),
    ],
)
def test_only_all_good_parts_are_good(codes: list[int], is_choice: bool, verdict: int) -> None:
    assert judge(codes, is_choice=is_choice) == verdict


def test_each_module_is_one_labs() -> None:
    seconds = {Path(f"test_{number}.py"): float(number % 4) for number in range(9)}
    for count in (1, 2, 3, 12):
        shares = share_out(seconds, count)
        assert len(shares) == count
        assert sorted(name for share in shares for name in share) == sorted(seconds)


def test_labs_end_at_about_the_same_time() -> None:
    seconds = {Path(name): length for name, length in {"a": 50.0, "b": 40.0, "c": 30.0, "d": 20.0, "e": 10.0}.items()}
    assert [sum(seconds[name] for name in share) for share in share_out(seconds, 2)] == [80.0, 70.0]


def test_every_lab_deals_alike() -> None:
    seconds = {Path(name): 1.0 for name in "dacb"}
    assert share_out(seconds, 2) == share_out(dict(reversed(seconds.items())), 2)
