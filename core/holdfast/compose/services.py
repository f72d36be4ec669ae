"""What may be done: one statement for each service, each after those that it calls."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.compose.ground import Ground
from holdfast.compose.snapshots import SnapshotSide, make_snapshots
from holdfast.services.copies.ages import CopyAges
from holdfast.services.copies.directions import Directions
from holdfast.services.copies.frozen import FrozenCopies
from holdfast.services.copies.kept import KeptCopies
from holdfast.services.copies.listings import Listings
from holdfast.services.copies.previews import TaskPreviews
from holdfast.services.copies.replica_changes import ReplicaChanges
from holdfast.services.copies.replicas import Replicas
from holdfast.services.copies.restore_openings import RestoreOpenings
from holdfast.services.copies.restores import Restores
from holdfast.services.copies.runs import TaskRuns
from holdfast.services.copies.schedules import TaskSchedules
from holdfast.services.copies.tasks import Tasks
from holdfast.services.copies.transports import Transports
from holdfast.services.copies.truth import RunTruth
from holdfast.services.copies.ways import CopyWays
from holdfast.services.groups.checks import GroupChecks
from holdfast.services.groups.drill_schedules import DrillSchedules
from holdfast.services.groups.drills import Drills
from holdfast.services.groups.explanation import GroupExplanation
from holdfast.services.groups.failback import AutomaticFailback
from holdfast.services.groups.groups import Groups
from holdfast.services.groups.jobs import GroupJobs
from holdfast.services.groups.links import Links
from holdfast.services.groups.moves import GroupMoves
from holdfast.services.groups.preflight import Preflight
from holdfast.services.groups.rules import GroupRules
from holdfast.services.mirrors.adding import MirrorAdding
from holdfast.services.mirrors.growth import MirrorGrowth
from holdfast.services.mirrors.jobs import MirrorJobs
from holdfast.services.mirrors.link import MirrorLink
from holdfast.services.mirrors.making import MirrorMaking
from holdfast.services.mirrors.mirrors import Mirrors
from holdfast.services.mirrors.modes import ReplicationModes
from holdfast.services.mirrors.mounts import MirrorMounts
from holdfast.services.mirrors.removing import MirrorRemoving
from holdfast.services.mirrors.repair import MirrorRepair
from holdfast.services.mirrors.replacement import MirrorReplacement
from holdfast.services.mirrors.requests import MirrorRequests
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.split_brain import SplitBrains
from holdfast.services.mirrors.split_brain_jobs import SplitBrainJobs
from holdfast.services.mirrors.unit_files import MirrorUnitFiles
from holdfast.services.mirrors.verify import MirrorVerify
from holdfast.services.mirrors.watch import MirrorWatch
from holdfast.services.nodes.maintenance import Maintenance
from holdfast.services.nodes.replacement import NodeReplacement
from holdfast.services.partner import PeerHandler
from holdfast.services.pools.disk_health import DiskHealths
from holdfast.services.pools.disks import PoolDisks
from holdfast.services.pools.names import PoolNames
from holdfast.services.pools.pools import Pools
from holdfast.services.pools.report import PoolReports
from holdfast.services.pools.thin import ThinPools
from holdfast.services.reconcile import Reconciler
from holdfast.services.shares.accounts import ShareAccounts
from holdfast.services.shares.documents import NfsOfferDocument, SmbOfferDocument
from holdfast.services.shares.offers import ShareOffers
from holdfast.services.shares.shares import Shares
from holdfast.services.shares.snapshots import ShareSnapshots
from holdfast.services.snapshots.views import FillRates
from holdfast.services.targets.discovery import Discovery
from holdfast.services.targets.identity import TargetIdentity
from holdfast.services.targets.initiators import Initiators
from holdfast.services.targets.jobs import TargetJobs
from holdfast.services.targets.targets import Targets
from holdfast.services.targets.watch import TargetWatch
from holdfast.services.volumes.growth import VolumeGrowth
from holdfast.services.volumes.labels import VolumeLabels
from holdfast.services.volumes.volumes import Volumes
from holdfast.services.worm.guard import WormGuard
from holdfast.services.worm.keeper import WormKeeper
from holdfast.services.worm.retention import WormRetention


class Services:
    """Every service of the daemon that speaks of storage."""

    def __init__(self, ground: Ground) -> None:
        node, clock, config = ground.config.node, ground.clock, ground.config
        jobs, drivers, hooks, secrets = ground.jobs, ground.drivers, ground.hooks, ground.secrets
        kept, dependents, partner, plans = ground.documents, ground.dependents, ground.partner, ground.plans
        # The file side.
        self.pools = Pools(kept.pools, jobs, drivers, dependents)
        self.pool_disks = PoolDisks(kept.pools, jobs, drivers)
        self.disk_healths = DiskHealths(ground.disk_records, drivers, ground.events, ground.clock)
        self.thin_pools = ThinPools(kept.pools, jobs, drivers)
        self.worm_guard = WormGuard(kept.volumes, drivers, clock, config.mount_dir)
        self.worm_keeper = WormKeeper(kept.volumes, self.worm_guard, jobs, clock, config.mount_dir)
        self.worm_retention = WormRetention(kept.volumes, self.worm_keeper, self.worm_guard, jobs, clock)
        self.volumes = Volumes(
            kept.volumes,
            jobs,
            drivers,
            dependents,
            self.thin_pools,
            hooks,
            config.mount_dir,
            self.worm_guard,
            self.worm_keeper,
        )
        self.pool_names = PoolNames(kept.pools, kept.volumes, self.volumes, jobs, drivers, dependents)
        self.pool_reports = PoolReports(kept.volumes, self.volumes, drivers)
        self.volume_labels = VolumeLabels(kept.volumes, self.volumes, jobs)
        rates = FillRates()
        self.snapshots = make_snapshots(ground, rates, self.thin_pools)
        self.shares = Shares(kept.shares, self.volumes, jobs, dependents)
        self.share_accounts = ShareAccounts(
            kept.share_users, kept.share_groups, ground.share_numbers, kept.smb_offers, secrets, jobs, drivers
        )
        self.share_snapshots = ShareSnapshots(
            kept.volumes, kept.snapshots, self.shares, self.snapshots, jobs, drivers, config.mount_dir
        )
        with_snapshots = hooks, self.share_snapshots
        self.smb_offers = ShareOffers(
            "smb", SmbOfferDocument, kept.smb_offers, self.shares, kept.replicas, jobs, drivers.smb, *with_snapshots
        )
        self.nfs_offers = ShareOffers(
            "nfs", NfsOfferDocument, kept.nfs_offers, self.shares, kept.replicas, jobs, drivers.nfs, *with_snapshots
        )
        offers = (self.smb_offers, self.nfs_offers)
        # Shares let go of their snapshots before these are unmounted.
        users = (*offers, self.share_snapshots, self.worm_keeper)
        self.snapshot_side = SnapshotSide(
            ground, self.snapshots, rates, self.volumes, self.shares, self.worm_guard, users
        )

        async def hold_clients(share: str) -> None:
            for each in offers:
                await each.apply_if_offered(share)

        self.transports = Transports(config.state_dir)
        self.replicas = Replicas(
            kept.agents,
            kept.replicas,
            secrets,
            self.shares,
            jobs,
            drivers,
            dependents,
            self.transports,
            clock,
            hold_clients,
            self.worm_guard,
        )
        self.replica_changes = ReplicaChanges(
            kept.agents, kept.replicas, kept.tasks, secrets, self.replicas, jobs, partner, clock
        )
        self.tasks = Tasks(
            kept.tasks,
            kept.schedules,
            ground.times,
            secrets,
            self.shares,
            jobs,
            drivers,
            clock,
            self.transports,
            kept.agents,
        )
        self.truth = RunTruth(ground.truths, kept.tasks, jobs, drivers, ground.events, clock)
        listings = Listings(config.state_dir / "listings")
        ways = CopyWays(ground.listings, kept.tasks, ground.runs, drivers, clock, listings, node=node)
        self.task_runs = TaskRuns(
            kept.tasks,
            ground.runs,
            secrets,
            self.shares,
            self.snapshots,
            jobs,
            drivers,
            hooks,
            clock,
            config.run_dir,
            self.truth,
            ways,
            self.transports,
            self.share_snapshots,
            node=node,
        )
        self.task_previews = TaskPreviews(kept.tasks, self.task_runs, ways, self.shares, jobs, drivers)
        self.task_schedules = TaskSchedules(
            kept.tasks,
            kept.schedules,
            ground.times,
            ground.runs,
            self.task_runs,
            jobs,
            drivers,
            ground.events,
            clock,
        )
        self.copy_ages = CopyAges(
            kept.tasks,
            kept.replicas,
            ground.copies,
            ground.missed_objectives,
            self.task_schedules,
            ground.runs,
            drivers,
            ground.events,
            clock,
        )
        # Restoring, and the direction of tasks.
        self.openings = RestoreOpenings(
            ground.restore_openings,
            kept.agents,
            secrets,
            self.shares,
            self.replicas,
            jobs,
            dependents,
            clock,
            self.transports,
            self.worm_guard,
            replication_address=config.peer.replication_address,
        )
        self.frozen = FrozenCopies(kept.replicas, self.shares, self.snapshots, drivers, config.run_dir)
        self.restores = Restores(
            self.frozen, self.openings, self.shares, secrets, jobs, drivers, partner, self.transports, node=node
        )
        self.directions = Directions(
            ground.directions,
            kept.tasks,
            kept.replicas,
            ground.copies,
            self.replicas,
            self.restores,
            self.frozen,
            self.shares,
            jobs,
            drivers,
            partner,
            ground.events,
            self.share_snapshots,
            node=node,
        )
        for each in offers:
            each.free_where(self.directions.is_closed)
        self.kept_copies = KeptCopies(
            ground.retention,
            ground.kept_copies,
            kept.replicas,
            self.frozen,
            self.snapshots,
            jobs,
            drivers,
            ground.events,
            clock,
        )
        self.copy_ages.also_alert(self.kept_copies.alerts, of_task=self.truth.alerts)
        self.task_runs.guards += [self.openings.refuse_run, self.directions.refuse_run]
        # The block side.
        address = config.peer.replication_address
        self.sides = MirrorSides(
            kept.mirrors, kept.volumes, drivers, plans, secrets, node=node, replication_address=address
        )
        self.mirror_requests = MirrorRequests(self.sides, kept.volumes, ground.secrets, drivers)
        histories = ground.histories
        self.mounts = MirrorMounts(kept.mirrors, kept.groups, self.volumes, jobs, drivers, users, node=node)
        self.split_brains = SplitBrains(
            kept.mirrors, kept.targets, histories, drivers, partner, ground.events, node=node
        )
        self.watch = MirrorWatch(kept.mirrors, histories, self.split_brains, self.mounts, drivers, ground.events, clock)
        self.verify = MirrorVerify(
            kept.mirrors, self.sides, histories, jobs, drivers, partner, ground.events, clock, node=node
        )
        self.repair = MirrorRepair(
            kept.mirrors, self.sides, histories, jobs, drivers, partner, ground.events, clock, node=node
        )
        self.split_brain_jobs = SplitBrainJobs(
            kept.mirrors,
            self.split_brains,
            self.sides,
            self.mounts,
            histories,
            jobs,
            drivers,
            partner,
            ground.events,
            clock,
            node=node,
        )
        self.modes = ReplicationModes(kept.volumes, self.volumes, jobs, drivers, dependents, partner, self.worm_guard)
        self.mirrors = Mirrors(
            kept.mirrors,
            kept.volumes,
            jobs,
            drivers,
            dependents,
            partner,
            self.sides,
            histories,
            self.split_brains,
            self.verify,
            self.modes,
            self.worm_guard,
            node=node,
        )
        self.link = MirrorLink(
            kept.mirrors, kept.volumes, self.mirrors, self.sides, jobs, drivers, partner, clock, node=node
        )
        making = MirrorMaking(kept.volumes, self.sides, drivers, partner, self.mounts, clock, node=node)
        MirrorJobs(
            kept.mirrors,
            self.mirrors,
            self.sides,
            jobs,
            drivers,
            partner,
            hooks,
            self.mounts,
            making,
            self.link,
            clock,
        )
        self.adding = MirrorAdding(
            kept.mirrors,
            kept.volumes,
            kept.groups,
            self.mirrors,
            self.sides,
            making,
            secrets,
            jobs,
            drivers,
            partner,
            hooks,
            clock,
            node=node,
        )
        self.removing = MirrorRemoving(
            kept.mirrors,
            kept.targets,
            self.mirrors,
            self.sides,
            jobs,
            drivers,
            partner,
            hooks,
            clock,
            node=node,
        )
        self.replacement = MirrorReplacement(
            kept.mirrors, kept.volumes, self.mirrors, self.sides, jobs, drivers, partner, clock, node=node
        )
        self.target_watch = TargetWatch(kept.targets, drivers, partner, clock)
        self.targets = Targets(
            kept.targets,
            kept.mirrors,
            kept.volumes,
            kept.initiator_groups,
            secrets,
            jobs,
            drivers,
            dependents,
            partner,
            plans,
            self.target_watch,
        )
        self.target_identity = TargetIdentity(kept.targets, drivers, partner, plans, node=node)
        self.target_jobs = TargetJobs(
            kept.targets,
            kept.initiator_groups,
            self.targets,
            self.volumes,
            secrets,
            jobs,
            drivers,
            partner,
            plans,
            hooks,
        )
        self.volume_growth = VolumeGrowth(
            kept.volumes,
            kept.targets,
            self.volumes,
            self.thin_pools,
            self.target_jobs,
            jobs,
            drivers,
            dependents,
            hooks,
        )
        self.unit_files = MirrorUnitFiles(self.volumes, self.targets, drivers, partner, plans, clock, node=node)
        self.growth = MirrorGrowth(
            kept.mirrors,
            self.mirrors,
            self.sides,
            self.volumes,
            self.unit_files,
            jobs,
            drivers,
            partner,
            clock,
            node=node,
        )
        self.initiators = Initiators(
            kept.initiator_groups,
            self.target_jobs,
            secrets,
            jobs,
            drivers,
            dependents,
            partner,
            plans,
        )
        self.discovery = Discovery(kept.discovery, secrets, jobs, drivers, partner)
        self.links = Links(kept.links, kept.groups, jobs, drivers, partner, plans)
        marks, events, group_histories = ground.marks, ground.events, ground.group_histories
        self.preflight = Preflight(kept.groups, kept.mirrors, kept.targets, drivers, partner, plans, marks, node=node)
        self.groups = Groups(
            kept.groups,
            GroupChecks(kept.groups, kept.links, kept.mirrors, kept.targets),
            jobs,
            drivers,
            partner,
            plans,
            self.preflight,
            marks,
            group_histories,
            node=node,
        )
        self.group_explanation = GroupExplanation(kept.groups, drivers, partner, node=node)
        self.moves = GroupMoves(self.groups, group_histories, drivers, partner, hooks, clock, node=node)
        GroupJobs(self.groups, self.moves, group_histories, self.sides, jobs, partner, hooks, clock, node=node)
        self.group_rules = GroupRules(self.groups, jobs, partner, clock)
        self.maintenance = Maintenance(
            marks, kept.groups, self.moves, plans, jobs, drivers, partner, events, clock, node=node
        )
        self.drills = Drills(self.groups, self.moves, group_histories, jobs, partner, events, clock, node=node)
        self.drill_schedules = DrillSchedules(kept.groups, self.groups, self.drills, group_histories, drivers, clock)
        self.failback = AutomaticFailback(
            kept.groups, self.groups, group_histories, marks, jobs, drivers, partner, events, clock, node=node
        )
        self.node_replacement = NodeReplacement(
            kept.mirrors,
            kept.volumes,
            kept.groups,
            self.sides,
            self.mounts,
            # Each after those that it names.
            (self.initiators, self.discovery, self.target_jobs, self.links, self.groups),
            jobs,
            drivers,
            partner,
            plans,
            clock,
            node=node,
        )
        self.reconciler = Reconciler(
            pools=self.pools,
            thin_pools=self.thin_pools,
            volumes=self.volumes,
            worm=self.worm_keeper,
            snapshots=self.snapshot_side.mounts,
            replicas=self.replicas,
            share_accounts=self.share_accounts,
            share_offers=offers,
            share_snapshots=self.share_snapshots,
            sides=self.sides,
            mounts=self.mounts,
            split_brains=self.split_brains,
            histories=histories,
            groups=self.groups,
            maintenance=self.maintenance,
            targets=self.target_jobs,
            discovery=self.discovery,
            mirror_documents=kept.mirrors,
            group_documents=kept.groups,
            plans=plans,
            partner=partner,
            jobs=jobs,
            drivers=drivers,
            events=ground.events,
            clock=clock,
        )

    def peer_handlers(self) -> Iterator[tuple[str, PeerHandler]]:
        """What the partner may ask of this node: the operation's word, and who answers it."""
        for service in (
            self.openings,
            self.directions,
            self.replica_changes,
            self.mirror_requests,
            self.modes,
            self.verify,
            self.repair,
            self.split_brains,
            self.split_brain_jobs,
            self.growth,
            self.adding,
            self.removing,
            self.unit_files,
            self.link,
            self.targets,
            self.target_jobs,
            self.target_watch,
            self.target_identity,
            self.initiators,
            self.discovery,
            self.links,
            self.groups,
            self.group_explanation,
            self.moves,
            self.maintenance,
            self.drills,
            self.failback,
            self.preflight,
        ):
            yield from service.handlers().items()
