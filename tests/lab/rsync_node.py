"""The copy driver inside a lab node: orders in, `{"call": …, "given": {…}}` a line, and an answer out for each.

Each has a driver of its own, of which nothing stays: the agent outlives who started it, as it outlives holdfastd.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.hooks.base import Host
from holdfast.hooks.replication import AgentSpec, CopyRun, ReplicaShare
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.certificates import make_identity
from holdfast.testing.trees import make_tree, read_tree
from holdfast.values import from_plain, to_plain
from holdfast_rep_rsync.driver import RsyncDriver, open_driver
from holdfast_rep_rsync.settings import Settings

HOME = Path("/run/rsync-test")
IO_TIMEOUT_S = 4


async def call_driver(driver: RsyncDriver, call: str, given: dict[str, Any]) -> Any:
    if call == "start_agent":
        replicas = from_plain(tuple[ReplicaShare, ...], given["replicas"])
        return await driver.start_agent(from_plain(AgentSpec, given["spec"]), replicas)
    if call == "stop_agent":
        return await driver.stop_agent()
    if call == "browse":
        return to_plain(await driver.browse(from_plain(AgentSpec, given["spec"])))
    run = from_plain(CopyRun, given["run"])
    if call == "copy":
        return to_plain(await driver.copy(run, lambda progress: None))
    return list(await driver.verify(run, sample=tuple(given["sample"])))


async def obey(call: str, given: dict[str, Any]) -> dict[str, Any]:
    if call == "make_identity":
        return {"answer": to_plain(make_identity(HOME / "keys", given["identity"]))}
    if call == "make_tree":
        make_tree(Path(given["directory"]))
        return {}
    if call == "read_tree":
        tree = read_tree(Path(given["directory"]))
        return {"answer": repr({name: astuple(entry) for name, entry in tree.items()})}
    for name in ("state", "run"):
        (HOME / name).mkdir(parents=True, exist_ok=True)
    host = Host("lab", SystemCommands(), KernelFs(), SystemClock(), HOME / "state", HOME / "run")
    driver = await open_driver(
        Settings(io_timeout_s=IO_TIMEOUT_S, connect_timeout_s=2, agent_io_timeout_s=8, dead_peer_s=6), host
    )
    started_s = time.monotonic()
    try:
        answer = await call_driver(driver, call, given)
    except HoldfastError as reason:
        return {"error": type(reason).__name__, "message": reason.message, "took_s": time.monotonic() - started_s}
    finally:
        await driver.close()
    return {"answer": answer, "took_s": time.monotonic() - started_s}


async def main() -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        print(json.dumps(await obey(order["call"], order["given"])), flush=True)


if __name__ == "__main__":
    os.umask(0o022)
    asyncio.run(main())
