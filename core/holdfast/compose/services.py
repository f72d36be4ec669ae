"""What may be done: one statement for each service, each after those that it calls."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.compose.ground import Ground
from holdfast.services.discovery import Discovery
from holdfast.services.group_jobs import GroupJobs
from holdfast.services.groups import Groups
from holdfast.services.initiators import Initiators
from holdfast.services.links import Links
from holdfast.services.mirror_growth import MirrorGrowth
from holdfast.services.mirror_jobs import MirrorJobs
from holdfast.services.mirror_link import MirrorLink
from holdfast.services.mirror_mounts import MirrorMounts
from holdfast.services.mirror_repair import MirrorRepair
from holdfast.services.mirror_replacement import MirrorReplacement
from holdfast.services.mirror_requests import MirrorRequests
from holdfast.services.mirror_sides import MirrorSides
from holdfast.services.mirror_verify import MirrorVerify
from holdfast.services.mirror_watch import MirrorWatch
from holdfast.services.mirrors import Mirrors
from holdfast.services.partner import PeerHandler
from holdfast.services.pools import Pools
from holdfast.services.preflight import Preflight
from holdfast.services.reconcile import Reconciler
from holdfast.services.replicas import Replicas
from holdfast.services.replication_modes import ReplicationModes
from holdfast.services.shares import Shares
from holdfast.services.snapshots import Snapshots
from holdfast.services.split_brain import SplitBrains
from holdfast.services.split_brain_jobs import SplitBrainJobs
from holdfast.services.target_identity import TargetIdentity
from holdfast.services.target_jobs import TargetJobs
from holdfast.services.target_watch import TargetWatch
from holdfast.services.targets import Targets
from holdfast.services.tasks import Tasks
from holdfast.services.volumes import Volumes


class Services:
    """Every service of the daemon that speaks of storage."""

    def __init__(self, ground: Ground) -> None:
        node, clock, config = ground.config.node, ground.clock, ground.config
        jobs, drivers, hooks, secrets = ground.jobs, ground.drivers, ground.hooks, ground.secrets
        kept, dependents, partner, plans = ground.documents, ground.dependents, ground.partner, ground.plans
        # The file side.
        self.pools = Pools(kept.pools, jobs, drivers, dependents)
        self.volumes = Volumes(kept.volumes, jobs, drivers, dependents, hooks, config.mount_dir)
        self.snapshots = Snapshots(kept.volumes, jobs, drivers)
        self.shares = Shares(kept.shares, self.volumes, jobs, dependents)
        self.replicas = Replicas(kept.agents, kept.replicas, secrets, self.shares, jobs, drivers, dependents)
        self.tasks = Tasks(
            kept.tasks, ground.runs, secrets, self.shares, self.snapshots, jobs, drivers, hooks, config.run_dir
        )
        # The block side.
        address = config.peer.replication_address
        self.sides = MirrorSides(
            kept.mirrors, kept.volumes, drivers, plans, secrets, node=node, replication_address=address
        )
        self.mirror_requests = MirrorRequests(self.sides, kept.volumes, ground.secrets, drivers)
        histories = ground.histories
        self.mounts = MirrorMounts(kept.mirrors, kept.groups, self.volumes, jobs, drivers, node=node)
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
        self.modes = ReplicationModes(kept.volumes, self.volumes, jobs, drivers, dependents, partner)
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
            node=node,
        )
        self.link = MirrorLink(
            kept.mirrors, kept.volumes, self.mirrors, self.sides, jobs, drivers, partner, clock, node=node
        )
        MirrorJobs(
            kept.mirrors,
            kept.volumes,
            self.mirrors,
            self.sides,
            jobs,
            drivers,
            partner,
            hooks,
            self.mounts,
            self.link,
            clock,
            node=node,
        )
        self.growth = MirrorGrowth(
            kept.mirrors, self.mirrors, self.sides, self.volumes, jobs, drivers, partner, clock, node=node
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
        self.links = Links(kept.links, jobs, drivers, partner, plans)
        self.preflight = Preflight(kept.groups, kept.mirrors, kept.targets, drivers, partner, plans, node=node)
        self.groups = Groups(
            kept.groups, kept.mirrors, kept.targets, jobs, drivers, partner, plans, self.preflight, node=node
        )
        GroupJobs(self.groups, self.sides, jobs, drivers, partner, hooks, clock, node=node)
        self.reconciler = Reconciler(
            pools=self.pools,
            volumes=self.volumes,
            replicas=self.replicas,
            sides=self.sides,
            mounts=self.mounts,
            split_brains=self.split_brains,
            histories=histories,
            groups=self.groups,
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
            self.mirror_requests,
            self.modes,
            self.verify,
            self.repair,
            self.split_brains,
            self.split_brain_jobs,
            self.growth,
            self.link,
            self.targets,
            self.target_jobs,
            self.target_watch,
            self.target_identity,
            self.initiators,
            self.discovery,
            self.links,
            self.groups,
            self.preflight,
        ):
            yield from service.handlers().items()
