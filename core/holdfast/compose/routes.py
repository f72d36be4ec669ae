"""What is answered over HTTP: one line for each noun."""

from __future__ import annotations

from aiohttp import web

from holdfast.api import (
    app,
    events,
    groups,
    initiators,
    jobs,
    mirror_upkeep,
    mirrors,
    nodes,
    pools,
    replicas,
    shares,
    targets,
    tasks,
    volumes,
)
from holdfast.compose.ground import Ground
from holdfast.compose.services import Services
from holdfast.services.nodes import Nodes


def build_app(ground: Ground, services: Services, node: Nodes) -> web.Application:
    """The application that serves every noun."""
    routes = [
        *nodes.routes(node, ground.drivers, services.reconciler),
        *pools.routes(services.pools),
        *volumes.routes(services.volumes, services.snapshots, services.modes),
        *shares.routes(services.shares),
        *replicas.routes(services.replicas),
        *tasks.routes(services.tasks),
        *mirrors.routes(services.mirrors, services.link),
        *mirror_upkeep.routes(
            services.mirrors,
            services.verify,
            services.repair,
            services.split_brains,
            services.split_brain_jobs,
            services.growth,
            services.replacement,
        ),
        *targets.routes(services.targets, services.target_identity),
        *initiators.routes(services.initiators, services.discovery),
        *groups.routes(services.groups, services.links, ground.config.node),
        *jobs.routes(ground.jobs),
        *events.routes(ground.events),
    ]
    return app.build(
        routes, who_is=ground.tokens.label_of, jobs=ground.jobs, claims=ground.claims, revisions=ground.revisions
    )
