"""Which files of a copy are compared by checksum after a run."""

from __future__ import annotations

import random
from collections.abc import Iterable


def sample_paths(paths: Iterable[str], *, most: int, seed: str) -> tuple[str, ...]:
    """At most `most` of `paths`, each as likely as any other, in one pass and constant memory (reservoir sampling).

    The same paths in the same order with the same seed give the same sample, so that an interrupted job repeats it.
    """
    chance = random.Random(seed)  # noqa: S311 - a sample, not a secret
    chosen: list[str] = []
    for index, path in enumerate(paths):
        if len(chosen) < most:
            chosen.append(path)
        elif (place := chance.randrange(index + 1)) < most:
            chosen[place] = path
    return tuple(sorted(chosen))
