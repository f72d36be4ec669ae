"""What the composed tests share."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.errors import ConflictError
from tests.composed.appliance import Appliance, World, pair, running_model


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory in memory where there is one: durable commits wait for no disk there."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="holdfast-", dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@dataclass
class Failing:
    """Lets the step of node a fail that has the N-th mark of a kind of job: its beginning, if N is odd, or its end."""

    kind: str = ""
    mark: int = 0
    seen: int = 0

    def begin(self, kind: str, mark: int) -> None:
        """The next job of that kind is to fail there, and no other."""
        self.kind, self.mark, self.seen = kind, mark, 0

    def observe(self, kind: str, persisted: int) -> None:
        """A mark of a job is durable now."""
        if kind == self.kind:
            self.seen += 1
            if self.seen == self.mark:
                raise ConflictError(f"{kind} was made to fail at mark {self.mark}")


@pytest.fixture
def failing() -> Failing:
    """Nothing fails until a test says so."""
    return Failing()


@pytest.fixture
async def nodes(directory: Path, failing: Failing) -> AsyncIterator[tuple[Appliance, Appliance]]:
    """Two paired nodes over the reference drivers, each with a pool."""
    world = World()
    async with contextlib.AsyncExitStack() as stack:
        a = await stack.enter_async_context(running_model(world, "a", directory / "a", observe_step=failing.observe))
        b = await stack.enter_async_context(running_model(world, "b", directory / "b"))
        await pair(a, b)
        for node in (a, b):
            await node.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
        yield a, b
