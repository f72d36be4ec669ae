"""The reference driver in memory keeps the contract of mirrors."""

from __future__ import annotations

import pytest

from holdfast.testing.memory_mirror_bed import MemoryMirrorBed
from holdfast.testing.mirror import MirrorBed, MirrorContract


class TestMemoryMirrors(MirrorContract):
    @pytest.fixture
    async def bed(self) -> MirrorBed:
        return MemoryMirrorBed()
