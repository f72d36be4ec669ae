"""The driver on a directory that behaves as configfs does."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.errors import (
    BusyError,
    ConflictError,
    HoldfastError,
    InvalidError,
    NotFoundError,
    UnavailableError,
    VerificationError,
)
from holdfast.hooks.target import TargetSession, TargetSpec, TargetState
from holdfast.testing.target import PASSWORD, IsHeld, TargetContract, make_other_spec, make_spec, with_chap
from holdfast_iscsi_lio.apply import act
from holdfast_iscsi_lio.driver import LioTargets
from holdfast_iscsi_lio.faults import KernelRefusal
from holdfast_iscsi_lio.plan import Write
from holdfast_iscsi_lio.reservations import ReservationFiles
from holdfast_iscsi_lio.settings import Settings
from plugins.iscsi_lio.tests.fake_configfs import CORE, ISCSI, FakeConfigfs
from plugins.iscsi_lio.tests.foreign import FOREIGN_CHANGES, store_of
from plugins.iscsi_lio.tests.registered import registered

DEVICES = ("/dev/one", "/dev/two")
SPEC = make_spec(DEVICES)
TPG = f"{ISCSI}/{SPEC.iqn}/tpgt_1"


NO_FILES = ReservationFiles(Path("/nowhere"), Path("/nowhere"))


@pytest.fixture
def kernel() -> FakeConfigfs:
    return FakeConfigfs(DEVICES)


@pytest.fixture
def files(tmp_path: Path) -> ReservationFiles:
    (tmp_path / "pr").mkdir()
    return ReservationFiles(tmp_path / "pr", tmp_path / "kept")


@pytest.fixture
def driver(kernel: FakeConfigfs, files: ReservationFiles) -> LioTargets:
    return LioTargets(Settings(deadline_s=5.0), kernel, files)


class TestLioOnFakeConfigfs(TargetContract):
    """The contract, on the fake."""

    @pytest.fixture
    def driver(self, driver: LioTargets) -> LioTargets:
        return driver

    def reservations_text(self, spec: TargetSpec) -> str:
        return registered(spec)

    @pytest.fixture
    def devices(self) -> tuple[str, str]:
        return DEVICES

    @pytest.fixture
    def is_held(self, kernel: FakeConfigfs) -> IsHeld:
        return lambda device: device in kernel.held


# --- what is written ---


async def test_staging_writes_what_initiators_see_and_what_guards_the_target(
    driver: LioTargets, kernel: FakeConfigfs
) -> None:
    await driver.stage(with_chap(SPEC))
    assert kernel.read(f"{TPG}/param/DefaultTime2Wait") == "0"
    assert kernel.read(f"{TPG}/attrib/generate_node_acls") == "0"
    assert kernel.read(f"{TPG}/attrib/demo_mode_write_protect") == "1"
    assert kernel.read(f"{TPG}/attrib/authentication") == "1"
    assert kernel.read(f"{TPG}/acls/{SPEC.access[0].initiator}/auth/userid") == "joe"
    assert kernel.read(f"{TPG}/acls/{SPEC.access[0].initiator}/auth/password") == PASSWORD
    assert kernel.read(f"{TPG}/enable") == "0"


async def test_without_chap_authentication_is_off_and_credentials_are_cleared(
    driver: LioTargets, kernel: FakeConfigfs
) -> None:
    await driver.stage(with_chap(SPEC))
    await driver.stage(SPEC)
    assert kernel.read(f"{TPG}/attrib/authentication") == "0"
    assert kernel.read(f"{TPG}/acls/{SPEC.access[0].initiator}/auth/password") == "NULL"


async def test_a_read_only_unit_is_opened_and_mapped_read_only(driver: LioTargets, kernel: FakeConfigfs) -> None:
    await driver.activate(SPEC)
    acl = f"{TPG}/acls/{SPEC.access[0].initiator}"
    assert [kernel.read(f"{acl}/lun_{lun}/write_protect") for lun in (1, 2)] == ["0", "1"]
    infos = [kernel.read(f"{CORE}/{hba}/{name}/info") for hba, name in backstores(kernel)]
    assert sorted(info.split("readonly: ")[1] for info in infos) == ["0", "1"]


async def test_both_nodes_make_the_same_names() -> None:
    nodes = (FakeConfigfs(DEVICES), FakeConfigfs(DEVICES))
    for kernel in nodes:
        await LioTargets(Settings(5.0), kernel, NO_FILES).activate(SPEC)
    assert nodes[0].paths == nodes[1].paths


async def test_each_unit_has_an_hba_of_its_own(driver: LioTargets, kernel: FakeConfigfs) -> None:
    await driver.stage(SPEC)
    assert len({hba for hba, _ in backstores(kernel)}) == len(SPEC.units)


async def test_activating_what_is_staged_does_no_more_than_it_must(driver: LioTargets, kernel: FakeConfigfs) -> None:
    await driver.stage(SPEC)
    kernel.changes.clear()
    await driver.activate(SPEC)
    # Opened, linked, mapped, one of them read only; and logins are let in.
    assert [change.split()[0] for change in kernel.changes] == ["write"] * 2 + ["link"] * 4 + ["write"] * 2
    assert kernel.changes[-1] == f"write {TPG}/enable"


async def test_deactivating_stops_logins_before_anything_else(driver: LioTargets, kernel: FakeConfigfs) -> None:
    await driver.activate(SPEC)
    kernel.changes.clear()
    await driver.deactivate(SPEC.name, SPEC.iqn)
    assert kernel.changes[0] == f"write {TPG}/enable"
    assert await driver.state(SPEC) is TargetState.STAGED


async def test_no_secret_reaches_the_log(
    driver: LioTargets, kernel: FakeConfigfs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await driver.activate(with_chap(SPEC))
    assert "auth/password" in caplog.text
    assert PASSWORD not in caplog.text


# --- what is known is not read again ---


def with_units(count: int) -> TargetSpec:
    units = tuple(
        dataclasses.replace(SPEC.units[0], lun=n, name=f"u{n}", device=f"/dev/u{n}", serial=f"{n:032x}")
        for n in range(1, count + 1)
    )
    return dataclasses.replace(SPEC, units=units)


@pytest.fixture
def many(kernel: FakeConfigfs) -> TargetSpec:
    kernel.devices.update(f"/dev/u{n}" for n in range(1, 41))
    return with_units(40)


async def test_a_takeover_reads_nothing_of_what_was_staged(
    driver: LioTargets, kernel: FakeConfigfs, many: TargetSpec
) -> None:
    await driver.stage(many)
    kernel.reads = 0
    await driver.activate(many)
    await driver.activate(many)
    await driver.deactivate(many.name, many.iqn)
    await driver.activate(many)
    assert kernel.reads == 0
    assert await driver.state(many) is TargetState.ACTIVE


async def test_adding_and_taking_away_a_unit_costs_the_same_whatever_others_there_are(
    driver: LioTargets, kernel: FakeConfigfs, many: TargetSpec
) -> None:
    costs = []
    for count in (2, 39):
        await driver.activate(with_units(count))
        for next_count in (count + 1, count):
            kernel.reads = 0
            kernel.changes.clear()
            await driver.activate(with_units(next_count))
            costs.append((kernel.reads, len(kernel.changes)))
            assert await LioTargets(Settings(5.0), kernel, NO_FILES).state(with_units(next_count)) is TargetState.ACTIVE
    assert costs[:2] == costs[2:]
    assert costs[0][0] > 0


@pytest.mark.parametrize("what", sorted(FOREIGN_CHANGES))
async def test_what_somebody_else_changed_is_seen_and_mended(
    driver: LioTargets, kernel: FakeConfigfs, what: str
) -> None:
    await driver.activate(SPEC)
    kernel.can_unmap = True
    FOREIGN_CHANGES[what](kernel, SPEC)
    assert await driver.state(SPEC) is TargetState.PARTIAL
    await driver.activate(SPEC)
    assert await driver.state(SPEC) is TargetState.ACTIVE


async def test_what_was_made_afresh_is_watched_too(driver: LioTargets, kernel: FakeConfigfs) -> None:
    await driver.activate(SPEC)
    await driver.deactivate(SPEC.name, SPEC.iqn)
    kernel.write(f"{store_of(kernel, SPEC)}/wwn/vendor_id", "EVE")
    kernel.reads = 0
    await driver.stage(SPEC)
    assert kernel.reads > 0
    assert await driver.state(SPEC) is TargetState.STAGED


@pytest.mark.parametrize("what", sorted(FOREIGN_CHANGES))
async def test_what_somebody_else_changes_meanwhile_is_seen_and_mended(
    driver: LioTargets, kernel: FakeConfigfs, what: str
) -> None:
    await driver.stage(SPEC)
    kernel.can_unmap = True

    def change(last: str) -> None:
        if last == f"write {TPG}/enable":
            kernel.before_change = lambda _: None
            FOREIGN_CHANGES[what](kernel, SPEC)

    kernel.before_change = change
    await driver.activate(SPEC)
    await driver.activate(SPEC)
    assert await driver.state(SPEC) is TargetState.ACTIVE


async def test_more_changes_than_the_kernel_tells_of_have_all_of_it_read(
    driver: LioTargets, kernel: FakeConfigfs
) -> None:
    await driver.activate(SPEC)
    kernel.watches[-1].is_overflowing = True
    kernel.reads = 0
    await driver.activate(SPEC)
    assert kernel.reads > 0


async def test_what_the_kernel_does_not_watch_is_always_read(driver: LioTargets, kernel: FakeConfigfs) -> None:
    kernel.most_watched = 3
    await driver.stage(SPEC)
    kernel.reads = 0
    await driver.activate(SPEC)
    assert kernel.reads > 0
    assert await driver.state(SPEC) is TargetState.ACTIVE


async def test_a_step_that_is_refused_has_all_of_it_read(driver: LioTargets, kernel: FakeConfigfs) -> None:
    await driver.stage(SPEC)
    refused: list[str] = []

    def refuse(change: str) -> None:
        if change.startswith(f"link {TPG}/lun/") and not refused:
            refused.append(change)
            raise OSError(errno.EAGAIN, "not now")

    kernel.before_change = refuse
    await driver.activate(SPEC)
    assert refused
    assert await driver.state(SPEC) is TargetState.ACTIVE


# --- what is not ours ---


async def test_a_foreign_backstore_of_the_same_name_is_a_conflict(driver: LioTargets, kernel: FakeConfigfs) -> None:
    foreign = f"{CORE}/iblock_0/kit-one.first"
    make_foreign_backstore(kernel, foreign, "/dev/one")
    with pytest.raises(ConflictError, match="did not make"):
        await driver.stage(SPEC)
    await driver.remove(SPEC.name, SPEC.iqn)
    assert kernel.read(f"{foreign}/enable") == "1"


async def test_foreign_targets_and_backstores_are_never_touched(driver: LioTargets, kernel: FakeConfigfs) -> None:
    kernel.devices.add("/dev/foreign")
    make_foreign_backstore(kernel, f"{CORE}/iblock_0/theirs", "/dev/foreign")
    theirs = f"{ISCSI}/iqn.2003-01.org.example:theirs"
    for path in (theirs, f"{theirs}/tpgt_1", f"{theirs}/tpgt_1/lun/lun_0"):
        kernel.make_directory(path)
    kernel.link(f"{theirs}/tpgt_1/lun/lun_0/x", f"{CORE}/iblock_0/theirs")
    kernel.write(f"{theirs}/tpgt_1/enable", "1")
    kernel.changes.clear()
    await driver.activate(SPEC)
    await driver.deactivate(SPEC.name, SPEC.iqn)
    await driver.remove(SPEC.name, SPEC.iqn)
    assert [change for change in kernel.changes if "theirs" in change or "iblock_0/" in change] == []
    assert await driver.list_iqns() == ("iqn.2003-01.org.example:theirs",)


async def test_a_backstore_that_an_interruption_left_unmarked_is_taken_over(
    driver: LioTargets, kernel: FakeConfigfs
) -> None:
    kernel.make_directory(f"{CORE}/iblock_9")
    kernel.make_directory(f"{CORE}/iblock_9/kit-one.first")
    await driver.activate(SPEC)
    assert ("iblock_9", "kit-one.first") in backstores(kernel)
    await driver.remove(SPEC.name, SPEC.iqn)
    assert backstores(kernel) == []


async def test_links_made_by_another_tool_in_our_target_are_replaced(driver: LioTargets, kernel: FakeConfigfs) -> None:
    await driver.activate(SPEC)
    link = f"{TPG}/lun/lun_1/backstore"
    store = kernel.link_target(link)
    kernel.unlink(link)
    kernel.link(f"{TPG}/lun/lun_1/5f2a", store)
    assert await driver.state(SPEC) is TargetState.PARTIAL
    await driver.activate(SPEC)
    assert await driver.state(SPEC) is TargetState.ACTIVE


# --- interruptions ---


class _Killed(BaseException):
    pass


async def _interrupted(kernel: FakeConfigfs, change: int, what: str, driver: LioTargets | None = None) -> None:
    """Run an operation that ends just before its change number `change`."""
    count = 0

    def kill(_: str) -> None:
        nonlocal count
        if count == change:
            raise _Killed
        count += 1

    kernel.before_change = kill
    try:
        await _operate(driver or LioTargets(Settings(5.0), kernel, NO_FILES), what)
    finally:
        kernel.before_change = lambda _: None


async def _operate(driver: LioTargets, what: str) -> None:
    match what:
        case "stage":
            await driver.stage(with_chap(SPEC))
        case "activate":
            await driver.activate(with_chap(SPEC))
        case "change":
            await driver.stage(CHANGED)
        case "deactivate":
            await driver.deactivate(SPEC.name, SPEC.iqn)
        case "remove":
            await driver.remove(SPEC.name, SPEC.iqn)


CHANGED = dataclasses.replace(
    with_chap(SPEC, "another-horse-2"),
    units=(dataclasses.replace(SPEC.units[0], serial="f" * 32), dataclasses.replace(SPEC.units[1], lun=9)),
)

BEGINNINGS = {
    "stage": (),
    "activate": (),
    "change": ("activate",),
    "deactivate": ("activate",),
    "remove": ("activate",),
}
ENDS = {
    "stage": (with_chap(SPEC), TargetState.STAGED),
    "activate": (with_chap(SPEC), TargetState.ACTIVE),
    "deactivate": (with_chap(SPEC), TargetState.STAGED),
    "remove": (SPEC, TargetState.ABSENT),
}


def _prefixes(what: str) -> Iterator[FakeConfigfs]:
    """A kernel for each place where `what` may be interrupted, until it is not any more."""
    for change in range(200):
        kernel = FakeConfigfs(DEVICES)
        for earlier in BEGINNINGS[what]:
            asyncio.run(_operate(LioTargets(Settings(5.0), kernel, NO_FILES), earlier))
        try:
            asyncio.run(_interrupted(kernel, change, what))
        except _Killed:
            yield kernel
        else:
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("what", sorted(BEGINNINGS))
def test_a_driver_that_knew_the_target_and_was_interrupted_reaches_every_end(what: str) -> None:
    for change in range(200):
        kernel = FakeConfigfs(DEVICES)
        driver = LioTargets(Settings(5.0), kernel, NO_FILES)
        for earlier in BEGINNINGS[what]:
            asyncio.run(_operate(driver, earlier))
        try:
            asyncio.run(_interrupted(kernel, change, what, driver))
        except _Killed:
            pass
        else:
            assert change > 3
            return
        asyncio.run(_operate(driver, "activate"))
        spec, state = ENDS["activate"]
        assert asyncio.run(driver.state(spec)) is state
    raise AssertionError("it never ended")


@pytest.mark.parametrize("after", sorted(ENDS))
@pytest.mark.parametrize("what", sorted(BEGINNINGS))
def test_from_every_interruption_every_operation_reaches_its_end(what: str, after: str) -> None:
    places = 0
    for kernel in _prefixes(what):
        driver = LioTargets(Settings(5.0), kernel, NO_FILES)
        serves = kernel.exists(f"{TPG}/enable") and kernel.read(f"{TPG}/enable") == "1"
        asyncio.run(_operate(driver, after))
        spec, state = ENDS[after]
        found = asyncio.run(driver.state(spec))
        if after == "stage" and serves:
            assert found is TargetState.ACTIVE
        elif after == "deactivate":
            # What was interrupted decides how much there was to keep; no device is held in any case.
            assert kernel.held == set()
            assert found is not TargetState.ACTIVE
        else:
            assert found is state
        if after == "remove":
            assert backstores(kernel) == []
        places += 1
    assert places > 5


# --- when the kernel says no ---


async def test_a_missing_device_is_named_and_the_rest_stays_undone(driver: LioTargets, kernel: FakeConfigfs) -> None:
    kernel.devices.discard("/dev/two")
    with pytest.raises(NotFoundError, match=r"kit-one\.second"):
        await driver.activate(SPEC)
    assert kernel.read(f"{TPG}/enable") == "0"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EROFS, ConflictError),
        (errno.EMEDIUMTYPE, ConflictError),
        (errno.EBUSY, BusyError),
        (errno.ENXIO, NotFoundError),
        (errno.EIO, HoldfastError),
    ],
)
async def test_each_way_a_device_fails_to_open_has_its_own_error(
    driver: LioTargets, kernel: FakeConfigfs, number: int, expected: type[HoldfastError]
) -> None:
    def refuse(change: str) -> None:
        if change.startswith(f"write {CORE}") and change.endswith("/enable"):
            raise OSError(number, "refused")

    kernel.before_change = refuse
    with pytest.raises(HoldfastError) as caught:
        await driver.activate(SPEC)
    assert type(caught.value) is expected


async def test_a_step_that_another_process_did_meanwhile_is_no_error(driver: LioTargets, kernel: FakeConfigfs) -> None:
    await driver.stage(SPEC)
    raced: list[str] = []

    def race(change: str) -> None:
        if change == f"link {TPG}/lun/lun_1/backstore" and not raced:
            raced.append(change)
            raise OSError(errno.EEXIST, "someone was faster")

    kernel.before_change = race
    await driver.activate(SPEC)
    assert raced
    assert await driver.state(SPEC) is TargetState.ACTIVE


class Vanishing(FakeConfigfs):
    """Its next `vanishing` reads of aliases find nothing: another process removed the object meanwhile."""

    vanishing = 0

    def read(self, path: str) -> str:
        if path.endswith("/alias") and self.vanishing:
            self.vanishing -= 1
            raise OSError(errno.ENOENT, "it is gone")
        return super().read(path)


async def test_what_vanishes_while_it_is_read_is_looked_at_again() -> None:
    kernel = Vanishing(DEVICES)
    driver = LioTargets(Settings(5.0), kernel, NO_FILES)
    await driver.activate(SPEC)
    kernel.vanishing = 2
    assert await driver.state(SPEC) is TargetState.ACTIVE
    kernel.vanishing = 1000
    with pytest.raises(UnavailableError, match="cannot be read"):
        await driver.state(SPEC)


async def test_a_kernel_that_forgets_what_it_took_is_found_out() -> None:
    class Forgetful(FakeConfigfs):
        def write(self, path: str, text: str) -> None:
            if not path.endswith("DefaultTime2Wait"):
                super().write(path, text)

    driver = LioTargets(Settings(5.0), Forgetful(DEVICES), NO_FILES)
    with pytest.raises(VerificationError, match="DefaultTime2Wait"):
        await driver.stage(SPEC)


async def test_a_specification_that_cannot_be_is_refused_before_anything_happens(
    driver: LioTargets, kernel: FakeConfigfs
) -> None:
    bad = dataclasses.replace(SPEC, iqn="../../etc")
    with pytest.raises(InvalidError):
        await driver.stage(bad)
    assert kernel.changes == []


# --- when the kernel does not answer ---


@pytest.fixture
def stuck(kernel: FakeConfigfs) -> Iterator[threading.Event]:
    """From the first deactivation on the kernel waits until the event is set."""
    release = threading.Event()

    def wait(change: str) -> None:
        if change == f"write {TPG}/enable" and kernel.read(f"{TPG}/enable") == "1":
            release.wait(10)

    kernel.before_change = wait
    yield release
    release.set()


async def test_a_session_that_does_not_end_is_named_at_the_deadline(
    kernel: FakeConfigfs, stuck: threading.Event
) -> None:
    driver = LioTargets(Settings(deadline_s=0.1), kernel, NO_FILES)
    await driver.activate(SPEC)
    log_in(kernel, "10.0.0.7")
    with pytest.raises(BusyError, match=r"client at 10\.0\.0\.7:40000") as caught:
        await driver.deactivate(SPEC.name, SPEC.iqn)
    assert [reason.code for reason in caught.value.reasons] == ["session-stuck"]


async def test_a_stuck_target_stays_busy_until_the_kernel_is_done_and_then_goes_on(
    kernel: FakeConfigfs, stuck: threading.Event
) -> None:
    driver = LioTargets(Settings(deadline_s=0.1), kernel, NO_FILES)
    await driver.activate(SPEC)
    for _ in range(2):
        with pytest.raises(BusyError):
            await driver.deactivate(SPEC.name, SPEC.iqn)
    with pytest.raises(BusyError):
        await driver.activate(SPEC)
    with pytest.raises(BusyError):
        await driver.state(SPEC)
    stuck.set()
    await driver.deactivate(SPEC.name, SPEC.iqn)
    assert await driver.state(SPEC) is TargetState.STAGED


async def test_a_stuck_target_does_not_hold_up_another(kernel: FakeConfigfs, stuck: threading.Event) -> None:
    driver = LioTargets(Settings(deadline_s=2.0), kernel, NO_FILES)
    await driver.activate(SPEC)
    stopping = asyncio.create_task(driver.deactivate(SPEC.name, SPEC.iqn))
    await asyncio.sleep(0.01)
    other = make_other_spec()
    await driver.activate(other)
    assert not stopping.done()
    assert await driver.state(other) is TargetState.ACTIVE
    stuck.set()
    await stopping


async def test_a_caller_that_goes_away_leaves_no_half_change(kernel: FakeConfigfs, stuck: threading.Event) -> None:
    driver = LioTargets(Settings(deadline_s=2.0), kernel, NO_FILES)
    await driver.activate(SPEC)
    stopping = asyncio.create_task(driver.deactivate(SPEC.name, SPEC.iqn))
    await asyncio.sleep(0.01)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    stuck.set()
    assert await driver.state(SPEC) is TargetState.STAGED


# --- sessions ---


async def test_a_session_is_listed_with_the_address_and_port_of_its_client(
    driver: LioTargets, kernel: FakeConfigfs
) -> None:
    await driver.activate(SPEC)
    log_in(kernel, "10.0.0.7")
    assert await driver.list_sessions(SPEC.iqn) == (TargetSession(SPEC.access[0].initiator, "10.0.0.7", 40000),)


# --- small tools ---


def backstores(kernel: FakeConfigfs) -> list[tuple[str, str]]:
    return [
        (hba, name)
        for hba in kernel.names(CORE)
        if hba.startswith(("iblock_", "fileio_"))
        for name in kernel.names(f"{CORE}/{hba}")
        if not name.startswith("hba_")
    ]


def make_foreign_backstore(kernel: FakeConfigfs, path: str, device: str) -> None:
    kernel.make_directory(path.rpartition("/")[0])
    kernel.make_directory(path)
    kernel.write(f"{path}/control", f"udev_path={device},readonly=0")
    kernel.write(f"{path}/enable", "1")


def log_in(kernel: FakeConfigfs, address: str) -> None:
    """Have the kernel show a session from `address`, port 40000, to the portal 192.0.2.10:3260."""
    info = (
        f"InitiatorName: x\nCID: 0  Connection State: TARG_CONN_STATE_LOGGED_IN\n   Address {address} TCP  StatSN: 0\n"
    )
    kernel.put(f"{TPG}/acls/{SPEC.access[0].initiator}/info", info)
    kernel.put("/proc/net/tcp", f"head\n 0: 0A0200C0:0CBC {hexadecimal(address)}:9C40 01 rest")


def hexadecimal(address: str) -> str:
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))


# --- what a unit tells ---


async def test_unmap_is_switched_while_the_unit_is_served(driver: LioTargets, kernel: FakeConfigfs) -> None:
    kernel.can_unmap = True
    await driver.activate(SPEC)
    kernel.changes.clear()
    unit = dataclasses.replace(SPEC.units[0], may_unmap=True)
    changed = dataclasses.replace(SPEC, units=(unit, SPEC.units[1]))
    await driver.stage(changed)
    assert [change.rpartition("/")[2] for change in kernel.changes] == ["emulate_tpu", "emulate_tpws"]
    assert await driver.state(changed) is TargetState.ACTIVE


async def test_a_device_that_cannot_unmap_is_named_by_its_field(driver: LioTargets) -> None:
    unit = dataclasses.replace(SPEC.units[0], may_unmap=True)
    with pytest.raises(ConflictError) as refused:
        await driver.activate(dataclasses.replace(SPEC, units=(unit, SPEC.units[1])))
    assert [reason.field for reason in refused.value.reasons] == ["units.may_unmap"]


async def test_only_the_unit_that_changes_its_block_size_is_made_afresh(
    driver: LioTargets, kernel: FakeConfigfs
) -> None:
    await driver.activate(SPEC)
    kernel.changes.clear()
    unit = dataclasses.replace(SPEC.units[0], block_size_bytes=4096)
    await driver.stage(dataclasses.replace(SPEC, units=(unit, SPEC.units[1])))
    assert not [change for change in kernel.changes if "lun_2" in change or ".second" in change]
    assert f"write {TPG}/enable" not in kernel.changes


async def test_a_loopback_target_has_a_nexus_and_no_portals(driver: LioTargets, kernel: FakeConfigfs) -> None:
    root = "/sys/kernel/config/target/loopback"
    spec = dataclasses.replace(SPEC, iqn="naa.5001405000000001", portals=(), access=())
    for wrong, field in (
        (dataclasses.replace(SPEC, iqn="naa.5001405000000001"), "portals"),
        (dataclasses.replace(spec, iqn="naa.50"), "iqn"),
        (dataclasses.replace(spec, is_open=True), "is_open"),
        (dataclasses.replace(spec, access=SPEC.access), "access"),
        (dataclasses.replace(spec, iqn="5:0"), "iqn"),
    ):
        with pytest.raises(InvalidError) as refused:
            await driver.activate(wrong)
        assert field in [reason.field for reason in refused.value.reasons]
    assert kernel.changes == []
    assert not kernel.exists(root)


async def test_unmap_is_never_written_to_a_backstore_that_is_not_open(kernel: FakeConfigfs) -> None:
    store = f"{CORE}/iblock_5/t.v"
    for path in (f"{CORE}/iblock_5", store):
        kernel.make_directory(path)
    kernel.can_unmap = True
    for name in ("emulate_tpu", "emulate_tpws"):
        with pytest.raises(KernelRefusal):
            act(kernel, Write(f"{store}/attrib/{name}", "1"))
        assert kernel.read(f"{store}/attrib/{name}") == "0"
