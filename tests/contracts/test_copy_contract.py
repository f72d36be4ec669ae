"""The in-memory copy driver keeps the contract that it is the reference of."""

from __future__ import annotations

import pytest

from holdfast.hooks.replication import CopyDriver
from holdfast.testing.copy import CopyContract
from holdfast.testing.memory_copy import MemoryCopyDriver


class TestMemoryCopy(CopyContract):
    @pytest.fixture
    def driver(self) -> CopyDriver:
        return MemoryCopyDriver()
