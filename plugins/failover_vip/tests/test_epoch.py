"""What a node keeps of a group outlives a power cut in the middle of a write."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast_failover_vip.epoch import SLOT_BYTES, EpochFile
from holdfast_failover_vip.facts import Record

OLD = Record(4, 4, "a")
NEW = Record(5, 4, "b", refuses_outdate=True)


def load(path: Path) -> Record:
    return EpochFile(path).load()


def written(path: Path, *records: Record) -> Path:
    kept = EpochFile(path)
    kept.load()
    for record in records:
        kept.write(record)
    return path


def test_an_absent_file_is_made_with_all_its_room_for_root_alone(tmp_path: Path) -> None:
    path = tmp_path / "epochs" / "g"
    assert load(path) == Record()
    assert path.stat().st_size == 2 * SLOT_BYTES
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_newest_record_is_read_back(tmp_path: Path) -> None:
    path = written(tmp_path / "g", OLD, NEW)
    assert load(path) == NEW
    assert path.stat().st_size == 2 * SLOT_BYTES


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    path = written(tmp_path / "g", OLD)
    written(path, NEW)
    written(path, OLD)
    assert load(path) == OLD


@pytest.mark.parametrize("kept_bytes", [0, 1, 5, 6, 30, 80])
def test_a_torn_write_keeps_the_older_record(tmp_path: Path, kept_bytes: int) -> None:
    path = written(tmp_path / "g", OLD, NEW)
    data = bytearray(path.read_bytes())
    # The second record has number 2 and so the first slot.
    data[kept_bytes:SLOT_BYTES] = b"\xff" * (SLOT_BYTES - kept_bytes)
    path.write_bytes(data)
    assert load(path) == OLD


def test_a_file_cut_short_keeps_what_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "g", OLD, NEW)
    path.write_bytes(path.read_bytes()[:SLOT_BYTES])
    assert load(path) == NEW
    path.write_bytes(b"")
    assert load(path) == Record()


def test_a_record_that_outgrew_its_slot_is_refused_and_the_former_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "g", OLD)
    with pytest.raises(ValueError, match="outgrew"):
        EpochFile(path).write(Record(6, 6, "x" * SLOT_BYTES))
    assert load(path) == OLD
