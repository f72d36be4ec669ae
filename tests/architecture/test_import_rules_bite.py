"""The import rules hold in the tree, and what each of them forbids is found when it is planted in a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.rules import ROOT

# For each contract, modules to plant with what they import, and the line that must name it.
PLANTED = {
    "floors": [
        ("core/holdfast/services/planted.py", "import holdfast.api", "holdfast.services.planted -> holdfast.api"),
        ("core/holdfast/system/planted.py", "import holdfast.hooks", "holdfast.system.planted -> holdfast.hooks"),
        ("core/holdfast/store/planted.py", "import holdfast.peer", "holdfast.store.planted -> holdfast.peer"),
        ("core/holdfast/api/planted.py", "import holdfast.compose", "holdfast.api.planted -> holdfast.compose"),
        (
            "core/holdfast/services/planted3.py",
            "import holdfast.compose.ground",
            "holdfast.services.planted3 -> holdfast.compose.ground",
        ),
    ],
    "pure-planning": [
        ("core/holdfast/planning/planted.py", "import asyncio", "holdfast.planning.planted -> asyncio"),
        ("core/holdfast/planning/planted2.py", "import aiosqlite", "holdfast.planning.planted2 -> aiosqlite"),
    ],
    "no-mechanism": [
        (
            "core/holdfast/services/planted2.py",
            "import holdfast_volume_lvm",
            "holdfast.services.planted2 -> holdfast_volume_lvm",
        ),
    ],
    "contract-only": [
        (
            "plugins/iscsi_lio/holdfast_iscsi_lio/planted.py",
            "import holdfast.store",
            "holdfast_iscsi_lio.planted -> holdfast.store",
        ),
    ],
    "plugins-apart": [
        (
            "plugins/failover_vip/holdfast_failover_vip/planted.py",
            "import holdfast_rep_block",
            "holdfast_failover_vip.planted -> holdfast_rep_block",
        ),
    ],
    "client": [
        ("cli/holdfast_cli/planted.py", "import holdfast.values", "holdfast_cli.planted -> holdfast.values"),
        ("cli/holdfast_cli/planted2.py", "import aiohttp", "holdfast_cli.planted2 -> aiohttp"),
    ],
    "lab-apart": [
        ("lab/planted.py", "import holdfast.values", "lab.planted -> holdfast.values"),
        ("lab/planted2.py", "import demo", "lab.planted2 -> demo"),
    ],
    "demo-outside": [
        ("demo/planted.py", "import holdfast.services", "demo.planted -> holdfast.services"),
    ],
}


def lint(root: Path, *contracts: str) -> tuple[int, str]:
    """Check the tree at `root`; return the exit code and what was printed."""
    folders = [root, root / "core", root / "cli", *sorted((root / "plugins").iterdir())]
    done = subprocess.run(
        [
            Path(sys.executable).parent / "lint-imports",
            "--no-logo",
            "--no-cache",
            *(f"--contract={contract}" for contract in contracts),
        ],
        cwd=root,
        # Before the installed packages, which lead to the tree that is tested.
        env={**os.environ, "PYTHONPATH": ":".join(str(folder) for folder in folders), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the rules speak of."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", root)
    for folder in ("core", "cli", "plugins", "lab", "demo"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    return root


def test_the_tree_keeps_the_rules() -> None:
    code, text = lint(ROOT)

    assert code == 0, text


def test_every_contract_has_a_planted_violation() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]

    assert {contract["id"] for contract in settings["contracts"]} == set(PLANTED)


def test_every_planted_violation_is_found(copy: Path) -> None:
    planted = [violation for violations in PLANTED.values() for violation in violations]
    for path, statement, _ in planted:
        (copy / path).write_text(statement + "\n")

    code, text = lint(copy)

    assert code == 1, text
    assert "0 kept, 8 broken" in text
    assert [line for _, _, line in planted if f"{line} (l." not in text] == []


def test_a_new_part_of_core_must_be_given_a_floor(copy: Path) -> None:
    (copy / "core/holdfast/attic.py").touch()

    code, text = lint(copy, "floors")

    assert code == 1, text
    assert "attic" in text
