"""Thin volumes are emptied instead of filled. The device here is a file; the kernel's own way is shown in the lab."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.errors import NotFoundError
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.fakes import Answer, ScriptedCommands
from holdfast_rep_block.thin import empty, lies_on_no_pool, mapped_sectors

SIZE = 1024 * 1024


@pytest.mark.parametrize(
    ("status", "mapped"),
    [
        ("0 2097152 thin 0 -\n", 0),
        ("0 2097152 thin 204800 2097151\n", 204800),
        ("0 2097152 thin Fail\n", None),
        ("0 2097152 thin Error\n", None),
        ("0 2097152 linear \n", None),
        ("0 2097152 thin-pool 1 12/4161600 0/16384 - rw discard_passdown queue_if_no_space - 1024 \n", None),
        # Of two pieces, one being thin says nothing about the other.
        ("0 1048576 thin 0 -\n1048576 1048576 linear \n", None),
        ("", None),
    ],
)
def test_only_a_thin_volume_that_works_has_a_count(status: str, mapped: int | None) -> None:
    assert mapped_sectors(status) == mapped


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "device"
    path.write_bytes(b"\xa5" * SIZE)
    return path


def content(device: Path) -> bytes:
    return device.read_bytes()


def saying(*answers: Answer) -> ScriptedCommands:
    left: Iterator[Answer] = iter(answers)
    return ScriptedCommands(lambda argv, _input: next(left) if argv[:2] == ("dmsetup", "status") else None)


def blank(descriptor: int, offset: int, length: int) -> None:
    os.pwrite(descriptor, bytes(length), offset)


async def test_a_thin_volume_gives_back_all_of_it(device: Path) -> None:
    commands = saying(Answer(f"0 {SIZE // 512} thin 2048 2047\n"), Answer(f"0 {SIZE // 512} thin 0 -\n"))
    assert await empty(device, commands, discard=blank) == SIZE
    assert content(device) == bytes(SIZE)


async def test_what_stays_mapped_is_not_taken_for_zero(device: Path) -> None:
    commands = saying(Answer("0 2048 thin 2048 2047\n"), Answer("0 2048 thin 128 2047\n"))
    assert await empty(device, commands, discard=blank) is None


@pytest.mark.parametrize("answer", [Answer("0 2048 linear \n"), Answer(stderr="Device sda not found", returncode=1)])
async def test_any_other_device_is_left_alone(device: Path, answer: Answer) -> None:
    assert await empty(device, saying(answer), discard=blank) is None
    assert content(device) == b"\xa5" * SIZE


async def test_without_the_device_mapper_nothing_is_thin(device: Path) -> None:
    commands = ScriptedCommands(lambda _argv, _input: None, lacking=frozenset({"dmsetup"}))
    assert await empty(device, commands, discard=blank) is None


async def test_where_nothing_can_be_given_back_zeros_are_to_be_written(device: Path) -> None:
    def refuse(_descriptor: int, _offset: int, _length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    assert await empty(device, saying(Answer("0 2048 thin 2048 2047\n")), discard=refuse) is None


async def test_an_error_of_the_device_is_told(device: Path) -> None:
    def fail(_descriptor: int, _offset: int, _length: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        await empty(device, saying(Answer("0 2048 thin 2048 2047\n")), discard=fail)


async def test_a_volume_that_went_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        await empty(tmp_path / "absent", saying(Answer("0 2048 thin 0 -\n")), discard=blank)


@pytest.mark.parametrize(
    ("below", "is_not_thin"),
    [
        (None, True),  # a whole disk
        ([], True),
        (["vda"], True),  # a thick volume
        (["dm-3/dm"], False),  # a thin one, or one over encrypted disks: to be asked
        (["vda", "dm-3/dm"], False),
    ],
)
def test_what_lies_on_no_device_of_the_mapper_is_not_thin(
    tmp_path: Path, below: list[str] | None, is_not_thin: bool
) -> None:
    # The null device's number stands for the volume's.
    sysfs = tmp_path / "sys/dev/block/1:3"
    sysfs.mkdir(parents=True)
    for name in below or []:
        (sysfs / "slaves" / name).mkdir(parents=True)
    assert lies_on_no_pool(Path("/dev/null"), KernelFs(tmp_path)) is is_not_thin


@pytest.mark.parametrize("name", ["absent", "device"])
def test_what_the_kernel_has_no_block_device_for_is_to_be_asked(tmp_path: Path, device: Path, name: str) -> None:
    (tmp_path / "sys/dev/block").mkdir(parents=True)
    assert not lies_on_no_pool(device.with_name(name), KernelFs(tmp_path))
