"""iSCSI targets on real kernels: the contract, logins, letting go under load, one identity on two nodes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from holdfast.hooks.target import Chap, InitiatorAccess, LogicalUnit, Portal
from holdfast.values import Secret
from lab import Lab, Node
from lab.layout import CHECKOUT
from lab.processes import wait_until
from tests.lab.iscsi import (
    INITIATOR,
    LIO,
    PASSWORD,
    REFUSED,
    SERIAL,
    SPEC,
    STRANGER,
    TPG,
    VIRTUAL_ADDRESS,
    cleared,
    copy,
    disk,
    drive,
    forget,
    give_address,
    identity,
    name_interface,
    record,
    shell,
    succeed,
    take_address,
    take_exclusively,
    text_of,
    write_load,
)
from tests.lab.worker import FEW_PLUGINS, PYTHON, environment

pytestmark = [pytest.mark.lab(seconds=67), pytest.mark.timeout(240)]

ACTIVATE_WITHIN_S = 0.5
LET_GO_WITHIN_S = 3.0
REACHED_AGAIN_WITHIN_S = 20.0
"""Without a tickle the initiator notices by its own timers: NOP 5 + 5 s, then tries of 3 s, 3 s apart."""


@pytest.fixture
def nodes(lab_bed: Lab) -> Iterator[tuple[Node, Node, Node]]:
    with cleared(lab_bed) as nodes:
        yield nodes


# --- the contract, in the node itself ---


def test_the_contract_and_the_rules_of_the_fake_hold_on_this_kernel(nodes: tuple[Node, Node, Node]) -> None:
    argv = [PYTHON, "-m", "pytest", "-q", "-m", "", *FEW_PLUGINS, "plugins/iscsi_lio/tests/on_this_kernel.py"]
    done = nodes[0].run(argv, env=environment(LIO), cwd=str(CHECKOUT), timeout_s=120, check=False)
    assert done.returncode == 0, done.stdout.decode()[-6000:]
    assert re.search(rb"\d\d passed", done.stdout)
    print(done.stdout.decode().splitlines()[-1])


# --- time ---


@pytest.mark.parametrize("count", [1, 20])
def test_serving_and_letting_go_are_quick(nodes: tuple[Node, Node, Node], count: int) -> None:
    a = nodes[0]
    shell(a, f"modprobe -r brd; modprobe brd rd_nr={count} rd_size=4096")
    units = tuple(LogicalUnit(n, f"v{n}", f"/dev/ram{n}", f"{n:032x}") for n in range(count))
    spec = replace(SPEC, units=units)
    answers = succeed(a, "stage", "activate", "state", "deactivate", "activate", "remove", spec=spec)
    print(count, "units:", {answer["operation"]: answer["took_s"] for answer in answers})
    assert answers[2]["result"] == "active"
    assert answers[4]["took_s"] < ACTIVATE_WITHIN_S
    assert answers[3]["took_s"] < LET_GO_WITHIN_S


# --- who may come in ---


def test_only_a_known_initiator_with_the_right_password_gets_in(nodes: tuple[Node, Node, Node]) -> None:
    a, _, c = nodes
    give_address(a, c)
    succeed(a, "activate")

    assert c.run([*record(c, "wrong-horse-12"), "-l"], check=False).returncode == REFUSED
    forget(c)
    assert c.run([*record(c, None), "-l"], check=False).returncode == REFUSED
    forget(c)

    name_interface(c, STRANGER)
    assert c.run([*record(c, interface="other"), "-l"], check=False).returncode == REFUSED
    discovery = ["iscsiadm", "-m", "discovery", "-t", "st", "-p", f"{VIRTUAL_ADDRESS}:3260"]
    assert SPEC.iqn.encode() not in c.run([*discovery, "-I", "other"], check=False).stdout
    forget(c)

    assert SPEC.iqn.encode() in c.run(discovery).stdout
    forget(c)
    assert drive(a, "list_sessions")[0]["result"] == []

    base = record(c)
    c.run([*base, "-l"])
    [session] = drive(a, "list_sessions")[0]["result"]
    assert (session["initiator"], session["address"]) == (INITIATOR, c.address("client"))
    # What both ends agreed upon: the larger of two zeros.
    assert shell(a, f"cat {TPG}/acls/{INITIATOR}/param/DefaultTime2Wait") == "0\n"
    sockets = text_of(c, "ss", "-Htn", "state", "established", "dport = :3260")
    assert f"{c.address('client')}:{session['port']} " in sockets


def test_an_initiator_without_chap_may_stand_beside_one_with_it(nodes: tuple[Node, Node, Node]) -> None:
    a, _, c = nodes
    give_address(a, c)
    succeed(a, "activate", spec=replace(SPEC, access=(*SPEC.access, InitiatorAccess(STRANGER))))
    assert c.run([*record(c, None), "-l"], check=False).returncode == REFUSED
    forget(c)
    name_interface(c, STRANGER)
    c.run([*record(c, None, interface="other"), "-l"])
    [session] = drive(a, "list_sessions")[0]["result"]
    assert session["initiator"] == STRANGER


def test_with_mutual_chap_the_target_proves_itself_too(nodes: tuple[Node, Node, Node]) -> None:
    a, _, c = nodes
    give_address(a, c)
    chap = Chap("joe", Secret(PASSWORD), "target", Secret("mutual-horse-3"))
    succeed(a, "activate", spec=replace(SPEC, access=(InitiatorAccess(INITIATOR, chap),)))
    assert c.run([*record(c, mutual_password="wrong-horse-12"), "-l"], check=False).returncode != 0
    forget(c)
    c.run([*record(c, mutual_password="mutual-horse-3"), "-l"])


def test_a_portal_may_have_an_address_of_version_6(nodes: tuple[Node, Node, Node]) -> None:
    a, _, c = nodes
    for node, address in ((a, "fd77::11"), (c, "fd77::21")):
        shell(node, f"modprobe ipv6; ip -6 address add {address}/64 dev client nodad")
    succeed(a, "activate", spec=replace(SPEC, portals=(Portal("fd77:0::11"),)))
    c.run([*record(c, address="[fd77::11]"), "-l"])
    [session] = drive(a, "list_sessions")[0]["result"]
    assert session["address"] == "fd77::21"
    assert f"[fd77::21]:{session['port']} " in text_of(c, "ss", "-Htn", "state", "established", "dport = :3260")
    forget(c)  # without its address it would wait
    for node, address in ((a, "fd77::11"), (c, "fd77::21")):
        shell(node, f"ip -6 address del {address}/64 dev client")


def test_a_staged_target_lets_nobody_in(nodes: tuple[Node, Node, Node]) -> None:
    a, _, c = nodes
    give_address(a, c)
    succeed(a, "stage")
    base = record(c)
    assert c.run([*base, "-l"], check=False, timeout_s=60).returncode != 0
    assert drive(a, "list_sessions")[0]["result"] == []


# --- what the initiator is told ---


@pytest.mark.parametrize("device", ["/dev/ram0", "/dev/loop7"])
def test_the_write_cache_is_told_as_the_device_has_it(nodes: tuple[Node, Node, Node], device: str) -> None:
    a, _, c = nodes
    shell(a, "modprobe loop; truncate -s 16M /run/loop7; losetup /dev/loop7 /run/loop7")
    try:
        give_address(a, c)
        spec = replace(SPEC, units=(replace(SPEC.units[0], device=device, is_read_only=False),))
        succeed(a, "activate", spec=spec)
        c.run([*record(c), "-l"])
        disk(c)
        expected = text_of(a, "cat", f"/sys/block/{device.removeprefix('/dev/')}/queue/write_cache").strip()
        assert expected == {"/dev/ram0": "write through", "/dev/loop7": "write back"}[device]
        assert shell(c, "cat /sys/class/scsi_disk/*/cache_type").strip().startswith(expected)
    finally:
        succeed(a, "remove")
        shell(a, "losetup -d /dev/loop7")


def test_a_read_only_unit_cannot_be_written(nodes: tuple[Node, Node, Node]) -> None:
    a, _, c = nodes
    give_address(a, c)
    succeed(a, "activate", spec=replace(SPEC, units=(replace(SPEC.units[0], is_read_only=True),)))
    c.run([*record(c), "-l"])
    device = disk(c)
    assert c.run(["blockdev", "--getro", device]).stdout == b"1\n"
    assert c.run(["dd", "if=/dev/zero", f"of={device}", "bs=4k", "count=1"], check=False).returncode != 0


# --- on a mirror ---


MIRROR = """
global { usage-count no; }
resource r {
    device /dev/drbd7; disk /dev/ram1; meta-disk /dev/ram2;
    on a { address 10.77.2.11:7799; }
    on b { address 10.77.2.12:7799; }
}
"""


def test_a_secondary_is_refused_and_a_primary_may_be_demoted_once_the_target_let_go(
    nodes: tuple[Node, Node, Node],
) -> None:
    a, _, c = nodes
    spec = replace(SPEC, units=(replace(SPEC.units[0], device="/dev/drbd7"),))
    a.write_file("/run/mirror.conf", MIRROR.encode())
    drbdadm = "drbdadm -c /run/mirror.conf"
    shell(a, f"modprobe drbd; {drbdadm} create-md --force r; {drbdadm} up r")
    try:
        staged, refused = drive(a, "stage", "activate", spec=spec)
        assert "error" not in staged
        assert refused["error"] == "ConflictError", refused
        shell(a, f"{drbdadm} primary --force r")
        give_address(a, c)
        print("on a mirror:", succeed(a, "activate", spec=spec)[0]["took_s"])
        c.run([*record(c), "-l"])
        load = write_load(c, disk(c))
        time.sleep(1)
        assert a.run([*drbdadm.split(), "secondary", "r"], check=False).returncode != 0
        take_address(a)
        print("on a mirror, under load:", succeed(a, "deactivate", spec=spec)[0]["took_s"])
        shell(a, f"{drbdadm} secondary r")
        load.kill()
        give_address(a, c)  # the initiator, logging out, is refused and need not wait
    finally:
        succeed(a, "remove", spec=spec)
        shell(a, f"{drbdadm} down r")


# --- letting go ---


def test_an_idle_session_ends_and_the_device_is_free(nodes: tuple[Node, Node, Node]) -> None:
    a, _, c = nodes
    give_address(a, c)
    succeed(a, "activate")
    c.run([*record(c), "-l"])
    device = disk(c)
    c.run(["dd", "if=/dev/urandom", f"of={device}", "bs=1M", "count=2", "oflag=direct"])
    [answer] = succeed(a, "deactivate")
    print("idle:", answer["took_s"])
    assert answer["took_s"] < LET_GO_WITHIN_S
    take_exclusively(a, "/dev/ram0")
    assert drive(a, "list_sessions", "state")[1]["result"] == "staged"


def test_a_device_that_does_not_answer_makes_the_target_busy_with_its_client_named(
    nodes: tuple[Node, Node, Node],
) -> None:
    a, _, c = nodes
    a.run(["modprobe", "dm-mod"])
    shell(a, "dmsetup create hung --table '0 32768 linear /dev/ram0 0'; dmsetup mknodes")
    spec = replace(SPEC, units=(replace(SPEC.units[0], device="/dev/mapper/hung"),))
    give_address(a, c)
    succeed(a, "activate", spec=spec)
    c.run([*record(c), "-l"])
    load = write_load(c, disk(c))
    time.sleep(1)
    try:
        shell(a, "dmsetup suspend --noflush --nolockfs hung")
        time.sleep(0.5)
        begun_s = time.monotonic()
        [answer] = drive(a, "deactivate", spec=spec, deadline_s=1.0)
        print("stuck:", answer, round(time.monotonic() - begun_s, 2), "s with the start of Python")
        assert answer["error"] == "BusyError"
        assert any(INITIATOR in reason and c.address("client") in reason for reason in answer["reasons"])
    finally:
        shell(a, "dmsetup resume hung")
        load.kill()
    succeed(a, "deactivate", "remove", spec=spec)
    shell(a, "dmsetup remove --retry hung")


def test_under_load_the_other_node_takes_over_with_the_same_identity_and_no_failed_write(
    nodes: tuple[Node, Node, Node],
) -> None:
    a, b, c = nodes
    succeed(a, "stage", "activate")
    # The address is on neither node when b makes its portal.
    succeed(b, "stage")
    give_address(a, c)
    c.run([*record(c), "-l"])
    device = disk(c)
    before = identity(c, device)
    assert f"6001405{SERIAL[:25]}" in before["di"]
    assert SERIAL in before["serial"]
    assert "labvol" in before["inquiry"]

    load = write_load(c, device)
    time.sleep(1)
    take_address(a)
    [answer] = succeed(a, "deactivate")
    print("under load:", answer["took_s"])
    assert answer["took_s"] < LET_GO_WITHIN_S
    take_exclusively(a, "/dev/ram0")
    copy(a, b)
    succeed(b, "activate")
    give_address(b, c)

    begun_s = time.monotonic()
    assert wait_until(lambda: bool(drive(b, "list_sessions")[0]["result"]), REACHED_AGAIN_WITHIN_S)
    print("logged in again after", round(time.monotonic() - begun_s, 1), "s, without a tickle")
    time.sleep(1)
    load.kill()
    assert "failed" not in list(load.lines())
    assert identity(c, device) == before
    c.run(["dd", f"if={device}", "of=/dev/null", "bs=1M", "iflag=direct"])


# --- what is not ours ---


FOREIGN = """
C=/sys/kernel/config/target
mkdir -p $C/iscsi
mkdir $C/core/iblock_0 $C/core/iblock_0/theirs
echo -n udev_path=/dev/ram3 >$C/core/iblock_0/theirs/control
echo 1 >$C/core/iblock_0/theirs/enable
mkdir -p $C/iscsi/iqn.2003-01.org.example:theirs/tpgt_1/lun/lun_0
cd $C/iscsi/iqn.2003-01.org.example:theirs/tpgt_1
ln -s $C/core/iblock_0/theirs lun/lun_0/x
mkdir np/10.77.1.11:3270
echo 1 >enable
"""
UNMAKE_FOREIGN = """
C=/sys/kernel/config/target
cd $C/iscsi/iqn.2003-01.org.example:theirs/tpgt_1
echo 0 >enable
rm lun/lun_0/x
rmdir lun/lun_0 np/* $C/core/iblock_0/theirs $C/core/iblock_0
cd $C; rmdir iscsi/iqn.2003-01.org.example:theirs/tpgt_1 iscsi/iqn.2003-01.org.example:theirs
"""
SHOW_FOREIGN = """
cd /sys/kernel/config/target
find core/iblock_0 iscsi/iqn.2003* -type f ! -path '*statistics*' -print -exec cat {} ';' 2>&1
find core/iblock_0 iscsi/iqn.2003* -type l -printf '%p %l\\n'
"""


def test_a_foreign_target_is_listed_and_left_as_it_is(nodes: tuple[Node, Node, Node]) -> None:
    a = nodes[0]
    succeed(a, "list_iqns")
    shell(a, FOREIGN)
    try:
        before = shell(a, SHOW_FOREIGN)
        answers = succeed(a, "activate", "deactivate", "activate", "list_iqns", "remove", "list_iqns")
        assert shell(a, SHOW_FOREIGN) == before
        assert [answers[3]["result"], answers[5]["result"]] == [
            ["iqn.2003-01.org.example:theirs", SPEC.iqn],
            ["iqn.2003-01.org.example:theirs"],
        ]
    finally:
        shell(a, UNMAKE_FOREIGN)
