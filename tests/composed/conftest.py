"""What the composed tests share."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.composed.appliance import Appliance, World, pair, running_model


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory in memory where there is one: durable commits wait for no disk there."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="holdfast-", dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture
async def nodes(directory: Path) -> AsyncIterator[tuple[Appliance, Appliance]]:
    """Two paired nodes over the reference drivers, each with a pool."""
    world = World()
    async with contextlib.AsyncExitStack() as stack:
        a = await stack.enter_async_context(running_model(world, "a", directory / "a"))
        b = await stack.enter_async_context(running_model(world, "b", directory / "b"))
        await pair(a, b)
        for node in (a, b):
            await node.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
        yield a, b
