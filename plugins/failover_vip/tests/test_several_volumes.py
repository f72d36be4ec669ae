"""A mirror of several volumes: a standby takes over with all of them or not at all; who serves takes up what is new."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import RefusedError
from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import (
    ConnectionState,
    DiskState,
    MirrorStatus,
    MirrorVolumeStatus,
    ReplicationState,
    Role,
    Suspension,
)
from holdfast.testing.memory_mirror_bed import MemoryMirrorBed
from holdfast_failover_vip.decide import decide
from holdfast_failover_vip.facts import MirrorFacts, Record
from plugins.failover_vip.tests.test_decide import ACTIVE, DEAD, STANDBY, SUSPECT, S, T, promotes
from plugins.failover_vip.tests.test_outdating import Side, bed, standby

__all__ = ["bed"]

UP, BAD, UNSURE, NONE, UNKNOWN = (
    DiskState.UP_TO_DATE,
    DiskState.INCONSISTENT,
    DiskState.CONSISTENT,
    DiskState.DISKLESS,
    DiskState.UNKNOWN,
)


def mirror(*disks: tuple[DiskState, DiskState], is_connected: bool = True, role: Role = Role.SECONDARY) -> MirrorFacts:
    """Of volumes with such data here and there, as the kernel has it."""
    link = ConnectionState.CONNECTED if is_connected else ConnectionState.CONNECTING
    other = Role.SECONDARY if role is Role.PRIMARY else Role.PRIMARY
    quiet = ReplicationState.ESTABLISHED
    volumes = tuple(MirrorVolumeStatus(n, "", mine, its, quiet, 0, 0, 0, None) for n, (mine, its) in enumerate(disks))
    peer = other if is_connected else Role.UNKNOWN
    return MirrorFacts.of(MirrorStatus("m", True, role, peer, link, Suspension.NO, volumes))


@pytest.mark.parametrize(
    ("second", "stands_by"),
    [((UP, UP), True), ((BAD, UP), False), ((NONE, UP), False), ((UNSURE, UP), False), ((NONE, UNKNOWN), False)],
)
def test_a_standby_is_as_good_as_its_worst_volume(second: tuple[DiskState, DiskState], stands_by: bool) -> None:
    beside = decide(replace(STANDBY, mirror=mirror((UP, UP), second)), T)
    assert (beside.state is S.STANDBY_OK, beside.is_current) == (stands_by, stands_by)
    lost = mirror((UP, UNKNOWN), (second[0], UNKNOWN), is_connected=False)
    for view in (replace(SUSPECT, mirror=lost), replace(STANDBY, mirror=lost, net=DEAD)):
        step = decide(view, T)
        assert promotes(step) is (stands_by and view.state is S.SUSPECT)
        assert step.is_current is stands_by


def test_one_that_serves_hands_over_for_a_lost_disk_and_not_for_the_partners() -> None:
    lost = mirror((UP, UP), (NONE, UP), role=Role.PRIMARY)
    assert decide(replace(ACTIVE, mirror=lost), T).state is S.DEMOTING
    theirs = mirror((UP, UP), (UP, BAD), role=Role.PRIMARY)
    assert decide(replace(ACTIVE, mirror=theirs), T).state is S.ACTIVE_ALONE


class Gaining(Side):
    """A mirror whose plan has gained a volume."""

    def __init__(self, bed: MemoryMirrorBed, node: str) -> None:
        super().__init__(bed, node)
        self.taken_up = 0
        self.refuses = False

    async def take_up(self) -> None:
        self.taken_up += 1
        if self.refuses:
            raise RefusedError("not now")


@pytest.mark.parametrize("state", GroupState)
async def test_what_the_mirror_has_gained_is_served_where_the_group_is(
    bed: MemoryMirrorBed, tmp_path: Path, state: GroupState
) -> None:
    group, side = standby(bed, tmp_path, Record(5, 0, "a")), Gaining(bed, "b")
    group._stack, group.state = replace(group._stack, mirror=side), state
    await group.take_up()
    assert side.taken_up == (state in (S.ACTIVE_SYNC, S.ACTIVE_ALONE))
    side.refuses = True
    await group.take_up()  # which ends no monitor: it is tried again
