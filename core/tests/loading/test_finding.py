"""Found in a process of its own, as at a real start: entry points are cached per process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SHOW = """
import json
from holdfast.loading.discovery import find_plugins
found = find_plugins()
print(json.dumps([[f.name, f.distribution, f.version, type(f.plugin).__name__, f.reason] for f in found]))
"""
GOOD = "class Plugin:\n    pass\n"


class Site:
    """A directory of installed packages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "packages").mkdir()

    def install(self, package: str, source: str, *names: str) -> None:
        packages = self.path / "packages"
        (packages / f"{package}.py").write_text(source)
        info = packages / f"{package}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.5\n")
        lines = "".join(f"{name} = {package}:Plugin\n" for name in names)
        (info / "entry_points.txt").write_text(f"[holdfast.plugins]\n{lines}")

    def find(self) -> dict[str, list[Any]]:
        environment = os.environ | {"PYTHONPATH": str(self.path / "packages"), "XDG_CACHE_HOME": str(self.path)}
        command = [sys.executable, "-W", "error", "-c", SHOW]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, list[Any]] = {}
        for name, *rest in json.loads(done.stdout.splitlines()[-1]):
            found.setdefault(name, []).append(rest)
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_each_plugin_is_found_with_its_package_and_each_broken_one_with_its_reason(site: Site) -> None:
    site.install("planted_good", GOOD, "planted-good", "planted-second")
    site.install("planted_import", "import no_such_module\n" + GOOD, "planted-import")
    site.install("planted_syntax", "class Plugin(:\n", "planted-syntax")
    site.install("planted_absent", "", "planted-absent")
    site.install("planted_assert", "assert False, 'not here'\n", "planted-assert")
    site.install("planted_exit", "raise SystemExit('bye')\n", "planted-exit")
    site.install(
        "planted_init", "class Plugin:\n    def __init__(self):\n        raise OSError('no')\n", "planted-init"
    )
    found = site.find()
    assert found["planted-good"] == [["planted_good", "2.5", "Plugin", None]]
    assert found["planted-second"] == [["planted_good", "2.5", "Plugin", None]]
    reasons = {name: items[0][3] for name, items in found.items() if name.startswith("planted-")}
    assert "no_such_module" in reasons["planted-import"]
    assert "SyntaxError" in reasons["planted-syntax"]
    assert "Plugin" in reasons["planted-absent"]
    assert "not here" in reasons["planted-assert"]
    assert "bye" in reasons["planted-exit"]
    assert reasons["planted-init"] == "OSError: no"
    for name in ("import", "syntax", "absent", "assert", "exit", "init"):
        assert found[f"planted-{name}"][0][:3] == [f"planted_{name}", "2.5", "NoneType"]


def test_a_name_that_two_packages_claim_is_nobodys_and_both_are_named(site: Site) -> None:
    site.install("planted_one", GOOD, "planted")
    site.install("planted_two", GOOD, "planted")
    found = site.find()["planted"]
    assert sorted(item[0] for item in found) == ["planted_one", "planted_two"]
    assert all(item[2] == "NoneType" and "two installed packages" in item[3] for item in found)
