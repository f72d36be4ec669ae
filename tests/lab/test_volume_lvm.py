"""Volumes by LVM on a real kernel: the contract, interruptions and accidents, and a power cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab import Lab, Node
from lab.layout import CHECKOUT

PYTHON = str(CHECKOUT / ".venv/bin/python")
ENVIRONMENT = {
    "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT}/core:{CHECKOUT}/plugins/volume_lvm",
    "PYTHONDONTWRITEBYTECODE": "1",
}
TESTS = "plugins/volume_lvm/tests"

KIT_WITHIN_S = 480.0
"""About 80 tests, some ten commands of LVM each: 170 s on an idle machine, 240 s on a busy one."""
HALF_WITHIN_S = 30.0
BOOT_WITHIN_S = 30.0

pytestmark = [pytest.mark.lab, pytest.mark.timeout(KIT_WITHIN_S + 60)]


@pytest.fixture
def node(lab_bed: Lab) -> Iterator[Node]:
    """Node a fresh from a boot, so that nothing of another test holds its data disk; cleared afterwards."""
    node = lab_bed.node("a")
    node.cut()
    node.boot(BOOT_WITHIN_S)
    yield node
    node.cut()
    node.boot(BOOT_WITHIN_S)
    node.run(["sh", "-c", "vgs --noheadings -o vg_name | xargs -r vgremove -ff -y"])
    node.run(["wipefs", "--all", "--force", node.device("data")])


def half(node: Node, name: str) -> dict[str, Any]:
    """Run one part of on_node_boot.py in the node."""
    argv = [PYTHON, "-m", f"{TESTS.replace('/', '.')}.on_node_boot", name, node.device("data")]
    seen: dict[str, Any] = json.loads(
        node.run(argv, env=ENVIRONMENT, cwd=str(CHECKOUT), timeout_s=HALF_WITHIN_S).stdout
    )
    return seen


def test_the_driver_keeps_the_contract_and_survives_interruptions_and_accidents(node: Node) -> None:
    # A second disk, in the node's memory.
    node.run(["modprobe", "scsi_debug", "dev_size_mb=256", "delay=0"])
    node.run(["modprobe", "sd_mod"])
    node.run(["sh", "-c", "until [ -b /dev/sda ]; do sleep 0.1; done"], timeout_s=10)
    argv = [PYTHON, "-m", "pytest", "--quiet", "--timeout=60", "--tb=short", f"{TESTS}/on_node.py"]
    environment = {**ENVIRONMENT, "HOLDFAST_TEST_DISKS": f"{node.device('data')} /dev/sda"}
    done = node.run(argv, env=environment, cwd=str(CHECKOUT), timeout_s=KIT_WITHIN_S, check=False)
    print(done.stdout.decode(), done.stderr.decode())
    assert done.returncode == 0
    assert b" passed" in done.stdout


def test_after_a_power_cut_everything_comes_back(node: Node) -> None:
    node.run(["wipefs", "--all", "--force", node.device("data")])
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
