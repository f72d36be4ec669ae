"""The part of the contract that gives back, with real rsync on this machine's loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.hooks.base import Host
from holdfast.hooks.replication import CopyDriver
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.copy_restore import RestoreContract
from holdfast_rep_rsync.driver import open_driver
from holdfast_rep_rsync.settings import Settings


class TestRsyncGivesBack(RestoreContract):
    @pytest.fixture
    async def driver(self, tmp_path: Path) -> CopyDriver:
        for name in ("state", "run"):
            (tmp_path / name).mkdir()
        host = Host("a", SystemCommands(), KernelFs(), SystemClock(), tmp_path / "state", tmp_path / "run")
        return await open_driver(Settings(), host)
