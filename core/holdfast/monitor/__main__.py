"""`holdfast-monitor`: wait for a plan, open the drivers it needs, and let the failover plugin watch over the groups."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from holdfast.compose.outside import host_maker, real_outside
from holdfast.config import Config, read_arguments
from holdfast.errors import HoldfastError, InvalidError
from holdfast.loading.discovery import PluginHooks, find_plugins
from holdfast.loading.judging import load_plugins
from holdfast.monitor.host import PlanHost
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import PlanFile, read_plan

log = logging.getLogger("holdfast.monitor")

LOOK_EVERY_S = 0.2
# A takeover waits for its commands, and nothing on this node matters more. Not by realtime priority: while such a
# command runs, a kernel that has put its softirqs into a thread delivers no packet, and the ping node seems silent.
URGENT = -20
THREADS = 16
# All of its memory is locked, stacks whole: with the usual 8 MiB, sixteen threads would take 128.
STACK_BYTES = 512 * 1024


async def first_plan(config: Config) -> PlanFile:
    """Wait until there is a plan: there is none before the nodes are paired."""
    is_told = False
    while True:
        try:
            plan = read_plan(config.state_dir)
        except (InvalidError, ValueError) as reason:
            plan = None
            if not is_told:
                log.error("the plan on disk cannot be read: %s", reason)
                is_told = True
        if plan is not None:
            return plan
        if not is_told:
            log.info("node %s has no plan yet: it is written when the nodes are paired", config.node)
            is_told = True
        await asyncio.sleep(LOOK_EVERY_S)


def be_urgent() -> None:
    """For a thread of a takeover, which does what blocks: it gets no realtime priority from the loop's either."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), URGENT)


def wait_without_threads() -> None:
    """Wait for commands by their descriptors: a thread for each would have its stack cleared and locked first."""
    if sys.version_info < (3, 12):  # from there on it is so by itself
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.set_child_watcher(watcher)


async def run(config: Config) -> None:
    """Be the monitor until SIGTERM or SIGINT. What is served stays served."""
    loop = asyncio.get_running_loop()
    wait_without_threads()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, "monitor", be_urgent))
    me = asyncio.current_task()
    assert me is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, me.cancel)
    plan = await first_plan(config)
    found = await asyncio.to_thread(find_plugins)
    drivers = Drivers(
        await load_plugins(config, found, PluginHooks(), host_maker(config, real_outside(niceness=URGENT)))
    )
    try:
        host = PlanHost(config.state_dir, plan, drivers)
        await drivers.failover().run_monitor(host)
    finally:
        await drivers.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of `holdfast-monitor`."""
    config = read_arguments(arguments, "holdfast-monitor")
    threading.stack_size(STACK_BYTES)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(run(config))
    except HoldfastError as reason:
        sys.stderr.write(f"holdfast-monitor: {reason}\n")
        raise SystemExit(1) from reason


if __name__ == "__main__":
    main()
