"""The bed of the mirror contract on the model in memory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from holdfast.hooks.replication import MirrorEndpoint, MirrorSpec, MirrorVolume
from holdfast.testing.memory_drbd import BLOCK_BYTES
from holdfast.testing.memory_mirror import MemoryMirrors
from holdfast.testing.mirror import MirrorBed


class MemoryMirrorBed(MirrorBed):
    """A bed for the contract on the model in memory."""

    within_s = 1.0

    def __init__(self, make_pair: Callable[[], tuple[MemoryMirrors, MemoryMirrors]] = MemoryMirrors.make_pair) -> None:
        a, b = make_pair()
        self._drivers = {"a": a, "b": b}
        ends = {"a": MirrorEndpoint("192.0.2.1", 7790), "b": MirrorEndpoint("192.0.2.2", 7790)}
        volume = MirrorVolume("v0", 0, 0, "/dev/pool/v0", "/dev/pool/v0-meta", 1024 * BLOCK_BYTES)
        self.specs = {
            "a": MirrorSpec("m0", ends["a"], ends["b"], (volume,)),
            "b": MirrorSpec("m0", ends["b"], ends["a"], (volume,)),
        }
        self.second = {}
        for driver in (a, b):
            driver.add_device(volume.device, volume.size_bytes)

    def driver(self, node: str) -> MemoryMirrors:
        """See MirrorBed."""
        return self._drivers[node]

    async def make_second(self) -> None:
        """See MirrorBed."""
        volume = MirrorVolume("v1", 1, 1, "/dev/pool/v1", "/dev/pool/v1-meta", 1024 * BLOCK_BYTES)
        for node, driver in self._drivers.items():
            driver.add_device(volume.device, volume.size_bytes)
            self.second[node] = volume

    async def write(self, node: str, offset: int, data: bytes, *, number: int = 0) -> None:
        """See MirrorBed."""
        await self._drivers[node].write("m0", offset, data, number=number)

    async def read(self, node: str, offset: int, length: int, *, number: int = 0) -> bytes:
        """See MirrorBed."""
        return await self._drivers[node].read("m0", offset, length, number=number)

    async def write_lower(self, node: str, offset: int, data: bytes, *, number: int = 0) -> None:
        """See MirrorBed."""
        self._drivers[node].node.media[f"/dev/pool/v{number}"].data[offset : offset + len(data)] = data

    async def read_lower(self, node: str, offset: int, length: int, *, number: int = 0) -> bytes:
        """See MirrorBed."""
        return bytes(self._drivers[node].node.media[f"/dev/pool/v{number}"].data[offset : offset + length])

    @contextlib.asynccontextmanager
    async def held_open(self, node: str, *, number: int = 0) -> AsyncIterator[None]:
        """See MirrorBed."""
        side = self._drivers[node].node.side("m0")
        side.openers.append(number)
        try:
            yield
        finally:
            side.openers.remove(number)

    async def enlarge_lower(self, node: str, more_bytes: int) -> None:
        """See MirrorBed."""
        self._drivers[node].node.media["/dev/pool/v0"].data.extend(bytes(more_bytes))

    async def cut_link(self) -> None:
        """See MirrorBed."""
        self._drivers["a"].pair.cut_wire()

    async def mend_link(self) -> None:
        """See MirrorBed."""
        self._drivers["a"].pair.mend_wire()

    async def power_cycle(self, node: str) -> None:
        """See MirrorBed."""
        self._drivers["a"].pair.power_off(node)
        self._drivers["a"].pair.power_on(node)
