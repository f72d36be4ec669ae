"""The network modules against the real kernel: two network namespaces, joined by two cables."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from holdfast.errors import UnavailableError, UnsupportedError
from holdfast.hooks.failover import GroupPlan, Link, MonitorPlan, VirtualAddress
from holdfast.values import Secret
from holdfast_failover_vip.address import VirtualAddresses
from holdfast_failover_vip.arp import ArpProbe, claimant, send_gratuitous
from holdfast_failover_vip.icmp import Echo, internet_checksum
from holdfast_failover_vip.links import LinkSockets
from holdfast_failover_vip.preflight import check_addresses
from holdfast_failover_vip.tickle import send_tickle, tickle, tickle_segment

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_COUNT = itertools.count()
HERE, THERE = "10.91.0.1", "10.91.0.2"
VIP = VirtualAddress("10.91.0.100", 24, "cable")
VIP6 = VirtualAddress("fd91::100", 64, "cable")


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@dataclass
class Namespace:
    """A machine on the cables. Code runs in it in a thread of its own, which ends afterwards."""

    name: str
    sockets: list[socket.socket] = field(default_factory=list)

    def ip(self, *words: str) -> str:
        return ip("-n", self.name, *words)

    def call(self, function: Callable[[], T]) -> T:
        results: list[T] = []
        failures: list[BaseException] = []

        def enter() -> None:
            try:
                with open(f"/run/netns/{self.name}", "rb") as handle:
                    if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                results.append(function())
            except BaseException as failure:
                failures.append(failure)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        return results[0]

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        async def body() -> T:
            return await asyncio.wait_for(function(), 20)

        return self.call(lambda: asyncio.run(body()))

    def socket(self, *kind: int) -> socket.socket:
        made = self.call(lambda: socket.socket(*kind))
        made.settimeout(5)
        self.sockets.append(made)
        return made

    def mac(self, interface: str = "cable") -> str:
        words = self.ip("-o", "link", "show", interface).split()
        return words[words.index("link/ether") + 1]


@dataclass
class Pair:
    here: Namespace
    there: Namespace


@pytest.fixture
def pair() -> Iterator[Pair]:
    unique = f"{os.getpid()}-{next(_COUNT)}"
    made = Pair(Namespace(f"hfv-a-{unique}"), Namespace(f"hfv-b-{unique}"))
    names = (made.here.name, made.there.name)
    try:
        for name in names:
            ip("netns", "add", name)
        for number, cable in enumerate(("cable", "second")):
            ip("-n", names[0], "link", "add", cable, "type", "veth", "peer", "name", cable, "netns", names[1])
            for name, host in zip(names, (1, 2), strict=True):
                ip("-n", name, "addr", "add", f"10.9{number + 1}.0.{host}/24", "dev", cable)
                ip("-n", name, "link", "set", cable, "up")
        for name in names:
            ip("-n", name, "link", "set", "lo", "up")
            for cable in ("cable", "second"):
                wait_until_up(name, cable)
        yield made
    finally:
        for opened in (*made.here.sockets, *made.there.sockets):
            opened.close()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def wait_until_up(namespace: str, cable: str) -> None:
    """What is sent before the kernel has noticed the other end is lost, and asked again only after a second."""
    deadline_s = time.monotonic() + 5
    while "state UP" not in ip("-n", namespace, "-o", "link", "show", "dev", cable):
        assert time.monotonic() < deadline_s, f"{cable} of {namespace} does not come up"
        time.sleep(0.01)


async def until(condition: Callable[[], object], timeout_s: float = 3) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - it may be the state of a kernel
            await asyncio.sleep(0.01)


def all_heard(tap: socket.socket) -> list[bytes]:
    heard = []
    with contextlib.suppress(TimeoutError):
        while True:
            heard.append(tap.recv(200))
    return heard


def link(name: str, cable: str, net: int, *, port: int = 7788) -> Link:
    return Link(name, cable, f"10.9{net}.0.1", f"10.9{net}.0.2", port)


class TestPreflight:
    @pytest.mark.parametrize(
        ("taken", "is_started", "codes"),
        [(False, False, []), (True, False, ["address-taken"]), (True, True, [])],
    )
    def test_an_address_that_somebody_answers_for_is_named_unless_its_group_runs(
        self, pair: Pair, taken: bool, is_started: bool, codes: list[str]
    ) -> None:
        if taken:
            pair.there.ip("addr", "add", "10.91.0.50/32", "dev", "cable")
        group = GroupPlan("g", 1, "m", (), (VirtualAddress("10.91.0.50", 24, "cable"),), "a", is_started)
        plan = MonitorPlan(1, "a", "b", Secret("00"), (link("a", "cable", 1),), None, (group,), ())
        found = pair.here.run(lambda: check_addresses(plan, group))
        assert [unmet.code for unmet in found] == codes
        assert all(pair.there.mac("cable") in unmet.text for unmet in found)


class TestLinks:
    def test_each_link_carries_datagrams_both_ways_over_its_own_cable(self, pair: Pair) -> None:
        peers = [pair.there.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for number, peer in enumerate(peers):
            peer.bind((f"10.9{number + 1}.0.2", 7788))

        async def body() -> list[tuple[str, bytes]]:
            got: list[tuple[str, bytes]] = []
            links = LinkSockets((link("a", "cable", 1), link("b", "second", 2)), lambda *what: got.append(what))
            assert links.send("a", b"to a")
            assert links.send("b", b"to b")
            for number, peer in enumerate(peers):
                peer.sendto(b"back", (f"10.9{number + 1}.0.1", 7788))
            await until(lambda: len(got) == 2)
            links.close()
            links.close()
            return got

        assert sorted(pair.here.run(body)) == [("a", b"back"), ("b", b"back")]
        assert [peer.recv(100) for peer in peers] == [b"to a", b"to b"]

    def test_what_comes_from_another_address_than_the_peers_is_ignored(self, pair: Pair) -> None:
        pair.there.ip("addr", "add", "10.91.0.77/24", "dev", "cable")
        foreign = pair.there.socket(socket.AF_INET, socket.SOCK_DGRAM)
        foreign.bind(("10.91.0.77", 7788))
        peer = pair.there.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.bind((THERE, 1234))

        async def body() -> list[bytes]:
            got: list[bytes] = []
            links = LinkSockets((link("a", "cable", 1),), lambda _, data: got.append(data))
            foreign.sendto(b"foreign", (HERE, 7788))
            peer.sendto(b"peer", (HERE, 7788))
            await until(lambda: got)
            links.close()
            return got

        assert pair.here.run(body) == [b"peer"]

    def test_a_link_opens_when_its_address_appears_and_again_after_it_vanished(self, pair: Pair) -> None:
        late = Link("late", "cable", "10.91.0.55", THERE)

        async def body() -> None:
            links = LinkSockets((late,), lambda *_: None)
            assert not links.is_open("late")
            assert not links.send("late", b"x")
            for _ in range(2):
                pair.here.ip("addr", "add", "10.91.0.55/24", "dev", "cable")
                await until(lambda: links.is_open("late") and links.send("late", b"x"))
                pair.here.ip("addr", "del", "10.91.0.55/24", "dev", "cable")
                assert not links.send("late", b"x")
            links.close()

        pair.here.run(body)

    def test_a_cut_cable_is_no_error_and_heartbeats_do_not_take_another_way(self, pair: Pair) -> None:
        peer = pair.there.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.bind((THERE, 7788))
        peer.settimeout(0.3)
        pair.here.ip("route", "add", f"{THERE}/32", "via", "10.92.0.2", "dev", "second")

        async def body() -> None:
            links = LinkSockets((link("a", "cable", 1),), lambda *_: None)
            pair.here.ip("link", "set", "cable", "down")
            links.send("a", b"x")
            links.close()

        pair.here.run(body)
        with pytest.raises(TimeoutError):
            peer.recv(10)


class TestEcho:
    def test_a_kernel_that_is_there_answers_each_echo_once_with_its_number(self, pair: Pair) -> None:
        async def body() -> list[tuple[str, int]]:
            got: list[tuple[str, int]] = []
            echo = Echo(lambda *what: got.append(what))
            assert echo.send(THERE, interface="cable", source=HERE, number=7)
            assert echo.send("10.92.0.2", interface=None, source=None, number=8)
            assert echo.send(THERE, interface=None, source=None, number=9)
            await until(lambda: len(got) == 3)
            await asyncio.sleep(0.1)
            echo.close()
            return got

        assert sorted(pair.here.run(body)) == [(THERE, 7), (THERE, 9), ("10.92.0.2", 8)]

    def test_nobody_answers_for_an_address_that_is_not_there_or_over_the_wrong_cable(self, pair: Pair) -> None:
        async def body() -> list[tuple[str, int]]:
            got: list[tuple[str, int]] = []
            echo = Echo(lambda *what: got.append(what))
            echo.send("10.91.0.66", interface="cable", source=None, number=1)
            echo.send(THERE, interface="lo", source=None, number=2)
            await asyncio.sleep(0.3)
            echo.close()
            return got

        assert pair.here.run(body) == []

    def test_an_invented_a_foreign_and_a_repeated_reply_are_no_sign_of_life(self, pair: Pair) -> None:
        pair.there.call(lambda: Path("/proc/sys/net/ipv4/icmp_echo_ignore_all").write_text("1"))
        pair.there.ip("addr", "add", "10.91.0.77/24", "dev", "cable")
        peer = pair.there.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        peer.bind((THERE, 0))
        foreign = pair.there.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        foreign.bind(("10.91.0.77", 0))

        def reply(head: bytes, token: bytes) -> bytes:
            checksum = internet_checksum(bytes(4) + head + token)
            return struct.pack("!BBH", 0, 0, checksum) + head + token

        async def body() -> None:
            got: list[int] = []
            echo = Echo(lambda _, number: got.append(number))
            assert echo.send(THERE, interface="cable", source=HERE, number=5)
            request = (await asyncio.to_thread(peer.recv, 200))[20:]
            head, token = request[4:8], request[8:]
            peer.sendto(reply(head, bytes(len(token))), (HERE, 0))
            foreign.sendto(reply(head, token), (HERE, 0))
            await asyncio.sleep(0.1)
            assert got == []
            for _ in range(2):
                peer.sendto(reply(head, token), (HERE, 0))
                await asyncio.sleep(0.1)
                assert got == [5]
            echo.close()

        pair.here.run(body)

    def test_an_echo_that_cannot_leave_was_not_sent(self, pair: Pair) -> None:
        async def body() -> list[bool]:
            echo = Echo(lambda *_: None)
            sent = [
                echo.send("203.0.113.1", interface=None, source=None, number=0),
                echo.send(THERE, interface="absent", source=None, number=0),
                echo.send(THERE, interface=None, source="203.0.113.9", number=0),
                echo.send(THERE, interface=None, source=None, number=0),
            ]
            with pytest.raises(UnsupportedError):
                echo.send("fd91::1", interface=None, source=None, number=0)
            echo.close()
            return sent

        assert pair.here.run(body) == [False, False, False, True]


class TestAddresses:
    def test_an_address_is_raised_and_dropped_as_a_single_host_however_often(self, pair: Pair) -> None:
        async def body() -> None:
            addresses = VirtualAddresses((VIP, VIP6))
            assert not await addresses.are_up()
            await addresses.drop()
            for _ in range(2):
                await addresses.raise_()
                assert await addresses.are_up()
            shown = pair.here.ip("addr", "show", "dev", "cable")
            assert "10.91.0.100/32" in shown
            assert "fd91::100/128 scope global nodad" in shown
            for _ in range(2):
                await addresses.drop()
                assert not await addresses.are_up()
                assert not await addresses.any_is_up()
            shown = pair.here.ip("addr", "show", "dev", "cable")
            assert "fd91::100" not in shown
            assert f"{HERE}/24" in shown
            await addresses.raise_()
            await addresses.close()
            await addresses.close()
            assert "10.91.0.100/32" in pair.here.ip("addr", "show", "dev", "cable")

        pair.here.run(body)

    def test_an_address_with_a_strange_prefix_is_dropped_too(self, pair: Pair) -> None:
        async def body() -> None:
            pair.here.ip("addr", "add", "10.91.0.100/24", "dev", "cable")
            addresses = VirtualAddresses((VIP,))
            assert await addresses.are_up()
            await addresses.raise_()
            await addresses.drop()
            assert "10.91.0.100" not in pair.here.ip("addr", "show", "dev", "cable")
            await addresses.close()

        pair.here.run(body)

    def test_a_missing_interface_cannot_be_raised_on_but_is_already_dropped(self, pair: Pair) -> None:
        async def body() -> None:
            addresses = VirtualAddresses((VirtualAddress("10.91.0.100", 24, "absent"),))
            with pytest.raises(UnavailableError, match="absent"):
                await addresses.raise_()
            await addresses.drop()
            await addresses.close()

        pair.here.run(body)

    @pytest.mark.parametrize("wanted", [VIP, VIP6])
    def test_raising_moves_a_neighbour_that_still_knows_the_old_place(self, pair: Pair, wanted: VirtualAddress) -> None:
        stale = "02:00:00:00:00:99"
        pair.there.ip("neigh", "add", wanted.address, "lladdr", stale, "dev", "cable", "nud", "reachable")

        async def body() -> None:
            addresses = VirtualAddresses((wanted,))
            await until(lambda: "tentative" not in pair.here.ip("addr", "show", "dev", "cable"))
            assert stale in pair.there.ip("neigh", "show", wanted.address)
            await addresses.raise_()
            await until(lambda: pair.here.mac() in pair.there.ip("neigh", "show", wanted.address))
            await addresses.drop()
            await addresses.close()

        pair.here.run(body)

    def test_announcements_are_repeated_until_the_address_is_dropped(self, pair: Pair) -> None:
        tap = pair.there.socket(socket.AF_PACKET, socket.SOCK_RAW)
        tap.bind(("cable", 0x0806))
        tap.settimeout(0.7)

        async def body() -> None:
            addresses = VirtualAddresses((VIP,))
            await addresses.raise_()
            await asyncio.sleep(0.7)
            await addresses.drop()
            await addresses.close()

        pair.here.run(body)
        heard = all_heard(tap)
        vip = socket.inet_aton(VIP.address)
        assert len([frame for frame in heard if claimant(frame, vip)]) == 4  # at 0, 50, 150 and 500 ms
        assert all(frame[28:32] == frame[38:42] == vip for frame in heard if claimant(frame, vip))


class TestArpProbe:
    def test_a_probe_hears_the_station_that_has_the_address(self, pair: Pair) -> None:
        pair.there.ip("addr", "add", "10.91.0.100/32", "dev", "cable")

        async def body() -> list[bytes]:
            got: list[bytes] = []
            probe = ArpProbe("cable", VIP.address, got.append)
            assert probe.is_listening
            assert probe.send()
            await until(lambda: got)
            probe.close()
            probe.close()
            return got

        assert pair.here.run(body) == [bytes.fromhex(pair.there.mac().replace(":", ""))]
        assert "10.91.0.100" not in pair.there.ip("neigh")

    def test_a_probe_for_a_free_address_hears_nothing_and_neither_do_our_own_announcements_count(
        self, pair: Pair
    ) -> None:
        async def body() -> list[bytes]:
            got: list[bytes] = []
            probe = ArpProbe("cable", VIP.address, got.append)
            for _ in range(3):
                assert probe.send()
                send_gratuitous("cable", VIP.address)
                await asyncio.sleep(0.04)
            await asyncio.sleep(0.2)
            probe.close()
            return got

        assert pair.here.run(body) == []

    def test_a_foreign_announcement_is_heard_without_asking(self, pair: Pair) -> None:
        async def body() -> None:
            got: list[bytes] = []
            probe = ArpProbe("cable", VIP.address, got.append)
            await asyncio.to_thread(pair.there.call, lambda: send_gratuitous("cable", "10.91.0.101"))
            await asyncio.to_thread(pair.there.call, lambda: send_gratuitous("cable", VIP.address))
            await until(lambda: got)
            assert len(got) == 1
            probe.close()

        pair.here.run(body)

    def test_a_claim_by_another_interface_of_our_own_is_none(self, pair: Pair) -> None:
        """Two interfaces on one network hear each other."""
        vip = socket.inet_aton(VIP.address)

        def claim(mac: bytes) -> bytes:
            ethernet = b"\xff" * 6 + mac + struct.pack("!H", 0x0806)
            return ethernet + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + vip + bytes(6) + vip

        sending = pair.there.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sending.bind(("cable", 0))
        foreign = bytes.fromhex("020000000099")

        async def body() -> list[bytes]:
            got: list[bytes] = []
            probe = ArpProbe("cable", VIP.address, got.append)
            sending.send(claim(bytes.fromhex(pair.here.mac("second").replace(":", ""))))
            sending.send(claim(foreign))
            await until(lambda: got)
            probe.close()
            return got

        assert pair.here.run(body) == [foreign]

    def test_without_an_interface_the_probe_says_that_it_is_deaf(self, pair: Pair) -> None:
        async def body() -> None:
            probe = ArpProbe("absent", VIP.address, lambda _: None)
            assert not probe.is_listening
            assert not probe.send()
            pair.here.ip("link", "add", "absent", "type", "veth", "peer", "name", "absent-peer")
            pair.here.ip("link", "set", "absent", "up")
            assert probe.send()
            pair.here.ip("link", "del", "absent")
            assert not probe.send()
            assert not probe.is_listening
            probe.close()

        pair.here.run(body)


class TestTickle:
    def test_a_client_whose_server_is_gone_learns_it_at_once(self, pair: Pair) -> None:
        """The old active had the connection; after the address moved here, the client's kernel answers and is reset."""
        pair.there.ip("addr", "add", "10.91.0.100/32", "dev", "lo")
        listening = pair.there.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.bind((VIP.address, 3260))
        listening.listen()
        client = pair.there.socket(socket.AF_INET, socket.SOCK_STREAM)
        # Client and old server share a machine here: the old side is silenced by repair mode, then closed.
        client.bind((THERE, 0))
        client.connect((VIP.address, 3260))
        accepted, _ = listening.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR: closes without a word
        accepted.close()
        listening.close()
        pair.there.ip("addr", "del", "10.91.0.100/32", "dev", "lo")
        port = client.getsockname()[1]
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)  # without a tickle it waits

        async def body() -> None:
            addresses = VirtualAddresses((VIP,))
            await addresses.raise_()
            await tickle([VIP.address], 3260, [(THERE, port)])
            await addresses.close()

        pair.here.run(body)
        client.settimeout(2)
        with pytest.raises(ConnectionResetError):
            client.recv(1)

    def test_each_connection_is_woken_twice_and_those_that_cannot_be_are_passed_over(self, pair: Pair) -> None:
        tap = pair.there.socket(socket.AF_PACKET, socket.SOCK_RAW)
        tap.bind(("cable", 0x0800))
        tap.settimeout(0.3)
        clients = [("203.0.113.5", 1), ("fd91::2", 2), (THERE, 4711)]

        async def body() -> None:
            await tickle(iter([VIP.address]), 3260, clients)

        pair.here.run(body)
        segments = [frame[14:] for frame in all_heard(tap) if frame[26:30] == socket.inet_aton(VIP.address)]
        assert len(segments) == 2
        for packet in segments:
            assert internet_checksum(packet[:20]) == 0
            pseudo = packet[12:20] + struct.pack("!BBH", 0, 6, 20)
            assert internet_checksum(pseudo + packet[20:40]) == 0
            assert struct.unpack("!HHII", packet[20:32]) == (3260, 4711, 0, 0)

    def test_an_address_of_the_other_family_is_refused(self) -> None:
        with pytest.raises(UnsupportedError):
            tickle_segment("fd91::1", 3260, "10.0.0.1", 1)
        with pytest.raises(UnsupportedError):
            send_tickle("10.0.0.1", 3260, "fd91::1", 1)


class TestRealtime:
    SCRIPT = """
import gc, os, re, threading
from holdfast_failover_vip.realtime import become_realtime
print(become_realtime(), os.sched_getscheduler(0) & 0xff == os.SCHED_FIFO, os.sched_getparam(0).sched_priority,
      int(re.search(r"VmLck:\\s+(\\d+)", open("/proc/self/status").read())[1]) > 0, gc.get_freeze_count() > 0)
if os.fork() == 0:
    print(os.sched_getscheduler(0) & 0xff == os.SCHED_FIFO, flush=True); os._exit(0)
os.wait()
"""

    def run(self, *before: str) -> Any:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"}
        argv = [*before, sys.executable, "-c", self.SCRIPT]
        return subprocess.run(argv, capture_output=True, text=True, env=environment, check=True, timeout=30)

    def test_the_monitor_becomes_punctual_and_its_children_do_not(self) -> None:
        assert self.run().stdout.split() == ["True", "True", "50", "True", "True", "False"]

    def test_what_the_machine_does_not_permit_is_left_out_with_a_sentence(self) -> None:
        done = self.run("setpriv", "--bounding-set=-sys_nice,-ipc_lock")
        assert done.stdout.split()[0] == "False"
        assert "without realtime priority" in done.stderr
