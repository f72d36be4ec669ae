"""The contracts of the share drivers with a real smbd and the kernel's NFS server, each on a node of its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import Lab, Node
from lab.layout import CHECKOUT
from tests.lab.product import blank, leave_blank
from tests.lab.worker import FEW_PLUGINS, PYTHON, environment

KIT_WITHIN_S = 400.0
"""Some 25 and 16 tests, most of which start and stop a server: a minute on an idle machine."""

pytestmark = [
    pytest.mark.lab(seconds=140, is_patient=True),
    pytest.mark.long,
    pytest.mark.timeout(KIT_WITHIN_S + 60),
]


@pytest.fixture
def lab(lab_bed: Lab) -> Iterator[Lab]:
    """The lab, both storage nodes being blank before and after."""
    blank(lab_bed)
    yield lab_bed
    leave_blank(lab_bed)


def test_the_drivers_keep_their_contracts(lab: Lab) -> None:
    kits = {"a": "share_smb", "b": "share_nfs"}
    with ThreadPoolExecutor() as threads:
        for run in [threads.submit(run_on, lab.node(name), plugin) for name, plugin in kits.items()]:
            run.result()


def run_on(node: Node, plugin: str) -> None:
    argv = [PYTHON, "-m", "pytest", "-q", *FEW_PLUGINS, "-p", "no:cacheprovider", "--timeout=60"]
    done = node.run(
        [*argv, f"plugins/{plugin}/tests/on_node.py"],
        env=environment(f"plugins/{plugin}"),
        cwd=str(CHECKOUT),
        timeout_s=KIT_WITHIN_S,
        check=False,
    )
    said = done.stdout.decode()
    print(said[-6000:])
    assert done.returncode == 0, said[-3000:]
