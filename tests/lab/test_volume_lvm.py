"""Volumes by LVM on a real kernel: the contract, interruptions and accidents, and a power cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab import Lab, Node
from lab.layout import CHECKOUT
from tests.lab.product import blank, leave_blank
from tests.lab.worker import FEW_PLUGINS, PYTHON, environment

ENVIRONMENT = environment("plugins/volume_lvm")
TESTS = "plugins/volume_lvm/tests"

KIT_WITHIN_S = 480.0
"""About 130 tests, some ten commands of LVM each, on two nodes: three minutes on an idle machine."""
HALF_WITHIN_S = 30.0
MOVES = f"{TESTS}/on_node.py::TestLvmPools::test_an_interrupted_move_keeps_the_data_and_goes_on"
"""Each of its commands is interrupted, and waited for: on busy processors it takes minutes."""
BOOT_WITHIN_S = 30.0

pytestmark = [pytest.mark.lab(seconds=240, is_patient=True), pytest.mark.timeout(KIT_WITHIN_S + 60)]


@pytest.fixture
def node(lab_bed: Lab) -> Iterator[Node]:
    """Node a, both storage nodes being blank before and after."""
    blank(lab_bed)
    yield lab_bed.node("a")
    leave_blank(lab_bed)


def half(node: Node, name: str) -> dict[str, Any]:
    """Run one part of on_node_boot.py in the node."""
    argv = [PYTHON, "-m", f"{TESTS.replace('/', '.')}.on_node_boot", name, node.device("data")]
    seen: dict[str, Any] = json.loads(
        node.run(argv, env=ENVIRONMENT, cwd=str(CHECKOUT), timeout_s=HALF_WITHIN_S).stdout
    )
    return seen


def test_the_driver_keeps_the_contract_and_survives_interruptions_and_accidents(lab_bed: Lab, node: Node) -> None:
    kits = [f"{TESTS}/on_node.py::{name}" for name in ("TestLvmVolumes", "TestLvmPools", "TestLvmThinSnapshots")]
    # The kits on one node, what only LVM can do wrong on the other: each takes a minute and more.
    with ThreadPoolExecutor() as threads:
        runs = [
            threads.submit(run_on, lab_bed.node("a"), *kits, f"--deselect={MOVES}"),
            threads.submit(run_on, lab_bed.node("b"), f"{TESTS}/on_node.py", *(f"--deselect={kit}" for kit in kits)),
        ]
        for run in runs:
            run.result()


@pytest.mark.long
def test_a_move_between_disks_that_is_interrupted_goes_on(node: Node) -> None:
    run_on(node, MOVES, "--timeout=300")


def run_on(node: Node, *chosen: str) -> None:
    """Run tests in a node, on its data disk and on a second one in its memory."""
    node.run(["modprobe", "scsi_debug", "dev_size_mb=256", "delay=0"])
    node.run(["modprobe", "sd_mod"])
    node.run(["sh", "-c", "until [ -b /dev/sda ]; do sleep 0.1; done"], timeout_s=10)
    argv = [PYTHON, "-m", "pytest", "--quiet", "--timeout=60", "--tb=short", *FEW_PLUGINS, *chosen]
    environment = {**ENVIRONMENT, "HOLDFAST_TEST_DISKS": f"{node.device('data')} /dev/sda"}
    done = node.run(argv, env=environment, cwd=str(CHECKOUT), timeout_s=KIT_WITHIN_S, check=False)
    print(done.stdout.decode(), done.stderr.decode())
    assert done.returncode == 0, f"on node {node.name}"
    assert b" passed" in done.stdout


def test_after_a_power_cut_everything_comes_back(node: Node) -> None:
    made = half(node, "before")
    node.cut()
    node.boot(BOOT_WITHIN_S)
    back = half(node, "after")
    assert back["volumes"] == made["volumes"]
    assert all(volume["is_active"] for volume in back["volumes"])
    assert back["metadata"]
    assert back["files"] == {"now": "now!", "past": "then"}
    gone = half(node, "clear")
    assert (gone["volumes"], gone["snapshots"], gone["metadata"]) == ([], [], False)
    assert [(disk["signatures"], disk["used_by"]) for disk in gone["disk"]] == [([], None)]
