"""Both sides of a new mirror are zeroed at once: what is told meanwhile, and what becomes of one if the other fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.errors import UnavailableError
from tests.composed.appliance import Appliance, Refused

MIB = 1024 * 1024
LONGER_THAN_A_LOOK_S = 0.7
MIRROR = {"name": "m", "volumes": ["v"], "first_sync": "zero"}

Nodes = tuple[Appliance, Appliance]


class Zeroing:
    """Stands before the drivers of both nodes: each begins only when both have, and one may fail then."""

    def __init__(self, nodes: Nodes, monkeypatch: pytest.MonkeyPatch, fails_on: str | None) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self._fails_on = fails_on
        self._both = asyncio.Event()
        for name, node in zip("ab", nodes, strict=True):
            mirrors = node.mechanisms.mirrors
            monkeypatch.setattr(mirrors, "zero", self._before(name, mirrors.zero))

    def _before(self, name: str, zero: Callable[..., Any]) -> Callable[..., Any]:
        async def act(device: str, progress: Callable[[int, int], None]) -> None:
            self.begun.append(name)
            progress(1 * MIB, 4 * MIB)
            if len(self.begun) == 2:
                self._both.set()
            await self._both.wait()
            if name == self._fails_on:
                raise UnavailableError(f"the disk of {name} fails")
            try:
                await asyncio.sleep(LONGER_THAN_A_LOOK_S)
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise
            await zero(device, progress)

        return act


async def make_volume(a: Appliance) -> None:
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "v", "size_bytes": 4 * MIB, "kind": "iscsi"})


async def test_they_are_zeroed_at_once_and_how_far_is_told(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = nodes
    await make_volume(a)
    zeroing = Zeroing(nodes, monkeypatch, None)
    job = await a.change("POST", "/v1/mirrors", MIRROR)
    assert sorted(zeroing.begun) == ["a", "b"]
    assert job["result"]["is_in_sync"]
    assert job["progress"]["text"] == f"{1 * MIB} of {4 * MIB} bytes are zeroed on this node"


@pytest.mark.parametrize("fails_on", ["a", "b"])
async def test_one_that_fails_ends_the_other_and_nothing_is_left(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, fails_on: str
) -> None:
    a, b = nodes
    await make_volume(a)
    zeroing = Zeroing(nodes, monkeypatch, fails_on)
    with pytest.raises(Refused, match=f"the disk of {fails_on} fails"):
        await a.change("POST", "/v1/mirrors", MIRROR)
    assert "a" in zeroing.cancelled or fails_on == "a"
    assert await a.items("/v1/mirrors") == []
    assert await b.items("/v1/volumes") == []
