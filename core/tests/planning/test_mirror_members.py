"""Which volumes of a mirror count when a node decides whether it may serve."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.hooks.replication import (
    ConnectionState,
    DiskState,
    MirrorStatus,
    MirrorVolumeStatus,
    ReplicationState,
    Role,
    Suspension,
)
from holdfast.planning.mirror_members import as_wanted, free_number, on_record

D = DiskState
UP, BAD, CONSISTENT, NONE = D.UP_TO_DATE, D.INCONSISTENT, D.CONSISTENT, D.DISKLESS


def volume(number: int, disk: DiskState, peer_disk: DiskState) -> MirrorVolumeStatus:
    return MirrorVolumeStatus(
        number, f"/dev/drbd{number}", disk, peer_disk, ReplicationState.ESTABLISHED, 0, 0, 0, None
    )


def status(*volumes: tuple[int, DiskState, DiskState]) -> MirrorStatus:
    roles = Role.SECONDARY, Role.PRIMARY
    found = tuple(volume(*each) for each in volumes)
    return MirrorStatus("m", True, *roles, ConnectionState.CONNECTED, Suspension.NO, found)


@pytest.mark.parametrize(
    ("kernel", "on_record", "disks", "is_in_sync"),
    [
        pytest.param([(0, UP, UP)], {0}, [UP], True, id="as it is on record"),
        pytest.param([(0, UP, UP), (1, BAD, UP)], {0}, [UP], True, id="being added: the others keep their standby"),
        pytest.param([(0, UP, UP), (1, NONE, D.UNKNOWN)], {0}, [UP], True, id="being added, without a disk yet"),
        pytest.param([(0, UP, UP), (1, BAD, UP)], {0, 1}, [UP, BAD], False, id="on record, and not complete here"),
        pytest.param([(0, UP, UP), (1, CONSISTENT, UP)], {0, 1}, [UP, CONSISTENT], False, id="on record, unsure"),
        pytest.param([(0, UP, UP)], {0, 1}, [UP, NONE], False, id="on record, and not in the kernel"),
        pytest.param([(0, UP, UP), (1, UP, UP)], {0, 1}, [UP, UP], True, id="on record, and equal"),
        pytest.param([(0, UP, UP), (2, UP, UP)], {0, 2}, [UP, UP], True, id="numbers have gaps"),
        pytest.param([(0, BAD, UP), (1, UP, UP)], {1}, [UP], True, id="the first one is being taken out"),
    ],
)
def test_only_volumes_on_record_count_and_all_of_them(
    kernel: list[tuple[int, DiskState, DiskState]], on_record: set[int], disks: list[DiskState], is_in_sync: bool
) -> None:
    seen = as_wanted(status(*kernel), on_record)
    assert [each.disk for each in seen.volumes] == disks
    assert [each.number for each in seen.volumes] == sorted(on_record)
    assert seen.is_in_sync is is_in_sync


def test_what_is_told_of_a_mirror_is_told_of_its_volumes_on_record() -> None:
    kernel = status((0, UP, UP), (1, NONE, UP))
    assert on_record(kernel, {0}) == status((0, UP, UP))
    assert on_record(kernel, {0, 1, 2}) == kernel


def test_of_a_mirror_that_is_not_up_nothing_is_made_up() -> None:
    down = replace(status(), is_up=False, connection=ConnectionState.UNKNOWN)
    assert as_wanted(down, {0, 1}) == down


@pytest.mark.parametrize(("taken", "free"), [([], 0), ([0], 1), ([0, 1, 2], 3), ([0, 2], 1), ([1], 0)])
def test_the_lowest_free_number_is_taken(taken: list[int], free: int) -> None:
    assert free_number(taken) == free
