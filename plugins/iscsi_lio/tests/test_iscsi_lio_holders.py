"""Who uses the disks of a loopback target."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.system.kernelfs import KernelFs
from holdfast_iscsi_lio.holders import read_holders

NAME = "naa.5001405000000001"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        f"sys/kernel/config/target/loopback/{NAME}/tpgt_1/address": "2:0:1\n",
        "sys/class/scsi_device/2:0:1:3/device/block/sda/size": "8\n",
        "sys/class/scsi_device/2:0:11:3/device/block/sdz/size": "8\n",
        "sys/block/sda/holders/dm-0": "",
        "proc/self/mounts": "/dev/sdz /other ext4 rw 0 0\n/dev/sda1 /data ext4 rw 0 0\nproc /proc proc rw 0 0\n",
        "proc/71/comm": "fio\n",
        "proc/72/comm": "cat\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    for path, target in (("proc/71/fd/3", "/dev/sda"), ("proc/72/fd/3", "/dev/sdz"), ("proc/72/fd/4", "socket:[1]")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(target)
    return tmp_path


def test_mounts_devices_and_processes_are_named_and_other_disks_are_not(root: Path) -> None:
    assert [session.initiator for session in read_holders(KernelFs(root), NAME)] == [
        "/dev/sda1, which is mounted at /data",
        "/dev/sda, which is part of dm-0",
        "process 71 (fio)",
    ]


def test_a_target_that_is_not_there_is_held_by_nobody(root: Path) -> None:
    assert read_holders(KernelFs(root), "naa.5001405000000002") == ()
