"""What is answered over HTTP: one line for each noun."""

from __future__ import annotations

from aiohttp import web

from holdfast.api import (
    app,
    events,
    group_explanation,
    group_rules,
    groups,
    initiators,
    jobs,
    kept_copies,
    maintenance,
    mirror_upkeep,
    mirrors,
    nodes,
    pool_upkeep,
    pools,
    replicas,
    restores,
    runs,
    schedules,
    share_accounts,
    share_offers,
    shares,
    snapshot_schedules,
    snapshots,
    targets,
    task_verification,
    tasks,
    volumes,
    worm,
)
from holdfast.compose.ground import Ground
from holdfast.compose.services import Services
from holdfast.services.nodes.nodes import Nodes


def build_app(ground: Ground, services: Services, node: Nodes) -> web.Application:
    """The application that serves every noun."""
    routes = [
        *nodes.routes(node, services.node_replacement, ground.drivers, services.reconciler, services.maintenance),
        *pools.routes(services.pools, services.disk_healths),
        *pool_upkeep.routes(services.pool_disks, services.pool_names, services.thin_pools, services.pool_reports),
        *volumes.routes(services.volumes, services.volume_growth, services.volume_labels, services.modes),
        *worm.routes(services.worm_retention),
        *snapshots.routes(
            services.snapshots,
            services.snapshot_side.mounts,
            services.snapshot_side.rollback,
            services.snapshot_side.clones,
            services.snapshot_side.restores,
        ),
        *snapshot_schedules.routes(services.snapshot_side.schedules, services.snapshot_side.watch),
        *shares.routes(services.shares),
        *share_offers.routes(services.smb_offers, services.nfs_offers, services.share_accounts, services.shares),
        *share_accounts.routes(services.share_accounts),
        *replicas.routes(services.replicas, services.replica_changes, services.transports, services.copy_ages),
        *restores.routes(services.restores, services.frozen, services.openings, services.directions),
        *kept_copies.routes(services.kept_copies),
        *tasks.routes(services.tasks, services.task_runs, services.task_previews, services.copy_ages),
        *task_verification.routes(services.truth, services.task_runs),
        *schedules.routes(services.task_schedules),
        *runs.routes(services.task_runs),
        *mirrors.routes(services.mirrors, services.link),
        *mirror_upkeep.routes(
            services.mirrors,
            services.verify,
            services.repair,
            services.split_brains,
            services.split_brain_jobs,
            services.growth,
            services.adding,
            services.removing,
            services.replacement,
        ),
        *targets.routes(services.targets, services.target_identity),
        *initiators.routes(services.initiators, services.discovery),
        *groups.routes(services.groups, services.links, ground.config.node),
        *group_explanation.routes(services.group_explanation),
        *group_rules.routes(services.group_rules, services.drills),
        *maintenance.routes(services.maintenance),
        *jobs.routes(ground.jobs),
        *events.routes(ground.events),
    ]
    return app.build(
        routes, who_is=ground.tokens.label_of, jobs=ground.jobs, claims=ground.claims, revisions=ground.revisions
    )
