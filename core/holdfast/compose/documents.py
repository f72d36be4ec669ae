"""What can be asked for: one line for each kind of document, with the word it is kept under."""

from __future__ import annotations

from holdfast.services.copies.replica_documents import AgentDocument, ReplicaShareDocument
from holdfast.services.copies.task_documents import ScheduleDocument, TaskDocument
from holdfast.services.dependents import Dependents
from holdfast.services.documents import (
    DiscoveryDocument,
    FailoverDocument,
    GroupDocument,
    InitiatorGroupDocument,
    MirrorDocument,
    PoolDocument,
    ShareDocument,
    TargetDocument,
    VolumeDocument,
)
from holdfast.services.shares.documents import (
    NfsOfferDocument,
    ShareGroupDocument,
    ShareUserDocument,
    SmbOfferDocument,
)
from holdfast.services.snapshots.documents import SnapshotDocument, SnapshotPolicyDocument, SnapshotScheduleDocument
from holdfast.store.database import Database
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock


class Documents:
    """The intent of this node."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.pools = Intents(database, clock, "pool", PoolDocument)
        self.volumes = Intents(database, clock, "volume", VolumeDocument)
        self.snapshots = Intents(database, clock, "snapshot", SnapshotDocument)
        self.snapshot_schedules = Intents(database, clock, "snapshot-schedule", SnapshotScheduleDocument)
        self.snapshot_policies = Intents(database, clock, "snapshot-policy", SnapshotPolicyDocument)
        self.shares = Intents(database, clock, "share", ShareDocument)
        self.smb_offers = Intents(database, clock, "smb-offer", SmbOfferDocument)
        self.nfs_offers = Intents(database, clock, "nfs-offer", NfsOfferDocument)
        self.share_users = Intents(database, clock, "share-user", ShareUserDocument)
        self.share_groups = Intents(database, clock, "share-group", ShareGroupDocument)
        self.agents = Intents(database, clock, "agent", AgentDocument)
        self.replicas = Intents(database, clock, "replica-share", ReplicaShareDocument)
        self.tasks = Intents(database, clock, "replication-task", TaskDocument)
        self.schedules = Intents(database, clock, "replication-schedule", ScheduleDocument)
        self.mirrors = Intents(database, clock, "mirror", MirrorDocument)
        self.targets = Intents(database, clock, "target", TargetDocument)
        self.initiator_groups = Intents(database, clock, "initiator-group", InitiatorGroupDocument)
        self.discovery = Intents(database, clock, "discovery", DiscoveryDocument)
        self.links = Intents(database, clock, "failover", FailoverDocument)
        self.groups = Intents(database, clock, "group", GroupDocument)

    def dependents(self, node: str) -> Dependents:
        """Who uses what, as these documents say."""
        return Dependents(
            volumes=self.volumes,
            shares=self.shares,
            replicas=self.replicas,
            tasks=self.tasks,
            mirrors=self.mirrors,
            targets=self.targets,
            groups=self.groups,
            node=node,
        )
