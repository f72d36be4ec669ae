"""What a thin pool gets, and what the driver runs for it."""

from __future__ import annotations

import pytest

from holdfast_volume_lvm.settings import KIB, MIB
from holdfast_volume_lvm.thin import chunk_bytes, metadata_bytes

GIB, TIB = 1024 * MIB, 1024 * 1024 * MIB


@pytest.mark.parametrize(
    ("size_bytes", "chunk", "metadata"),
    [
        (MIB, 64 * KIB, 8 * MIB),
        (GIB, 64 * KIB, 8 * MIB),
        (2 * GIB, 64 * KIB, 8 * MIB),
        (100 * GIB, 64 * KIB, 400 * MIB),
        (4 * TIB, 64 * KIB, 16192 * MIB),
        (4 * TIB + 1, 128 * KIB, 8 * GIB),
        (100 * TIB, 2 * MIB, 12800 * MIB),
    ],
)
def test_maps_and_chunks_grow_with_a_thin_pool(size_bytes: int, chunk: int, metadata: int) -> None:
    assert (chunk_bytes(size_bytes), metadata_bytes(size_bytes)) == (chunk, metadata)


@pytest.mark.parametrize("exponent", range(20, 58))
def test_the_maps_of_a_full_thin_pool_fit_at_least_three_times(exponent: int) -> None:
    size_bytes = 1 << exponent
    assert 3 * 64 * (size_bytes // chunk_bytes(size_bytes)) <= metadata_bytes(size_bytes) <= 16192 * MIB
