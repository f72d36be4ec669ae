"""The writer and the checker agree with each other, on a file in place of a device."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab.checker import check
from lab.layout import CHECKOUT
from lab.stamp import BLOCK_BYTES

BLOCKS = 16


def run_writer(device: Path, *options: str) -> list[str]:
    argv = [sys.executable, "-m", "lab.writer", "--device", str(device), "--run", "r", "--blocks", str(BLOCKS)]
    return subprocess.run(
        [*argv, *options], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, timeout=30, check=True
    ).stdout.splitlines()


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "device"
    path.write_bytes(bytes(BLOCKS * BLOCK_BYTES))
    return path


def test_what_the_writer_wrote_the_checker_finds_clean(device: Path) -> None:
    log = run_writer(device, "--interval-ms", "5", "--seconds", "0.298")
    verdict = check(log, run_writer(device, "--verify"))
    assert verdict.is_clean
    assert verdict.acknowledged == 60


def test_a_block_set_back_behind_the_writers_back_is_a_lost_write(device: Path) -> None:
    run_writer(device, "--interval-ms", "1", "--seconds", "0.016")
    older = device.read_bytes()
    log = run_writer(device, "--interval-ms", "1", "--seconds", "0.048")
    with device.open("r+b") as file:
        file.seek(3 * BLOCK_BYTES)
        file.write(older[3 * BLOCK_BYTES : 4 * BLOCK_BYTES])
    verdict = check(log, run_writer(device, "--verify"))
    assert [loss.lba for loss in verdict.lost] == [3]


def test_a_run_goes_on_where_an_earlier_part_of_it_ended(device: Path) -> None:
    first = run_writer(device, "--interval-ms", "1", "--seconds", "0.0205")
    then = run_writer(device, "--interval-ms", "1", "--seconds", "0.0095", "--after", "21")
    issued = [tuple(map(int, line.split()[1:3])) for line in then if line.startswith("issue")]
    assert sorted(issued) == [(sequence, (sequence - 1) % BLOCKS) for sequence in range(22, 32)]
    assert check([*first, *then], run_writer(device, "--verify")).is_clean


def test_a_lost_write_is_found_though_the_writer_wrote_there_again(device: Path) -> None:
    first = run_writer(device, "--interval-ms", "1", "--seconds", "0.0155")
    with device.open("r+b") as file:
        file.seek(3 * BLOCK_BYTES)
        file.write(bytes(BLOCK_BYTES))
    then = run_writer(device, "--interval-ms", "1", "--seconds", "0.0315", "--after", "16")
    verdict = check([*first, *then], run_writer(device, "--verify"))
    assert [(loss.lba, loss.acknowledged, loss.found) for loss in verdict.lost] == [(3, 4, None)]


def test_a_writer_that_waits_for_a_block_ends_when_it_is_stopped(device: Path) -> None:
    argv = [sys.executable, "-m", "lab.writer", "--device", str(device), "--run", "r", "--blocks", "1"]
    with subprocess.Popen([*argv, "--interval-ms", "0.01"], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.terminate()
        log = writer.stdout.read().splitlines()
        assert writer.wait(10) == 0
    assert log[-1].startswith("end ")
