"""What a target that serves can be told and asked, on real kernels with a real initiator."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from holdfast.hooks.target import Chap, InitiatorAccess, LogicalUnit, Portal, Reservations, TargetSpec
from holdfast.values import Secret, to_plain
from lab import Lab, Node
from lab.processes import wait_until
from tests.lab.iscsi import (
    INITIATOR,
    PASSWORD,
    REFUSED,
    SERIAL,
    SPEC,
    STRANGER,
    TPG,
    VIRTUAL_ADDRESS,
    cleared,
    disk,
    drive,
    forget,
    give_address,
    name_interface,
    record,
    shell,
    succeed,
    take_address,
    text_of,
    write_load,
)

pytestmark = [pytest.mark.lab(seconds=38), pytest.mark.timeout(120)]

Nodes = tuple[Node, Node, Node]

PLAIN = replace(SPEC, access=(InitiatorAccess(INITIATOR),))
"""The target of all tests, without a password."""
WITHIN_S = 15.0


@pytest.fixture(scope="module")
def machines(lab_session: Lab) -> Iterator[Nodes]:
    lab_session.restore()
    with cleared(lab_session) as nodes:
        yield nodes


@pytest.fixture
def nodes(machines: Nodes, lab_bed: Lab) -> Iterator[Nodes]:
    yield machines
    forget(machines[2])
    for node in machines[:2]:
        drive(node, "remove")


def sessions(node: Node, spec: TargetSpec = SPEC) -> list[dict[str, object]]:
    found: list[dict[str, object]] = drive(node, "list_sessions", spec=spec)[0]["result"]
    return found


# --- changed while it serves ---


def test_what_changes_under_load_disturbs_nobody(nodes: Nodes) -> None:
    a, _, c = nodes
    give_address(a, c)
    succeed(a, "activate")
    c.run([*record(c), "-l"])
    load = write_load(c, disk(c))
    time.sleep(0.5)
    [before] = sessions(a)

    second = LogicalUnit(2, "two", "/dev/ram1", "5eed" * 8)
    chap = Chap("joe", Secret("another-horse-2"))
    grown = replace(
        SPEC,
        units=(*SPEC.units, second),
        portals=(*SPEC.portals, Portal(a.address("replication"), 3261)),
        access=(InitiatorAccess(INITIATOR, chap), InitiatorAccess(STRANGER)),
    )
    for wanted in (grown, replace(grown, units=SPEC.units), replace(grown, portals=SPEC.portals), grown):
        succeed(a, "stage", spec=wanted)
        assert drive(a, "state", spec=wanted)[0]["result"] == "active"
    # Its name can be removed beside the session of another.
    succeed(a, "stage", spec=replace(grown, access=grown.access[:1]))

    time.sleep(0.5)
    [after] = sessions(a)
    load.kill()
    assert "failed" not in list(load.lines())
    assert (after["id"], after["port"]) == (before["id"], before["port"])
    assert int(str(after["written_bytes"])) > int(str(before["written_bytes"])) > 0
    assert int(str(after["commands"])) > int(str(before["commands"]))
    # … and the session learns of the second unit by looking again.
    shell(c, "iscsiadm -m session --rescan")
    assert wait_until(lambda: text_of(c, "ls", "/sys/block").count("sd") == 2, WITHIN_S)
    # The new password is the one that counts at the next login.
    forget(c)
    assert c.run([*record(c, PASSWORD), "-l"], check=False).returncode == REFUSED
    forget(c)
    c.run([*record(c, "another-horse-2"), "-l"])


def test_a_session_can_be_closed_and_comes_back(nodes: Nodes) -> None:
    a, _, c = nodes
    give_address(a, c)
    succeed(a, "activate", spec=PLAIN)
    c.run([*record(c, None), "-l"])
    [before] = sessions(a)
    assert drive(a, f"close {STRANGER}")[0]["error"] == "NotFoundError"
    succeed(a, f"close {INITIATOR}", spec=PLAIN)
    assert wait_until(lambda: any(found["id"] != before["id"] for found in sessions(a)), WITHIN_S)
    assert all(found["port"] != before["port"] for found in sessions(a))
    assert drive(a, "state", spec=PLAIN)[0]["result"] == "active"


# --- who may come in ---


def test_an_open_export_is_open_and_a_closed_one_is_closed_again(nodes: Nodes) -> None:
    a, _, c = nodes
    give_address(a, c)
    name_interface(c, STRANGER)
    succeed(a, "activate", spec=replace(SPEC, is_open=True))
    c.run([*record(c, None, interface="other"), "-l"])
    device = disk(c)
    c.run(["dd", "if=/dev/zero", f"of={device}", "bs=4k", "count=1", "oflag=direct"])
    assert drive(a, f"close {STRANGER}")[0]["error"] == "ConflictError"
    c.run(["iscsiadm", "-m", "node", "-u"])
    succeed(a, "stage")
    assert c.run([*record(c, None, interface="other"), "-l"], check=False).returncode == REFUSED


def test_discovery_asks_for_its_own_credentials(nodes: Nodes) -> None:
    a, _, c = nodes
    give_address(a, c)
    succeed(a, "activate", f"discovery {json.dumps(to_plain(Chap('finder', Secret(PASSWORD)), reveal=True))}")
    find = ["iscsiadm", "-m", "discovery", "-t", "st", "-p", f"{VIRTUAL_ADDRESS}:3260"]
    try:
        assert SPEC.iqn.encode() not in c.run(find, check=False).stdout
        database = ["iscsiadm", "-m", "discoverydb", "-t", "st", "-p", f"{VIRTUAL_ADDRESS}:3260"]
        c.run([*database, "-o", "new"])
        for name, value in (("authmethod", "CHAP"), ("username", "finder"), ("password", PASSWORD)):
            c.run([*database, "-o", "update", "-n", f"discovery.sendtargets.auth.{name}", "-v", value])
        assert SPEC.iqn.encode() in c.run([*database, "--discover"]).stdout
        c.run([*database, "-o", "delete"])
    finally:
        succeed(a, "discovery ")
    assert SPEC.iqn.encode() in c.run(find).stdout


def test_a_port_that_another_program_has_is_named(nodes: Nodes) -> None:
    a = nodes[0]
    taken = a.popen(["python3", "-c", "import socket,time; s=socket.create_server(('0.0.0.0',3299)); time.sleep(60)"])
    time.sleep(0.5)
    try:
        [answer] = drive(a, "activate", spec=replace(SPEC, portals=(Portal(a.address("client"), 3299),)))
        assert answer["error"] == "ConflictError", answer
        assert any("3299" in reason for reason in answer["reasons"])
    finally:
        taken.kill()


# --- what an initiator is told ---


def test_a_unit_tells_what_it_was_asked_to_tell(nodes: Nodes) -> None:
    a, _, c = nodes
    give_address(a, c)
    unit = replace(
        PLAIN.units[0], device="/dev/loop7", may_unmap=True, block_size_bytes=4096, optimal_blocks=32, vendor="ACME"
    )
    spec = replace(PLAIN, units=(unit, LogicalUnit(0, "two", "/dev/ram1", "5eed" * 8)))
    [refused] = drive(a, "activate", spec=replace(PLAIN, units=(replace(unit, device="/dev/ram0"),)))
    assert (refused["error"], "unmap" in str(refused["reasons"])) == ("ConflictError", True), refused
    succeed(a, "remove", spec=PLAIN)
    shell(a, "modprobe loop; truncate -s 16M /run/loop7; losetup /dev/loop7 /run/loop7")
    try:
        succeed(a, "activate", spec=spec)
        c.run([*record(c, None), "-l"])
        assert wait_until(lambda: text_of(c, "ls", "/sys/block").count("sd") == 2, WITHIN_S)
        block = next(
            name
            for name in text_of(c, "ls", "/sys/block").split()
            if name.startswith("sd") and "ACME" in text_of(c, "cat", f"/sys/block/{name}/device/vendor")
        )
        limits = f"/sys/block/{block}/queue"
        told = [text_of(c, "cat", f"{limits}/{name}").strip() for name in ("logical_block_size", "optimal_io_size")]
        assert told == ["4096", str(32 * 4096)]
        assert int(text_of(c, "cat", f"{limits}/discard_max_bytes")) > 0
        shell(c, f"dd if=/dev/urandom of=/dev/{block} bs=1M count=8 oflag=direct; blkdiscard -o 0 -l 4M /dev/{block}")
        assert int(shell(a, "stat -c %b /run/loop7").strip()) * 512 <= 12 << 20
    finally:
        forget(c)
        succeed(a, "remove", spec=spec)
        shell(a, "losetup -d /dev/loop7; rm /run/loop7")


# --- reservations ---

KEY = "0x7777"


def persist(c: Node, device: str, *options: str) -> str:
    return text_of(c, "sg_persist", *options, device)


def test_a_reservation_follows_the_unit_to_the_other_node(nodes: Nodes) -> None:
    a, b, c = nodes
    give_address(a, c)
    succeed(a, "activate", spec=PLAIN)
    succeed(b, "stage", spec=PLAIN)
    c.run([*record(c, None), "-l"])
    device = disk(c)
    persist(c, device, "--out", "--register", f"--param-sark={KEY}", "--param-aptpl")
    persist(c, device, "--out", "--reserve", f"--param-rk={KEY}", "--prout-type=5")
    [kept] = succeed(a, "read_reservations", spec=PLAIN)[0]["result"]
    assert kept["serial"] == SERIAL
    assert INITIATOR in kept["text"]

    # The node that serves does not let itself be told.
    assert drive(a, f"keep {json.dumps(kept)}", spec=PLAIN)[0]["error"] == "ConflictError"
    succeed(b, f"keep {json.dumps(kept)}", spec=PLAIN)
    take_address(a)
    succeed(a, "deactivate", spec=PLAIN)
    succeed(b, "activate", spec=PLAIN)
    give_address(b, c)
    assert wait_until(lambda: bool(sessions(b)), 30)
    assert KEY in persist(c, device, "--in", "--read-keys")
    assert "Write Exclusive, registrants only" in persist(c, device, "--in", "--read-reservation")
    # Taken back by who made it, it is gone for good.
    persist(c, device, "--out", "--register", f"--param-rk={KEY}", "--param-sark=0", "--param-aptpl")
    assert succeed(b, "read_reservations", spec=PLAIN)[0]["result"][0]["text"] == ""
    forget(c)  # without the address it would wait
    take_address(b)


def test_without_what_was_kept_the_reservation_is_lost(nodes: Nodes) -> None:
    """That the test above would notice."""
    a, _, c = nodes
    give_address(a, c)
    succeed(a, "activate", spec=PLAIN)
    c.run([*record(c, None), "-l"])
    device = disk(c)
    persist(c, device, "--out", "--register", f"--param-sark={KEY}", "--param-aptpl")
    assert KEY in persist(c, device, "--in", "--read-keys")
    c.run(["iscsiadm", "-m", "node", "-u"])
    none = json.dumps(to_plain(Reservations(SERIAL, "")))
    succeed(a, "deactivate", f"keep {none}", "activate", spec=PLAIN)
    c.run([*record(c, None), "-l"])
    assert KEY not in persist(c, disk(c), "--in", "--read-keys")


# --- other fabrics ---


def test_a_loopback_target_is_a_disk_of_this_machine(nodes: Nodes) -> None:
    a = nodes[0]
    a.run(["modprobe", "sd_mod"])
    spec = TargetSpec(
        "lab-loop", "naa.5001405000000001", (), (LogicalUnit(3, "v", "/dev/ram2", "5eed" * 8, vendor="LOOPED"),), ()
    )
    answers = succeed(a, "stage", "state", "activate", "activate", "state", "read", "list_iqns", spec=spec)
    assert [answers[1]["result"], answers[4]["result"]] == ["staged", "active"]
    assert answers[5]["result"]["units"][0]["lun"] == 3
    assert spec.iqn in answers[6]["result"]
    device = disk(a)
    assert "LOOPED" in text_of(a, "sg_inq", device)
    shell(a, f"dd if=/dev/urandom of={device} bs=1M count=4 oflag=direct; cmp -n 4194304 {device} /dev/ram2")
    # Who holds the disk is named: a process, a mount.
    assert drive(a, "list_sessions", spec=spec)[0]["result"] == []
    holder = a.popen(["sh", "-c", f"exec 3<{device}; exec sleep 60"])
    mounted = f"mkfs.ext4 -q {device}; mkdir -p /run/looped; mount {device} /run/looped"
    shell(a, mounted)
    found = [session["initiator"] for session in drive(a, "list_sessions", spec=spec)[0]["result"]]
    # Before anything is asserted: a disk that vanishes under its file system ends the node.
    shell(a, "umount /run/looped")
    holder.kill()
    assert [name.split()[0] for name in found] == [f"{device},", "process"], found
    assert "/run/looped" in found[0]
    succeed(a, "deactivate", spec=spec)
    assert wait_until(lambda: "sd" not in text_of(a, "ls", "/sys/block"), WITHIN_S)
    answers = succeed(a, "activate", "remove", "state", "list_iqns", spec=spec)
    assert (answers[2]["result"], answers[3]["result"]) == ("absent", [])


def test_a_target_of_fibre_channel_is_taken_as_far_as_a_kernel_without_a_card_goes(nodes: Nodes) -> None:
    a = nodes[0]
    initiator = InitiatorAccess("20:00:00:00:00:00:00:02")
    unit = LogicalUnit(1, "v", "/dev/ram2", "5eed" * 8)
    spec = TargetSpec("lab-fc", "fcoe.20:00:00:00:00:00:00:01", (), (unit,), (initiator,))
    answers = succeed(a, "stage", "activate", "state", "read", "deactivate", "remove", "state", spec=spec)
    assert [answers[2]["result"], answers[6]["result"]] == ["active", "absent"]
    assert [found["initiator"] for found in answers[3]["result"]["access"]] == [initiator.initiator]
    # A card's own driver is not among this kernel's modules, and that is what is said.
    [refused] = drive(a, "activate", spec=replace(spec, iqn="21:00:00:00:00:00:00:01"))
    assert (refused["error"], "tcm_qla2xxx" in str(refused)) == ("UnavailableError", True), refused


def test_the_trees_of_both_nodes_are_one(nodes: Nodes) -> None:
    a, b, _ = nodes
    for node in (a, b):
        succeed(node, "activate", spec=PLAIN)
    reads = [succeed(node, "read", spec=PLAIN)[0]["result"] for node in (a, b)]
    assert reads[0] == reads[1]
    names = [shell(node, f"cd {TPG}; find . ! -path '*statistics*' | sort") for node in (a, b)]
    assert names[0] == names[1]
