"""The contract of mirrors must reject drivers that break it: each one here has one fault."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import ConflictError, HoldfastError
from holdfast.hooks.replication import (
    DiskState,
    FenceArbiter,
    Lineage,
    MirrorEndpoint,
    MirrorSpec,
    MirrorStatus,
    Role,
    Suspension,
)
from holdfast.testing import memory_drbd as drbd
from holdfast.testing import memory_drbd_roles as roles
from holdfast.testing.memory_mirror import MemoryMirrors
from holdfast.testing.memory_mirror_bed import MemoryMirrorBed
from holdfast.testing.mirror import MirrorContract
from holdfast.values import Secret


class OutdatesWithoutLeaving(MemoryMirrors):
    """What a plain `drbdsetup outdate` does on a side that still believes to be Connected."""

    async def outdate(self, name: str) -> DiskState:
        roles.outdate(self.node.side(name))
        return DiskState.OUTDATED


class OutdatesAPrimary(MemoryMirrors):
    async def outdate(self, name: str) -> DiskState:
        roles.disconnect(self.node.side(name), force=True)
        roles.set_disks(self.node.side(name), DiskState.OUTDATED)
        return DiskState.OUTDATED


class Forces(MemoryMirrors):
    async def promote(self, name: str, *, numbers: Collection[int] | None = None) -> None:
        self.node.side(name).role = Role.PRIMARY
        self.node.side(name).tell()


class TrustsNobodyListening(MemoryMirrors):
    """A handler that says yes when it cannot ask."""

    async def promote(self, name: str, *, numbers: Collection[int] | None = None) -> None:
        side = self.node.side(name)
        if side.node.arbiter is None and all(v.disk is DiskState.UP_TO_DATE for v in side.volumes.values()):
            for volume in side.volumes.values():
                volume.set_peer_disk(DiskState.OUTDATED)
        await super().promote(name, numbers=numbers)


class PromotesAgainstAnActivePeer(MemoryMirrors):
    async def promote(self, name: str, *, numbers: Collection[int] | None = None) -> None:
        try:
            await super().promote(name, numbers=numbers)
        except HoldfastError:
            if self.node.arbiter is None:
                raise
            self.node.side(name).role = Role.PRIMARY


class TrustsARebootedSide(MemoryMirrors):
    async def attach(self, spec: MirrorSpec) -> MirrorStatus:
        await super().attach(spec)
        for volume in self.node.side(spec.name).volumes.values():
            if volume.disk is DiskState.CONSISTENT:
                volume.media.disk = DiskState.UP_TO_DATE
        return await self.status(spec.name)


class AttachesWithoutMetadata(MemoryMirrors):
    async def attach(self, spec: MirrorSpec) -> MirrorStatus:
        for volume in spec.volumes:
            self.node.media[volume.device].has_metadata = True
        return await super().attach(spec)


class AttachesAnew(MemoryMirrors):
    async def attach(self, spec: MirrorSpec) -> MirrorStatus:
        if spec.name in self.node.sides:
            raise ConflictError("it is there already")
        return await super().attach(spec)


class OverwritesMetadata(MemoryMirrors):
    async def create_metadata(self, spec: MirrorSpec) -> None:
        for volume in spec.volumes:
            self.node.media[volume.device].create_metadata()


class WipesWhileUp(MemoryMirrors):
    async def wipe_metadata(self, spec: MirrorSpec) -> None:
        for volume in spec.volumes:
            self.node.media[volume.device].has_metadata = False


class WipesNothing(MemoryMirrors):
    async def wipe_metadata(self, spec: MirrorSpec) -> None:
        if spec.name in self.node.sides:
            raise ConflictError("it is up")


class ZeroesHalf(MemoryMirrors):
    async def zero(self, device: str, **limits: Any) -> int:
        size = len(self.node.media[device].data)
        self.node.media[device].data[: size // 2] = bytes(size // 2)
        return size


class ZeroesWhatIsInUse(MemoryMirrors):
    async def zero(self, device: str, **limits: Any) -> int:
        size = len(self.node.media[device].data)
        self.node.media[device].data[:] = bytes(size)
        return size


class ZeroesAnewEachTime(MemoryMirrors):
    async def zero(self, device: str, *, done_bytes: int = 0, **limits: Any) -> int:
        return await super().zero(device, **limits)


class BelievesThatItIsZero(MemoryMirrors):
    async def zero(self, device: str, *, done_bytes: int = 0, **limits: Any) -> int:
        if done_bytes == len(self.node.media[device].data):
            return done_bytes
        return await super().zero(device, done_bytes=done_bytes, **limits)


class SkipsAnySync(MemoryMirrors):
    async def skip_first_sync(self, name: str) -> None:
        roles.set_disks(self.node.side(name), DiskState.UP_TO_DATE)
        for volume in self.node.side(name).volumes.values():
            volume.media.dirty.clear()


class SyncsWhenItShouldSkip(MemoryMirrors):
    async def skip_first_sync(self, name: str) -> None:
        await self.start_full_sync(spec_of(self, name))


class SyncsTheWrongWay(MemoryMirrors):
    async def start_full_sync(self, spec: MirrorSpec) -> None:
        await MemoryMirrors(self.node.other).start_full_sync(spec)


class StaysFreshAfterAFullSync(MemoryMirrors):
    """What `invalidate-remote` alone leaves: a generation that passes for just created."""

    async def start_full_sync(self, spec: MirrorSpec) -> None:
        await super().start_full_sync(spec)
        for node in (self.node, self.node.other):
            for volume in node.side(spec.name).volumes.values():
                volume.media.current, volume.media.history = drbd.JUST_CREATED, ()


class DemotesWhatIsOpen(MemoryMirrors):
    async def demote(self, name: str) -> None:
        self.node.side(name).role = Role.SECONDARY
        self.node.side(name).tell()


class ThawsByItself(MemoryMirrors):
    """Answers before anybody decided."""

    async def serve_fence_requests(self, arbiter: FenceArbiter) -> None:
        self.pair.is_fencing = False
        await super().serve_fence_requests(arbiter)


class NeverAsks(MemoryMirrors):
    async def _decide(self, arbiter: FenceArbiter, name: str) -> None:
        return


class ServesTwice(MemoryMirrors):
    async def serve_fence_requests(self, arbiter: FenceArbiter) -> None:
        self.node.arbiter = None
        await super().serve_fence_requests(arbiter)


class HearsNothing(MemoryMirrors):
    async def watch(self) -> AsyncIterator[MirrorStatus]:
        async for status in super().watch():
            if status.name == "":
                yield status


class TellsOldNews(MemoryMirrors):
    async def watch(self) -> AsyncIterator[MirrorStatus]:
        async for status in super().watch():
            yield replace(status, peer_role=Role.SECONDARY)


class TellsHalfOfIt(MemoryMirrors):
    async def watch(self) -> AsyncIterator[MirrorStatus]:
        async for status in super().watch():
            yield replace(status, volumes=tuple(replace(volume, size_bytes=None) for volume in status.volumes))


class HidesTheFreeze(MemoryMirrors):
    async def status(self, name: str) -> MirrorStatus:
        return replace(await super().status(name), suspended=Suspension.NO)


class InventsAMirror(MemoryMirrors):
    async def status(self, name: str) -> MirrorStatus:
        return replace(await super().status(name), is_up=True)


class StaysUp(MemoryMirrors):
    async def down(self, name: str) -> None:
        if name in self.node.sides:
            roles.disconnect(self.node.side(name), force=False)


class ForgetsThePeer(MemoryMirrors):
    """Sends everything each time."""

    async def connect(self, spec: MirrorSpec, *, discard_changes: bool = False) -> MirrorStatus:
        for volume in spec.volumes:
            media = self.node.media[volume.device]
            media.dirty = set(range(len(media.data) // drbd.BLOCK_BYTES))
        return await super().connect(spec, discard_changes=discard_changes)


class DiscardsByItself(MemoryMirrors):
    """What an automatic after-split-brain rule does."""

    async def connect(self, spec: MirrorSpec, *, discard_changes: bool = False) -> MirrorStatus:
        other = self.node.other.sides.get(spec.name)
        for volume in self.node.sides[spec.name].volumes.values() if other and spec.name in self.node.sides else ():
            theirs = other.volumes[volume.number].media if other else volume.media
            if theirs.current != volume.media.current:
                volume.media.bitmap, volume.media.current = 0, theirs.bitmap
        return await super().connect(spec, discard_changes=discard_changes)


class VerifiesNothing(MemoryMirrors):
    async def verify(self, name: str) -> None:
        self.node.side(name)


class FindsTooMuch(MemoryMirrors):
    async def verify(self, name: str) -> None:
        self.node.side(name).volumes[0].media.dirty.add(0)


class GoesOnWhereItStopped(MemoryMirrors):
    """As the kernel does by itself: of a mirror whose comparison was cut off it compares the rest."""

    _losses = 0

    async def verify(self, name: str) -> None:
        side = self.node.side(name)
        was_cut_off, self._losses = side.losses != self._losses, side.losses
        if not was_cut_off:
            await super().verify(name)


class NeedsNoMetadata(MemoryMirrors):
    def metadata_bytes(self, size_bytes: int) -> int:
        return 4096


class BelievesAnybody(MemoryMirrors):
    async def connect(self, spec: MirrorSpec, *, discard_changes: bool = False) -> MirrorStatus:
        return await super().connect(replace(spec, secret=None), discard_changes=discard_changes)


class BelievesNobody(MemoryMirrors):
    async def connect(self, spec: MirrorSpec, *, discard_changes: bool = False) -> MirrorStatus:
        own = Secret(f"of {self.node.name} alone") if spec.secret else None
        return await super().connect(replace(spec, secret=own), discard_changes=discard_changes)


class SeesNoSplitBrain(MemoryMirrors):
    def compare(self, mine: str, theirs: str) -> Lineage:
        found = super().compare(mine, theirs)
        return Lineage.BEHIND if found is Lineage.DIVERGED else found


class ConfusesTheSides(MemoryMirrors):
    def compare(self, mine: str, theirs: str) -> Lineage:
        return super().compare(theirs, mine)


class TakesNoDiskForTheSame(MemoryMirrors):
    def compare(self, mine: str, theirs: str) -> Lineage:
        return super().compare(mine, theirs) if mine and theirs else Lineage.EQUAL


class NeverGivesWay(MemoryMirrors):
    async def connect(self, spec: MirrorSpec, *, discard_changes: bool = False) -> MirrorStatus:
        return await super().connect(spec)


class GivesWayTheWrongWay(MemoryMirrors):
    async def connect(self, spec: MirrorSpec, *, discard_changes: bool = False) -> MirrorStatus:
        is_up = spec.name in self.node.sides
        return await super().connect(spec, discard_changes=is_up and not discard_changes)


class GivesWayWhileInUse(MemoryMirrors):
    async def connect(self, spec: MirrorSpec, *, discard_changes: bool = False) -> MirrorStatus:
        return await super().connect(spec)


class HoldsNoResync(MemoryMirrors):
    async def pause_sync(self, name: str) -> None:
        self.node.side(name)


class HoldsForEver(MemoryMirrors):
    async def resume_sync(self, name: str) -> None:
        self.node.side(name)


class DetachesNothing(MemoryMirrors):
    async def detach(self, name: str, number: int) -> MirrorStatus:
        return await self.status(name)


class DetachesTheLastDisk(MemoryMirrors):
    async def detach(self, name: str, number: int) -> MirrorStatus:
        self.lose_disk(name, number)
        return await self.status(name)


class SendsAllAfterADetachment(MemoryMirrors):
    async def attach(self, spec: MirrorSpec) -> MirrorStatus:
        for volume in spec.volumes:
            side = self.node.sides.get(spec.name)
            if side is not None and side.volumes[volume.number].disk is DiskState.DISKLESS:
                self._media(volume.device).create_metadata()
        return await super().attach(spec)


class GrowsNothing(MemoryMirrors):
    async def grow(self, name: str, *, new_part_is_zero: bool) -> MirrorStatus:
        side = self.node.side(name)
        if Role.PRIMARY not in (side.role, side.peer.role if side.peer else None):
            raise ConflictError("no Primary")
        return await self.status(name)


class GrowsWithoutAPrimary(MemoryMirrors):
    async def grow(self, name: str, *, new_part_is_zero: bool) -> MirrorStatus:
        return await self.status(name)


class SendsTheNewPart(MemoryMirrors):
    async def grow(self, name: str, *, new_part_is_zero: bool) -> MirrorStatus:
        return await super().grow(name, new_part_is_zero=False)


class AddsNothing(MemoryMirrors):
    async def attach(self, spec: MirrorSpec) -> MirrorStatus:
        if side := self.node.sides.get(spec.name):
            spec = replace(spec, volumes=tuple(v for v in spec.volumes if v.number in side.volumes))
        return await super().attach(spec)


class AddsItFresh(MemoryMirrors):
    async def attach(self, spec: MirrorSpec) -> MirrorStatus:
        side = self.node.sides.get(spec.name)
        for volume in spec.volumes:
            if side is not None and volume.number not in side.volumes:
                self._media(volume.device).create_metadata()
        return await super().attach(spec)


class PromotesWhatItAdds(MemoryMirrors):
    async def attach(self, spec: MirrorSpec) -> MirrorStatus:
        status = await super().attach(spec)
        self.node.side(spec.name).held_back.clear()
        return status


class PromotesAll(MemoryMirrors):
    async def promote(self, name: str, *, numbers: Collection[int] | None = None) -> None:
        await super().promote(name)


class PromotesWhatThereIs(MemoryMirrors):
    async def promote(self, name: str, *, numbers: Collection[int] | None = None) -> None:
        there = self.node.side(name).volumes
        await super().promote(name, numbers=None if numbers is None else set(numbers) & set(there))


class TakesNothingOut(MemoryMirrors):
    async def take_out(self, name: str, number: int) -> None:
        self.node.side(name)


class TakesAllOut(MemoryMirrors):
    async def take_out(self, name: str, number: int) -> None:
        self.node.sides.pop(name, None)


class TakesItOutOnce(MemoryMirrors):
    async def take_out(self, name: str, number: int) -> None:
        if number not in self.node.side(name).volumes:
            raise ConflictError("there is no such volume")
        await super().take_out(name, number)


class TakesOutItsData(MemoryMirrors):
    async def take_out(self, name: str, number: int) -> None:
        if volume := self.node.side(name).volumes.get(number):
            volume.media.data[:] = bytes(len(volume.media.data))
        await super().take_out(name, number)


class TakesOutWhatIsOpen(MemoryMirrors):
    async def take_out(self, name: str, number: int) -> None:
        self.node.side(name).volumes.pop(number, None)


def spec_of(driver: MemoryMirrors, name: str) -> MirrorSpec:
    """What a driver needs besides the name, for the faults that call the wrong operation."""
    there = driver.node.side(name)
    assert there.ends is not None
    local, remote = there.ends
    assert isinstance(local, MirrorEndpoint)
    assert isinstance(remote, MirrorEndpoint)
    return MirrorSpec(name, local, remote, ())


C = MirrorContract
FAULTS = [
    (OutdatesWithoutLeaving, C.test_outdating_takes_even_while_connected_and_is_read_back),
    (OutdatesAPrimary, C.test_a_primary_is_never_outdated),
    (Forces, C.test_a_side_without_data_is_not_promoted),
    (Forces, C.test_there_is_one_primary),
    (TrustsNobodyListening, C.test_unconnected_nobody_is_promoted_without_an_arbiter),
    (PromotesAgainstAnActivePeer, C.test_an_active_peer_forbids_the_promotion),
    (TrustsARebootedSide, C.test_a_rebooted_side_is_only_consistent_and_unreachable_does_not_promote_it),
    (AttachesWithoutMetadata, C.test_without_metadata_nothing_is_attached),
    (AttachesAnew, C.test_an_attached_mirror_is_secondary_unconnected_and_without_data),
    (OverwritesMetadata, C.test_metadata_that_is_there_stays),
    (WipesWhileUp, C.test_metadata_is_wiped_only_when_the_mirror_is_down),
    (WipesNothing, C.test_metadata_is_wiped_only_when_the_mirror_is_down),
    (ZeroesHalf, C.test_zeroing_makes_every_byte_zero),
    (ZeroesAnewEachTime, C.test_zeroing_ends_when_its_time_is_over_and_goes_on_from_there),
    (BelievesThatItIsZero, C.test_what_is_said_to_be_zero_already_is_looked_at_too),
    (ZeroesWhatIsInUse, C.test_a_device_in_use_is_not_zeroed),
    (SkipsAnySync, C.test_the_first_sync_is_not_skipped_unconnected),
    (SkipsAnySync, C.test_a_side_with_data_behind_it_never_skips_a_sync),
    (SyncsWhenItShouldSkip, C.test_the_first_sync_of_equal_sides_is_skipped_without_sending_data),
    (SyncsTheWrongWay, C.test_a_full_sync_keeps_the_source_and_brings_all_of_it_to_the_peer),
    (StaysFreshAfterAFullSync, C.test_after_a_full_sync_the_metadata_is_fresh_no_more),
    (DemotesWhatIsOpen, C.test_a_device_held_open_is_neither_demoted_nor_taken_down),
    (ThawsByItself, C.test_a_lost_peer_freezes_the_primary_until_the_arbiter_decides),
    (NeverAsks, C.test_a_lost_peer_freezes_the_primary_until_the_arbiter_decides),
    (ServesTwice, C.test_only_one_answers_fence_requests),
    (HearsNothing, C.test_a_watcher_is_told_what_changed),
    (TellsOldNews, C.test_a_watcher_is_told_what_changed),
    (TellsHalfOfIt, C.test_a_watcher_is_told_what_changed),
    (HidesTheFreeze, C.test_a_lost_peer_freezes_the_primary_until_the_arbiter_decides),
    (InventsAMirror, C.test_a_mirror_nobody_attached_is_not_up_and_its_absence_is_no_error),
    (StaysUp, C.test_down_takes_it_out_and_may_be_repeated),
    (ForgetsThePeer, C.test_a_reconnected_peer_gets_only_what_it_missed),
    (DiscardsByItself, C.test_diverged_sides_stay_apart),
    (VerifiesNothing, C.test_verifying_finds_nothing_in_equal_sides_and_a_planted_difference),
    (FindsTooMuch, C.test_verifying_finds_nothing_in_equal_sides_and_a_planted_difference),
    (GoesOnWhereItStopped, C.test_after_a_comparison_that_was_cut_off_everything_is_compared_again),
    (BelievesAnybody, C.test_a_peer_that_does_not_know_the_secret_is_never_connected),
    (BelievesNobody, C.test_peers_that_know_the_same_secret_connect),
    (SeesNoSplitBrain, C.test_diverged_sides_are_known_as_such_with_what_each_changed),
    (ConfusesTheSides, C.test_generations_say_which_side_is_ahead),
    (TakesNoDiskForTheSame, C.test_generations_say_which_side_is_ahead),
    (NeverGivesWay, C.test_the_side_that_gives_way_gets_the_others_data_and_only_what_differs),
    (GivesWayTheWrongWay, C.test_the_side_that_gives_way_gets_the_others_data_and_only_what_differs),
    (DiscardsByItself, C.test_diverged_sides_are_known_as_such_with_what_each_changed),
    (GivesWayWhileInUse, C.test_a_primary_never_gives_way),
    (HoldsNoResync, C.test_a_held_resync_waits_until_it_may_go_on),
    (HoldsForEver, C.test_a_held_resync_waits_until_it_may_go_on),
    (DetachesNothing, C.test_without_its_disk_a_volume_is_served_by_the_peer_until_it_has_one_again),
    (SendsAllAfterADetachment, C.test_without_its_disk_a_volume_is_served_by_the_peer_until_it_has_one_again),
    (DetachesTheLastDisk, C.test_the_only_complete_disk_is_not_taken_out),
    (GrowsNothing, C.test_it_grows_under_its_user_and_what_is_new_is_mirrored),
    (GrowsWithoutAPrimary, C.test_it_grows_under_its_user_and_what_is_new_is_mirrored),
    (SendsTheNewPart, C.test_a_new_part_that_is_zero_on_both_sides_is_not_sent),
    (AddsNothing, C.test_a_volume_that_is_equal_is_added_under_a_primary_and_nothing_is_sent),
    (AddsItFresh, C.test_a_volume_that_is_equal_is_added_under_a_primary_and_nothing_is_sent),
    (PromotesWhatItAdds, C.test_a_volume_that_is_equal_is_added_under_a_primary_and_nothing_is_sent),
    (PromotesAll, C.test_a_volume_of_one_side_only_keeps_nobody_from_serving_the_others),
    (PromotesWhatThereIs, C.test_of_several_volumes_all_are_promoted_or_none),
    (TakesNothingOut, C.test_a_volume_is_taken_out_of_a_mirror_in_use_and_keeps_its_data),
    (TakesAllOut, C.test_a_volume_is_taken_out_of_a_mirror_in_use_and_keeps_its_data),
    (TakesItOutOnce, C.test_a_volume_is_taken_out_of_a_mirror_in_use_and_keeps_its_data),
    (TakesOutItsData, C.test_a_volume_is_taken_out_of_a_mirror_in_use_and_keeps_its_data),
    (TakesOutWhatIsOpen, C.test_a_volume_that_is_open_is_not_taken_out),
    (NeedsNoMetadata, C.test_room_for_metadata_grows_with_the_volume),
]


def _bed(driver: type[MemoryMirrors]) -> MemoryMirrorBed:
    bed = MemoryMirrorBed(driver.make_pair)
    bed.within_s = 0.3
    return bed


@pytest.mark.parametrize(
    ("driver", "sentence"), FAULTS, ids=[f"{driver.__name__}-{test.__name__[5:40]}" for driver, test in FAULTS]
)
async def test_a_driver_with_a_fault_is_rejected(driver: type[MemoryMirrors], sentence: object) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, HoldfastError, OSError, TimeoutError)):
        await sentence(MirrorContract(), _bed(driver))  # type: ignore[operator]


async def test_the_sentence_about_freezing_holds_with_fencing_and_fails_without() -> None:
    """The control of the model itself: with `dont-care` the write that must wait is acknowledged at once."""
    sentence = MirrorContract().test_a_lost_peer_freezes_the_primary_until_the_arbiter_decides
    await sentence(_bed(MemoryMirrors))
    with pytest.raises(AssertionError):
        await sentence(_bed(ThawsByItself))
