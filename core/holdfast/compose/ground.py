"""What every service stands on, whatever its noun."""

from __future__ import annotations

from holdfast.compose.documents import Documents
from holdfast.config import Config
from holdfast.loading.discovery import PluginHooks
from holdfast.services.copies.ages import MissedObjective, ReplicaCopy
from holdfast.services.copies.directions import DirectionDocument
from holdfast.services.copies.kept_documents import KeptCopyDocument, RetentionDocument
from holdfast.services.copies.restore_openings import RestoreOpening
from holdfast.services.copies.truth import TruthDocument
from holdfast.services.copies.ways import ListingDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.groups.history import GroupHistories, GroupHistory
from holdfast.services.groups.plans import Plans
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.history import MirrorHistories, MirrorHistory
from holdfast.services.nodes.maintenance_marks import MaintenanceMark, MaintenanceMarks
from holdfast.services.partner import PartnerLink
from holdfast.services.pools.disk_health import DiskRecord
from holdfast.services.requests import Claims
from holdfast.services.shares.documents import ShareNumbersDocument
from holdfast.services.snapshots.documents import SnapshotAlert
from holdfast.services.steps import StepObserver
from holdfast.store.database import Database
from holdfast.store.events import EventLog
from holdfast.store.intent import Intents, Revisions
from holdfast.store.jobs import JobStore
from holdfast.store.keys import Keys
from holdfast.store.runs import Runs
from holdfast.store.schedules import ScheduleTimes
from holdfast.store.secrets import Secrets
from holdfast.store.tokens import Tokens
from holdfast.system.clock import Clock


class Ground:
    """The store, the drivers, the jobs and the partner, made once."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        database: Database,
        hooks: PluginHooks,
        drivers: Drivers,
        observe_step: StepObserver | None = None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.hooks = hooks
        self.drivers = drivers
        self.documents = Documents(database, clock)
        self.dependents = self.documents.dependents(config.node)
        self.histories = MirrorHistories(Intents(database, clock, "mirror-history", MirrorHistory), clock)
        self.group_histories = GroupHistories(Intents(database, clock, "group-history", GroupHistory))
        self.marks = MaintenanceMarks(Intents(database, clock, "maintenance", MaintenanceMark))
        self.copies = Intents(database, clock, "replica-copy", ReplicaCopy)
        self.restore_openings = Intents(database, clock, "restore-opening", RestoreOpening)
        self.truths = Intents(database, clock, "task-truth", TruthDocument)
        self.listings = Intents(database, clock, "copied-listing", ListingDocument)
        self.retention = Intents(database, clock, "copy-retention", RetentionDocument)
        self.kept_copies = Intents(database, clock, "kept-copy", KeptCopyDocument)
        self.directions = Intents(database, clock, "copy-direction", DirectionDocument)
        self.missed_objectives = Intents(database, clock, "missed-objective", MissedObjective)
        self.snapshot_alerts = Intents(database, clock, "snapshot-alert", SnapshotAlert)
        self.disk_records = Intents(database, clock, "disk-record", DiskRecord)
        self.share_numbers = Intents(database, clock, "share-numbers", ShareNumbersDocument)
        self.revisions = Revisions(database)
        self.runs = Runs(database, clock)
        self.times = ScheduleTimes(database)
        self.secrets = Secrets(database)
        self.tokens = Tokens(database, clock)
        self.events = Events(EventLog(database, clock))
        self.jobs = Jobs(JobStore(database, clock), clock, self.events, node=config.node, observe_step=observe_step)
        self.claims = Claims(Keys(database, clock))
        self.partner = PartnerLink(clock)
        self.plans = Plans(
            node=config.node,
            state_dir=config.state_dir,
            mount_dir=config.mount_dir,
            drivers=drivers,
            secrets=self.secrets,
            links=self.documents.links,
            mirrors=self.documents.mirrors,
            volumes=self.documents.volumes,
            targets=self.documents.targets,
            initiator_groups=self.documents.initiator_groups,
            groups=self.documents.groups,
            marks=self.marks,
        )
