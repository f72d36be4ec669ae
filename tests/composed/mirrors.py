"""What the composed tests of mirrors share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from holdfast.hooks.replication import FenceAnswer, Role
from holdfast.testing.memory_drbd import BLOCK_BYTES
from holdfast.testing.mirror import RecordingArbiter, pattern, serving
from tests.composed.appliance import Appliance

MIB = 1024 * 1024
SOON_S = 5.0

Nodes = tuple[Appliance, Appliance]


async def make_mirror(a: Appliance, *, kind: str = "iscsi", size_bytes: int = 4 * MIB) -> None:
    first_sync = "full" if kind == "nas" else "zero"
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "v", "size_bytes": size_bytes, "kind": kind})
    await a.change("POST", "/v1/mirrors", {"name": "m", "volumes": ["v"], "first_sync": first_sync})


async def eventually(node: Appliance, path: str, field: str, expected: Any) -> Any:
    deadline_s = asyncio.get_running_loop().time() + SOON_S
    while (found := await node.get(path))[field] != expected:
        assert asyncio.get_running_loop().time() < deadline_s, found
        await asyncio.sleep(0.02)
    return found


async def events_of(node: Appliance) -> list[str]:
    heard: list[str] = []

    async def listen() -> None:
        async for event in node.system.ground.events.follow(0):
            heard.append(event.kind)

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(listen(), 0.3)
    return heard


@contextlib.asynccontextmanager
async def writable(node: Appliance) -> AsyncIterator[None]:
    """The node is Primary meanwhile, whatever its peer does."""
    driver = node.mechanisms.mirrors
    was_primary = driver.node.side("m").role is Role.PRIMARY
    await driver.promote("m")
    await asyncio.sleep(0.05)  # whoever watches sees it
    yield
    if not was_primary:
        await driver.demote("m")


async def diverge(nodes: Nodes) -> None:
    """Both leave each other by force, both are written, and both meet again."""
    a, b = nodes
    for node in nodes:
        await node.mechanisms.mirrors.disconnect("m", force=True)
    for node, blocks in ((a, 3), (b, 1)):
        driver = node.mechanisms.mirrors
        driver.node.arbiter = None
        async with serving(driver, RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)), writable(node):
            for block in range(blocks):
                await driver.write("m", block * BLOCK_BYTES, pattern(ord(node.config.node)))
    for node in nodes:
        document = await node.system.ground.documents.mirrors.get("m")
        await node.mechanisms.mirrors.connect(await node.system.services.sides.spec(document))


async def make_spare_pool(node: Appliance) -> None:
    blank = next(d["path"] for d in (await node.get("/v1/disks"))["items"] if not d["signatures"] and not d["used_by"])
    await node.change("POST", "/v1/pools", {"name": "spare", "disks": [blank]})
