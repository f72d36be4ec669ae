"""The services of snapshots: one statement for each, each after those that it calls."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.compose.ground import Ground
from holdfast.services.pools.thin import ThinPools
from holdfast.services.shares.shares import Shares
from holdfast.services.snapshots.clone import SnapshotClone
from holdfast.services.snapshots.mounts import SnapshotMounts
from holdfast.services.snapshots.restore import SnapshotRestore
from holdfast.services.snapshots.rollback import SnapshotRollback
from holdfast.services.snapshots.schedules import SnapshotSchedules
from holdfast.services.snapshots.snapshots import Snapshots
from holdfast.services.snapshots.taking import SnapshotTaking
from holdfast.services.snapshots.views import FillRates
from holdfast.services.snapshots.watch import SnapshotWatch
from holdfast.services.volumes.mount_users import MountUser
from holdfast.services.volumes.volumes import Volumes
from holdfast.services.worm.guard import WormGuard


def make_snapshots(ground: Ground, rates: FillRates, thin_pools: ThinPools) -> Snapshots:
    """The service that others call to take one."""
    kept = ground.documents
    return Snapshots(
        kept.volumes,
        kept.snapshots,
        kept.snapshot_policies,
        rates,
        ground.jobs,
        ground.drivers,
        thin_pools,
        ground.clock,
        ground.config.mount_dir,
    )


class SnapshotSide:
    """What is done with snapshots."""

    def __init__(
        self,
        ground: Ground,
        snapshots: Snapshots,
        rates: FillRates,
        volumes: Volumes,
        shares: Shares,
        guard: WormGuard,
        users: Sequence[MountUser],
    ) -> None:
        kept, jobs, drivers, clock = ground.documents, ground.jobs, ground.drivers, ground.clock
        self.mounts = SnapshotMounts(kept.volumes, kept.snapshots, snapshots, jobs, drivers, ground.config.mount_dir)
        self.rollback = SnapshotRollback(
            kept.volumes,
            kept.snapshots,
            volumes,
            snapshots,
            jobs,
            drivers,
            ground.dependents,
            ground.hooks,
            clock,
            users,
        )
        self.clones = SnapshotClone(kept.volumes, volumes, snapshots, jobs, drivers, ground.hooks)
        self.restores = SnapshotRestore(volumes, shares, snapshots, jobs, drivers, guard, ground.config.run_dir)
        self.taking = SnapshotTaking(
            kept.volumes, kept.snapshots, kept.snapshot_schedules, snapshots, jobs, drivers, ground.events, clock
        )
        self.schedules = SnapshotSchedules(
            kept.volumes, kept.snapshot_schedules, ground.times, self.taking, jobs, drivers, ground.events, clock
        )
        self.watch = SnapshotWatch(
            kept.volumes,
            kept.snapshots,
            kept.snapshot_policies,
            ground.snapshot_alerts,
            snapshots,
            rates,
            jobs,
            drivers,
            ground.events,
            clock,
            kept.pools,
        )
