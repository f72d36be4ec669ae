"""The test command: what it makes of the ends of its parts, and how it deals modules to labs."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def load(path: Path) -> ModuleType:
    """A file as a module, whatever its name."""
    loader = importlib.machinery.SourceFileLoader(path.name.replace("-", "_").removesuffix(".py") + "_read", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))  # type: ignore[arg-type]
    sys.modules[loader.name] = module  # dataclasses look there for it
    loader.exec_module(module)
    return module


judge = load(CHECKOUT / "tools" / "run-tests").judge
LAB = load(CHECKOUT / "tests" / "lab" / "conftest.py")
Module, share_out = LAB.Module, LAB.share_out


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
    modules = {
        Path(f"test_{number}.py"): Module(float(number % 4), is_timed=number in (3, 4), is_patient=number in (5, 6))
        for number in range(9)
    }
    for count in (1, 2, 3, 12):
        shares = share_out(modules, count)
        assert len(shares) == count
        assert sorted(name for share in shares for name in share) == sorted(modules)


def test_labs_end_at_about_the_same_time() -> None:
    modules = {
        Path(name): Module(seconds) for name, seconds in zip("abcde", (50.0, 40.0, 30.0, 20.0, 10.0), strict=True)
    }
    assert [sum(modules[name].seconds for name in share) for share in share_out(modules, 2)] == [80.0, 70.0]


def test_every_lab_deals_alike() -> None:
    modules = {Path(name): Module(1.0) for name in "dacb"}
    assert share_out(modules, 2) == share_out(dict(reversed(modules.items())), 2)


def test_what_is_timed_meets_only_what_is_patient() -> None:
    modules = {
        Path("gaps"): Module(10.0, is_timed=True),
        Path("faults"): Module(90.0, is_timed=True),
        Path("copies"): Module(70.0, is_patient=True),
        Path("volumes"): Module(60.0, is_patient=True),
        Path("kills"): Module(200.0),
    }
    first, second = share_out(modules, 2)
    assert first == {Path("gaps"), Path("faults"), Path("kills")}
    assert second == {Path("copies"), Path("volumes")}
    assert [name for name in modules if modules[name].rank] == [Path("kills")]
    assert share_out(modules, 1) == [set(modules)]
