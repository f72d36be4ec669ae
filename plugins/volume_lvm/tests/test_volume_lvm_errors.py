"""What the tools say, in the terms of the error tree. Each sentence was printed by the tool named."""

from __future__ import annotations

import pytest

from holdfast.errors import (
    BusyError,
    ConflictError,
    HoldfastError,
    NoSpaceError,
    NotFoundError,
    SystemCommandError,
    UnavailableError,
)
from holdfast_volume_lvm.errors import translate


@pytest.mark.parametrize(
    ("tool", "said", "meant"),
    [
        ("lvm", '  Volume group "tank" has insufficient free space (349 extents): 25000 required.\n', NoSpaceError),
        ("lvm", "  Logical volume tank/v0 contains a filesystem in use.\n", BusyError),
        ("lvm", "  Logical volume tank/v0 in use.\n", BusyError),
        ("lvm", "  Snapshots of locked volumes are not supported.\n", BusyError),
        ("lvm", "  Can't resize locked logical volume tank/v1.\n", BusyError),
        ("lvm", '  Logical Volume "v0" already exists in volume group "tank"\n', ConflictError),
        ("lvm", "  A volume group called tank already exists.\n", ConflictError),
        (
            "lvm",
            "  /dev/shm: already exists in filesystem\n  Run `vgcreate --help' for more information.\n",
            ConflictError,
        ),
        ("lvm", '  Failed to find logical volume "tank/nix"\n', NotFoundError),
        (
            "lvm",
            "  Cannot change VG tank while PVs are missing.\n"
            "  See vgreduce --removemissing and vgextend --restoremissing.\n  Cannot process volume group tank\n",
            UnavailableError,
        ),
        ("lvm", '  Volume group "nix" not found\n  Cannot process volume group nix\n', NotFoundError),
        ("lvm", "  Snapshot origin LV v0 not found in Volume group tank.\n", NotFoundError),
        ("lvm", "  No device found for /dev/ubdz.\n  Command requires all devices to be found.\n", NotFoundError),
        (
            "lvm",
            "WARNING: ext4 signature detected on /dev/ubdc at offset 1080. Wipe it? [y/n]: [n]\n"
            "  Aborted wiping of ext4.\n  1 existing signature left on the device.\n",
            ConflictError,
        ),
        (
            "lvm",
            "  /dev/mapper/control: open failed: No such device\n"
            "  Failure to communicate with kernel device-mapper driver.\n",
            UnavailableError,
        ),
        ("mkfs.xfs", "mkfs.xfs: /dev/tank/v0 contains a mounted filesystem\nUsage: mkfs.xfs\n", BusyError),
        (
            "mkfs.xfs",
            "mkfs.xfs: /dev/tank/v0 appears to contain an existing filesystem (xfs).\n"
            "mkfs.xfs: Use the -f option to force overwrite.\n",
            ConflictError,
        ),
        (
            "wipefs",
            "wipefs: error: /dev/tank/v0: probing initialization failed: Device or resource busy\n",
            BusyError,
        ),
        (
            "mount",
            "mount: /tmp/m: wrong fs type, bad option, bad superblock on /dev/mapper/tank-v0, missing codepage"
            " or helper program, or other error.\n       dmesg(1) may have more information.\n",
            ConflictError,
        ),
        ("mount", "mount: /tmp/m: special device /dev/tank/v0 does not exist.\n", NotFoundError),
        ("mount", "mount: /tmp/m: /dev/mapper/tank-v0 already mounted on /tmp/m.\n", BusyError),
        ("mount", "mount: /tmp/s: can't read superblock on /dev/mapper/tank-v0.snap.s1.\n", UnavailableError),
        ("umount", "umount: /tmp/s: target is busy.\n", BusyError),
    ],
)
def test_a_known_sentence_becomes_its_error(tool: str, said: str, meant: type[HoldfastError]) -> None:
    found = translate(SystemCommandError([tool, "x"], 5, said), "the thing")
    assert type(found) is meant
    assert found.message.startswith("the thing: ")
    assert found.reasons[0].remedy


def test_what_is_not_known_stays_as_it_was() -> None:
    error = SystemCommandError(["lvm"], 5, "  Something nobody has seen.\n")
    assert translate(error, "the thing") is error


def test_a_command_that_timed_out_says_nothing_about_the_thing() -> None:
    error = SystemCommandError(["lvm"], None, "not found")
    assert translate(error, "the thing") is error
