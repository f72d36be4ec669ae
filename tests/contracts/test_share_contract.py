"""The share drivers in memory keep the contracts that they are the references of."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.hooks.share import NfsDriver, SmbDriver
from holdfast.testing.memory_share import MemoryNfs, MemorySmb
from holdfast.testing.share import Bench, NfsContract, SmbContract
from tests.contracts.memory_share_benches import NfsBench, smb_bench


class TestMemorySmb(SmbContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> Bench[SmbDriver]:
        return await smb_bench(MemorySmb(), tmp_path)


class TestMemoryNfs(NfsContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> Bench[NfsDriver]:
        return NfsBench(MemoryNfs(), tmp_path)
