"""The target kit accepts the reference driver and rejects drivers with one fault each."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import ConflictError, NotFoundError
from holdfast.hooks.target import Chap, Reservations, TargetDriver, TargetSession, TargetSpec, TargetState
from holdfast.testing.memory_target import MemoryTargets
from holdfast.testing.target import IsHeld, TargetContract, file_maker, make_spec

DEVICES = ("/dev/memory-1", "/dev/memory-2")


class TestMemoryTargets(TargetContract):
    """The reference driver keeps the contract."""

    @pytest.fixture
    def driver(self) -> MemoryTargets:
        return MemoryTargets()

    @pytest.fixture
    def devices(self) -> tuple[str, str]:
        return DEVICES

    @pytest.fixture
    def is_held(self, driver: MemoryTargets) -> IsHeld:
        return lambda device: device in driver.held_devices


class HoldsDevicesOnceStaged(MemoryTargets):
    async def stage(self, spec: TargetSpec) -> None:
        await super().stage(spec)
        self.held_devices |= {unit.device for unit in spec.units}


class ServesOnceStaged(MemoryTargets):
    async def stage(self, spec: TargetSpec) -> None:
        await super().stage(spec)
        self._entries[spec.iqn].is_active = True


class NeedsDeviceToStage(MemoryTargets):
    async def stage(self, spec: TargetSpec) -> None:
        self._open(spec)
        self.held_devices.clear()
        await super().stage(spec)


class KeepsFirstSpec(MemoryTargets):
    async def stage(self, spec: TargetSpec) -> None:
        await super().stage(self._entries[spec.iqn].spec if spec.iqn in self._entries else spec)


class RefusesToStageAgain(MemoryTargets):
    async def stage(self, spec: TargetSpec) -> None:
        assert spec.iqn not in self._entries
        await super().stage(spec)


class StopsServingWhenChanged(MemoryTargets):
    async def stage(self, spec: TargetSpec) -> None:
        await self.deactivate(spec.name, spec.iqn)
        await super().stage(spec)


class KeepsOldDevices(MemoryTargets):
    async def stage(self, spec: TargetSpec) -> None:
        before = set(self.held_devices)
        await super().stage(spec)
        self.held_devices |= before


class ServesWithoutOpening(MemoryTargets):
    def _open(self, spec: TargetSpec, already: TargetSpec | None = None) -> None:
        pass


class IgnoresAbsentDevices(MemoryTargets):
    def __init__(self) -> None:
        super().__init__(can_open=lambda device: True)


class NeedsStageFirst(MemoryTargets):
    async def activate(self, spec: TargetSpec) -> None:
        assert spec.iqn in self._entries
        await super().activate(spec)


class ActivatesOnce(MemoryTargets):
    async def activate(self, spec: TargetSpec) -> None:
        assert spec.iqn not in self._entries or not self._entries[spec.iqn].is_active
        await super().activate(spec)


class KeepsDevicesWhenDeactivated(MemoryTargets):
    async def deactivate(self, name: str, iqn: str) -> None:
        held = set(self.held_devices)
        await super().deactivate(name, iqn)
        self.held_devices |= held


class DeactivatesNothing(MemoryTargets):
    async def deactivate(self, name: str, iqn: str) -> None:
        pass


class NeedsTargetToDeactivate(MemoryTargets):
    async def deactivate(self, name: str, iqn: str) -> None:
        assert self._entries[iqn]
        await super().deactivate(name, iqn)


class ForgetsUnitsWhenDeactivated(MemoryTargets):
    async def deactivate(self, name: str, iqn: str) -> None:
        await super().deactivate(name, iqn)
        if iqn in self._entries:
            self._entries[iqn].spec = replace(self._entries[iqn].spec, units=())

    async def activate(self, spec: TargetSpec) -> None:
        before = self._entries.get(spec.iqn)
        await super().activate(before.spec if before else spec)


class DeactivatesEverything(MemoryTargets):
    async def deactivate(self, name: str, iqn: str) -> None:
        for each in list(self._entries):
            await super().deactivate(name, each)


class RemovesEverything(MemoryTargets):
    async def remove(self, name: str, iqn: str) -> None:
        for each in list(self._entries):
            await super().remove(name, each)


class RemovesNothing(MemoryTargets):
    async def remove(self, name: str, iqn: str) -> None:
        await self.deactivate(name, iqn)


class RemovesOnlyWhatServes(MemoryTargets):
    async def remove(self, name: str, iqn: str) -> None:
        if iqn in self._entries and self._entries[iqn].is_active:
            await super().remove(name, iqn)


class KeepsDevicesWhenRemoved(MemoryTargets):
    async def remove(self, name: str, iqn: str) -> None:
        self._entries.pop(iqn, None)


class NeedsTargetToRemove(MemoryTargets):
    async def remove(self, name: str, iqn: str) -> None:
        assert iqn in self._entries
        await super().remove(name, iqn)


class ReadsSecrets(MemoryTargets):
    async def read(self, iqn: str) -> TargetSpec | None:
        entry = self._entries.get(iqn)
        return entry.spec if entry else None


class ReadsOtherSerial(MemoryTargets):
    async def read(self, iqn: str) -> TargetSpec | None:
        spec = await super().read(iqn)
        return spec and replace(spec, units=tuple(replace(unit, serial="0" * 32) for unit in spec.units))


class ReadsUnitsOnlyWhileServing(MemoryTargets):
    async def read(self, iqn: str) -> TargetSpec | None:
        spec = await super().read(iqn)
        return spec if spec is None or self._entries[iqn].is_active else replace(spec, units=())


class ReadsTheAbsent(MemoryTargets):
    async def read(self, iqn: str) -> TargetSpec | None:
        return await super().read(iqn) or make_spec(DEVICES)


class IgnoresPasswords(MemoryTargets):
    async def state(self, spec: TargetSpec) -> TargetState:
        entry = self._entries.get(spec.iqn)
        same = entry is not None and entry.spec.units == spec.units and entry.spec.portals == spec.portals
        return await super().state(entry.spec if entry and same else spec)


class AlwaysSaysActive(MemoryTargets):
    async def state(self, spec: TargetSpec) -> TargetState:
        return TargetState.ACTIVE


class ListsNothing(MemoryTargets):
    async def list_iqns(self) -> tuple[str, ...]:
        return ()


class InventsSessions(MemoryTargets):
    async def list_sessions(self, iqn: str) -> tuple[TargetSession, ...]:
        return (TargetSession("iqn.2026-01.org.holdfast.kit:ghost", None, None),)


class SaysItServesOnceStaged(MemoryTargets):
    async def serves(self, iqn: str) -> bool:
        return iqn in self._entries


class StaysOpen(MemoryTargets):
    async def stage(self, spec: TargetSpec) -> None:
        before = self._entries.get(spec.iqn)
        await super().stage(replace(spec, is_open=True) if before and before.spec.is_open else spec)


class IgnoresBlockSize(MemoryTargets):
    async def stage(self, spec: TargetSpec) -> None:
        await super().stage(replace(spec, units=tuple(replace(unit, block_size_bytes=512) for unit in spec.units)))


class IgnoresDepth(MemoryTargets):
    async def stage(self, spec: TargetSpec) -> None:
        await super().stage(replace(spec, access=tuple(replace(access, cmdsn_depth=64) for access in spec.access)))


class TakesAnyActiveForTheRightOne(MemoryTargets):
    async def state(self, spec: TargetSpec) -> TargetState:
        entry = self._entries.get(spec.iqn)
        return TargetState.ACTIVE if entry and entry.is_active else await super().state(spec)


class ClosesNobody(MemoryTargets):
    async def close_sessions(self, iqn: str, initiator: str) -> None:
        pass


class KeepsDiscoverySecret(MemoryTargets):
    async def set_discovery(self, chap: Chap | None) -> None:
        self.discovery = chap or self.discovery


class KeepsReservationsWhileServing(MemoryTargets):
    async def keep_reservations(self, found: Reservations) -> None:
        self.reservations[found.serial] = found.text


class IgnoresCaches(MemoryTargets):
    async def stage(self, spec: TargetSpec) -> None:
        await super().stage(replace(spec, units=tuple(replace(unit, has_write_cache=False) for unit in spec.units)))


class MakesAbsentFiles(MemoryTargets):
    def _open(self, spec: TargetSpec, already: TargetSpec | None = None) -> None:
        for unit in spec.units:
            if unit.file_bytes is not None and not Path(unit.device).exists():
                Path(unit.device).touch()
                os.truncate(unit.device, unit.file_bytes)
        super()._open(spec, already)


class TakesFilesOfAnySize(MemoryTargets):
    def _open(self, spec: TargetSpec, already: TargetSpec | None = None) -> None:
        units = tuple(
            replace(unit, file_bytes=None if unit.file_bytes is None else Path(unit.device).stat().st_size)
            for unit in spec.units
            if unit.file_bytes is None or Path(unit.device).exists()
        )
        if len(units) < len(spec.units):
            raise NotFoundError("there is no such file")
        super()._open(replace(spec, units=units), already)


class TakesNoLargerFiles(MemoryTargets):
    def _open(self, spec: TargetSpec, already: TargetSpec | None = None) -> None:
        super()._open(spec, already)
        for unit in spec.units:
            if unit.file_bytes not in (None, Path(unit.device).stat().st_size if unit.file_bytes else None):
                raise ConflictError("the file has another size")


class GrowsPastTheFile(MemoryTargets):
    def _open(self, spec: TargetSpec, already: TargetSpec | None = None) -> None:
        if already is None or {unit.device for unit in spec.units} != {unit.device for unit in already.units}:
            super()._open(spec, already)


FAULTY: list[tuple[type[MemoryTargets], str]] = [
    (HoldsDevicesOnceStaged, "test_staging_holds_no_device"),
    (ServesOnceStaged, "test_a_staged_target_is_staged"),
    (NeedsDeviceToStage, "test_staging_needs_no_readable_device"),
    (RefusesToStageAgain, "test_staging_again_changes_nothing"),
    (KeepsFirstSpec, "test_staging_applies_what_changed"),
    (StopsServingWhenChanged, "test_an_active_target_stays_active_while_it_is_changed"),
    (KeepsOldDevices, "test_a_unit_that_is_taken_away_lets_go_of_its_device"),
    (ServesWithoutOpening, "test_an_active_target_holds_its_devices"),
    (IgnoresAbsentDevices, "test_a_target_without_its_device_does_not_become_active"),
    (NeedsStageFirst, "test_activating_stages_first_where_needed"),
    (ActivatesOnce, "test_activating_again_changes_nothing"),
    (KeepsDevicesWhenDeactivated, "test_a_deactivated_target_holds_no_device"),
    (DeactivatesNothing, "test_a_deactivated_target_holds_no_device"),
    (NeedsTargetToDeactivate, "test_deactivating_the_absent_is_success"),
    (ForgetsUnitsWhenDeactivated, "test_a_deactivated_target_can_be_activated_again"),
    (DeactivatesEverything, "test_other_targets_are_left_alone"),
    (RemovesEverything, "test_other_targets_are_left_alone"),
    (RemovesNothing, "test_a_removed_target_is_absent_and_holds_nothing"),
    (RemovesOnlyWhatServes, "test_a_staged_target_can_be_removed"),
    (KeepsDevicesWhenRemoved, "test_a_removed_target_is_absent_and_holds_nothing"),
    (NeedsTargetToRemove, "test_removing_the_absent_is_success"),
    (ReadsSecrets, "test_no_secret_is_read_back"),
    (ReadsOtherSerial, "test_an_active_target_reads_as_it_was_asked_for"),
    (ReadsUnitsOnlyWhileServing, "test_a_staged_target_reads_as_it_was_asked_for"),
    (ReadsTheAbsent, "test_a_target_that_was_never_made_is_absent"),
    (IgnoresPasswords, "test_a_target_with_another_password_is_not_the_one_asked_for"),
    (AlwaysSaysActive, "test_a_target_that_was_never_made_is_absent"),
    (ListsNothing, "test_a_staged_target_is_staged"),
    (InventsSessions, "test_nobody_is_logged_in_to_a_fresh_target"),
    (SaysItServesOnceStaged, "test_an_active_target_is_active"),
    (StaysOpen, "test_an_open_export_is_not_the_closed_one"),
    (IgnoresBlockSize, "test_what_a_unit_tells_is_part_of_what_was_asked_for"),
    (IgnoresDepth, "test_a_command_depth_is_part_of_what_was_asked_for"),
    (TakesAnyActiveForTheRightOne, "test_what_changed_is_found_different_in_an_active_target_too"),
    (ClosesNobody, "test_nobody_without_a_session_is_closed"),
    (KeepsDiscoverySecret, "test_discovery_is_asked_for_as_it_was_set"),
    (IgnoresCaches, "test_a_file_is_served_and_reads_as_it_was_asked_for"),
    (MakesAbsentFiles, "test_a_file_that_is_absent_or_too_small_is_refused_and_never_made"),
    (TakesFilesOfAnySize, "test_a_file_that_is_absent_or_too_small_is_refused_and_never_made"),
    (TakesNoLargerFiles, "test_a_unit_becomes_larger_once_its_file_is_and_serves_as_before_until_then"),
    (GrowsPastTheFile, "test_a_unit_becomes_larger_once_its_file_is_and_serves_as_before_until_then"),
    (KeepsReservationsWhileServing, "test_reservations_are_kept_while_the_unit_is_not_served_here"),
]

SENTENCES = sorted(name for name in vars(TargetContract) if name.startswith("test_"))


async def judge(driver: MemoryTargets, sentence: str, directory: Path) -> None:
    """Hold `driver` to one sentence of the kit, as pytest would."""
    fixtures: dict[str, object] = {
        "driver": driver,
        "spec": make_spec(DEVICES),
        "is_held": lambda device: device in driver.held_devices,
        "make_file": file_maker(directory),
        "has_write_cache": True,
    }
    test: Callable[..., object] = getattr(TargetContract(), sentence)
    outcome = test(**{name: fixtures[name] for name in inspect.signature(test).parameters})
    assert inspect.isawaitable(outcome)
    await outcome


@contextlib.contextmanager
def rejected() -> Iterator[None]:
    """The block must raise something that fails a test."""
    try:
        yield
    except (Exception, pytest.fail.Exception):
        return
    pytest.fail("the kit accepted a faulty driver")


@pytest.mark.parametrize(("faulty", "sentence"), FAULTY, ids=lambda value: getattr(value, "__name__", value))
async def test_a_driver_with_one_fault_is_rejected(faulty: type[MemoryTargets], sentence: str, tmp_path: Path) -> None:
    driver: TargetDriver = faulty()
    assert isinstance(driver, MemoryTargets)
    with rejected():
        await judge(driver, sentence, tmp_path)


@pytest.mark.parametrize("sentence", sorted({sentence for _, sentence in FAULTY}))
async def test_the_same_sentence_accepts_the_driver_without_the_fault(sentence: str, tmp_path: Path) -> None:
    await judge(MemoryTargets(), sentence, tmp_path)


def test_each_sentence_is_shown_to_bite() -> None:
    bitten = {sentence for _, sentence in FAULTY}
    # Said by others as well, or the opposite of a fault that another sentence shows.
    plain = {
        "test_deactivating_again_changes_nothing",
    }
    assert set(SENTENCES) - bitten == plain
