"""Stands in for holdfastd: opens the driver, starts the agent or a copy, says so, and waits to be killed.

Usage: stand_in.py RUN_DIR agent|copy PORT REPLICA_DIRECTORY SOURCE
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from holdfast.hooks.base import Host
from holdfast.hooks.replication import AgentSpec, CopyRun, ReplicaShare
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.values import Secret
from holdfast_rep_rsync.driver import open_driver
from holdfast_rep_rsync.settings import Settings


async def main(run_dir: Path, what: str, port: int, replica: str, source: str) -> None:
    driver = await open_driver(
        Settings(), Host("a", SystemCommands(), KernelFs(), SystemClock(), run_dir.parent / "state", run_dir)
    )
    spec, password = AgentSpec("127.0.0.1", port), Secret("right")
    if what == "agent":
        await driver.start_agent(spec, (ReplicaShare("docs", replica, "copier", password, ("127.0.0.1",)),))
        print("ready", flush=True)
    else:
        run = CopyRun(source, spec, "docs", "copier", password)
        await driver.copy(run, lambda progress: print("ready", flush=True))
    await asyncio.sleep(60)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]))
