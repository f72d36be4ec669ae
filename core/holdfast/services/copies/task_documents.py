"""What the user asked for of data replication: a task, and when it is to run."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.hooks.copying import CopyOptions, FilterRule
from holdfast.planning.copy_attempts import DEFAULT_MOST_DELETED_PERCENT, DEFAULT_RETRIES, DEFAULT_RETRY_DELAY_S
from holdfast.planning.copy_ways import WayWanted
from holdfast.planning.schedules import DEFAULT_GRACE_S, MissedRuns, Schedule
from holdfast.planning.transfer_windows import TransferWindow
from holdfast.services.copies.replica_documents import Transport


@dataclass(frozen=True)
class TaskDocument:
    """A data replication task on its source."""

    name: str
    share: str
    agent_address: str
    agent_port: int
    replica_share: str
    user: str
    password: str
    """A reference into the secrets."""
    objective_s: int | None = None
    """How old the newest verified copy may become; None: as old as it likes."""
    objective_since: str | None = None
    """When that was asked for: a task that never made a copy is not late before its objective is over."""
    transport: Transport = Transport.PLAIN
    """One that was made before there was a choice goes on in clear, as its agent does."""
    certificate: str | None = None
    """PEM. The agent must show it; None: the partner's, or this node's own."""
    is_enabled: bool = True
    filters: tuple[FilterRule, ...] = ()
    is_deleting: bool = True
    most_deleted_percent: int | None = DEFAULT_MOST_DELETED_PERCENT
    """A run that would delete more of the copy asks first; None: it never does."""
    bandwidth_bytes_s: int | None = None
    is_compressed: bool = False
    windows: tuple[TransferWindow, ...] = ()
    """When it may send; none: always."""
    windows_time_zone: str = "UTC"
    retries: int = DEFAULT_RETRIES
    retry_delay_s: int = DEFAULT_RETRY_DELAY_S
    way: WayWanted = WayWanted.AUTO

    @property
    def options(self) -> CopyOptions:
        """The rules as the driver takes them."""
        return CopyOptions(self.filters, self.is_deleting, self.bandwidth_bytes_s, self.is_compressed)


@dataclass(frozen=True)
class ScheduleDocument:
    """One of the schedules of a task."""

    task: str
    name: str
    schedule: Schedule
    missed: MissedRuns = MissedRuns.RUN_ONCE
    grace_s: int = DEFAULT_GRACE_S
    is_enabled: bool = True

    @property
    def key(self) -> str:
        """Under what it is kept: neither name has a slash in it."""
        return f"{self.task}/{self.name}"
