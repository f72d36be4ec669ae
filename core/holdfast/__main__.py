"""`holdfastd`: read the settings, compose the system, run it until asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from aiohttp import web

from holdfast.compose.daemon import System, compose
from holdfast.compose.outside import real_outside
from holdfast.config import Config, read_arguments
from holdfast.errors import HoldfastError
from holdfast.services.steps import StepObserver
from holdfast.system.files import write_atomically
from holdfast.system.listening import listen, stop_listening

log = logging.getLogger("holdfast")

NICENESS = 10
HANDSHAKE_S = 10.0


async def write_first_token(system: System, path: Path) -> None:
    """Make a token for the administrator of this node if none is on disk, mode 0600."""
    if not await asyncio.to_thread(path.exists):
        await system.ground.tokens.forget_all("first")
        token = await system.ground.tokens.make("first")
        await asyncio.to_thread(write_atomically, path, f"{token.reveal()}\n".encode(), mode=0o600)


@contextlib.asynccontextmanager
async def serve(system: System) -> AsyncIterator[None]:
    """Recover what was interrupted, bring reality back to intent, and answer requests until left."""
    await write_first_token(system, system.config.state_dir / "token")
    partner = await asyncio.to_thread(system.partner.partners.load)
    if partner is not None:
        system.partner.know(partner)
    runner = web.AppRunner(system.app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(system.partner.identity.certificate_path, system.partner.identity.key_path)
    settings = system.config.api
    listener: asyncio.Server | None = None
    try:
        listener = await listen(runner, settings.address, settings.port, tls, handshake_s=HANDSHAKE_S)
        log.info("node %s answers on %s port %d", system.config.node, settings.address, settings.port)
        # Not before: it asks the monitor, and a monitor that is slow to answer is to be seen by who asks this node.
        if partner is not None:
            await system.partner.serve(partner)
        async with asyncio.TaskGroup() as tasks:
            services = system.services
            # It waits for nothing: what initiators reserve meanwhile is to be known to the partner, too.
            watching = [tasks.create_task(services.target_watch.forever())]
            try:
                # First what is needed to stand on, then the jobs that stood on it.
                await system.ground.jobs.hold_unfinished()
                await services.reconciler.once()
                await system.ground.jobs.recover()
                resident = (
                    services.reconciler.forever,
                    services.watch.forever,
                    services.verify.follow_schedules,
                    services.drill_schedules.follow,
                    services.failback.forever,
                    services.task_schedules.forever,
                    services.copy_ages.forever,
                    services.kept_copies.forever,
                    services.snapshot_side.schedules.forever,
                    services.snapshot_side.watch.forever,
                    services.disk_healths.forever,
                    services.worm_keeper.forever,
                )
                watching += [tasks.create_task(each()) for each in resident]
                watching.append(tasks.create_task(services.task_runs.tidy(system.config.run_log_days)))
                yield
            finally:
                for each in watching:
                    each.cancel()
    finally:
        if listener is not None:
            await stop_listening(listener)
        await runner.cleanup()


async def run(config: Config, *, observe_step: StepObserver | None = None) -> None:
    """Be the daemon until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with compose(config, real_outside(), observe_step=observe_step) as system, serve(system):
        await stopping.wait()
        log.info("node %s stops; what it serves stays served", config.node)


def give_way() -> None:
    """Let what serves go first: the monitor, the kernel's question to it, file servers. They share this node."""
    os.setpriority(os.PRIO_PROCESS, 0, NICENESS)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of `holdfastd`."""
    config = read_arguments(arguments, "holdfastd")
    log.info("node %s starts", config.node)
    give_way()
    try:
        asyncio.run(run(config))
    except HoldfastError as reason:
        sys.stderr.write(f"holdfastd: {reason}\n")
        raise SystemExit(1) from reason


if __name__ == "__main__":
    main()
