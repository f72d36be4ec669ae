"""What the composed tests of tasks share: a node that copies to itself, and whose clock is set."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.hooks.replication import CopyProgress, CopyResult, CopyRun
from tests.composed.appliance import Appliance
from tests.composed.test_jobs_killed import MortalNode

MIB = 1 << 20
HOUR = timedelta(hours=1)
TASK = "/v1/replication-tasks/task"
HOURLY = f"{TASK}/schedules/hourly"
RUNS = "/v1/replication-runs"
# The memory driver's agent: where it listens means nothing to anybody else.
AGENT = {"address": "127.0.0.1", "port": 8873}
WITHIN_S = 10.0


async def make_task(a: Appliance, *, is_thin: bool = False, **more: Any) -> Path:
    """A task that copies one share to another; the directory of its source."""
    await a.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
    if is_thin:
        await a.change("PUT", "/v1/pools/main/thin", {"size_bytes": 256 * MIB})
    for name in ("docs", "copy"):
        volume = {"pool": "main", "name": name, "size_bytes": 64 * MIB, "kind": "nas", "is_thin": is_thin}
        await a.change("POST", "/v1/volumes", volume)
        await a.change("POST", "/v1/shares", {"name": name, "volume": name, "path": "x"})
    await a.change("PUT", "/v1/agent", {"is_enabled": True, **AGENT})
    login = {"user": "copier", "password": "secret enough"}
    replica = {"name": "replica", "share": "copy", "allowed_sources": ["127.0.0.1"], **login}
    await a.change("POST", "/v1/replica-shares", replica)
    where = {"agent_address": AGENT["address"], "agent_port": AGENT["port"], "replica_share": "replica"}
    await a.change("POST", "/v1/replication-tasks", {"name": "task", "share": "docs", **where, **login, **more})
    home = a.config.mount_dir / "main" / "docs" / "x"
    (home / "one").write_text("one")
    return home


async def schedule(a: Appliance, node: MortalNode, **more: Any) -> None:
    """Hourly, an hour from now on."""
    starts_at = (node.clock.now() + HOUR).isoformat()
    await a.change("PUT", HOURLY, {"every_hours": 1, "starts_at": starts_at, **more})


async def look(a: Appliance) -> None:
    """See to what is due, and wait for what that started."""
    await a.system.services.task_schedules.look()
    await settled(a)


async def settled(a: Appliance) -> None:
    for job in await a.items("/v1/jobs"):
        await a.system.ground.jobs.wait(job["id"], WITHIN_S)


async def told(a: Appliance) -> list[tuple[str, str | None]]:
    """How runs ended and by which schedule they were due, the oldest first."""
    return [(run["result"], run["schedule"]) for run in reversed(await a.items(RUNS))]


class Holding:
    """Holds copies where they begin."""

    def __init__(self, a: Appliance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.may_go_on = asyncio.Event(), asyncio.Event()
        copy = a.mechanisms.copies.copy

        async def held(run: CopyRun, progress: Any) -> CopyResult:
            self.begun.set()
            progress(CopyProgress(0, 0.0, "held"))
            await self.may_go_on.wait()
            return await copy(run, progress)

        monkeypatch.setattr(a.mechanisms.copies, "copy", held)
