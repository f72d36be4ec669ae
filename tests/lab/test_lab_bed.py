"""The bed itself: power, cables, disks, commands and services of real nodes, with their deadlines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lab import CommandFailed, Lab, Node, NodeOff
from lab.checker import check
from lab.disks import MEMORY
from lab.layout import CHECKOUT, Layout
from lab.network import namespaces
from lab.processes import Process, wait_until

pytestmark = [pytest.mark.lab(seconds=90), pytest.mark.timeout(120)]

CUT_WITHIN_S = 1.0
BOOT_WITHIN_S = 20.0
MODULES = ["dm-mod", "dm-snapshot", "dm-flakey", "drbd", "target_core_mod", "iscsi_target_mod"]
INITIATOR_MODULES = ["iscsi_tcp", "sch_netem", "nf_tables", "softdog"]


def timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def pings(node: Node, address: str) -> bool:
    return node.run(["ping", "-c1", "-W1", address], check=False).returncode == 0


def pings_soon(node: Node, address: str) -> bool:
    # A node that looks for a neighbour asks once a second: just after a cable is back in, its next
    # question is up to that far away (arp(7), retrans_time).
    return wait_until(lambda: pings(node, address), 3)


def test_a_command_gets_its_input_and_gives_back_its_streams_and_code(lab_bed: Lab) -> None:
    result = lab_bed.node("a").run(["sh", "-c", "cat; echo oops >&2; exit 7"], stdin=b"hello", check=False)
    assert (result.returncode, result.stdout, result.stderr) == (7, b"hello", b"oops\n")


def test_a_failed_command_says_what_it_printed(lab_bed: Lab) -> None:
    with pytest.raises(CommandFailed, match="no such thing"):
        lab_bed.node("a").run(["sh", "-c", "echo no such thing >&2; exit 1"])


def test_a_program_that_does_not_exist_is_told_apart_from_one_that_fails(lab_bed: Lab) -> None:
    with pytest.raises(FileNotFoundError):
        lab_bed.node("a").run(["no-such-program"])


def test_a_command_that_takes_too_long_is_ended_in_the_node(lab_bed: Lab) -> None:
    node = lab_bed.node("a")
    with pytest.raises(TimeoutError):
        node.run(["sleep", "4711"], timeout_s=0.5)
    assert wait_until(lambda: node.run(["pgrep", "-f", "^sleep 4711"], check=False).returncode == 1, 5)


def test_a_node_has_its_own_name_kernel_and_identity(lab_bed: Lab) -> None:
    nodes = [lab_bed.node(name) for name in ("a", "b", "c")]
    assert [node.run(["hostname"]).stdout for node in nodes] == [b"a\n", b"b\n", b"c\n"]
    assert len({node.read_file("/etc/machine-id") for node in nodes}) == 3
    assert len({node.read_file("/proc/sys/kernel/random/boot_id") for node in nodes}) == 3


def test_the_modules_of_storage_and_initiator_load(lab_bed: Lab) -> None:
    for name in ("a", "b"):
        lab_bed.node(name).run(["modprobe", "-a", *MODULES])
        assert lab_bed.node(name).run(["ls", "/sys/kernel/config/target"]).returncode == 0
    lab_bed.node("c").run(["modprobe", "-a", *INITIATOR_MODULES])


def test_lvm_works_on_the_data_disk_and_the_host_is_not_written(lab_bed: Lab) -> None:
    node = lab_bed.node("a")
    disk = node.device("data")
    node.run(["vgcreate", "bed", disk])
    try:
        node.run(["lvcreate", "--yes", "--name", "one", "--size", "64m", "bed"])
        assert b"one" in node.run(["lvs", "--noheadings", "-o", "lv_name", "bed"]).stdout
    finally:
        node.run(["vgremove", "--force", "--yes", "bed"])
        node.run(["pvremove", "--yes", disk])
    node.run(["touch", "/etc/written-in-a-node"])
    assert lab_bed.node("b").run(["ls", "/etc/written-in-a-node"], check=False).returncode != 0


def test_a_power_cut_keeps_the_state_disk_and_loses_memory(lab_bed: Lab) -> None:
    node = lab_bed.node("b")
    node.write_file("/var/lib/holdfast/kept", b"kept")
    node.write_file("/etc/lost", b"lost")
    node.run(["sync"])
    assert timed(node.cut) < CUT_WITHIN_S
    assert not node.is_running
    with pytest.raises(NodeOff):
        node.run(["true"])
    assert timed(node.boot) < BOOT_WITHIN_S
    assert node.read_file("/var/lib/holdfast/kept") == b"kept"
    with pytest.raises(FileNotFoundError):
        node.read_file("/etc/lost")


def test_a_power_cut_ends_whoever_waits_for_the_node(lab_bed: Lab) -> None:
    node = lab_bed.node("b")
    process = node.popen(["sh", "-c", "echo started; sleep 60"])
    assert next(process.lines()) == "started"
    node.cut()
    assert timed(lambda: process.wait(5)) < 2
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("net", ["client", "replication", "management"])
def test_a_pulled_cable_cuts_one_network_and_nothing_else(lab_bed: Lab, net: str) -> None:
    a, b = lab_bed.node("a"), lab_bed.node("b")
    a.link(net, up=False)
    reached = {name: pings(a, b.address(name)) for name in a.spec.networks}
    assert reached == {name: name != net for name in a.spec.networks}
    a.link(net, up=True)
    assert pings_soon(a, b.address(net))


def test_a_node_without_any_cable_still_takes_commands(lab_bed: Lab) -> None:
    node = lab_bed.node("a")
    for net in node.spec.networks:
        node.link(net, up=False)
    assert not pings(node, lab_bed.address("ping", "client"))
    assert node.run(["hostname"]).stdout == b"a\n"


def test_a_cable_that_is_out_stays_out_across_a_boot(lab_bed: Lab) -> None:
    node = lab_bed.node("b")
    node.link("replication", up=False)
    node.cut()
    node.boot()
    assert not pings(node, lab_bed.node("a").address("replication"))


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel does not group processes by session")
def test_a_node_is_weighed_against_others_also_after_a_boot(lab_bed: Lab) -> None:
    node = lab_bed.node("a")

    def groups() -> dict[str, str]:
        """The weight of each session that the node's processes on this machine are in; its kernel has its own."""
        assert node.machine is not None
        found = dict[str, str]()
        for process in (node.machine, *node.machine.descendants()):
            with suppress(OSError):  # it has ended meanwhile
                name, _, weight = Path(f"/proc/{process.pid}/autogroup").read_text().strip().partition(" ")
                found[name] = weight
        assert len(found) > 1
        return found

    assert set(groups().values()) == {"nice 0"}
    node.set_niceness(-10)
    assert set(groups().values()) == {"nice -10"}
    node.cut()
    node.boot()
    assert set(groups().values()) == {"nice -10"}
    node.set_niceness(0)
    assert set(groups().values()) == {"nice 0"}


LISTENS = """
import socket
listening = socket.create_server(("0.0.0.0", 3999), backlog=4096)
while True:
    listening.accept()[0].close()
"""
CONNECTS = """
import socket, sys, time
longest_s = 0.0
for _ in range(2500):
    with socket.socket() as connecting:
        began_s = time.monotonic()
        connecting.connect((sys.argv[1], 3999))
        longest_s = max(longest_s, time.monotonic() - began_s)
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
    time.sleep(0.002)
print(longest_s)
"""
ASKS_AGAIN_AFTER_S = 1.0
"""Linux, for a connection whose first frame was not answered."""


def test_no_frame_is_forgotten_by_a_node_that_starts_programs_all_the_time(lab_bed: Lab) -> None:
    busy, asking = lab_bed.node("b"), lab_bed.node("c")
    busy.start_service("listens", ["python3", "-c", LISTENS])
    busy.start_service("busy", ["sh", "-c", "while :; do /bin/true; done"])
    try:
        listens = "until ss -Hltn sport = :3999 | grep -q .; do sleep 0.1; done"
        busy.run(["sh", "-c", listens])
        told = asking.run(["python3", "-c", CONNECTS, busy.address("client")], timeout_s=60)
    finally:
        busy.stop_service("busy")
        busy.stop_service("listens")
    assert float(told.stdout) < ASKS_AGAIN_AFTER_S


def test_the_ping_host_answers_until_its_cable_is_pulled(lab_bed: Lab) -> None:
    node, address = lab_bed.node("a"), lab_bed.address("ping", "client")
    assert pings_soon(node, address)
    lab_bed.link("ping", "client", up=False)
    assert not pings(node, address)


def test_a_frozen_node_answers_nothing_and_goes_on_where_it_was(lab_bed: Lab) -> None:
    node = lab_bed.node("b")
    process = node.popen(["sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done"])
    assert next(process.lines()) == "1"
    node.freeze()
    with pytest.raises(TimeoutError):
        node.run(["true"], timeout_s=1)
    assert node.is_running
    node.thaw()
    assert process.wait(10) == 0
    assert list(process.lines()) == ["2", "3", "4", "5"]


@pytest.mark.parametrize("key", ["b", "c", "o"], ids=["reset", "panic", "power off"])
def test_a_node_that_resets_itself_is_off_until_it_is_booted(lab_bed: Lab, key: str) -> None:
    node = lab_bed.node("b")
    with pytest.raises(NodeOff):
        node.run(["sh", "-c", f"echo {key} > /proc/sysrq-trigger; sleep 20"])
    assert node.wait_off(5)
    node.boot()


def test_an_unfed_watchdog_switches_the_node_off(lab_bed: Lab) -> None:
    node = lab_bed.node("b")
    node.run(["modprobe", "softdog", "soft_margin=1"])
    with pytest.raises(NodeOff):
        node.run(["sh", "-c", "echo 1 > /dev/watchdog1; sleep 20"])


def test_a_killed_service_is_started_again_and_its_log_outlives_the_node(lab_bed: Lab) -> None:
    node = lab_bed.node("a")

    def process_that_spoke() -> int | None:
        pid = node.service_pid("echo")
        return pid if f"process {pid}\n" in node.service_log("echo").read_text() else None

    node.start_service("echo", ["sh", "-c", "echo process $$; exec sleep 1000"])
    assert wait_until(lambda: process_that_spoke() is not None, 3)
    first = node.service_pid("echo")
    node.kill_service("echo")
    assert wait_until(lambda: process_that_spoke() not in (None, first), 3)
    node.cut()
    assert f"process {first}\n" in node.service_log("echo").read_text()
    node.boot()
    assert node.service_pid("echo") is None


def test_a_service_that_asks_for_it_starts_at_boot_until_it_is_stopped(lab_bed: Lab) -> None:
    node = lab_bed.node("a")
    node.start_service("boots", ["sleep", "1000"], at_boot=True)
    node.cut()
    node.boot()
    assert node.service_pid("boots") is not None
    node.stop_service("boots")
    node.cut()
    node.boot()
    assert node.service_pid("boots") is None


def test_this_process_can_connect_into_the_lab(lab_bed: Lab) -> None:
    node = lab_bed.node("c")
    server = node.popen(["python3", "-m", "http.server", "8000", "--bind", node.address("client")])

    def answers() -> bool:
        try:
            with lab_bed.connect(node.address("client"), 8000, timeout_s=1) as sock:
                sock.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
                return sock.recv(64).startswith(b"HTTP/1.0 200")
        except OSError:
            return False

    assert wait_until(answers, 10, every_s=0.2)
    server.terminate()
    assert server.wait(5) == -signal.SIGTERM


@pytest.mark.timed
def test_the_writers_gap_is_the_time_its_machine_stood_still(lab_bed: Lab) -> None:
    node = lab_bed.node("a")
    argv = ["python3", "-m", "lab.writer", "--device", node.device("data"), "--run", "bed", "--blocks", "64"]
    writing = node.popen([*argv, "--interval-ms", "10"], cwd=str(CHECKOUT))
    log = [next(writing.lines())]
    time.sleep(0.5)
    node.freeze()
    time.sleep(0.6)
    node.thaw()
    time.sleep(0.5)
    writing.terminate()
    assert writing.wait(10) == 0
    log += writing.lines()
    held = node.run([*argv, "--verify"], cwd=str(CHECKOUT)).stdout.decode().splitlines()
    verdict = check(log, held)
    assert verdict.is_clean
    assert verdict.acknowledged > 50
    assert 600 <= verdict.longest_gap_ms < 900


def traces(layout: Layout) -> list[str]:
    """What a lab in this state directory has left on the machine."""
    programs = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    found = [line for line in programs.splitlines() if str(layout.root) in line]
    found += [name for name in namespaces() if name.startswith(layout.namespace)]
    found += [str(path) for path in MEMORY.glob(f"*{layout.id}*")]
    return found + [line for line in Path("/proc/mounts").read_text().splitlines() if layout.namespace in line]


@pytest.fixture
def second_lab(tmp_path: Path) -> Iterator[Layout]:
    """The state directory of a lab beside the session's, cleaned up whatever the test does."""
    layout = Layout.at(tmp_path / "second")
    yield layout
    lab_command(layout, "clean").wait(30)


def lab_command(layout: Layout, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "lab", *words],
        cwd=CHECKOUT,
        env={**os.environ, "HOLDFAST_LAB_DIR": str(layout.root)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("after_s", [0.3, 0.8, 2.0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_an_interrupted_start_leaves_nothing(second_lab: Layout, number: signal.Signals, after_s: float) -> None:
    starting = lab_command(second_lab, "up", "--no-lock")
    time.sleep(after_s)
    os.killpg(starting.pid, number)
    starting.wait(30)
    assert wait_until(lambda: not traces(second_lab), 5), traces(second_lab)


def test_a_lab_outlives_its_start_and_is_cleaned_up_even_without_its_keeper(second_lab: Layout) -> None:
    assert lab_command(second_lab, "up", "--no-lock").wait(60) == 0
    assert traces(second_lab)
    keeper = Process.load(second_lab.keeper_record)
    assert keeper is not None
    os.kill(keeper.pid, signal.SIGKILL)
    assert lab_command(second_lab, "clean").wait(30) == 0
    assert not traces(second_lab)
    assert not second_lab.root.exists()
