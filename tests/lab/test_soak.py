"""A soak goes through faults and audits each, and is not blind: what must never be, ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import blocks
from lab import Lab
from lab.layout import CHECKOUT, Layout
from soak import sabotage
from soak.outcome import Violation
from soak.plan import Fault, Kind, Role
from soak.run import Soak
from tests.lab.product import blank, end

pytestmark = [
    pytest.mark.lab(seconds=60),
    pytest.mark.timed,
    pytest.mark.long,
    pytest.mark.timeout(200, func_only=True),
]

KILLED = Fault(0, Kind.DAEMON_KILLED, Role.PASSIVE)
CUT = Fault(1, Kind.POWER_CUT, Role.ACTIVE, (0.1,))
PASSIVE_CUT = Fault(2, Kind.POWER_CUT, Role.PASSIVE, (0.5,))
FROZEN_AT_MOST_MS = 2500.0


@pytest.fixture(scope="module")
def soak(lab_session: Lab) -> Iterator[Soak]:
    """A served pair, ready for the next fault."""
    lab_session.restore()
    blank(lab_session)
    made = Soak(lab_session)
    made.begin()
    yield made
    made.end()
    made.log_out()
    end(made.bed)


@pytest.mark.in_order
def test_a_fault_is_gone_through_and_audited(soak: Soak, lab_bed: Lab) -> None:
    outcome = soak.go_through(CUT, compare=True)
    print(outcome)
    assert (outcome.active_before, outcome.active_after, outcome.restarted) == ("a", "b", ())
    assert (outcome.differing_bytes, outcome.acknowledged > 80, outcome.checked_blocks > 80) == (0, True, True)
    assert outcome.gap_ms > 300
    again = soak.go_through(KILLED, compare=False)
    assert (again.has_moved, again.checked_blocks >= outcome.checked_blocks) == (False, True)


@pytest.mark.in_order
def test_the_loss_of_the_passive_node_stops_nothing(soak: Soak, lab_bed: Lab) -> None:
    epoch = soak.epoch()
    outcome = soak.go_through(PASSIVE_CUT, compare=True)
    print(outcome)
    assert (outcome.has_moved, outcome.restarted, outcome.differing_bytes) == (False, (), 0)
    assert outcome.gap_ms < FROZEN_AT_MOST_MS
    assert soak.epoch() == epoch


@pytest.mark.in_order
def test_a_block_that_differs_is_caught(soak: Soak, lab_bed: Lab) -> None:
    api = soak.bed.storage[soak.active()].api
    sabotage.change_a_block_of_the_passive_side(soak)
    with pytest.raises(Violation, match=r"\b4096 bytes differ"):
        soak.go_through(KILLED, compare=True)
    # As a person would: then all is well again.
    api.change("POST", f"/v1/mirrors/{blocks.MIRROR}/repair?confirm={blocks.MIRROR}")
    soak.wait_well()


@pytest.mark.in_order
def test_a_write_that_was_acknowledged_before_the_partner_had_it_is_caught(soak: Soak, lab_bed: Lab) -> None:
    sabotage.acknowledge_before_the_partner_has_it(soak)
    with pytest.raises(Violation, match=r"[1-9][0-9]* acknowledged writes lost"):
        soak.go_through(CUT, compare=False)


@pytest.mark.in_order
def test_two_nodes_with_the_address_are_caught(soak: Soak, lab_bed: Lab) -> None:
    sabotage.give_both_nodes_the_address(soak)
    with pytest.raises(Violation, match="both nodes served at once"):
        soak.go_through(KILLED, compare=False)
    sabotage.take_the_address_back(soak)


def left_of(state: Path) -> list[str]:
    """What of the lab in a state directory is still there: processes, namespaces, disks in memory."""
    asked = [["ps", "axww", "-o", "args"], ["ip", "netns", "list"], ["ls", "/dev/shm"]]
    said = "".join(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout for argv in asked)
    return [line for line in said.splitlines() if f"{state}/" in line or Layout.at(state).id in line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_soak_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    result = tmp_path / "soak.json"
    argv = [sys.executable, "-m", "soak", "--seed", "1", "--faults", "50", "--result", str(result)]
    argv += ["--state", str(tmp_path / "lab"), "--no-lock"]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "gap" in line:
                break
        assert left_of(tmp_path / "lab")
        running.send_signal(number)
        assert running.wait(30) == (-number if number == signal.SIGKILL else 130)
    deadline = time.monotonic() + 20
    while (left := left_of(tmp_path / "lab")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []
    assert result.exists() is (number != signal.SIGKILL)
