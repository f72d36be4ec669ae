"""The whole daemon: opened in the order of its floors, and given back in the reverse one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from holdfast.compose.ground import Ground
from holdfast.compose.outside import Outside, host_maker
from holdfast.compose.partner import PartnerSide
from holdfast.compose.routes import build_app
from holdfast.compose.services import Services
from holdfast.config import Config
from holdfast.loading.discovery import Found, PluginHooks, find_plugins
from holdfast.loading.judging import load_plugins
from holdfast.peer.identity import load_or_create_identity
from holdfast.services.drivers import Drivers
from holdfast.services.steps import StepObserver
from holdfast.store.database import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class System:
    """The composed daemon: what runs, and what tests look at."""

    config: Config
    app: web.Application
    ground: Ground
    services: Services
    partner: PartnerSide


@contextlib.asynccontextmanager
async def compose(
    config: Config,
    outside: Outside,
    *,
    plugins: tuple[Found, ...] | None = None,
    observe_step: StepObserver | None = None,
) -> AsyncIterator[System]:
    """Build the daemon. On leaving, everything that was taken is given back; what is served stays served."""
    for directory in (config.state_dir, config.run_dir):
        await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    database = await Database.open(config.state_dir / "holdfast.sqlite")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        identity = await asyncio.to_thread(
            load_or_create_identity, config.state_dir / "tls", config.node, outside.clock.now()
        )
        hooks = PluginHooks()
        found = await asyncio.to_thread(find_plugins) if plugins is None else plugins
        drivers = Drivers(await load_plugins(config, found, hooks, host_maker(config, outside)))
        stack.push_async_callback(drivers.close)
        log.info(
            "node %s: %s", config.node, "; ".join(f"{r.name} is {r.state}" for r in drivers.reports) or "no plugins"
        )
        ground = Ground(config, outside.clock, database, hooks, drivers, observe_step)
        services = Services(ground)
        partner = PartnerSide(ground, services, identity)
        stack.push_async_callback(partner.pairing.close)
        stack.push_async_callback(partner.client.close)
        stack.push_async_callback(partner.server.stop)
        stack.push_async_callback(ground.jobs.stop)
        yield System(config, build_app(ground, services, partner.nodes), ground, services, partner)
