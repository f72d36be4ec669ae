"""Build the whole daemon out of its parts. The only module, beside the monitor's, that imports every floor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

from holdfast.api import app as api_app
from holdfast.api import events as events_api
from holdfast.api import groups as groups_api
from holdfast.api import jobs as jobs_api
from holdfast.api import mirrors as mirrors_api
from holdfast.api import nodes as nodes_api
from holdfast.api import pools as pools_api
from holdfast.api import replicas as replicas_api
from holdfast.api import shares as shares_api
from holdfast.api import targets as targets_api
from holdfast.api import tasks as tasks_api
from holdfast.api import volumes as volumes_api
from holdfast.api.routes import Route
from holdfast.config import Config
from holdfast.hooks.base import Host
from holdfast.loading.discovery import Found, PluginHooks, find_plugins
from holdfast.loading.judging import MakeHost, load_plugins
from holdfast.peer.client import PeerClient, PeerTimeouts
from holdfast.peer.identity import Identity, load_or_create_identity
from holdfast.peer.pairing import Pairing
from holdfast.peer.partner import Partner, PartnerFile
from holdfast.peer.server import CallContext, PeerServer
from holdfast.services.dependents import Dependents
from holdfast.services.documents import (
    AgentDocument,
    FailoverDocument,
    GroupDocument,
    MirrorDocument,
    PoolDocument,
    ReplicaShareDocument,
    ShareDocument,
    TargetDocument,
    TaskDocument,
    VolumeDocument,
)
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.group_jobs import GroupJobs
from holdfast.services.groups import Groups
from holdfast.services.jobs import Jobs
from holdfast.services.links import Links
from holdfast.services.mirror_jobs import MirrorJobs
from holdfast.services.mirror_sides import MirrorSides
from holdfast.services.mirrors import Mirrors
from holdfast.services.nodes import Nodes
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.plans import Plans
from holdfast.services.pools import Pools
from holdfast.services.preflight import Preflight
from holdfast.services.reconcile import Reconciler
from holdfast.services.replicas import Replicas
from holdfast.services.shares import Shares
from holdfast.services.snapshots import Snapshots
from holdfast.services.steps import StepObserver
from holdfast.services.targets import Targets
from holdfast.services.tasks import Tasks
from holdfast.services.volumes import Volumes
from holdfast.store.database import Database
from holdfast.store.events import EventLog
from holdfast.store.intent import Intents
from holdfast.store.jobs import JobStore
from holdfast.store.runs import Runs
from holdfast.store.secrets import Secrets
from holdfast.store.tokens import Tokens
from holdfast.system.clock import Clock, SystemClock
from holdfast.system.command import Commands, SystemCommands
from holdfast.system.kernelfs import KernelFs

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Outside:
    """What the daemon reaches the machine with; tests give others."""

    commands: Commands
    kernel: KernelFs
    clock: Clock


def real_outside() -> Outside:
    """This machine."""
    return Outside(SystemCommands(), KernelFs(), SystemClock())


def host_maker(config: Config, outside: Outside) -> MakeHost:
    """Give each plugin its Host, with directories of its own. The monitor gives the same ones."""

    def make(name: str) -> Host:
        directories = []
        for root in (config.state_dir, config.run_dir):
            directory = root / "plugins" / name
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directories.append(directory)
        state, run = directories
        return Host(config.node, outside.commands, outside.kernel, outside.clock, state, run)

    return make


@dataclass
class System:
    """The composed daemon: what runs, and what tests look at."""

    config: Config
    app: web.Application
    jobs: Jobs
    events: Events
    tokens: Tokens
    drivers: Drivers
    reconciler: Reconciler
    identity: Identity
    pairing: Pairing
    peer_server: PeerServer
    peer_client: PeerClient
    partners: PartnerFile
    partner_link: PartnerLink
    plans: Plans
    nodes: Nodes
    database: Database

    async def set_partner(self, partner: Partner) -> None:
        """Serve a partner, and call it, from now on."""
        self.peer_client.set_partner(partner)
        self.partner_link.set(partner.node, self.peer_client)
        self.nodes.set_partner(partner)
        self.plans.set_partner(partner.node, partner.key)
        await self.peer_server.start(partner)
        if self.drivers.has("failover"):
            await self.plans.write_if_possible()


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
        system = _assemble(config, outside, database, identity, hooks, drivers, observe_step)
        stack.push_async_callback(system.pairing.close)
        stack.push_async_callback(system.peer_client.close)
        stack.push_async_callback(system.peer_server.stop)
        stack.push_async_callback(system.jobs.stop)
        yield system


def _assemble(
    config: Config,
    outside: Outside,
    database: Database,
    identity: Identity,
    hooks: PluginHooks,
    drivers: Drivers,
    observe_step: StepObserver | None,
) -> System:
    clock, node = outside.clock, config.node

    def intents(kind: str, document: type[T]) -> Intents[T]:
        return Intents(database, clock, kind, document)

    volume_documents = intents("volume", VolumeDocument)
    share_documents = intents("share", ShareDocument)
    replica_documents = intents("replica-share", ReplicaShareDocument)
    task_documents = intents("replication-task", TaskDocument)
    mirror_documents = intents("mirror", MirrorDocument)
    target_documents = intents("target", TargetDocument)
    group_documents = intents("group", GroupDocument)
    link_documents = intents("failover", FailoverDocument)
    secrets, tokens = Secrets(database), Tokens(database, clock)
    events = Events(EventLog(database, clock))
    jobs = Jobs(JobStore(database, clock), clock, events, node=node, observe_step=observe_step)
    partner = PartnerLink(clock)
    dependents = Dependents(
        volumes=volume_documents,
        shares=share_documents,
        replicas=replica_documents,
        tasks=task_documents,
        mirrors=mirror_documents,
        targets=target_documents,
        groups=group_documents,
    )
    plans = Plans(
        node=node,
        state_dir=config.state_dir,
        drivers=drivers,
        secrets=secrets,
        links=link_documents,
        mirrors=mirror_documents,
        targets=target_documents,
        groups=group_documents,
    )
    # The file side.
    pools = Pools(intents("pool", PoolDocument), jobs, drivers, dependents)
    volumes = Volumes(volume_documents, jobs, drivers, dependents, hooks, config.mount_dir)
    snapshots = Snapshots(volume_documents, jobs, drivers)
    shares = Shares(share_documents, volumes, jobs, dependents)
    replicas = Replicas(intents("agent", AgentDocument), replica_documents, secrets, shares, jobs, drivers, dependents)
    tasks = Tasks(
        task_documents, Runs(database, clock), secrets, shares, snapshots, jobs, drivers, hooks, config.run_dir
    )
    # The block side.
    sides = MirrorSides(
        mirror_documents,
        volume_documents,
        drivers,
        plans,
        node=node,
        replication_address=config.peer.replication_address,
    )
    mirrors = Mirrors(mirror_documents, volume_documents, jobs, drivers, dependents, partner, sides, node=node)
    MirrorJobs(mirror_documents, volume_documents, mirrors, sides, jobs, drivers, partner, hooks, clock, node=node)
    targets = Targets(target_documents, mirror_documents, secrets, jobs, drivers, dependents, partner, plans, hooks)
    links = Links(link_documents, jobs, drivers, partner, plans)
    preflight = Preflight(group_documents, mirror_documents, target_documents, drivers, partner, plans, node=node)
    groups = Groups(
        group_documents, mirror_documents, target_documents, jobs, drivers, partner, plans, preflight, node=node
    )
    GroupJobs(groups, sides, jobs, drivers, partner, hooks, clock, node=node)
    reconciler = Reconciler(
        pools=pools,
        volumes=volumes,
        replicas=replicas,
        sides=sides,
        groups=groups,
        mirror_documents=mirror_documents,
        group_documents=group_documents,
        plans=plans,
        partner=partner,
        drivers=drivers,
        events=events,
        clock=clock,
    )
    # The other node.
    partners = PartnerFile(config.state_dir / "partner.json")
    peer_server = PeerServer(identity, address=config.peer.address, port=config.peer.port, clock=clock)
    for handlers in (sides.handlers(), targets.handlers(), links.handlers(), groups.handlers(), preflight.handlers()):
        for operation, handler in handlers.items():
            peer_server.add(operation, _peer_handler(handler))
    made: list[System] = []

    async def on_paired(paired: Partner) -> None:
        await made[0].set_partner(paired)

    pairing = Pairing(
        identity,
        partners,
        clock,
        listen_address=config.peer.address,
        pairing_port=config.peer.pairing_port,
        peer_port=config.peer.port,
        on_paired=on_paired,
    )
    nodes = Nodes(identity, pairing, partner, clock)
    routes: list[Route] = [
        *nodes_api.routes(nodes, drivers, reconciler),
        *pools_api.routes(pools),
        *volumes_api.routes(volumes, snapshots),
        *shares_api.routes(shares),
        *replicas_api.routes(replicas),
        *tasks_api.routes(tasks),
        *mirrors_api.routes(mirrors),
        *targets_api.routes(targets),
        *groups_api.routes(groups, links, node),
        *jobs_api.routes(jobs),
        *events_api.routes(events),
    ]
    system = System(
        config=config,
        app=api_app.build(routes, who_is=tokens.label_of, jobs=jobs),
        jobs=jobs,
        events=events,
        tokens=tokens,
        drivers=drivers,
        reconciler=reconciler,
        identity=identity,
        pairing=pairing,
        peer_server=peer_server,
        peer_client=PeerClient(identity, None, PeerTimeouts()),
        partners=partners,
        partner_link=partner,
        plans=plans,
        nodes=nodes,
        database=database,
    )
    made.append(system)
    return system


def _peer_handler(handler: PeerHandler) -> Any:
    async def answer(body: dict[str, Any], context: CallContext) -> Any:
        return await handler(body, context.job_id)

    return answer
