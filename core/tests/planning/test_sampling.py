from __future__ import annotations

from collections import Counter

import pytest

from holdfast.planning.sampling import sample_paths

PATHS = [f"dir/{n:03}" for n in range(100)]


@pytest.mark.parametrize(("count", "most", "expected"), [(0, 5, 0), (3, 5, 3), (5, 5, 5), (100, 5, 5), (100, 0, 0)])
def test_a_sample_has_all_paths_or_as_many_as_asked(count: int, most: int, expected: int) -> None:
    sample = sample_paths(PATHS[:count], most=most, seed="s")
    assert len(sample) == len(set(sample)) == expected
    assert list(sample) == sorted(sample)
    assert set(sample) <= set(PATHS[:count])


def test_the_same_seed_gives_the_same_sample_and_another_another() -> None:
    first = sample_paths(PATHS, most=10, seed="job-1")
    assert sample_paths(iter(PATHS), most=10, seed="job-1") == first
    assert sample_paths(PATHS, most=10, seed="job-2") != first


def test_every_path_is_as_likely_as_any_other() -> None:
    counts = Counter(path for seed in range(2000) for path in sample_paths(PATHS[:20], most=5, seed=str(seed)))
    assert set(counts) == set(PATHS[:20])
    assert all(400 < count < 600 for count in counts.values()), counts
