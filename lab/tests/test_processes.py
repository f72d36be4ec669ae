"""The lab ends what it started, and nothing that merely has the same number."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from lab.processes import Process, wait_until


@pytest.fixture
def child() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True)


def test_a_killed_process_is_gone_with_all_below_it(child: subprocess.Popen[bytes]) -> None:
    process = Process.of(child.pid)
    assert wait_until(lambda: bool(process.descendants()), 5)
    below = process.descendants()
    process.kill()
    assert not process.is_alive
    assert not any(other.is_alive for other in below)
    child.returncode = 0


def test_a_record_of_another_process_with_that_id_is_left_alone(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    impostor = Process(child.pid, Process.of(child.pid).start_ticks - 1)
    impostor.save(tmp_path / "record.json")
    loaded = Process.load(tmp_path / "record.json")
    assert loaded is not None
    assert not loaded.is_alive
    loaded.kill()
    assert child.poll() is None
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def test_a_record_that_is_not_there_or_not_whole_is_no_process(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"pid": 1')
    assert Process.load(tmp_path / "half.json") is None
    assert Process.load(tmp_path / "none.json") is None
