"""The kernel's files of reservations, and our copies of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.errors import HoldfastError, InvalidError, UnavailableError
from holdfast.testing.target import make_spec
from holdfast_iscsi_lio.driver import LioTargets
from holdfast_iscsi_lio.reservations import NONE, ReservationFiles, registrations
from holdfast_iscsi_lio.settings import Settings
from plugins.iscsi_lio.tests.fake_configfs import CORE, FakeConfigfs
from plugins.iscsi_lio.tests.registered import registered

DEVICES = ("/dev/one", "/dev/two")
SPEC = make_spec(DEVICES)
SERIAL = SPEC.units[0].serial
ONE = registered(SPEC)
TWO = ONE + registered(SPEC, "0x9999").replace(": 0", ": 1")


@pytest.fixture
def kernel_file(tmp_path: Path) -> Path:
    (tmp_path / "pr").mkdir()
    return tmp_path / "pr" / f"aptpl_{SERIAL}"


@pytest.fixture
def files(kernel_file: Path, tmp_path: Path) -> ReservationFiles:
    return ReservationFiles(kernel_file.parent, tmp_path / "kept")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (ONE, 1),
        (TWO, 2),
        (f"{NONE}\n", 0),
        ("", None),
        (ONE[:-20], None),
        (ONE[:-1] + "x\n", None),
        ("PR_REG_START: 0\nPR_REG_END: 0\n", None),
        (ONE.replace("res_type=05", "res_type=05,enable=1"), None),
        (ONE.replace("res_type=05", "res type"), None),
        ("garbage\n", None),
        ("\0\0\0\0", None),
    ],
)
def test_only_a_whole_file_counts(text: str, count: int | None) -> None:
    found = registrations(text)
    assert (None if found is None else len(found)) == count


def test_each_registration_is_one_line_as_the_kernel_takes_it() -> None:
    [line] = registrations(ONE) or ()
    assert line.startswith("initiator_fabric=iSCSI,initiator_node=")
    assert line.endswith(",target_lun=1")


def test_a_file_that_a_power_cut_left_in_pieces_counts_for_nothing_beside_the_copy(
    files: ReservationFiles, kernel_file: Path
) -> None:
    kernel_file.write_text(ONE + "\0")
    assert files.remember(SERIAL) == ONE
    for torn in ("", ONE[:50], "\0" * 200, ONE.replace("05", "01")):
        kernel_file.write_text(torn)
        assert files.remember(SERIAL) == ONE
    kernel_file.write_text(f"{NONE}\n\0")
    assert files.remember(SERIAL) == ""
    kernel_file.unlink()
    assert files.remember(SERIAL) == ""


def test_a_change_is_seen_although_the_file_has_the_same_length(files: ReservationFiles, kernel_file: Path) -> None:
    other = registered(SPEC, "0x1235")
    assert len(other) == len(ONE)
    for text in (ONE, other, ONE):
        kernel_file.write_text(text + "\0")
        assert files.remember(SERIAL) == text


def test_what_has_settled_is_not_read_again(files: ReservationFiles, kernel_file: Path, tmp_path: Path) -> None:
    kernel_file.write_text(ONE + "\0")
    files.remember(SERIAL)
    for path in (kernel_file, tmp_path / "kept" / SERIAL):
        os.utime(path, (1_000_000, 1_000_000))
    assert files.remember(SERIAL) == ONE
    kernel_file.write_text(ONE.replace("05", "01") + "\0")
    os.utime(kernel_file, (1_000_000, 1_000_000))
    assert files.remember(SERIAL) == ONE  # the stamp is the same: nothing was read
    os.utime(kernel_file, (1_000_001, 1_000_001))
    assert files.remember(SERIAL) == ONE.replace("05", "01")


def test_what_the_partner_has_takes_the_place_of_what_was_here(files: ReservationFiles, kernel_file: Path) -> None:
    kernel_file.write_text(TWO + "\0")
    files.remember(SERIAL)
    files.adopt(SERIAL, ONE)
    assert files.current(SERIAL) == ONE
    assert not kernel_file.exists()
    files.adopt(SERIAL, "")
    assert files.to_load(SERIAL) == ()


@pytest.mark.parametrize("serial", ["../../etc/passwd", "", "x" * 32, "0123456789abcdef/"])
def test_no_path_hides_in_a_serial(files: ReservationFiles, serial: str) -> None:
    with pytest.raises(InvalidError):
        files.adopt(serial, ONE)


@pytest.mark.parametrize("text", ["garbage", ONE[:-20]])
def test_what_is_no_list_of_registrations_is_not_kept(files: ReservationFiles, text: str) -> None:
    with pytest.raises(InvalidError):
        files.adopt(SERIAL, text)
    assert files.current(SERIAL) == ""


# --- through the driver ---


def register(kernel_file: Path) -> None:
    """As the kernel does for an initiator."""
    kernel_file.write_text(ONE + "\0")


@pytest.fixture
def kernel() -> FakeConfigfs:
    return FakeConfigfs(DEVICES)


@pytest.fixture
def driver(kernel: FakeConfigfs, files: ReservationFiles) -> LioTargets:
    return LioTargets(Settings(5.0), kernel, files)


async def test_registrations_are_loaded_once_before_the_first_link(
    driver: LioTargets, kernel: FakeConfigfs, files: ReservationFiles
) -> None:
    files.adopt(SERIAL, TWO)
    await driver.activate(SPEC)
    assert tuple(kernel.loaded) == registrations(TWO)
    loads = [n for n, change in enumerate(kernel.changes) if "res_aptpl" in change]
    links = [n for n, change in enumerate(kernel.changes) if change.startswith("link")]
    assert max(loads) < min(links)
    await driver.activate(SPEC)
    await driver.stage(SPEC)
    assert len(kernel.loaded) == 2


async def test_interrupted_after_loading_it_does_not_load_twice_into_one_backstore(
    driver: LioTargets, kernel: FakeConfigfs, files: ReservationFiles
) -> None:
    files.adopt(SERIAL, ONE)

    def cut(change: str) -> None:
        if change.startswith("link"):
            raise OSError(5, "cut")

    kernel.before_change = cut
    with pytest.raises(HoldfastError):
        await driver.activate(SPEC)
    kernel.before_change = lambda change: None
    before = len(kernel.loaded)
    kernel.changes.clear()
    await driver.activate(SPEC)
    assert len(kernel.loaded) == before + 1
    # Into a fresh backstore: the one that had them is gone with what it had.
    assert any(change.startswith(f"rmdir {CORE}") for change in kernel.changes)


async def test_a_unit_that_is_made_afresh_keeps_its_registrations(
    driver: LioTargets, kernel: FakeConfigfs, kernel_file: Path
) -> None:
    await driver.activate(SPEC)
    assert kernel.loaded == []
    register(kernel_file)
    vendor = type(SPEC.units[0])(**{**vars(SPEC.units[0]), "vendor": "ACME"})
    await driver.stage(type(SPEC)(**{**vars(SPEC), "units": (vendor, SPEC.units[1])}))
    assert tuple(kernel.loaded) == registrations(ONE)


async def test_a_removed_target_leaves_no_reservation(
    driver: LioTargets, files: ReservationFiles, kernel_file: Path
) -> None:
    await driver.activate(SPEC)
    register(kernel_file)
    await driver.read_reservations([SERIAL])
    await driver.remove(SPEC.name, SPEC.iqn)
    assert files.current(SERIAL) == ""


async def test_what_cannot_be_kept_is_an_error_of_ours(driver: LioTargets, kernel_file: Path, tmp_path: Path) -> None:
    register(kernel_file)
    (tmp_path / "kept").write_text("no directory, as on a disk that takes nothing")
    with pytest.raises(UnavailableError, match="could not be read and kept"):
        await driver.read_reservations([SERIAL])
