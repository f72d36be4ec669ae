"""What can be asked for: one line for each kind of document, with the word it is kept under."""

from __future__ import annotations

from holdfast.services.dependents import Dependents
from holdfast.services.documents import (
    AgentDocument,
    DiscoveryDocument,
    FailoverDocument,
    GroupDocument,
    InitiatorGroupDocument,
    MirrorDocument,
    PoolDocument,
    ReplicaShareDocument,
    ShareDocument,
    TargetDocument,
    TaskDocument,
    VolumeDocument,
)
from holdfast.store.database import Database
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock


class Documents:
    """The intent of this node."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.pools = Intents(database, clock, "pool", PoolDocument)
        self.volumes = Intents(database, clock, "volume", VolumeDocument)
        self.shares = Intents(database, clock, "share", ShareDocument)
        self.agents = Intents(database, clock, "agent", AgentDocument)
        self.replicas = Intents(database, clock, "replica-share", ReplicaShareDocument)
        self.tasks = Intents(database, clock, "replication-task", TaskDocument)
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
