"""Disks that fail under mirrors, several at once or while one is replaced: nothing is lost, no bad side is served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo import files
from demo.bed import ENVIRONMENT, Bed, StorageNode, wait_for
from demo.client import Refused
from demo.report import Report
from lab import Lab
from tests.lab.product import begin_anew, end
from tests.lab.test_mirrors import DRBDSETUP, IN_SYNC_WITHIN_S, MIB, mirror, sh, wait_in_sync

pytestmark = [
    pytest.mark.lab(seconds=75),
    pytest.mark.long,
    pytest.mark.in_order,
    pytest.mark.timeout(120, func_only=True),
]

SPARE = "/var/lib/holdfast/spare.img"  # on a disk that outlives a power cut
SPARE_BYTES = 160 * MIB
SPARE_DISK = "/dev/mapper/spare"
# A pool takes no loop device; under a map that calls itself a path to a disk, and begins elsewhere, it is one.
ATTACH = f"""modprobe -a loop dm-mod; losetup /dev/loop7 {SPARE}
dmsetup create spare --uuid mpath-spare --table '0 {SPARE_BYTES // 512} linear /dev/loop7 2048'; dmsetup mknodes
exec sleep infinity"""
SLOW = {"limits": {"max_bytes_s": MIB, "min_bytes_s": MIB}}
FAST = {"limits": {"max_bytes_s": 1024 * MIB, "min_bytes_s": MIB}}


@pytest.fixture(scope="module")
def pair(lab_session: Lab) -> Iterator[Bed]:
    """Two paired nodes with a pool each, and on a one more on another disk."""
    bed = begin_anew(lab_session)
    files.pair(bed, Report())
    sh(bed.a, f"truncate -s {SPARE_BYTES + MIB} {SPARE}")
    environment = {"PATH": ENVIRONMENT["PATH"], "DM_DISABLE_UDEV": "1"}
    bed.a.node.start_service("spare-disk", ["/bin/sh", "-c", ATTACH], environment, at_boot=True)
    sh(bed.a, f"until [ -b {SPARE_DISK} ]; do sleep 0.1; done")
    bed.a.api.change("POST", "/v1/pools", {"name": "spare", "disks": [SPARE_DISK]})
    for storage in (bed.a, bed.b):
        sh(storage, "sync")
    yield bed
    bed.a.node.stop_service("spare-disk")
    end(bed)


@pytest.fixture
def bed(pair: Bed, lab_bed: Lab) -> Bed:
    return pair


def make(bed: Bed, name: str, volumes: tuple[str, ...]) -> None:
    for volume in volumes:
        wanted = {"pool": files.POOL, "name": volume, "size_bytes": 32 * MIB, "kind": "iscsi"}
        bed.a.api.change("POST", "/v1/volumes", wanted)
    bed.a.api.change("POST", "/v1/mirrors", {"name": name, "volumes": list(volumes), "first_sync": "zero"})


def minors(storage: StorageNode, name: str) -> list[int]:
    volumes = mirror(storage, name)["this_node"]["status"]["volumes"]
    return [int(volume["device"].removeprefix("/dev/drbd")) for volume in volumes]


def disks(storage: StorageNode, name: str) -> list[str]:
    return [str(volume["disk"]) for volume in mirror(storage, name)["this_node"]["status"]["volumes"]]


def codes(storage: StorageNode, name: str) -> list[str]:
    # The disks of these nodes lie in memory: no link is as fast.
    return [code for alert in mirror(storage, name)["alerts"] if (code := str(alert["code"])) != "slow-link"]


def write(storage: StorageNode, minor: int, place_mib: int) -> None:
    command = f"dd if=/dev/urandom of=/dev/drbd{minor} bs=1M count=1 seek={place_mib} oflag=direct status=none"
    sh(storage, command)


def content(storage: StorageNode, device: str) -> str:
    return sh(storage, f"dd if={device} bs=1M iflag=direct status=none | sha256sum").split()[0]


def lose(storage: StorageNode, volume: str) -> str:
    """From now on every access to the volume's disk fails; what was there before, to have it back."""
    device = f"/dev/{files.POOL}/{volume}"
    before = sh(storage, f"dmsetup table {device}").strip()
    load(storage, volume, f"0 {32 * MIB // 512} error")
    return before


def load(storage: StorageNode, volume: str, table: str) -> None:
    device = f"/dev/{files.POOL}/{volume}"
    sh(
        storage,
        f"dmsetup load {device} --table '{table}'; dmsetup suspend --nolockfs {device}; dmsetup resume {device}",
    )


def power_cycle(storage: StorageNode) -> None:
    storage.node.cut()
    storage.node.boot()
    storage.api.wait_until_it_answers(IN_SYNC_WITHIN_S)


def test_two_disks_are_lost_and_replaced_through_a_power_cut_of_either_node(bed: Bed) -> None:
    a, b = bed.a, bed.b
    make(bed, "m-p", ("p", "q"))
    a.api.change("PATCH", "/v1/mirrors/m-p", SLOW)
    numbers = minors(a, "m-p")
    for minor in numbers:
        sh(a, f"{DRBDSETUP} primary {minor}")
        write(a, minor, 3)
    for volume, minor in zip(("p", "q"), numbers, strict=True):
        lose(a, volume)
        write(a, minor, 7)
    assert disks(a, "m-p") == ["Diskless", "Diskless"]
    assert codes(a, "m-p") == ["disk-lost", "disk-lost"]
    assert disks(b, "m-p") == ["UpToDate", "UpToDate"]
    written = [content(a, f"/dev/drbd{minor}") for minor in numbers]
    for volume in ("p", "q"):
        a.api.change("POST", "/v1/mirrors/m-p/replace-disk", {"volume": volume, "pool": "spare"})
    for minor in numbers:
        write(a, minor, 11)
    written = [content(a, f"/dev/drbd{minor}") for minor in numbers]
    assert disks(a, "m-p") == ["Inconsistent", "Inconsistent"]

    power_cycle(a)
    wait_for(lambda: "Inconsistent" in disks(a, "m-p"), 30, "what is not complete is back, and said not to be")
    assert mirror(a, "m-p")["this_node"]["devices"] == {"p": "/dev/spare/p", "q": "/dev/spare/q"}
    print(kernel(a), kernel(b))

    b.node.cut()
    wait_for(lambda: "inconsistent" in codes(a, "m-p"), 30, "alone, it tells that it has no complete data")
    print(mirror(a, "m-p")["alerts"])
    for minor in numbers:
        assert a.node.run([DRBDSETUP, "primary", str(minor)], check=False).returncode != 0
    b.node.boot()
    b.api.wait_until_it_answers(IN_SYNC_WITHIN_S)
    wait_for(lambda: "SyncTarget" in kernel(a), 30, "the resync goes on")
    a.api.change("PATCH", "/v1/mirrors/m-p", FAST)
    wait_in_sync(bed, "m-p")
    lower = {"a": "spare", "b": files.POOL}
    for storage in (a, b):
        sums = [content(storage, f"/dev/{lower[storage.name]}/{volume}") for volume in ("p", "q")]
        assert sums == written
        assert codes(storage, "m-p") == []


def kernel(storage: StorageNode) -> str:
    return sh(storage, "grep -v Unconfigured /proc/drbd || true")


@pytest.mark.parametrize("way", ["start", "boot"])
def test_one_volume_that_lost_both_disks_is_served_by_nobody_until_the_last_is_back(bed: Bed, way: str) -> None:
    """The disk that failed first lacks what was acknowledged since, however it comes back."""
    a, b = bed.a, bed.b
    volume, name = f"r-{way}", f"m-{way}"
    make(bed, name, (volume,))
    [minor] = minors(a, name)
    sh(a, f"{DRBDSETUP} primary {minor}")
    write(a, minor, 3)
    tables = {"a": lose(a, volume)}
    write(a, minor, 7)
    newest = content(a, f"/dev/drbd{minor}")
    tables["b"] = lose(b, volume)
    # With no disk left it fails, or waits for one.
    assert not can_be_written(a, minor)
    assert (disks(a, name), codes(a, name)) == (["Diskless"], ["no-disk-left", "no-data"])
    assert (disks(b, name), codes(b, name)) == (["Diskless"], ["no-disk-left"])
    with pytest.raises(Refused, match="is not connected with all data"):
        a.api.change("POST", f"/v1/mirrors/{name}/replace-disk", {"volume": volume, "pool": "spare"})

    if way == "boot":
        power_cycle(a)
        waits = f"the mirror {name} was without a disk here while b went on, and b does not have its disk"
        wait_for(lambda: waits in " ".join(a.api.get("/v1/node")["drift"]), 40, "it tells that it waits for b")
    else:
        sh(a, f"{DRBDSETUP} secondary {minor}")
        load(a, volume, tables["a"])
        a.api.change("POST", f"/v1/mirrors/{name}/start")
        assert (disks(a, name), codes(a, name)[0]) == (["Inconsistent"], "inconsistent")
    # Of b, whose data are the newest, the kernel may be given the disk again meanwhile, which fails at the first read.
    assert a.node.run([DRBDSETUP, "primary", str(minor)], check=False).returncode != 0

    load(b, volume, tables["b"])
    b.api.change("POST", f"/v1/mirrors/{name}/start")
    wait_in_sync(bed, name)
    for storage in (a, b):
        assert content(storage, f"/dev/{files.POOL}/{volume}") == newest
    if way == "start":  # before it is promoted by hand: the kernel does not end the wait by itself
        a.api.change("POST", f"/v1/mirrors/{name}/start")
    for storage in (b, a):
        sh(storage, f"{DRBDSETUP} primary {minor}")
        assert can_be_written(storage, minor), "nobody waits for a disk any more"
        sh(storage, f"{DRBDSETUP} secondary {minor}")


def can_be_written(storage: StorageNode, minor: int) -> bool:
    command = ["timeout", "5", "dd", "if=/dev/zero", f"of=/dev/drbd{minor}", "bs=4k", "count=1", "oflag=direct"]
    return storage.node.run(command, check=False).returncode == 0
