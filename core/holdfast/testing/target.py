"""The contract of the target role as tests. Subclass TargetContract and override `driver`.

Where the driver is not at work on this machine's own devices, override `devices` and `is_held` too.
"""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.errors import ConflictError, HoldfastError, NotFoundError
from holdfast.hooks.base import Can
from holdfast.hooks.target import (
    Chap,
    InitiatorAccess,
    LogicalUnit,
    Portal,
    Reservations,
    TargetDriver,
    TargetSpec,
    TargetState,
)
from holdfast.values import Secret, to_plain

IsHeld = Callable[[str], bool]
MakeFile = Callable[[int | None], str]

FILE_BYTES = 4 << 20

PASSWORD = "correct-horse-1"  # noqa: S105


def is_held_exclusively(device: str) -> bool:
    """Whether something has claimed a block device of this machine (O_EXCL, open(2))."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError:
        return True
    return False


def make_spec(devices: tuple[str, str]) -> TargetSpec:
    """A target with a unit on each of two devices, for one initiator."""
    return TargetSpec(
        name="kit-one",
        iqn="iqn.2026-01.org.holdfast.kit:one",
        portals=(Portal("192.0.2.10"),),
        units=(
            LogicalUnit(1, "first", devices[0], "0123456789abcdef0123456789abcde1", product="first"),
            LogicalUnit(2, "second", devices[1], "0123456789abcdef0123456789abcde2", is_read_only=True),
        ),
        access=(InitiatorAccess("iqn.2026-01.org.holdfast.kit:client"),),
    )


def file_unit(path: str, *, has_write_cache: bool = False) -> LogicalUnit:
    """A unit that is a file of `FILE_BYTES`."""
    serial = "0123456789abcdef0123456789abcde3"
    return LogicalUnit(1, "first", path, serial, file_bytes=FILE_BYTES, has_write_cache=has_write_cache)


def file_maker(directory: Path) -> MakeFile:
    """See TargetContract.make_file."""

    def make(size_bytes: int | None) -> str:
        path = directory / "unit"
        if size_bytes is not None:
            path.touch()
            os.truncate(path, size_bytes)
        return str(path)

    return make


def make_other_spec() -> TargetSpec:
    """Another target without units."""
    return TargetSpec("kit-two", "iqn.2026-01.org.holdfast.kit:two", (Portal("192.0.2.11", 3261),), (), ())


def with_chap(spec: TargetSpec, password: str = PASSWORD) -> TargetSpec:
    """The same target, its first initiator with CHAP."""
    access = dataclasses.replace(spec.access[0], chap=Chap("joe", Secret(password)))
    return dataclasses.replace(spec, access=(access, *spec.access[1:]))


def as_sets(spec: TargetSpec | None) -> tuple[object, ...]:
    """What identifies a target, whatever order it was read in."""
    assert spec is not None
    initiators = {access.initiator for access in spec.access}
    return spec.name, spec.iqn, set(spec.portals), set(spec.units), initiators


class TargetContract:
    """What every target driver does."""

    @pytest.fixture
    def driver(self) -> TargetDriver:
        """Give the driver under test, with no target of the kit in its kernel."""
        raise AssertionError("override this fixture")

    @pytest.fixture
    def devices(self) -> tuple[str, str]:
        """Give the paths of two block devices that nobody uses."""
        return ("/dev/ram0", "/dev/ram1")

    @pytest.fixture
    def is_held(self) -> IsHeld:
        """Tell whether a device is held open by a target."""
        return is_held_exclusively

    @pytest.fixture
    def make_file(self, tmp_path: Path) -> MakeFile:
        """Make a file of some size that a unit can be, and return its path; without a size only the path."""
        return file_maker(tmp_path)

    @pytest.fixture
    def spec(self, devices: tuple[str, str]) -> TargetSpec:
        """Give the target that most sentences are about."""
        return make_spec(devices)

    # What is not there

    async def test_a_target_that_was_never_made_is_absent(self, driver: TargetDriver, spec: TargetSpec) -> None:
        assert await driver.state(spec) is TargetState.ABSENT
        assert await driver.read(spec.iqn) is None
        assert spec.iqn not in await driver.list_iqns()
        assert await driver.list_sessions(spec.iqn) == ()

    async def test_deactivating_the_absent_is_success(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.deactivate(spec.name, spec.iqn)
        assert await driver.state(spec) is TargetState.ABSENT

    async def test_removing_the_absent_is_success(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.remove(spec.name, spec.iqn)
        assert await driver.state(spec) is TargetState.ABSENT

    # Staging

    async def test_a_staged_target_is_staged(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.stage(spec)
        assert await driver.state(spec) is TargetState.STAGED
        assert spec.iqn in await driver.list_iqns()

    async def test_staging_holds_no_device(self, driver: TargetDriver, spec: TargetSpec, is_held: IsHeld) -> None:
        await driver.stage(spec)
        assert [unit.device for unit in spec.units if is_held(unit.device)] == []

    async def test_staging_needs_no_readable_device(self, driver: TargetDriver, spec: TargetSpec) -> None:
        absent = make_spec(("/dev/holdfast-kit-absent-1", "/dev/holdfast-kit-absent-2"))
        await driver.stage(absent)
        assert await driver.state(absent) is TargetState.STAGED

    async def test_staging_again_changes_nothing(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.stage(spec)
        await driver.stage(spec)
        assert await driver.state(spec) is TargetState.STAGED
        assert as_sets(await driver.read(spec.iqn)) == as_sets(spec)

    async def test_staging_applies_what_changed(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.stage(spec)
        changed = dataclasses.replace(
            spec,
            portals=(Portal("192.0.2.99", 3262), Portal("2001:db8::9")),
            units=(dataclasses.replace(spec.units[0], lun=7, serial="f" * 32),),
            access=(InitiatorAccess("iqn.2026-01.org.holdfast.kit:other"),),
        )
        await driver.stage(changed)
        assert await driver.state(changed) is TargetState.STAGED
        assert as_sets(await driver.read(spec.iqn)) == as_sets(changed)

    # Reading

    async def test_a_staged_target_reads_as_it_was_asked_for(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.stage(spec)
        assert as_sets(await driver.read(spec.iqn)) == as_sets(spec)

    async def test_an_active_target_reads_as_it_was_asked_for(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.activate(spec)
        assert as_sets(await driver.read(spec.iqn)) == as_sets(spec)

    async def test_no_secret_is_read_back(self, driver: TargetDriver, spec: TargetSpec) -> None:
        if Can.TARGET_CHAP not in driver.can:
            pytest.skip("this driver does not declare CHAP")
        await driver.stage(with_chap(spec))
        read = await driver.read(spec.iqn)
        assert read is not None
        assert [access.chap for access in read.access] == [None]
        assert PASSWORD not in str(to_plain(read, reveal=True))

    # Activating

    async def test_an_active_target_is_active(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.stage(spec)
        assert not await driver.serves(spec.iqn)
        await driver.activate(spec)
        assert await driver.state(spec) is TargetState.ACTIVE
        assert await driver.serves(spec.iqn)
        await driver.deactivate(spec.name, spec.iqn)
        assert not await driver.serves(spec.iqn)

    async def test_activating_stages_first_where_needed(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.activate(spec)
        assert await driver.state(spec) is TargetState.ACTIVE

    async def test_an_active_target_holds_its_devices(
        self, driver: TargetDriver, spec: TargetSpec, is_held: IsHeld
    ) -> None:
        await driver.activate(spec)
        assert [unit.device for unit in spec.units if not is_held(unit.device)] == []

    async def test_activating_again_changes_nothing(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.activate(spec)
        await driver.activate(spec)
        assert await driver.state(spec) is TargetState.ACTIVE

    async def test_a_target_without_its_device_does_not_become_active(
        self, driver: TargetDriver, spec: TargetSpec
    ) -> None:
        absent = make_spec((spec.units[0].device, "/dev/holdfast-kit-absent"))
        with pytest.raises(HoldfastError):
            await driver.activate(absent)
        assert await driver.state(absent) is not TargetState.ACTIVE
        # … and once the cause is gone, the same call succeeds.
        await driver.activate(spec)
        assert await driver.state(spec) is TargetState.ACTIVE

    async def test_an_active_target_stays_active_while_it_is_changed(
        self, driver: TargetDriver, spec: TargetSpec
    ) -> None:
        smaller = dataclasses.replace(spec, units=spec.units[:1])
        await driver.activate(smaller)
        await driver.stage(spec)
        assert await driver.state(spec) is TargetState.ACTIVE

    async def test_a_unit_that_is_taken_away_lets_go_of_its_device(
        self, driver: TargetDriver, spec: TargetSpec, is_held: IsHeld
    ) -> None:
        await driver.activate(spec)
        await driver.stage(dataclasses.replace(spec, units=spec.units[:1]))
        assert [is_held(unit.device) for unit in spec.units] == [True, False]

    async def test_a_target_with_another_password_is_not_the_one_asked_for(
        self, driver: TargetDriver, spec: TargetSpec
    ) -> None:
        if Can.TARGET_CHAP not in driver.can:
            pytest.skip("this driver does not declare CHAP")
        await driver.stage(with_chap(spec))
        assert await driver.state(with_chap(spec)) is TargetState.STAGED
        assert await driver.state(with_chap(spec, "another-horse-2")) is TargetState.PARTIAL
        assert await driver.state(spec) is TargetState.PARTIAL
        await driver.stage(spec)
        assert await driver.state(spec) is TargetState.STAGED

    async def test_nobody_is_logged_in_to_a_fresh_target(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.activate(spec)
        assert await driver.list_sessions(spec.iqn) == ()

    # Units that are files

    @pytest.mark.parametrize("has_write_cache", [False, True])
    async def test_a_file_is_served_and_reads_as_it_was_asked_for(
        self, driver: TargetDriver, spec: TargetSpec, make_file: MakeFile, has_write_cache: bool
    ) -> None:
        unit = file_unit(make_file(FILE_BYTES), has_write_cache=has_write_cache)
        wanted = dataclasses.replace(spec, units=(unit, spec.units[1]))
        opposite = dataclasses.replace(unit, has_write_cache=not has_write_cache)
        for staged in (wanted, dataclasses.replace(wanted, units=(opposite, spec.units[1])), wanted):
            await driver.stage(staged)
            assert await driver.state(staged) is TargetState.STAGED
            assert as_sets(await driver.read(spec.iqn)) == as_sets(staged)
        await driver.activate(wanted)
        assert as_sets(await driver.read(spec.iqn)) == as_sets(wanted)
        assert await driver.state(wanted) is TargetState.ACTIVE
        for other in (
            opposite,
            dataclasses.replace(unit, block_size_bytes=4096),
            spec.units[0],
            unit,
        ):
            changed = dataclasses.replace(wanted, units=(other, spec.units[1]))
            assert await driver.state(changed) is TargetState.PARTIAL
            await driver.activate(changed)
            assert await driver.state(changed) is TargetState.ACTIVE
            assert as_sets(await driver.read(spec.iqn)) == as_sets(changed)

    async def test_a_file_that_is_absent_or_too_small_is_refused_and_never_made(
        self, driver: TargetDriver, spec: TargetSpec, make_file: MakeFile
    ) -> None:
        path = Path(make_file(None))
        wanted = dataclasses.replace(spec, units=(file_unit(str(path)),))
        with pytest.raises(NotFoundError):
            await driver.activate(wanted)
        assert not await asyncio.to_thread(path.exists)
        make_file(FILE_BYTES // 2)
        with pytest.raises(ConflictError):
            await driver.activate(wanted)
        assert await driver.state(wanted) is not TargetState.ACTIVE
        make_file(FILE_BYTES)
        await driver.activate(wanted)
        assert await driver.state(wanted) is TargetState.ACTIVE

    @pytest.mark.parametrize("has_write_cache", [False, True])
    async def test_a_unit_becomes_larger_once_its_file_is_and_serves_as_before_until_then(
        self, driver: TargetDriver, spec: TargetSpec, make_file: MakeFile, has_write_cache: bool
    ) -> None:
        unit = file_unit(make_file(FILE_BYTES), has_write_cache=has_write_cache)
        wanted = dataclasses.replace(spec, units=(unit, spec.units[1]))
        larger = dataclasses.replace(unit, file_bytes=2 * FILE_BYTES)
        grown = dataclasses.replace(spec, units=(larger, spec.units[1]))
        await driver.activate(wanted)
        with pytest.raises(ConflictError):
            await driver.stage(grown)
        assert await driver.state(wanted) is TargetState.ACTIVE
        make_file(2 * FILE_BYTES)
        for again in (wanted, grown, grown):
            await driver.stage(again)
            assert await driver.state(again) is TargetState.ACTIVE
            assert as_sets(await driver.read(spec.iqn)) == as_sets(again)
        await driver.deactivate(spec.name, spec.iqn)
        for again in (wanted, grown):
            await driver.activate(again)
            assert await driver.state(again) is TargetState.ACTIVE

    # Deactivating

    async def test_a_deactivated_target_holds_no_device(
        self, driver: TargetDriver, spec: TargetSpec, is_held: IsHeld
    ) -> None:
        await driver.activate(spec)
        await driver.deactivate(spec.name, spec.iqn)
        assert [unit.device for unit in spec.units if is_held(unit.device)] == []
        assert await driver.state(spec) is not TargetState.ACTIVE

    async def test_deactivating_again_changes_nothing(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.activate(spec)
        await driver.deactivate(spec.name, spec.iqn)
        before = await driver.state(spec)
        await driver.deactivate(spec.name, spec.iqn)
        assert await driver.state(spec) is before

    async def test_a_deactivated_target_can_be_activated_again(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.activate(spec)
        await driver.deactivate(spec.name, spec.iqn)
        await driver.activate(spec)
        assert await driver.state(spec) is TargetState.ACTIVE
        assert as_sets(await driver.read(spec.iqn)) == as_sets(spec)

    # Changing what serves

    async def test_an_open_export_is_not_the_closed_one(self, driver: TargetDriver, spec: TargetSpec) -> None:
        is_open = dataclasses.replace(spec, is_open=True)
        await driver.activate(is_open)
        assert await driver.state(is_open) is TargetState.ACTIVE
        assert await driver.state(spec) is TargetState.PARTIAL
        read = await driver.read(spec.iqn)
        assert read is not None
        assert read.is_open
        await driver.stage(spec)
        assert await driver.state(spec) is TargetState.ACTIVE
        read = await driver.read(spec.iqn)
        assert read is not None
        assert not read.is_open

    async def test_what_a_unit_tells_is_part_of_what_was_asked_for(
        self, driver: TargetDriver, spec: TargetSpec
    ) -> None:
        other = dataclasses.replace(spec.units[0], block_size_bytes=4096, optimal_blocks=64)
        changed = dataclasses.replace(spec, units=(other, *spec.units[1:]))
        await driver.activate(changed)
        assert as_sets(await driver.read(spec.iqn)) == as_sets(changed)
        assert await driver.state(spec) is TargetState.PARTIAL
        await driver.stage(spec)
        assert await driver.state(spec) is TargetState.ACTIVE
        assert as_sets(await driver.read(spec.iqn)) == as_sets(spec)

    async def test_a_command_depth_is_part_of_what_was_asked_for(self, driver: TargetDriver, spec: TargetSpec) -> None:
        deeper = dataclasses.replace(spec, access=(dataclasses.replace(spec.access[0], cmdsn_depth=16),))
        await driver.stage(deeper)
        assert await driver.state(spec) is TargetState.PARTIAL
        read = await driver.read(spec.iqn)
        assert read is not None
        assert [access.cmdsn_depth for access in read.access] == [16]

    async def test_what_changed_is_found_different_in_an_active_target_too(
        self, driver: TargetDriver, spec: TargetSpec
    ) -> None:
        await driver.activate(spec)
        for changed in (
            dataclasses.replace(spec, portals=(Portal("192.0.2.99", 3262),)),
            dataclasses.replace(spec, units=spec.units[:1]),
            dataclasses.replace(spec, access=()),
        ):
            assert await driver.state(changed) is TargetState.PARTIAL
            await driver.activate(changed)
            assert await driver.state(changed) is TargetState.ACTIVE
            assert as_sets(await driver.read(spec.iqn)) == as_sets(changed)
            await driver.activate(spec)

    # Optional operations

    async def test_nobody_without_a_session_is_closed(self, driver: TargetDriver, spec: TargetSpec) -> None:
        if Can.TARGET_CLOSE not in driver.can:
            pytest.skip("this driver does not declare the closing of sessions")
        await driver.activate(spec)
        with pytest.raises(NotFoundError):
            await driver.close_sessions(spec.iqn, spec.access[0].initiator)

    async def test_discovery_is_asked_for_as_it_was_set(self, driver: TargetDriver) -> None:
        if Can.TARGET_DISCOVERY not in driver.can:
            pytest.skip("this driver does not declare authentication of discovery")
        first = Chap("finder", Secret(PASSWORD))
        second = Chap("finder", Secret(PASSWORD), "target", Secret("another-horse-2"))
        for wanted in (first, first, second, None, None):
            await driver.set_discovery(wanted)
            assert [await driver.discovery_differs(chap) for chap in (first, second, None)] == [
                chap != wanted for chap in (first, second, None)
            ]

    async def test_reservations_are_kept_while_the_unit_is_not_served_here(
        self, driver: TargetDriver, spec: TargetSpec
    ) -> None:
        if Can.TARGET_RESERVATIONS not in driver.can:
            pytest.skip("this driver does not declare the keeping of reservations")
        serials = [unit.serial for unit in spec.units]
        none = tuple(Reservations(serial, "") for serial in serials)
        await driver.stage(spec)
        assert await driver.read_reservations(serials) == none
        kept = Reservations(spec.units[0].serial, self.reservations_text(spec))
        await driver.keep_reservations(kept)
        await driver.keep_reservations(kept)
        assert await driver.read_reservations(serials) == (kept, *none[1:])
        await driver.activate(spec)
        assert await driver.read_reservations(serials) == (kept, *none[1:])
        with pytest.raises(ConflictError):
            await driver.keep_reservations(none[0])
        await driver.deactivate(spec.name, spec.iqn)
        await driver.keep_reservations(none[0])
        assert await driver.read_reservations(serials) == none

    def reservations_text(self, spec: TargetSpec) -> str:
        """Give what a driver of this kind keeps of a registration of the first initiator with the first unit."""
        return "registered"

    # Removing

    async def test_a_removed_target_is_absent_and_holds_nothing(
        self, driver: TargetDriver, spec: TargetSpec, is_held: IsHeld
    ) -> None:
        await driver.activate(spec)
        await driver.remove(spec.name, spec.iqn)
        assert await driver.state(spec) is TargetState.ABSENT
        assert spec.iqn not in await driver.list_iqns()
        assert [unit.device for unit in spec.units if is_held(unit.device)] == []

    async def test_a_staged_target_can_be_removed(self, driver: TargetDriver, spec: TargetSpec) -> None:
        await driver.stage(spec)
        await driver.remove(spec.name, spec.iqn)
        assert await driver.state(spec) is TargetState.ABSENT

    async def test_other_targets_are_left_alone(self, driver: TargetDriver, spec: TargetSpec) -> None:
        other = make_other_spec()
        await driver.activate(other)
        await driver.activate(spec)
        await driver.deactivate(spec.name, spec.iqn)
        await driver.remove(spec.name, spec.iqn)
        assert await driver.state(other) is TargetState.ACTIVE
        assert other.iqn in await driver.list_iqns()
        await driver.remove(other.name, other.iqn)
