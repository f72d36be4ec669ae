"""The bed that all lab tests share: booted once a session, restored between tests."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.bed import Bed, wait_for
from lab import Lab, LabError
from lab.layout import CHECKOUT
from lab.node import MOST_OF_THE_PROCESSORS
from tests.lab.product import note_untouched, note_used
from tests.lab.serving import IN_SYNC_WITHIN_S, WELL, serving, states

# A directory of its own: the lab that a developer has up by hand is none of the tests' business.
# Several runs may go on side by side, each with a lab and some of the modules of its own, if who started them holds
# the machine's lock: `2/3` is the second of three.
NUMBER, _, COUNT = os.environ.get("HOLDFAST_TEST_LAB", "").partition("/")
STATE = CHECKOUT / (f".lab-tests-{NUMBER}" if NUMBER else ".lab-tests")
FAILURES = CHECKOUT / ".lab-failures"
LAST_LINES = 20
KERNEL_THREAD = re.compile(r"^ *\d+ \S+ +\S+ +\d+:\d+ [ |\\_]*\[.*\]$")
LINE_CHARACTERS = 300

_outcome = pytest.StashKey[Lab | LabError]()
_reports = pytest.StashKey[dict[str, pytest.TestReport]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the modules that are the other labs'; put first what is to run side by side."""
    if not NUMBER:
        return
    modules: dict[Path, Module] = {}
    for item in items:
        if mark := item.get_closest_marker("lab"):
            known = modules.get(item.path)
            is_timed = known is not None and known.is_timed
            is_timed = is_timed or item.get_closest_marker("timed") is not None
            modules[item.path] = Module(mark.kwargs["seconds"], is_timed, mark.kwargs.get("is_patient", False))
    own = share_out(modules, int(COUNT))[int(NUMBER) - 1]
    others = [item for item in items if item.path in modules and item.path not in own]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    items.sort(key=lambda item: item.path in modules and modules[item.path].rank)


@dataclass(frozen=True)
class Module:
    """What is known of a module of lab tests before it runs."""

    seconds: float
    is_timed: bool = False
    """Milliseconds matter to a test in it."""
    is_patient: bool = False
    """It takes no harm if its nodes get little of the processors for seconds."""

    @property
    def rank(self) -> int:
        """When it comes: the timed ones of the first lab and the patient ones of the others side by side."""
        return 0 if self.is_timed or self.is_patient else 1


def share_out(modules: dict[Path, Module], count: int) -> list[set[Path]]:
    """Deal modules to so many labs that all end at about the same time: the longest first, each to who has least.

    All that are timed are the first lab's and all that are patient the others', so that those meet nothing but these.
    """
    shares: list[set[Path]] = [set() for _ in range(count)]
    for name in sorted(modules, key=lambda name: (modules[name].rank, -modules[name].seconds, name)):
        module = modules[name]
        among = shares[:1] if module.is_timed else shares[1:] if module.is_patient and count > 1 else shares
        min(among, key=lambda share: sum(modules[one].seconds for one in share)).add(name)
    return shares


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Have the bed up before the first test if any wants it, and down after the last.

    Here and not in a fixture: the machine may be busy with another lab for minutes, which is not
    to count against the time limit of whichever test comes first.
    """
    wanted = any("lab_session" in getattr(item, "fixturenames", ()) for item in session.items)
    if not wanted or session.config.option.collectonly:
        return (yield)
    try:
        lab = Lab.start(state_dir=STATE, lock=not NUMBER)
    except LabError as reason:
        session.config.stash[_outcome] = reason
        return (yield)
    if not NUMBER:
        shutil.rmtree(FAILURES, ignore_errors=True)
    note_untouched(lab)
    session.config.stash[_outcome] = lab
    with lab:
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what became of each phase of a test, for the fixture that looks at it afterwards."""
    report = yield
    item.stash.setdefault(_reports, {})[report.when] = report
    return report


@pytest.fixture(scope="session")
def lab_session(request: pytest.FixtureRequest) -> Lab:
    """The nodes, booted once with empty disks; an error of each test if they cannot be."""
    outcome = request.config.stash[_outcome]
    if isinstance(outcome, LabError):
        pytest.fail(str(outcome), pytrace=False)
    return outcome


@pytest.fixture
def lab_bed(lab_session: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The session's lab with every cable in and every node thawed and on when the test begins.

    Disks, and what runs in the nodes, are as the test before left them. What a failed test leaves
    behind is copied to `.lab-failures/<test>/`.
    """
    niceness = MOST_OF_THE_PROCESSORS if request.node.get_closest_marker("timed") else 0
    for node in lab_session.nodes.values():
        node.set_niceness(niceness)
    note_used(lab_session)
    lab_session.restore()
    yield lab_session
    reports = request.node.stash.get(_reports, {})
    if any(report.failed for report in reports.values()):
        name = re.sub(r"[^\w.-]+", "_", request.node.name)
        place = lab_session.collect(FAILURES / name)
        print(f"\nwhat explains the failure lies in {place}")
        # Who reads only what a run printed, and has not its machine, is to find the cause, too.
        print("".join(last_lines(place)), end="")


def last_lines(place: Path, lines: int = LAST_LINES) -> Iterator[str]:
    """What the kernel and each service of each node said last, and its processes, under a heading each."""
    for path in sorted([*place.glob("*/dmesg.txt"), *place.glob("*/processes.txt"), *place.glob("*/services/*.log")]):
        kept = [line for line in path.read_text(errors="replace").splitlines() if not KERNEL_THREAD.search(line)]
        kept = kept[-lines:]
        yield f"--- {path.relative_to(place)}\n"
        yield from (f"{line[:LINE_CHARACTERS]}\n" for line in kept)


@pytest.fixture(scope="module")
def served(lab_session: Lab, request: pytest.FixtureRequest) -> Iterator[tuple[Bed, str]]:
    """A pair whose node a serves a group, and the disk at the initiator: a file of so many bytes as the module says."""
    with serving(lab_session, file_bytes=getattr(request.module, "FILE_BYTES", None)) as made:
        yield made


@pytest.fixture
def bed(served: tuple[Bed, str], lab_bed: Lab) -> Bed:
    """The pair, in sync, served by node a. A module whose nodes serve no group has a `bed` of its own."""
    wait_for(lambda: states(served[0]) == WELL, IN_SYNC_WITHIN_S, "node a serves and node b is ready")
    return served[0]


@pytest.fixture
def device(served: tuple[Bed, str]) -> str:
    """The disk of the pair that `bed` is, at the initiator."""
    return served[1]
