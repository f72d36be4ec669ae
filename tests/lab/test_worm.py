"""Volumes that are write once, tried from everywhere: over SMB and NFS, as root on the node, and through the API."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from demo.bed import DAEMON, Bed, wait_for
from demo.client import Refused
from lab import Lab, Node
from tests.lab.product import begin_anew, end

pytestmark = [pytest.mark.lab(seconds=90, is_patient=True), pytest.mark.timeout(240, func_only=True)]

MIB = 1 << 20
POOL, HOME = "/srv/holdfast/main", "/srv/holdfast/main/kept/docs"
LONG_S, BRIEF_S, BRIEFEST_S = 10 * 86400, 20, 2
KEPT, BRIEF = "/v1/volumes/kept", "/v1/volumes/brief"
PASSWORD = "anna's pass word"
RETAINED_WITHIN_S = 30.0
COMES_BACK_WITHIN_S = 90.0

ATTEMPTS = {
    "overwritten": "echo other >{0}",
    "appended to": "echo other >>{0}",
    "truncated": "truncate -s 0 {0}",
    "written in its middle": "dd if=/dev/zero of={0} bs=1 count=1 seek=1 conv=notrunc",
    "removed": "rm -f {0}",
    "renamed": "mv -f {0} {0}-moved",
    "replaced": "echo other >{0}-other; mv -f {0}-other {0}",
}
"""What is done to a file by ordinary tools; each must fail."""


@pytest.fixture(scope="module")
def made(lab_session: Lab) -> Iterator[Bed]:
    """Node a with two volumes that are write once; one of them is a share that node c has mounted both ways."""
    bed = begin_anew(lab_session)
    api, client = bed.a.api, bed.lab.node("c")
    api.change("POST", "/v1/pools", {"name": "main", "disks": [bed.a.node.device("data")]})
    for name, retention_s in (("kept", LONG_S), ("brief", BRIEF_S)):
        make(bed, name, retention_s)
    api.change("POST", "/v1/shares", {"name": "docs", "volume": "kept", "path": "docs"})
    api.change("POST", "/v1/share-users", {"name": "anna", "password": PASSWORD})
    api.change("PUT", "/v1/shares/docs/smb", {"write_users": ["anna"]})
    host = {"network": client.address("client"), "squash": "none"}
    api.change("PUT", "/v1/shares/docs/nfs", {"clients": [host]})
    client.run(["modprobe", "-a", "cifs"])
    client.write_file("/run/cifs", f"username=anna\npassword={PASSWORD}\n".encode(), mode=0o600)
    address = bed.a.node.address("client")
    shell(client, "mkdir -p /mnt/smb /mnt/nfs")
    shell(client, f"mount -t cifs -o vers=3.1.1,nolease,credentials=/run/cifs //{address}/docs /mnt/smb")
    shell(client, f"mount -t nfs4 {address}:/docs /mnt/nfs")
    yield bed
    shell(client, "umount -l /mnt/smb /mnt/nfs || true")
    end(bed)


@pytest.fixture
def bed(made: Bed, lab_bed: Lab) -> Bed:
    """The same."""
    return made


def make(bed: Bed, name: str, retention_s: int | None) -> None:
    wanted = {"pool": "main", "name": name, "size_bytes": 320 * MIB, "kind": "nas"}
    if name != "kept":
        wanted["file_system"] = "ext4"  # one of each
    bed.a.api.change("POST", "/v1/volumes", {**wanted, "worm_retention_s": retention_s})


def shell(node: Node, script: str) -> str:
    return node.run(["sh", "-ec", script], timeout_s=180).stdout.decode()


def fails(node: Node, script: str) -> bool:
    return node.run(["sh", "-ec", script], timeout_s=180, check=False).returncode != 0


def is_immutable(bed: Bed, path: str) -> bool:
    return "i" in shell(bed.a.node, f"lsattr -d {path}").split()[0]


def wait_until_retained(bed: Bed, path: str) -> float:
    began = time.monotonic()
    wait_for(lambda: is_immutable(bed, path), RETAINED_WITHIN_S, f"{path} is retained")
    return time.monotonic() - began


def changed_by(node: Node, path: str, seen_as: Bed, at: str) -> list[str]:
    """What of all that is tried on a file went well, or changed it."""
    before = shell(seen_as.a.node, f"sha256sum <{at}; stat -c '%n %Y' {at}")
    went_well = []
    for what, script in ATTEMPTS.items():
        if not fails(node, script.format(path)):
            went_well.append(what)
        after = seen_as.a.node.run(["sh", "-c", f"sha256sum <{at}; stat -c '%n %Y' {at}"], check=False)
        if after.stdout.decode() != before:
            went_well.append(f"is otherwise after it was {what}")
            break
    return went_well


def refusal(bed: Bed, method: str, path: str, body: Any = None) -> set[str]:
    """The codes of the reasons for which a change is refused."""
    with pytest.raises(Refused) as refused:
        bed.a.api.change(method, path, body)
    print(refused.value)
    return {reason["code"] for reason in refused.value.problem["reasons"]}


@pytest.mark.parametrize("way", ["smb", "nfs", "local"])
def test_a_file_is_retained_once_it_is_closed_and_nobody_changes_it_then(bed: Bed, way: str) -> None:
    node = bed.a.node if way == "local" else bed.lab.node("c")
    at = HOME if way == "local" else f"/mnt/{way}"
    # A control: while it is open for writing nothing is retained, and what is empty is not either.
    shell(node, f"mkfifo /run/{way}; (exec 3>{at}/{way}; echo first >&3; cat /run/{way} >&3) >/dev/null 2>&1 &")
    shell(node, f"touch {at}/{way}-empty; sleep 2; rm {at}/{way}-empty")
    assert not is_immutable(bed, f"{HOME}/{way}")
    shell(node, f"echo second >/run/{way}; rm /run/{way}")
    print(f"retained {wait_until_retained(bed, f'{HOME}/{way}'):.2f} s after it was closed")
    assert shell(bed.a.node, f"cat {HOME}/{way}") == "first\nsecond\n"
    assert changed_by(node, f"{at}/{way}", bed, f"{HOME}/{way}") == []
    # Nor does anybody else, and it is read by all.
    assert changed_by(bed.a.node, f"{HOME}/{way}", bed, f"{HOME}/{way}") == []
    if way != "smb":  # which has no hard links
        assert fails(node, f"ln {at}/{way} {at}/{way}-linked")
    assert shell(node, f"cat {at}/{way}") == "first\nsecond\n"
    # A control: the same is done to a file of an ordinary volume.
    shell(bed.a.node, f"mkdir -p /root/ordinary; echo first >/root/ordinary/{way}")
    assert changed_by(bed.a.node, f"/root/ordinary/{way}", bed, f"/root/ordinary/{way}")[0] == "overwritten"


def test_a_folder_is_renamed_and_what_is_in_it_stays_retained(bed: Bed) -> None:
    client = bed.lab.node("c")
    shell(client, "mkdir /mnt/nfs/folder; echo text >/mnt/nfs/folder/file")
    wait_until_retained(bed, f"{HOME}/folder/file")
    assert fails(client, "rm -rf /mnt/nfs/folder")
    shell(client, "mv /mnt/nfs/folder /mnt/nfs/renamed")
    assert changed_by(client, "/mnt/nfs/renamed/file", bed, f"{HOME}/renamed/file") == []


def test_an_administrator_is_refused_whatever_would_end_it_early(bed: Bed) -> None:
    api = bed.a.api
    shell(bed.a.node, f"echo text >{HOME}/held")
    wait_until_retained(bed, f"{HOME}/held")
    api.change("POST", "/v1/snapshots", {"volume": "kept", "name": "s"})
    while_retained: list[tuple[str, str, Any]] = [
        ("PUT", f"{KEPT}/worm", {"retention_s": None}),
        ("PUT", f"{KEPT}/worm", {"retention_s": LONG_S - 1}),
        ("POST", "/v1/snapshots/kept/s/roll-back?confirm=kept", None),
    ]
    for method, path, body in while_retained:
        assert "retained" in refusal(bed, method, path, body), path
    everything = {"share": "docs", "path": "", "may_replace": True}
    replica = {
        "name": "r",
        "share": "docs",
        "user": "u",
        "password": "long enough it is",
        "allowed_sources": ["127.0.0.1"],
    }
    always: list[tuple[str, str, Any]] = [
        ("POST", "/v1/snapshots/kept/s/restore", everything),
        ("PUT", f"{KEPT}/replication?confirm=kept", {"mode": "destination"}),
        ("POST", "/v1/replica-shares", replica),
        ("POST", "/v1/mirrors", {"name": "m", "volumes": ["kept"], "first_sync": "full"}),
    ]
    for method, path, body in always:
        assert "write-once" in refusal(bed, method, path, body), path
    api.change("DELETE", "/v1/snapshots/kept/s?confirm=s")
    api.change("PUT", f"{KEPT}/worm", {"retention_s": LONG_S + 1})
    shown = api.get(f"{KEPT}/worm")
    assert shown["retention_s"] == LONG_S + 1
    assert shown["retained_files"] >= 1
    assert shown["drift"] == []


def test_a_clock_that_is_set_ahead_lets_nothing_go(bed: Bed) -> None:
    shell(bed.a.node, f"echo text >{HOME}/timed")
    wait_until_retained(bed, f"{HOME}/timed")
    shell(bed.a.node, "date -s '+400 days'")
    try:
        bed.a.api.change("POST", f"{KEPT}/worm/walk")
        assert is_immutable(bed, f"{HOME}/timed")
        assert "retained" in refusal(bed, "PUT", f"{KEPT}/worm", {"retention_s": None})
    finally:
        shell(bed.a.node, "date -s '-400 days'")


@pytest.mark.long
def test_a_file_that_nobody_heard_of_is_retained_when_the_daemon_is_back(bed: Bed) -> None:
    node = bed.a.node
    killed = node.service_pid(DAEMON)
    node.kill_service(DAEMON, signal.SIGSTOP)
    shell(bed.lab.node("c"), "echo text >/mnt/nfs/unheard; sync /mnt/nfs/unheard")
    shell(node, f"echo text >{HOME}/unheard-locally; sleep 1")
    assert not is_immutable(bed, f"{HOME}/unheard")
    node.kill_service(DAEMON)
    bed.a.api.wait_until_it_answers(30)
    assert node.service_pid(DAEMON) != killed
    for name in ("unheard", "unheard-locally"):
        wait_for(partial(is_immutable, bed, f"{HOME}/{name}"), COMES_BACK_WITHIN_S, "it is retained")
        assert changed_by(node, f"{HOME}/{name}", bed, f"{HOME}/{name}") == []
    # Half of it: noted, and not immutable yet.
    shell(node, f"chattr -i {HOME}/unheard")
    bed.a.api.change("POST", f"{KEPT}/worm/walk")
    assert is_immutable(bed, f"{HOME}/unheard")


@pytest.mark.long
def test_after_its_time_a_file_is_removed_and_then_the_volume(bed: Bed) -> None:
    node, at = bed.a.node, f"{POOL}/brief"
    shell(node, f"echo text >{at}/file")
    wait_until_retained(bed, f"{at}/file")
    assert "retained" in refusal(bed, "DELETE", f"{BRIEF}?confirm=brief")
    assert fails(node, f"rm -f {at}/file")
    time.sleep(BRIEF_S + 1)
    result = bed.a.api.change("POST", f"{BRIEF}/worm/walk")["result"]
    assert (result["retained_files"], result["removable_files"]) == (0, 1)
    # Retained longer, it is held again as long as it is there; the next walk lets it go.
    bed.a.api.change("PUT", f"{BRIEF}/worm", {"retention_s": 600})
    assert fails(node, f"rm -f {at}/file")
    assert "retained" in refusal(bed, "DELETE", f"{BRIEF}?confirm=brief")
    shell(node, f"chattr -i {at}/file; rm {at}/file")  # who is root can, and this is no place for it
    bed.a.api.change("PUT", f"{BRIEF}/worm", {"retention_s": BRIEFEST_S})
    shell(node, f"echo more >{at}/second")
    wait_until_retained(bed, f"{at}/second")
    time.sleep(BRIEFEST_S + 1)
    bed.a.api.change("POST", f"{BRIEF}/worm/walk")
    shell(node, f"rm {at}/second")
    bed.a.api.change("DELETE", f"{BRIEF}?confirm=brief")
    assert at not in shell(node, "cat /proc/mounts")


@pytest.mark.long
def test_what_was_retained_is_so_after_a_power_cut_and_the_clock_did_not_jump(bed: Bed) -> None:
    shell(bed.a.node, f"echo text >{HOME}/cut; sync -f {HOME}")
    wait_until_retained(bed, f"{HOME}/cut")
    shell(bed.a.node, f"sync -f {HOME}")
    clock_s = bed.a.api.get(f"{KEPT}/worm")["clock_s"]
    bed.a.node.cut()
    bed.a.node.boot()
    bed.a.api.wait_until_it_answers(30)
    wait_for(lambda: bed.a.api.get(f"{KEPT}/worm")["is_watched"], COMES_BACK_WITHIN_S, "the volume is watched again")
    assert changed_by(bed.a.node, f"{HOME}/cut", bed, f"{HOME}/cut") == []
    assert bed.a.api.get(f"{KEPT}/worm")["clock_s"] <= clock_s + COMES_BACK_WITHIN_S
    note = shell(bed.a.node, f"getfattr --only-values -n trusted.holdfast.worm {HOME}/cut")
    assert json.loads(note)["closed_s"] <= clock_s
