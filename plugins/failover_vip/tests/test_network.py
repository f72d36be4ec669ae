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
from holdfast.hooks.failover import GroupPlan, MonitorPlan, VirtualAddress
from holdfast.hooks.links import Link
from holdfast.values import Secret
from holdfast_failover_vip import neighbour
from holdfast_failover_vip.address import VirtualAddresses
from holdfast_failover_vip.arp import claimant, send_gratuitous
from holdfast_failover_vip.claims import ClaimProbe
from holdfast_failover_vip.icmp import Echo, internet_checksum
from holdfast_failover_vip.links import LinkSockets
from holdfast_failover_vip.preflight import check_addresses, check_nics
from holdfast_failover_vip.tickle import tickle, tickle_segment

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_COUNT = itertools.count()
HERE, THERE = "10.91.0.1", "10.91.0.2"
VIP = VirtualAddress("10.91.0.100", 24, "cable")
VIP6 = VirtualAddress("fd91::100", 64, "cable")
BOTH = pytest.mark.parametrize("wanted", [VIP, VIP6], ids=["arp", "neighbour-discovery"])


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


def add(namespace: Namespace, wanted: VirtualAddress) -> None:
    """Give a machine an address of its own, as another station may have one."""
    words = ("nodad",) if ":" in wanted.address else ()
    namespace.ip("addr", "add", f"{wanted.address}/{128 if words else 32}", "dev", "cable", *words)


def frame_type(frame: bytes) -> int:
    """Of ICMPv6."""
    return frame[54]


def unheard(*_: object) -> None:
    """Whatever comes in does not matter."""


async def until(condition: Callable[[], object], timeout_s: float = 3) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - it may be the state of a kernel
            await asyncio.sleep(0.01)


def connect_refused(address: str) -> None:
    """Reach a host at a port that nobody listens on: its kernel says so."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 9), timeout=3)


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
    @pytest.mark.parametrize("wanted", [VirtualAddress("10.91.0.50", 24, "cable"), VIP6])
    def test_an_address_that_somebody_answers_for_is_named_unless_its_group_runs(
        self, pair: Pair, wanted: VirtualAddress, taken: bool, is_started: bool, codes: list[str]
    ) -> None:
        pair.here.ip("addr", "add", "fd91::1/64", "dev", "cable", "nodad")
        if taken:
            words = ("nodad",) if wanted is VIP6 else ()
            pair.there.ip("addr", "add", f"{wanted.address}/{wanted.prefix_length}", "dev", "cable", *words)
        group = GroupPlan("g", 1, "m", (), (wanted,), "a", is_started)
        plan = MonitorPlan(2, "a", "b", Secret("00"), (link("a", "cable", 1),), (), (group,), ())
        found = pair.here.run(lambda: check_addresses(plan, group))
        assert [unmet.code for unmet in found] == codes
        assert all(pair.there.mac("cable") in unmet.text for unmet in found)

    def test_what_does_not_fit_the_nics_of_the_machine_is_named(self, pair: Pair) -> None:
        lost = Link("lost", "second", "10.92.0.1", "10.93.0.2")
        moved = Link("moved", "cable", "10.92.0.1", "10.92.0.2")
        group = GroupPlan("g", 1, "m", (), (VirtualAddress("10.92.0.50", 24, "lo"),), "a", is_started=False)
        plan = MonitorPlan(2, "a", "b", Secret("00"), (lost, moved), (HERE,), (group,), ())
        found = pair.here.run(lambda: check_addresses(plan, group))
        codes = [unmet.code for unmet in found]
        assert codes == ["link-networks", "link-address", "ping-node-of-the-pair", "address-outside"]

    def test_a_nic_that_is_missing_on_this_node_is_named(self, pair: Pair) -> None:
        gone = Link("gone", "absent", HERE, THERE)
        group = GroupPlan("g", 1, "m", (), (VirtualAddress("10.92.0.50", 24, "nowhere"),), "a", is_started=False)
        plan = MonitorPlan(2, "a", "b", Secret("00"), (gone,), (), (group,), ())
        found = pair.here.run(lambda: check_nics(plan, group))
        assert [(unmet.code, unmet.text) for unmet in found] == [
            ("no-interface", "there is no NIC absent"),
            ("no-interface", "there is no NIC nowhere"),
        ]


class TestLinks:
    def test_each_link_carries_datagrams_both_ways_over_its_own_cable(self, pair: Pair) -> None:
        peers = [pair.there.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for number, peer in enumerate(peers):
            peer.bind((f"10.9{number + 1}.0.2", 7788))

        async def body() -> list[tuple[str, bytes]]:
            got: list[tuple[str, bytes]] = []
            links = LinkSockets(
                (link("a", "cable", 1), link("b", "second", 2)), lambda *what: got.append(what), unheard
            )
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

        async def body() -> tuple[list[bytes], list[tuple[str, str]]]:
            got: list[bytes] = []
            refused: list[tuple[str, str]] = []
            links = LinkSockets(
                (link("a", "cable", 1),), lambda _, data: got.append(data), lambda *what: refused.append(what)
            )
            foreign.sendto(b"foreign", (HERE, 7788))
            peer.sendto(b"peer", (HERE, 7788))
            await until(lambda: got)
            links.close()
            return got, refused

        assert pair.here.run(body) == ([b"peer"], [("a", "it came from 10.91.0.77")])

    def test_a_link_opens_when_its_address_appears_and_again_after_it_vanished(self, pair: Pair) -> None:
        late = Link("late", "cable", "10.91.0.55", THERE)

        async def body() -> None:
            links = LinkSockets((late,), unheard, unheard)
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
            links = LinkSockets((link("a", "cable", 1),), unheard, unheard)
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

    def test_one_that_cannot_be_asked_keeps_no_answer_of_another_from_coming(self, pair: Pair) -> None:
        async def body() -> list[tuple[str, int]]:
            got: list[tuple[str, int]] = []
            echo = Echo(lambda *what: got.append(what))
            for number in range(3):
                assert echo.send(THERE, interface=None, source=None, number=number)
                assert not echo.send("203.0.113.1", interface=None, source=None, number=number)
            await until(lambda: len(got) == 3)
            echo.close()
            return got

        assert pair.here.run(body) == [(THERE, 0), (THERE, 1), (THERE, 2)]

    def test_dead_neighbours_keep_no_question_to_a_living_one_from_leaving(self, pair: Pair) -> None:
        """As many as a burst of three seconds asks of the ping nodes of the largest set."""
        dead = [f"10.91.0.{number}" for number in range(201, 207)]

        async def body() -> list[int]:
            got: list[int] = []
            echo = Echo(lambda _, number: got.append(number))
            for number in range(100):
                for address in dead:
                    echo.send(address, interface=None, source=None, number=number)
                assert echo.send(THERE, interface=None, source=None, number=number)
                await asyncio.sleep(0.002)
            await until(lambda: len(got) == 100)
            echo.close()
            return got

        assert pair.here.run(body) == list(range(100))

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
            assert "fd91::100/128 scope global nodad deprecated" in shown
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

    @BOTH
    def test_clients_of_a_dropped_address_meet_silence_and_not_the_end_of_their_connection(
        self, pair: Pair, wanted: VirtualAddress
    ) -> None:
        family = socket.AF_INET6 if wanted is VIP6 else socket.AF_INET
        for namespace, address in ((pair.here, "fd91::1"), (pair.there, "fd91::2")):
            namespace.ip("addr", "add", f"{address}/64", "dev", "cable", "nodad")

        def silenced() -> bool:
            return "blackhole" in pair.here.ip("-6", "rule", "show")

        async def body() -> None:
            addresses = VirtualAddresses((VIP, VIP6))
            await until(lambda: "tentative" not in pair.here.ip("addr", "show", "dev", "cable"))
            await addresses.raise_()
            listening = pair.here.socket(family, socket.SOCK_STREAM)
            listening.bind((wanted.address, 3260))
            listening.listen()
            client = pair.there.socket(family, socket.SOCK_STREAM)
            client.connect((wanted.address, 3260))
            accepted, _ = listening.accept()
            for _ in range(2):
                await addresses.drop()
            assert silenced()
            accepted.close()
            listening.close()
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.recv(1)
            await addresses.raise_()
            assert not silenced()
            await asyncio.to_thread(pair.there.call, lambda: connect_refused(wanted.address))
            await addresses.drop()
            # A monitor that was killed leaves it behind, and the next one takes it away.
            later = VirtualAddresses((VIP, VIP6))
            assert silenced()
            await later.raise_()
            assert not silenced()
            await later.drop()
            last = VirtualAddresses((VIP, VIP6))
            await last.prepare()
            assert not silenced()
            await last.close()
            await later.raise_()
            await later.drop()
            await later.close()
            await addresses.close()
            assert not silenced()

        pair.here.run(body)

    def test_a_missing_interface_cannot_be_raised_on_but_is_already_dropped(self, pair: Pair) -> None:
        async def body() -> None:
            addresses = VirtualAddresses((VirtualAddress("10.91.0.100", 24, "absent"),))
            with pytest.raises(UnavailableError, match="absent"):
                await addresses.raise_()
            await addresses.drop()
            await addresses.close()

        pair.here.run(body)

    def test_several_addresses_of_both_families_on_several_nics_go_up_and_down_together(self, pair: Pair) -> None:
        wanted = (VIP, VIP6, VirtualAddress("10.92.0.100", 24, "second"), VirtualAddress("fd92::100", 64, "second"))

        def shown() -> list[str]:
            words = [line.split() for line in pair.here.ip("-o", "addr", "show").splitlines()]
            return sorted(f"{word[1]} {word[3]}" for word in words if word[3].partition("/")[0].endswith("100"))

        async def body() -> None:
            addresses = VirtualAddresses(wanted)
            await addresses.raise_()
            assert shown() == [
                "cable 10.91.0.100/32",
                "cable fd91::100/128",
                "second 10.92.0.100/32",
                "second fd92::100/128",
            ]
            pair.here.ip("addr", "del", "fd92::100/128", "dev", "second")
            assert not await addresses.are_up()
            assert await addresses.any_is_up()
            await addresses.raise_()
            assert await addresses.are_up()
            await addresses.drop()
            assert shown() == []
            assert not await addresses.any_is_up()
            await addresses.close()

        pair.here.run(body)

    def test_a_raised_address_has_the_netmask_of_a_single_host_and_no_broadcast_and_is_reached_all_the_same(
        self, pair: Pair
    ) -> None:
        """Netmask and broadcast of the network stay those of the NIC: neither routes nor sources change."""
        pair.there.ip("addr", "add", "fd91::2/64", "dev", "cable", "nodad")
        pair.here.ip("addr", "add", "fd91::1/64", "dev", "cable", "nodad")

        def routes() -> tuple[str, ...]:
            asked = [(family, table) for family in ("-4", "-6") for table in ("main", "local")]
            return tuple(
                line
                for family, table in asked
                for line in pair.here.ip(family, "route", "show", "table", table).splitlines()
                if " dev cable " in line  # the other one may still be coming up
            )

        async def body() -> None:
            await until(lambda: "tentative" not in pair.here.ip("addr", "show", "dev", "cable"))
            before = routes()
            addresses = VirtualAddresses((VIP, VIP6))
            await addresses.raise_()
            (shown,) = (line for line in pair.here.ip("-o", "addr", "show").splitlines() if VIP.address in line)
            assert f"inet {VIP.address}/32 scope global" in shown
            assert "brd" not in shown
            added = {line for line in routes() if line not in before}
            assert all(
                line.startswith((f"local {VIP.address} ", f"local {VIP6.address} ", "fd91::100 ")) for line in added
            )
            assert f"src {HERE}" in pair.here.ip("route", "get", THERE)
            assert "src fd91::1 " in pair.here.ip("-6", "route", "get", "fd91::2")
            for address in (VIP.address, VIP6.address):
                await asyncio.to_thread(pair.there.call, lambda: connect_refused(address))  # noqa: B023 - awaited here
            await addresses.drop()
            assert routes() == before
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

    def test_announcements_of_an_ipv6_address_are_repeated_until_it_is_dropped(self, pair: Pair) -> None:
        tap = pair.there.socket(socket.AF_PACKET, socket.SOCK_RAW)
        tap.bind(("cable", neighbour.ETH_P_IPV6))
        tap.settimeout(0.7)

        async def body() -> None:
            addresses = VirtualAddresses((VIP6,))
            await until(lambda: "tentative" not in pair.here.ip("addr", "show", "dev", "cable"))
            await addresses.raise_()
            await asyncio.sleep(0.7)
            await addresses.drop()
            await addresses.close()

        pair.here.run(body)
        claims = [
            neighbour.claimant(frame, socket.inet_pton(socket.AF_INET6, VIP6.address)) for frame in all_heard(tap)
        ]
        assert [mac.hex(":") for mac in claims if mac] == [pair.here.mac()] * 4  # at 0, 50, 150 and 500 ms

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


def announce(wanted: VirtualAddress) -> None:
    """As whoever has it does; the address of IPv6 must be there."""
    if wanted is VIP6:
        neighbour.send_advertisement("cable", wanted.address)
    else:
        send_gratuitous("cable", wanted.address)


class TestClaims:
    @BOTH
    def test_a_probe_hears_the_station_that_has_the_address(self, pair: Pair, wanted: VirtualAddress) -> None:
        add(pair.there, wanted)

        async def body() -> list[bytes]:
            got: list[bytes] = []
            probe = ClaimProbe("cable", wanted.address, got.append)
            assert probe.is_listening
            assert probe.send()
            await until(lambda: got)
            probe.close()
            probe.close()
            return got

        assert pair.here.run(body) == [bytes.fromhex(pair.there.mac().replace(":", ""))]
        assert wanted.address not in pair.there.ip("neigh")
        assert "::" not in pair.there.ip("neigh").replace("fe80::", ""), "it must learn nothing from a probe"

    @BOTH
    def test_a_probe_for_a_free_address_hears_nothing_and_neither_do_our_own_announcements_count(
        self, pair: Pair, wanted: VirtualAddress
    ) -> None:
        if wanted is VIP6:
            add(pair.here, wanted)

        async def body() -> list[bytes]:
            got: list[bytes] = []
            probe = ClaimProbe("cable", wanted.address, got.append)
            for _ in range(3):
                assert probe.send()
                announce(wanted)
                await asyncio.sleep(0.04)
            await asyncio.sleep(0.2)
            probe.close()
            return got

        assert pair.here.run(body) == []

    @BOTH
    def test_a_foreign_announcement_is_heard_without_asking(self, pair: Pair, wanted: VirtualAddress) -> None:
        other = VirtualAddress("10.91.0.101", 24, "cable")
        add(pair.there, wanted)

        async def body() -> None:
            got: list[bytes] = []
            probe = ClaimProbe("cable", wanted.address, got.append)
            await asyncio.to_thread(pair.there.call, lambda: announce(other))
            await asyncio.to_thread(pair.there.call, lambda: announce(wanted))
            await until(lambda: got)
            assert len(got) == 1
            probe.close()

        pair.here.run(body)

    def test_data_over_ipv6_wakes_no_probe(self, pair: Pair) -> None:
        for namespace, address in ((pair.here, "fd91::1"), (pair.there, "fd91::2")):
            namespace.ip("addr", "add", f"{address}/64", "dev", "cable", "nodad")
        receiving = pair.here.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        receiving.bind(("fd91::1", 4711))
        sending = pair.there.socket(socket.AF_INET6, socket.SOCK_DGRAM)

        async def body() -> int:
            probe = ClaimProbe("cable", VIP6.address, lambda _: None)
            for _ in range(20):
                sending.sendto(b"data", ("fd91::1", 4711))
                await asyncio.to_thread(receiving.recv, 10)
            assert probe._socket is not None
            waiting = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    waiting += frame_type(probe._socket.recv(256)) != 136
            probe.close()
            return waiting

        assert pair.here.run(body) == 0

    def test_frames_that_claim_nothing_are_no_claims(self) -> None:
        packed = socket.inet_pton(socket.AF_INET6, VIP6.address)
        mac, own = bytes.fromhex("020000000099"), bytes.fromhex("020000000001")
        asked = neighbour.question(own, packed)
        head = asked[:6] + mac + asked[12:54]
        said = head + struct.pack("!BBHI", 136, 0, 0, 0) + packed
        option = struct.pack("!BB", 2, 1) + own
        assert neighbour.claimant(said, packed) == mac
        assert neighbour.claimant(said + option, packed) == own
        assert neighbour.claimant(said + struct.pack("!BB", 14, 2) + bytes(14) + option, packed) == own
        assert neighbour.claimant(said + struct.pack("!BB", 14, 0) + option, packed) == mac
        for frame in (
            asked,
            said[:-1],
            b"",
            said[:62] + bytes(16),
            said[:12] + b"\x08\x00" + said[14:],
            said[:20] + b"\x06" + said[21:],
            said[:21] + b"\x40" + said[22:],
            said[:55] + b"\x01" + said[56:],
        ):
            assert neighbour.claimant(frame, packed) is None

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
            probe = ClaimProbe("cable", VIP.address, got.append)
            sending.send(claim(bytes.fromhex(pair.here.mac("second").replace(":", ""))))
            sending.send(claim(foreign))
            await until(lambda: got)
            probe.close()
            return got

        assert pair.here.run(body) == [foreign]

    def test_without_an_interface_the_probe_says_that_it_is_deaf(self, pair: Pair) -> None:
        async def body() -> None:
            probe = ClaimProbe("absent", VIP.address, lambda _: None)
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
    @BOTH
    def test_a_client_whose_server_is_gone_learns_it_at_once(self, pair: Pair, wanted: VirtualAddress) -> None:
        """The old active had the connection; after the address moved here, the client's kernel answers and is reset."""
        family, there, words = socket.AF_INET, THERE, ()
        if wanted is VIP6:
            family, there, words = socket.AF_INET6, "fd91::2", ("nodad",)  # type: ignore[assignment]
            for namespace, address in ((pair.here, "fd91::1"), (pair.there, there)):
                namespace.ip("addr", "add", f"{address}/64", "dev", "cable", "nodad")
        single = f"{wanted.address}/{128 if words else 32}"
        pair.there.ip("addr", "add", single, "dev", "lo", *words)
        listening = pair.there.socket(family, socket.SOCK_STREAM)
        listening.bind((wanted.address, 3260))
        listening.listen()
        client = pair.there.socket(family, socket.SOCK_STREAM)
        # Client and old server share a machine here: the old side is silenced by repair mode, then closed.
        client.bind((there, 0))
        client.connect((wanted.address, 3260))
        accepted, _ = listening.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR: closes without a word
        accepted.close()
        listening.close()
        pair.there.ip("addr", "del", single, "dev", "lo")
        port = client.getsockname()[1]
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)  # without a tickle it waits

        async def body() -> None:
            addresses = VirtualAddresses((VIP, VIP6))
            await until(lambda: "tentative" not in pair.here.ip("addr", "show", "dev", "cable"))
            await addresses.raise_()
            await tickle([VIP.address, VIP6.address], 3260, [(there, port)])
            await addresses.close()

        pair.here.run(body)
        client.settimeout(2)
        with pytest.raises(ConnectionResetError):
            client.recv(1)

    def test_each_connection_is_woken_twice_and_those_that_cannot_be_are_passed_over(self, pair: Pair) -> None:
        tap = pair.there.socket(socket.AF_PACKET, socket.SOCK_RAW)
        tap.bind(("cable", 0x0800))
        tap.settimeout(0.3)
        clients = [("203.0.113.5", 1), ("fd91::2", 2), ("fd91::3", 70_000), ("nobody", 3), (THERE, -1), (THERE, 4711)]

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

    def test_a_segment_of_ipv6_has_the_checksum_of_its_own_pseudo_header(self) -> None:
        packet = tickle_segment("fd91::100", 3260, "fd91::2", 4711)
        head, segment = packet[:40], packet[40:]
        assert struct.unpack("!IHBB", head[:8]) == (6 << 28, 20, 6, 64)
        assert internet_checksum(head[8:40] + struct.pack("!II", 20, 6) + segment) == 0
        assert struct.unpack("!HHII", segment[:12]) == (3260, 4711, 0, 0)


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
