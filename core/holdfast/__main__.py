"""`holdfastd`: read the settings, compose the system, run it until asked to stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from holdfast.compose import compose, real_outside, serve
from holdfast.config import DEFAULT_PATH, Config, read_config
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


def read_arguments(arguments: Sequence[str] | None, program: str) -> Config:
    """Read the command line and the settings file; exit with 2 and a sentence when they cannot be used."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--config", type=Path, default=DEFAULT_PATH, help="the settings file (TOML)")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    given = parser.parse_args(arguments)
    logging.basicConfig(
        level=given.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        return read_config(given.config)
    except HoldfastError as reason:
        sys.stderr.write(f"{program}: {reason}\n")
        raise SystemExit(2) from reason


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
