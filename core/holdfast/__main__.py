"""`holdfastd`: read the settings, compose the system, run it until asked to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence

from holdfast.compose import compose, real_outside, serve
from holdfast.config import Config, read_arguments
from holdfast.errors import HoldfastError
from holdfast.services.jobs import StepObserver

log = logging.getLogger("holdfast")


async def run(config: Config, *, observe_step: StepObserver | None = None) -> None:
    """Be the daemon until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with compose(config, real_outside(), observe_step=observe_step) as system, serve(system):
        await stopping.wait()
        log.info("node %s stops; what it serves stays served", config.node)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of `holdfastd`."""
    config = read_arguments(arguments, "holdfastd")
    try:
        asyncio.run(run(config))
    except HoldfastError as reason:
        sys.stderr.write(f"holdfastd: {reason}\n")
        raise SystemExit(1) from reason


if __name__ == "__main__":
    main()
