"""Pools and volumes of the product on real kernels: a disk that leaves under load, names, imports, thin and ext4."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.bed import DAEMON, PYTHON, Bed, wait_for
from demo.client import Refused
from lab import Lab
from tests.lab.product import begin_anew, end

pytestmark = [pytest.mark.lab(seconds=50, is_patient=True), pytest.mark.timeout(150, func_only=True)]

MIB = 1 << 20
SECOND = "/dev/sda"
MOVES_WITHIN_S = 90.0
BLOCK_BYTES = 4096
# How much of the time the kernel may copy, in percent (drivers/md/dm-raid1.c).
THROTTLE = "/sys/module/dm_mirror/parameters/raid1_resync_throttle"

# Writes its number into one block after the other, each durable before the next, until a file is there.
WRITER = """
import json, mmap, os, sys, time
device, blocks = os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT | os.O_DSYNC), int(sys.argv[2])
buffer, number = mmap.mmap(-1, 4096), 0
while not os.path.exists("/run/stop-writing"):
    number += 1
    buffer[:] = number.to_bytes(8, "little") * 512
    os.pwrite(device, buffer, number % blocks * 4096)
    time.sleep(0.001)  # the daemon is to get some of the one processor, too
print(json.dumps(number))
"""
READER = """
import json, sys
path, blocks, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
wrong = []
with open(path, "rb") as device:
    for block in range(blocks):
        number = last - (last - block) % blocks
        if number > 0 and device.read(4096) != number.to_bytes(8, "little") * 512:
            wrong.append(block)
        elif number <= 0:
            device.seek((block + 1) * 4096)
print(json.dumps(wrong))
"""


@pytest.fixture(scope="module")
def pair(lab_session: Lab) -> Iterator[Bed]:
    made = begin_anew(lab_session)
    yield made
    end(made)


@pytest.fixture
def bed(pair: Bed, lab_bed: Lab) -> Bed:
    """The pair; each test leaves it without pools."""
    return pair


def sh(bed: Bed, script: str) -> str:
    return bed.a.node.run(["sh", "-ec", script], timeout_s=60).stdout.decode()


def members(bed: Bed, pool: str) -> dict[str, Any]:
    return {disk["path"]: disk for disk in bed.a.api.get(f"/v1/pools/{pool}")["members"]}


def delete(bed: Bed, noun: str, name: str) -> None:
    bed.a.api.change("DELETE", f"/v1/{noun}/{name}?confirm={name}")


@pytest.mark.long
def test_a_disk_leaves_under_load_and_a_killed_daemon_goes_on(bed: Bed) -> None:
    api, data = bed.a.api, bed.a.node.device("data")
    sh(bed, "modprobe scsi_debug dev_size_mb=256 delay=0; modprobe sd_mod")
    sh(bed, f"until [ -b {SECOND} ]; do sleep 0.1; done")
    api.change("POST", "/v1/pools", {"name": "tank", "disks": [SECOND]})
    body = {"pool": "tank", "name": "v1", "size_bytes": 192 * MIB, "kind": "iscsi"}
    api.change("POST", "/v1/volumes", body)
    api.change("POST", "/v1/pools/tank/extend", {"disks": [data]})
    blocks = 192 * MIB // BLOCK_BYTES
    writer = bed.a.node.popen([PYTHON, "-c", WRITER, "/dev/tank/v1", str(blocks)])
    sh(bed, f"modprobe dm_mirror; echo 1 > {THROTTLE}")
    job = api.call("POST", "/v1/pools/tank/remove-disk", {"disk": SECOND}, headers={"Prefer": "respond-async"})
    wait_for(lambda: members(bed, "tank")[SECOND]["is_leaving"], 30, "the disk is leaving")
    wait_for(lambda: "pvmove" in sh(bed, "lvs --all --noheadings -o lv_name tank"), 30, "data is being moved")

    bed.a.node.kill_service(DAEMON)
    api.wait_until_it_answers(30)
    assert api.get(f"/v1/jobs/{job['id']}")["state"] == "running"
    wait_for(lambda: (api.get(f"/v1/jobs/{job['id']}")["progress"]["percent"] or 0) > 0, 30, "it tells how far it is")
    print(api.get(f"/v1/jobs/{job['id']}")["progress"])

    # Other volumes come and go meanwhile.
    api.change("POST", "/v1/volumes", {**body, "name": "v2", "size_bytes": 16 * MIB})
    delete(bed, "volumes", "v2")
    snapshot = {"volume": "v1", "name": "s1", "reserve_bytes": 16 * MIB}
    for path, more in (("/v1/snapshots", snapshot), ("/v1/volumes/v1/grow", {"size_bytes": 196 * MIB})):
        with pytest.raises(Refused, match="it is being moved to another disk"):
            api.change("POST", path, more)
    assert api.get(f"/v1/jobs/{job['id']}")["state"] == "running"
    api.call("POST", f"/v1/jobs/{job['id']}/cancel", {})
    wait_for(lambda: api.get(f"/v1/jobs/{job['id']}")["state"] == "cancelled", 30, "it is given up")
    assert not members(bed, "tank")[SECOND]["is_leaving"]
    assert "pvmove" not in sh(bed, "lvs --all --noheadings -o lv_name tank")

    job = api.call("POST", "/v1/pools/tank/remove-disk", {"disk": SECOND}, headers={"Prefer": "respond-async"})
    wait_for(lambda: "pvmove" in sh(bed, "lvs --all --noheadings -o lv_name tank"), 30, "it is moved again")
    sh(bed, f"echo 100 > {THROTTLE}")
    api.follow(job, "remove-disk", within_s=MOVES_WITHIN_S)
    sh(bed, "touch /run/stop-writing")
    last = json.loads("".join(writer.lines()))
    print(f"{last} blocks were written meanwhile")
    assert last > 0
    wrong = bed.a.node.run([PYTHON, "-c", READER, "/dev/tank/v1", str(blocks), str(last)], timeout_s=60).stdout
    assert json.loads(wrong) == []
    assert list(members(bed, "tank")) == [data]
    (disk,) = (disk for disk in api.items("/v1/disks") if disk["path"] == SECOND)
    assert (disk["signatures"], disk["used_by"]) == ([], None)
    delete(bed, "volumes", "v1")
    delete(bed, "pools", "tank")


def test_ext4_and_thin_volumes_and_a_new_name_come_back_after_a_power_cut(bed: Bed) -> None:
    api, data = bed.a.api, bed.a.node.device("data")
    api.change("POST", "/v1/pools", {"name": "tank", "disks": [data]})
    body = {"pool": "tank", "name": "files", "size_bytes": 256 * MIB, "kind": "nas", "file_system": "ext4"}
    place = api.change("POST", "/v1/volumes", {**body, "size_bytes": 320 * MIB})["result"]["mounted_at"]
    assert " ext4 " in sh(bed, f"grep ' {place} ' /proc/mounts")
    api.change("PUT", "/v1/pools/tank/thin", {"size_bytes": 256 * MIB, "most_promised_percent": 150})
    thin = {"pool": "tank", "name": "t1", "size_bytes": 320 * MIB, "kind": "nas", "is_thin": True}
    thin_place = api.change("POST", "/v1/volumes", thin)["result"]["mounted_at"]
    with pytest.raises(Refused, match="promise"):
        api.change("POST", "/v1/volumes", {**thin, "name": "t2"})
    sh(bed, f"dd if=/dev/urandom of={thin_place}/f bs=1M count=20 conv=fsync status=none; echo kept > {place}/f; sync")

    report = api.get("/v1/pools/tank/report")
    print(json.dumps(report, indent=1))
    taken = report["volumes_bytes"] + report["thin"]["size_bytes"] + sum(report["reserves"].values())
    assert (report["free_bytes"] + taken, report["others_bytes"]) == (report["size_bytes"], 0)
    uses = {volume["name"]: volume for volume in report["volumes"]}
    assert 20 * MIB <= uses["t1"]["used_bytes"] <= 120 * MIB
    assert uses["t1"]["files"]["used_bytes"] >= 20 * MIB

    assert api.change("POST", "/v1/volumes/files/grow", {"size_bytes": 400 * MIB})["result"]["drift"] == []
    assert int(sh(bed, f"df --output=size -B1 {place} | tail -1")) > 340 * MIB
    with pytest.raises(Refused, match="without a journal"):
        api.change("POST", "/v1/volumes/files/grow", {"size_bytes": 320 * MIB})
    api.change("POST", "/v1/pools/tank/rename", {"new_name": "lake"})
    assert sh(bed, f"cat {place}/f") == "kept\n"

    bed.a.node.cut()
    bed.a.node.boot()
    api.wait_until_it_answers(30)
    wait_for(lambda: all(v["mounted_at"] for v in api.items("/v1/volumes")), 30, "both are mounted again")
    assert [(v["pool"], v["drift"]) for v in api.items("/v1/volumes")] == [("lake", []), ("lake", [])]
    assert sh(bed, f"cat {place}/f") == "kept\n"

    # A thin pool that is written full gets more of its pool by itself, before anybody has to wait.
    sh(bed, f"dd if=/dev/urandom of={thin_place}/g bs=1M count=130 conv=fsync status=none")
    before_bytes = api.get("/v1/pools/lake")["thin"]["size_bytes"]
    bed.a.node.kill_service(DAEMON)  # the next one looks at once, and this one within half a minute
    api.wait_until_it_answers(30)
    wait_for(lambda: api.get("/v1/pools/lake")["thin"]["size_bytes"] > before_bytes, 60, "the thin pool grows")
    for name in ("files", "t1"):
        delete(bed, "volumes", name)
    api.change("DELETE", "/v1/pools/lake/thin")
    delete(bed, "pools", "lake")


def test_disks_bring_their_volumes_to_a_node_that_does_not_know_them(bed: Bed) -> None:
    api, data = bed.a.api, bed.a.node.device("data")
    api.change("POST", "/v1/pools", {"name": "tank", "disks": [data]})
    body = {"pool": "tank", "name": "files", "size_bytes": 320 * MIB, "kind": "nas"}
    place = api.change("POST", "/v1/volumes", body)["result"]["mounted_at"]
    sh(bed, f"echo kept > {place}/f; sync")
    # Another machine finds the disk: nothing of it is on record there.
    bed.a.node.stop_service(DAEMON)
    sh(bed, f"umount {place}; vgchange -an tank; rm /var/lib/holdfast/holdfast.sqlite* /var/lib/holdfast/token")
    bed.start_blank("a")
    api = bed.a.api
    assert api.items("/v1/volumes") == []
    (found,) = api.items("/v1/found-pools")
    assert (found["name"], found["is_ours"], found["contents"]) == ("tank", True, ["files"])
    api.change("POST", "/v1/found-pools", {"id": found["id"], "name": "mine"})
    (shown,) = api.items("/v1/volumes")
    assert (shown["pool"], shown["kind"], shown["drift"]) == ("mine", "nas", [])
    assert sh(bed, f"cat {shown['mounted_at']}/f") == "kept\n"
    delete(bed, "volumes", "files")
    delete(bed, "pools", "mine")


# A disk of SCSI in a target's loopback (Documentation/target): it answers as real ones do.
LOOPBACK = """
modprobe -a target_core_mod target_core_file tcm_loop
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
core=/sys/kernel/config/target/core/rd_mcp_0/ram there=/sys/kernel/config/target/loopback/naa.6001405000000001/tpgt_1
mkdir -p $core && echo rd_pages=8192 > $core/control && echo 1 > $core/enable
mkdir -p $there/lun/lun_0 && echo naa.6001405000000002 > $there/nexus && ln -s $core $there/lun/lun_0/x
until [ -b /dev/sdb ]; do sleep 0.1; done
"""
NO_LOOPBACK = """
core=/sys/kernel/config/target/core/rd_mcp_0/ram there=/sys/kernel/config/target/loopback/naa.6001405000000001/tpgt_1
rm $there/lun/lun_0/x && rmdir $there/lun/lun_0 $there && rmdir ${there%/*} && rmdir $core
rmmod scsi_debug
"""


def health(bed: Bed) -> dict[str, Any]:
    return {disk["path"]: disk["health"] for disk in bed.a.api.items("/v1/disks")}


def restart(bed: Bed) -> None:
    """The next daemon asks all disks anew."""
    bed.a.node.kill_service(DAEMON)
    bed.a.api.wait_until_it_answers(30)


def test_disks_tell_of_their_health_what_they_know_and_one_that_fails_is_told(bed: Bed) -> None:
    api, data = bed.a.api, bed.a.node.device("data")
    api.change("POST", "/v1/pools", {"name": "tank", "disks": [data]})
    sh(bed, f"modprobe -a sd_mod sg; modprobe scsi_debug dev_size_mb=32; until [ -b {SECOND} ]; do sleep 0.1; done")
    sh(bed, LOOPBACK)
    # Those that were never asked are waited for a moment only.
    health(bed)
    wait_for(lambda: all("not been asked" not in (told["why"] or "") for told in health(bed).values()), 30, "asked")
    told = health(bed)
    print(json.dumps(told, indent=1))
    assert (told[data]["verdict"], told[data]["asked_at"]) == ("unknown", None)
    assert "Unable to detect device type" in told[data]["why"]
    (shown,) = api.get("/v1/pools/tank")["members"]
    assert shown["health"] == told[data]
    assert (told[SECOND]["verdict"], told[SECOND]["temperature_celsius"], told[SECOND]["alerts"]) == ("good", 38, [])
    assert (told["/dev/sdb"]["verdict"], told["/dev/sdb"]["temperature_celsius"]) == ("good", None)
    # The disk is told to say that it fails (SPC-5, Informational Exceptions Control, TEST).
    sh(bed, f"sg_wr_mode -p 0x1c -c 1c,a,c,0,0,0,0,0,0,0,0,0 {SECOND}")
    restart(bed)
    wait_for(lambda: health(bed)[SECOND]["verdict"] == "failing", 30, "it is told")
    assert [alert["code"] for alert in health(bed)[SECOND]["alerts"]] == ["disk-failing"]
    # Without the program it is said what to install, and all else goes on.
    sh(bed, "mv /usr/sbin/smartctl /usr/sbin/smartctl.away")
    restart(bed)
    assert {told["verdict"] for told in health(bed).values()} == {"unknown"}
    assert "smartmontools" in health(bed)[SECOND]["why"]
    sh(bed, "mv /usr/sbin/smartctl.away /usr/sbin/smartctl")
    delete(bed, "pools", "tank")
    sh(bed, NO_LOOPBACK)
