"""The in-memory copy driver keeps the part of the contract that gives back."""

from __future__ import annotations

import pytest

from holdfast.hooks.replication import CopyDriver
from holdfast.testing.copy_restore import RestoreContract
from holdfast.testing.memory_copy import MemoryCopyDriver


class TestMemoryGivesBack(RestoreContract):
    @pytest.fixture
    def driver(self) -> CopyDriver:
        return MemoryCopyDriver()
