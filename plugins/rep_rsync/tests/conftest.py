"""Fixtures of this plugin's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from plugins.rep_rsync.tests.machine import Machine


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    machine = Machine(tmp_path)
    for name in ("source", "replica", "state", "run"):
        (tmp_path / name).mkdir(mode=0o700)
    yield machine
    for driver in machine.drivers or [await machine.open()]:
        await driver.stop_agent()
        await driver.close()
    assert machine.processes() == ()
