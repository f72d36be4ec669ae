"""The bed that all lab tests share: booted once a session, restored between tests."""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator, Iterator

import pytest

from lab import Lab
from lab.layout import CHECKOUT

# A directory of its own: the lab that a developer has up by hand is none of the tests' business.
STATE = CHECKOUT / ".lab-tests"
FAILURES = CHECKOUT / ".lab-failures"

_reports = pytest.StashKey[dict[str, pytest.TestReport]]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what became of each phase of a test, for the fixture that looks at it afterwards."""
    report = yield
    item.stash.setdefault(_reports, {})[report.when] = report
    return report


@pytest.fixture(scope="session")
def lab_session() -> Iterator[Lab]:
    """The nodes, booted once with empty disks."""
    shutil.rmtree(FAILURES, ignore_errors=True)
    with Lab.start(state_dir=STATE) as lab:
        yield lab


@pytest.fixture
def lab_bed(lab_session: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The session's lab with every cable in and every node on, before the test and after it.

    What a failed test leaves behind is copied to `.lab-failures/<test>/` first.
    """
    lab_session.restore()
    yield lab_session
    reports = request.node.stash.get(_reports, {})
    if any(report.failed for report in reports.values()):
        name = re.sub(r"[^\w.-]+", "_", request.node.name)
        place = lab_session.collect(FAILURES / name)
        print(f"\nwhat explains the failure lies in {place}")
