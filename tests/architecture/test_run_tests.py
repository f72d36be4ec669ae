"""The test command: what it makes of the ends of its parts, and how it deals modules to runs and to labs."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
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


RUN_TESTS = load(CHECKOUT / "tools" / "run-tests")
judge = RUN_TESTS.judge
RUNS = load(CHECKOUT / "conftest.py")
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


SUMMARY = """\
E       AssertionError: FAILED is said here, too
=========================== short test summary info ============================
\x1b[31mFAILED\x1b[0m tests/lab/test_a.py::\x1b[1mtest_one[a]\x1b[0m - AssertionError: 1 - 2
ERROR tests/lab/test_a.py::test_two - Asserti...
FAILED tests/lab/test_a.py::test_two
FAILED tests/lab/test_b.py::test_three[1-2]
==== 3 failed, 1 error in 1.00s ====
"""


def test_what_failed_is_read_from_the_summary() -> None:
    a, b = "tests/lab/test_a.py", "tests/lab/test_b.py"
    assert RUN_TESTS.failures(SUMMARY) == [f"{a}::test_one[a]", f"{a}::test_two", f"{b}::test_three[1-2]"]
    assert RUN_TESTS.failures("==== 3 passed in 1.00s ====") == []


@pytest.mark.parametrize(
    ("codes", "failed", "is_again"),
    [
        ([0, 1], 1, True),
        ([1, 1], 3, True),
        ([1, 1], 4, False),  # no matter of processors
        ([1], 1, False),  # it was alone
        ([0, 2], 1, False),  # interrupted
        ([1, -9], 1, False),
        ([0, 0], 0, False),
        ([5, 1], 1, True),
    ],
)
def test_a_few_that_failed_beside_another_lab_have_a_second_time(codes: list[int], failed: int, is_again: bool) -> None:
    names = [f"test_{number}" for number in range(failed)]
    assert RUN_TESTS.to_run_again(codes, names) == (names if is_again else [])


@pytest.mark.parametrize("count", [1, 2, 6])
def test_each_module_is_one_runs(count: int) -> None:
    shares = RUNS.share_out(CHECKOUT, count)
    dealt = [path for share in shares for path in share]
    assert len(shares) == count
    # Of all that there are, whatever folder they are in: one that is nobody's would never run.
    tracked = subprocess.run(["git", "ls-files", "-z", "*test_*.py"], cwd=CHECKOUT, check=True, capture_output=True)
    names = [name for name in tracked.stdout.decode().split("\0") if name.rpartition("/")[2].startswith("test_")]
    assert len(names) > 100
    assert {CHECKOUT / name for name in names} <= set(dealt)
    assert len(dealt) == len(set(dealt))


def test_runs_end_at_about_the_same_time() -> None:
    costs_s = [
        sum(RUNS.cost_s(str(path.relative_to(CHECKOUT))) for path in share) for share in RUNS.share_out(CHECKOUT, 6)
    ]
    assert max(costs_s) - min(costs_s) < 3


def test_what_is_said_to_be_costly_exists() -> None:
    assert [name for name in RUNS.COSTLY_S if not (CHECKOUT / name).is_file()] == []


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


def test_a_failure_shows_what_each_service_said_last_and_no_more(tmp_path: Path) -> None:
    services = tmp_path / "a" / "services"
    services.mkdir(parents=True)
    (services / "daemon.log").write_text("".join(f"line {number}\n" for number in range(100)) + "x" * 1000)
    (tmp_path / "a" / "dmesg.txt").write_bytes(b"drbd m: \xff split\n")
    kernel = "    2 ?        S      0:00 [kthreadd]\n    4 ?        I      0:00  \\_ [slub]\n"
    own = "    1 ?        Ss     0:02 python3\n"
    (tmp_path / "a" / "processes.txt").write_text(kernel + own)
    assert list(LAB.last_lines(tmp_path, 2)) == [
        "--- a/dmesg.txt\n",
        "drbd m: \ufffd split\n",
        "--- a/processes.txt\n",
        own,
        "--- a/services/daemon.log\n",
        "line 99\n",
        "x" * LAB.LINE_CHARACTERS + "\n",
    ]
