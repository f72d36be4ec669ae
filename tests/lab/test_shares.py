"""Shares offered to real clients: smbclient, the kernel's cifs and NFS, all of them on another host."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from demo import files
from demo.bed import DAEMON, Bed, wait_for
from demo.client import Refused
from demo.report import Report
from lab import Lab, Node
from tests.lab.product import begin_anew, end

pytestmark = [pytest.mark.lab(seconds=120, is_patient=True), pytest.mark.timeout(180, func_only=True)]

SHARE = files.SHARE
SMB, NFS, SESSIONS = (f"/v1/shares/{SHARE}/{what}" for what in ("smb", "nfs", "sessions"))
PASSWORDS = {"anna": "anna's pass word", "bert": "the one of bert"}
COMES_BACK_WITHIN_S = 45.0
HELD_TO_IT_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def pair(lab_session: Lab) -> Iterator[Bed]:
    """Two paired nodes, each with a share; node a has two users, one of them in a group."""
    bed = begin_anew(lab_session)
    report = Report()
    files.pair(bed, report)
    files.make_share(bed, report)
    for name, password in PASSWORDS.items():
        bed.a.api.change("POST", "/v1/share-users", {"name": name, "password": password})
    bed.a.api.change("POST", "/v1/share-groups", {"name": "team", "members": ["bert"]})
    client(bed).run(["modprobe", "-a", "cifs"])
    yield bed
    shell(client(bed), "umount -l /mnt/smb /mnt/nfs 2>/dev/null || true")
    end(bed)


@pytest.fixture
def bed(pair: Bed, lab_bed: Lab) -> Bed:
    """The pair, its share offered by SMB: anna writes, the group of bert reads."""
    offer_smb(pair)
    return pair


def client(bed: Bed) -> Node:
    return bed.lab.node("c")


def shell(node: Node, script: str, *, timeout_s: float = 30) -> str:
    return node.run(["sh", "-ec", script], timeout_s=timeout_s).stdout.decode()


def offer_smb(bed: Bed, **changes: Any) -> Any:
    wanted = {"read_groups": ["team"], "write_users": ["anna"], **changes}
    return bed.a.api.change("PUT", SMB, wanted)


def smb(bed: Bed, user: str, commands: str, password: str | None = None, share: str | None = None) -> tuple[bool, str]:
    """What smbclient on node c says to commands, and whether all of them went well."""
    node = client(bed)
    login = f"username = {user}\npassword = {password or PASSWORDS[user]}\n"
    node.write_file("/run/login", login.encode(), mode=0o600)
    argv = ["smbclient", "-A", "/run/login", share or f"//{bed.a.node.address('client')}/{SHARE}", "-c", commands]
    done = node.run(argv, timeout_s=30, check=False)
    text = (done.stdout + done.stderr).decode()
    return done.returncode == 0 and "NT_STATUS" not in text, text


def here(bed: Bed) -> str:
    return files.share_path(bed.a)


def test_a_user_writes_over_smb_and_whoever_may_only_read_does_not(bed: Bed) -> None:
    assert smb(bed, "anna", "put /etc/hostname from-anna")[0]
    assert shell(bed.a.node, f"cat {here(bed)}/from-anna") == shell(client(bed), "cat /etc/hostname")
    assert smb(bed, "bert", "get from-anna /run/fetched")[0]
    went_well, said = smb(bed, "bert", "put /etc/hostname from-bert")
    assert not went_well
    assert "ACCESS_DENIED" in said
    assert not smb(bed, "anna", "ls", password="another one")[0]
    assert "from-bert" not in shell(bed.a.node, f"ls {here(bed)}")
    # Who made it owns it, by number, and the other users of the share may use it.
    uid = bed.a.api.get("/v1/share-users/anna")["uid"]
    assert shell(bed.a.node, f"stat -c '%u %g %a' {here(bed)}/from-anna").split() == [str(uid), "19999", "664"]


def test_a_hidden_share_is_not_shown_and_is_used_by_its_name(bed: Bed) -> None:
    assert SHARE in listed(bed)
    offer_smb(bed, is_hidden=True)
    assert SHARE not in listed(bed)
    assert smb(bed, "anna", "ls")[0]


def listed(bed: Bed) -> list[str]:
    """What node c sees when it browses as anna."""
    smb(bed, "anna", "ls")  # which leaves the login there
    address = bed.a.node.address("client")
    told = shell(client(bed), f"smbclient -A /run/login -g -L //{address}")
    return [line.split("|")[1] for line in told.splitlines() if line.startswith("Disk|")]


# --- NFS ---


def offer_nfs(bed: Bed, *clients: dict[str, Any], **changes: Any) -> Any:
    return bed.a.api.change("PUT", NFS, {"clients": list(clients), **changes})


def mounted(bed: Bed) -> str:
    """The share mounted by NFS on node c, where it is now."""
    address = bed.a.node.address("client")
    shell(client(bed), f"mkdir -p /mnt/nfs; mountpoint -q /mnt/nfs || mount -t nfs4 {address}:/{SHARE} /mnt/nfs")
    return "/mnt/nfs"


def says(node: Node, script: str) -> str:
    """What a script says that must not go well."""
    done = node.run(["sh", "-ec", script], timeout_s=60, check=False)
    assert done.returncode != 0, done.stdout
    return done.stderr.decode()


def test_a_host_writes_over_nfs_and_is_held_to_what_it_may(bed: Bed) -> None:
    host = {"network": client(bed).address("client"), "squash": "none"}
    offer_nfs(bed, host)
    at = mounted(bed)
    shell(client(bed), f"echo by NFS >{at}/from-c; sync -f {at}/from-c")
    assert shell(bed.a.node, f"cat {here(bed)}/from-c") == "by NFS\n"
    assert smb(bed, "anna", "get from-c /run/fetched")[0]  # one share, both protocols
    print(bed.a.api.get(SESSIONS))
    [session] = [found for found in bed.a.api.items(SESSIONS) if found["protocol"] == "nfs"]
    assert session["client"] == client(bed).address("client")
    # A descriptor that stays open, and a file of each second that could still be written to it.
    shell(
        client(bed),
        f"(exec 3>>{at}/held; while sleep 0.2; do echo more >&3; sync {at}/held || exit; done) >/dev/null 2>&1 &",
    )
    wait_for(lambda: held_by_nfs(bed) == [["docs/held"]], HELD_TO_IT_WITHIN_S, "the open file is listed")
    with pytest.raises(Refused) as refused:
        bed.a.api.change("DELETE", NFS)
    assert "holds open docs/held" in str(refused.value)
    offer_nfs(bed, host, is_read_only=True)
    assert "Read-only file system" in says(client(bed), f"echo again >{at}/from-c")
    size = shell(bed.a.node, f"stat -c %s {here(bed)}/held; sleep 1; stat -c %s {here(bed)}/held").split()
    assert size[0] == size[1]
    assert shell(client(bed), f"cat {at}/from-c") == "by NFS\n"
    offer_nfs(bed, {"network": "10.99.0.0/16"})
    assert "from-c" not in client(bed).run(["ls", at], check=False, timeout_s=20).stdout.decode()
    shell(client(bed), f"umount -l {at}")  # while there is a server that answers
    bed.a.api.change("DELETE", f"{NFS}?confirm={SHARE}")
    assert shell(bed.a.node, "cat /proc/fs/nfsd/threads") == "0\n"
    assert "/root/docs" not in shell(bed.a.node, "cat /proc/mounts /var/lib/nfs/etab")


def held_by_nfs(bed: Bed) -> list[list[str]]:
    found = [session for session in bed.a.api.items(SESSIONS) if session["protocol"] == "nfs"]
    return [[file["path"] for file in session["files"]] for session in found if session["files"]]


# --- changes under way ---


class Smbclient:
    """An smbclient on node c that stays connected, and is told more and more."""

    def __init__(self, bed: Bed, user: str) -> None:
        node = client(bed)
        node.write_file(f"/run/login-{user}", f"username = {user}\npassword = {PASSWORDS[user]}\n".encode(), mode=0o600)
        # Without buffers: it waits for more input although it has read more than a line.
        argv = ["stdbuf", "-i0", "-o0", "smbclient", "-A", f"/run/login-{user}"]
        self._process = node.popen([*argv, f"//{bed.a.node.address('client')}/{SHARE}"])
        self._lines = self._process.lines()

    def tell(self, line: str) -> bool:
        """Give a command; whether it went well."""
        self._process.write(f"{line}\n!echo over\n".encode())
        said = []
        for answer in self._lines:
            if "over" in answer:
                break
            said.append(answer)
        return not any("NT_STATUS" in answer for answer in said)


def test_a_change_takes_from_one_client_what_it_may_no_more_and_leaves_the_other_alone(bed: Bed) -> None:
    anna, bert = Smbclient(bed, "anna"), Smbclient(bed, "bert")
    assert anna.tell("put /etc/hostname live")
    assert anna.tell("open live")
    assert bert.tell("ls")
    with pytest.raises(Refused) as refused:
        bed.a.api.change("DELETE", f"/v1/shares/{SHARE}")
    address = client(bed).address("client")
    assert re.search(rf"anna at {re.escape(address)} holds open (\w+, )*live\b", str(refused.value))
    before = {s["user"]: s for s in bed.a.api.items(SESSIONS)}
    assert set(before) == {"anna", "bert"}
    offer_smb(bed, is_read_only=True)
    assert not anna.tell("put /etc/hostname live")
    assert bert.tell("ls")
    assert "ACCESS_DENIED" in smb(bed, "anna", "put /etc/hostname live")[1]
    offer_smb(bed)
    assert smb(bed, "anna", "put /etc/hostname live")[0]
    assert bert.tell("ls")
    # Without his group he has no access, at once.
    bed.a.api.change("PUT", "/v1/share-groups/team", {"members": []})
    assert not bert.tell("ls")
    assert not smb(bed, "bert", "ls")[0]
    bed.a.api.change("PUT", "/v1/share-groups/team", {"members": ["bert"]})


@pytest.mark.long
def test_the_kernels_cifs_writes_and_its_locks_are_shown(bed: Bed) -> None:
    node = client(bed)
    # Without a lease, with which it would keep its locks to itself.
    node.write_file("/run/cifs", f"username=anna\npassword={PASSWORDS['anna']}\n".encode(), mode=0o600)
    where = f"//{bed.a.node.address('client')}/{SHARE} /mnt/smb"
    shell(node, f"mkdir -p /mnt/smb; mount -t cifs -o vers=3.1.1,nolease,credentials=/run/cifs {where}")
    shell(node, "head -c 1000000 /dev/urandom >/mnt/smb/by-cifs; cp /mnt/smb/by-cifs /run/by-cifs")
    shell(node, "(exec 3>>/mnt/smb/locked; flock -x 3; sleep 20) >/dev/null 2>&1 &")
    wait_for(lambda: is_locked(bed), HELD_TO_IT_WITHIN_S, "the lock is shown")
    digest = shell(node, "sha256sum </run/by-cifs")
    assert shell(bed.a.node, f"sha256sum <{here(bed)}/by-cifs") == digest
    shell(node, "umount -l /mnt/smb")


def is_locked(bed: Bed) -> bool:
    files = [file for session in bed.a.api.items(SESSIONS) for file in session["files"]]
    return any(file["path"] == "locked" and file["is_locked"] and file["is_writing"] for file in files)


# --- snapshots that clients see ---

SNAPSHOTS = f"/v1/snapshots/{files.VOLUME}"
SCHEDULE = f"/v1/volumes/{files.VOLUME}/snapshot-schedules/soon"


@pytest.fixture
def then(bed: Bed) -> Iterator[str]:
    """A snapshot of when `was` held `then`; a link in the share leads to a file of the volume beside it."""
    shell(bed.a.node, f"cd {here(bed)} && rm -rf * && echo then >was && echo secret >../beside && ln -s ../beside out")
    shell(bed.a.node, f"sync -f {here(bed)}")
    bed.a.api.change("POST", "/v1/snapshots", {"volume": files.VOLUME, "name": "then"})
    shell(bed.a.node, f"echo now >{here(bed)}/was; rm {here(bed)}/out; sync -f {here(bed)}")
    yield label(bed, "then")
    offer_smb(bed)
    shell(client(bed), "umount -l /mnt/nfs 2>/dev/null || true")
    if SHARE in shell(bed.a.node, "cat /var/lib/nfs/etab 2>/dev/null || true"):
        bed.a.api.change("DELETE", f"{NFS}?confirm={SHARE}")
    for snapshot in bed.a.api.items("/v1/snapshots"):
        bed.a.api.change("DELETE", f"{SNAPSHOTS}/{snapshot['name']}?confirm={snapshot['name']}")
    shell(bed.a.node, f"rm -f {here(bed)}/../beside")


def label(bed: Bed, name: str) -> str:
    """How clients of SMB call a snapshot: by the time at which it was taken."""
    taken_at = datetime.fromisoformat(bed.a.api.get(f"{SNAPSHOTS}/{name}")["taken_at"]).astimezone(UTC)
    return f"{taken_at:@GMT-%Y.%m.%d-%H.%M.%S}"


def told(bed: Bed, path: str) -> dict[str, str | None]:
    return {each["name"]: each["reason"] for each in bed.a.api.get(path)["snapshots"]}


def host_of(bed: Bed) -> dict[str, Any]:
    return {"network": client(bed).address("client"), "squash": "none"}


def get(bed: Bed, path: str) -> str | None:
    """What anna reads by SMB."""
    shell(client(bed), "rm -f /run/fetched")
    return shell(client(bed), "cat /run/fetched") if smb(bed, "anna", f"get {path} /run/fetched")[0] else None


def test_users_of_smb_see_former_versions_and_write_to_none(bed: Bed, then: str) -> None:
    assert then not in smb(bed, "anna", "allinfo was")[1]  # nobody asked for it yet
    offer_smb(bed, shows_snapshots=True)
    assert told(bed, SMB) == {"then": None}
    assert then in smb(bed, "anna", "allinfo was")[1]
    assert (get(bed, f"{then}/was"), get(bed, "was")) == ("then\n", "now\n")
    assert "was" in smb(bed, "bert", f"ls {then}/*")[1]
    # Neither by a link that was in the share then, nor upwards.
    assert "secret" in shell(bed.a.node, f"cat /srv/holdfast/{files.POOL}/{files.VOLUME}.snapshots/then/beside")
    assert [get(bed, f"{then}/{path}") for path in ("out", "../beside")] == [None, None]
    for command in ("put /etc/hostname {}/was", "rm {}/was", "mkdir {}/new", "rename {}/was {}/other", "rm {}/out"):
        assert not smb(bed, "anna", command.replace("{}", then))[0], command
    assert get(bed, f"{then}/was") == "then\n"
    assert smb(bed, "anna", "put /etc/hostname written")[0]
    assert bed.a.api.get(SMB)["drift"] == []


def test_hosts_of_nfs_see_snapshots_in_a_folder_and_write_to_none(bed: Bed, then: str) -> None:
    offer_nfs(bed, host_of(bed))
    at = mounted(bed)
    assert shell(client(bed), f"ls -A {at}") == "was\n"  # nobody asked for it yet
    offer_nfs(bed, host_of(bed), shows_snapshots=True)
    assert told(bed, NFS) == {"then": None}
    inside = f"{at}/.snapshots/then"
    assert shell(client(bed), f"ls {at}/.snapshots; ls -A {inside}; cat {inside}/was {at}/was").split() == [
        "then",
        "out",
        "was",
        "then",
        "now",
    ]
    assert "No such file" in says(client(bed), f"cat {inside}/../beside")
    for script in (f"echo x >{inside}/was", f"rm {inside}/was", f"mkdir {inside}/new", f"mkdir {at}/.snapshots/new"):
        assert "Read-only file system" in says(client(bed), script)
    assert "busy" in says(client(bed), f"rmdir {at}/.snapshots").lower()
    shell(client(bed), f"echo written >{at}/was; sync {at}/was")
    # On the volume itself there is an empty directory, and it goes with the offer.
    assert shell(bed.a.node, f"ls -A {here(bed)} {here(bed)}/.snapshots | grep -c then || true") == "0\n"
    offer_nfs(bed, host_of(bed))
    assert shell(bed.a.node, f"ls -A {here(bed)}") == "was\n"
    says(client(bed), f"cat {inside}/was")
    assert shell(client(bed), f"cat {at}/was") == "written\n"


@pytest.mark.long
@pytest.mark.timeout(300, func_only=True)
def test_one_that_clients_have_open_is_thinned_out_and_one_that_a_person_mounted_is_not(bed: Bed, then: str) -> None:
    offer_smb(bed, shows_snapshots=True)
    offer_nfs(bed, host_of(bed), shows_snapshots=True)
    at = mounted(bed)
    take_soon(bed, of_before=0)
    [first] = soon(bed)
    bed.a.api.change("POST", f"{SNAPSHOTS}/{first}/mount")
    take_soon(bed, of_before=1)
    assert first in soon(bed)  # the control: it does not yield
    bed.a.api.change("POST", f"{SNAPSHOTS}/{first}/unmount")
    wait_for(lambda: is_seen(bed, first), COMES_BACK_WITHIN_S, "clients see it")
    anna = Smbclient(bed, "anna")
    assert anna.tell(f"open {label(bed, first)}/was")
    shell(client(bed), f"(exec 3<{at}/.snapshots/{first}/was; sleep 100) >/dev/null 2>&1 & sleep 1")
    take_soon(bed, of_before=2)
    wait_for(lambda: len(soon(bed)) == 1, COMES_BACK_WITHIN_S, "the schedule thins them out")
    assert first not in shell(bed.a.node, "lvs --noheadings -o lv_name; cat /proc/mounts")
    assert not anna.tell("ls")  # the share was closed to her
    assert smb(bed, "anna", "put /etc/hostname written")[0]
    shell(client(bed), f"echo on >{at}/was; sync {at}/was")
    bed.a.api.change("DELETE", SCHEDULE)


def is_seen(bed: Bed, name: str) -> bool:
    """Whether clients of both protocols see a snapshot."""
    return all(told(bed, path).get(name, "absent") is None for path in (SMB, NFS))


def soon(bed: Bed) -> list[str]:
    return [each["name"] for each in bed.a.api.items("/v1/snapshots") if each["schedule"] == "soon"]


def take_soon(bed: Bed, *, of_before: int) -> None:
    """Have the schedule take one now, and see it to the end of its thinning out."""
    before = set(soon(bed))
    assert len(before) == of_before
    starts_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    hours = {"every_hours": 1, "retention": {"last": 1}, "starts_at": starts_at.isoformat()}
    bed.a.api.change("PUT", SCHEDULE, hours)
    wait_for(lambda: bool(set(soon(bed)) - before), 30, "one is taken")
    time.sleep(2)


@pytest.mark.long
@pytest.mark.timeout(300, func_only=True)
def test_a_killed_daemon_and_mounts_that_were_taken_away_are_mended(bed: Bed, then: str) -> None:
    offer_smb(bed, shows_snapshots=True)
    offer_nfs(bed, host_of(bed), shows_snapshots=True)
    at = mounted(bed)
    places = [line.split()[1] for line in shell(bed.a.node, "cat /proc/mounts").splitlines() if "@GMT-" in line]
    places.append(f"/srv/holdfast/{files.POOL}/{files.VOLUME}.snapshots/then")
    assert len(places) == 2
    bed.a.node.kill_service(DAEMON)
    shell(bed.a.node, "".join(f"umount -l '{place}'; " for place in places))
    assert get(bed, f"{then}/was") is None
    bed.a.api.wait_until_it_answers(30)
    wait_for(lambda: get(bed, f"{then}/was") == "then\n", COMES_BACK_WITHIN_S, "users see it again")
    assert shell(client(bed), f"cat {at}/.snapshots/then/was") == "then\n"
    assert bed.a.api.get(SMB)["drift"] == bed.a.api.get(NFS)["drift"] == []
    # Rolling back needs the snapshot free, and its clients come back to what was.
    bed.a.api.change("POST", f"{SNAPSHOTS}/then/roll-back?confirm={files.VOLUME}")
    assert shell(bed.a.node, f"cat {here(bed)}/was") == "then\n"
    wait_for(lambda: told(bed, SMB)["then"] is None, COMES_BACK_WITHIN_S, "users see it again")


# --- after a restart, a power cut; as a replica ---


def test_clients_of_both_protocols_go_on_when_the_daemon_is_killed(bed: Bed) -> None:
    offer_nfs(bed, {"network": client(bed).address("client"), "squash": "none"})
    at = mounted(bed)
    anna = Smbclient(bed, "anna")
    assert anna.tell("put /etc/hostname before")
    processes = shell(bed.a.node, "pgrep -o -x smbd; cat /proc/fs/nfsd/threads")
    killed = bed.a.node.service_pid(DAEMON)
    bed.a.node.kill_service(DAEMON)
    assert anna.tell("put /etc/hostname meanwhile")
    shell(client(bed), f"echo meanwhile >{at}/by-nfs; sync {at}/by-nfs")
    bed.a.api.wait_until_it_answers(30)
    assert bed.a.node.service_pid(DAEMON) != killed
    wait_for(lambda: bed.a.api.get(SMB)["drift"] == [], COMES_BACK_WITHIN_S, "the share is offered as wanted")
    assert shell(bed.a.node, "pgrep -o -x smbd; cat /proc/fs/nfsd/threads") == processes
    assert anna.tell("put /etc/hostname after")
    shell(client(bed), f"echo after >{at}/by-nfs; sync {at}/by-nfs")
    shell(client(bed), f"umount -l {at}")


@pytest.mark.long
def test_shares_users_and_exports_are_there_again_after_a_power_cut(bed: Bed) -> None:
    offer_nfs(bed, {"network": client(bed).address("client"), "squash": "none"})
    at = mounted(bed)
    assert smb(bed, "anna", "put /etc/hostname kept")[0]
    shell(client(bed), f"echo kept >{at}/kept-too; sync {at}/kept-too")
    bed.a.node.cut()
    bed.a.node.boot()
    bed.a.api.wait_until_it_answers(30)
    began = time.monotonic()
    wait_for(lambda: smb(bed, "anna", "get kept /run/fetched")[0], COMES_BACK_WITHIN_S, "anna can log in")
    # The mount of before the cut goes on by itself: the file system has the name that it had.
    assert shell(client(bed), f"cat {at}/kept-too", timeout_s=60) == "kept\n"
    print(f"SMB and NFS were back {time.monotonic() - began:.1f} s after the API")
    assert bed.a.api.get(SMB)["drift"] == bed.a.api.get(NFS)["drift"] == []
    shell(client(bed), f"umount -l {at}")
    bed.a.api.change("DELETE", f"{NFS}?confirm={SHARE}")


def test_a_share_that_is_offered_is_copied_and_its_copy_is_read_only_for_clients(bed: Bed) -> None:
    b = bed.b.api
    b.change("POST", "/v1/share-users", {"name": "anna", "password": PASSWORDS["anna"]})
    b.change("PUT", SMB, {"write_users": ["anna"]})
    there = f"//{bed.b.node.address('client')}/{SHARE}"
    assert smb(bed, "anna", "put /etc/hostname mine; rm mine", share=there)[0]
    files.open_replica(bed, Report())
    assert "ACCESS_DENIED" in smb(bed, "anna", "put /etc/hostname mine", share=there)[1]
    assert smb(bed, "anna", "put /etc/hostname copied")[0]
    files.run_task(bed)
    files.compare(bed)
    assert smb(bed, "anna", "get copied /run/copied", share=there)[0]
    assert "ACCESS_DENIED" in smb(bed, "anna", "rm copied", share=there)[1]
    files.run_task(bed)
    files.compare(bed)
    # The folder for snapshots is no part of the copy.
    offer_nfs(bed, host_of(bed), shows_snapshots=True)
    files.run_task(bed)
    assert [".snapshots" in shell(s.node, f"ls -A {files.share_path(s)}").split() for s in (bed.a, bed.b)] == [
        True,
        False,
    ]
    bed.a.api.change("DELETE", NFS)
    files.run_task(bed)
    files.compare(bed)
    bed.a.api.change("DELETE", f"/v1/replication-tasks/{files.TASK}")
    b.change("DELETE", f"/v1/replica-shares/{files.REPLICA}")
    assert smb(bed, "anna", "rm copied", share=there)[0]
