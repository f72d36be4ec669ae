"""Virtual addresses: put on their interfaces, announced to the network, taken off again; each step is read back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any, TypeVar

from pyroute2.iproute.linux import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from holdfast.errors import UnavailableError, VerificationError
from holdfast.hooks.failover import VirtualAddress
from holdfast_failover_vip.arp import ArpSender
from holdfast_failover_vip.neighbour import send_advertisement

_log = logging.getLogger(__name__)

ANNOUNCE_AT_S = (0.05, 0.15, 0.5, 2.0, 5.0)
"""After the one at once; one announcement alone is lost too easily."""
ANNOUNCE_EVERY_S = 60.0
SILENT_S = 120.0
"""As long as the kernel repeats the last words of connections that were closed."""
_NODAD = 0x02
_FOR_EVER = 0xFFFFFFFF
_TO_BLACKHOLE = 6
_PRIORITY = 100
_GONE = (errno.EADDRNOTAVAIL, errno.ENODEV)

_T = TypeVar("_T")


class VirtualAddresses:
    """The addresses of one group on this node.

    They are added as single hosts (/32, /128) whatever prefix the plan names: removing one can then take nothing
    else along, and the kernel never picks one as the source of the node's own traffic. The netlink socket stays
    open between calls. Use one instance within one event loop.
    """

    def __init__(self, addresses: tuple[VirtualAddress, ...]) -> None:
        self._addresses = addresses
        self._route: Any = None
        self._arp: ArpSender | None = None
        self._lock = asyncio.Lock()
        self._announcer: asyncio.Task[None] | None = None
        self._silence: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Open the sockets now, so that the first `raise_` need not; may be repeated and may be left out."""
        self._arp = self._arp or ArpSender()
        await self.any_is_up()
        if self._silence is None:
            await self._end_silence()

    async def raise_(self) -> None:
        """Add what is missing, read it back, announce all at once and go on announcing.

        Raises UnavailableError if an interface is missing or the kernel refuses; VerificationError if an address is
        not there afterwards. What was added until then stays: `drop` removes it.
        """
        await self._end_silence()
        for wanted in self._addresses:
            await self._add(wanted)
        if missing := [a.address for a in self._addresses if not await self._instances(a)]:
            raise VerificationError(f"the kernel does not show {', '.join(missing)} after adding")
        self.announce()

    async def drop(self) -> None:
        """Stop announcing, remove every instance of the addresses on their interfaces, and read back that none is left.

        Raises UnavailableError if the kernel refuses; VerificationError if an address is still there.
        """
        await self._stop_announcing()
        await self._be_silent()
        for wanted in self._addresses:
            # Someone may have added it with a prefix of their own: that would serve clients just as well.
            for index, prefix_length in await self._instances(wanted):
                await self._remove(wanted, index, prefix_length)
        if left := [a.address for a in self._addresses if await self._instances(a)]:
            raise VerificationError(f"the kernel still shows {', '.join(left)} after removing")

    async def are_up(self) -> bool:
        """Read whether every address is on its interface now."""
        for wanted in self._addresses:
            if not await self._instances(wanted):
                return False
        return True

    async def any_is_up(self) -> bool:
        """Read whether at least one address is on its interface now: more than a node may have that does not serve."""
        for wanted in self._addresses:
            if await self._instances(wanted):
                return True
        return False

    def announce(self) -> None:
        """Announce now and begin the series anew, as after a healed partition. Only for addresses that are up."""
        if self._announcer is not None:
            self._announcer.cancel()
        self._announce_once()
        self._announcer = asyncio.create_task(self._keep_announcing(), name="announce virtual addresses")

    async def close(self) -> None:
        """Stop tasks and close sockets; the addresses stay as they are."""
        await self._stop_announcing()
        if self._silence is not None:
            with contextlib.suppress(UnavailableError):
                await self._end_silence()
        self._forget_route()
        if self._arp is not None:
            self._arp.close()
            self._arp = None

    async def _be_silent(self) -> None:
        """Let nothing more out that comes from the IPv6 addresses that are up, and end that in a while.

        Of a removed IPv4 address the kernel sends nothing. Of one of IPv6 it does: clients would be told that their
        connection ends while nobody has the address yet, and lose a second or more.
        """
        silenced = [w for w in self._addresses if ip_address(w.address).version == 6 and await self._instances(w)]
        for wanted in silenced:
            try:
                await self._change_rule("add", wanted)
            except NetlinkError as reason:
                if reason.code != errno.EEXIST:
                    _log.warning("clients of %s may be told that it goes: %s", wanted.address, reason)
        if silenced and self._silence is None:
            self._silence = asyncio.create_task(self._keep_silence(), name="silence of addresses")

    async def _keep_silence(self) -> None:
        await asyncio.sleep(SILENT_S)
        self._silence = None
        await self._end_silence()

    async def _end_silence(self) -> None:
        """Also one that a former monitor left, which must not outlast the return of its address."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        for wanted in self._addresses:
            if ip_address(wanted.address).version == 6:
                with contextlib.suppress(NetlinkError):  # there is none
                    await self._change_rule("del", wanted)

    async def _change_rule(self, command: str, wanted: VirtualAddress) -> None:
        """A routing rule: what comes from this address leads nowhere."""
        rule = {"family": socket.AF_INET6, "src": str(ip_address(wanted.address)), "src_len": 128}
        await self._ask(lambda route: route.rule(command, **rule, action=_TO_BLACKHOLE, priority=_PRIORITY))

    def _announce_once(self) -> None:
        for wanted in self._addresses:
            try:
                if ip_address(wanted.address).version == 6:
                    send_advertisement(wanted.interface, wanted.address)
                    continue
                self._arp = self._arp or ArpSender()
                self._arp.send_gratuitous(wanted.interface, wanted.address)
            except OSError as reason:
                _log.warning("%s could not be announced on %s: %s", wanted.address, wanted.interface, reason)

    async def _keep_announcing(self) -> None:
        slept_s = 0.0
        for at_s in ANNOUNCE_AT_S:
            await asyncio.sleep(at_s - slept_s)
            slept_s = at_s
            self._announce_once()
        while True:
            await asyncio.sleep(ANNOUNCE_EVERY_S)
            self._announce_once()

    async def _stop_announcing(self) -> None:
        task, self._announcer = self._announcer, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _add(self, wanted: VirtualAddress) -> None:
        try:
            index = socket.if_nametoindex(wanted.interface)
        except OSError as reason:
            raise UnavailableError(f"there is no interface {wanted.interface} for {wanted.address}") from reason
        address = ip_address(wanted.address)
        request: dict[str, Any] = {"index": index, "address": str(address), "prefixlen": address.max_prefixlen}
        request["family"] = socket.AF_INET
        if address.version == 6:
            request["family"] = socket.AF_INET6
            # Detecting duplicates takes the kernel about a second; the partner was fenced instead.
            request["flags"] = _NODAD
            # Clients reach a deprecated address as any other, but the kernel takes it for no source of its own
            # (RFC 6724, section 5, rule 3); the length of the prefix tells it nothing there.
            request |= {"preferred_lft": 0, "valid_lft": _FOR_EVER}
        try:
            await self._ask(lambda route: route.addr("add", **request))
        except NetlinkError as reason:
            if reason.code != errno.EEXIST:
                raise UnavailableError(
                    f"{wanted.address} could not be added on {wanted.interface}: {reason}"
                ) from reason

    async def _remove(self, wanted: VirtualAddress, index: int, prefix_length: int) -> None:
        address = str(ip_address(wanted.address))
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        request = {"index": index, "address": address, "prefixlen": prefix_length, "family": family}
        try:
            await self._ask(lambda route: route.addr("del", **request))
        except NetlinkError as reason:
            if reason.code not in _GONE:
                text = f"{wanted.address} could not be removed from {wanted.interface}: {reason}"
                raise UnavailableError(text) from reason

    async def _instances(self, wanted: VirtualAddress) -> list[tuple[int, int]]:
        """Index and prefix length of each time the address is on its interface."""
        try:
            index = socket.if_nametoindex(wanted.interface)
        except OSError:
            return []
        address = ip_address(wanted.address)
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET

        async def read(route: Any) -> list[tuple[int, int]]:
            found = []
            async for message in await route.addr("dump", family=family):
                # On a point-to-point interface IFA_ADDRESS is the other end.
                shown = message.get("IFA_LOCAL") or message.get("IFA_ADDRESS")
                if message["index"] == index and shown is not None and ip_address(shown) == address:
                    found.append((index, message["prefixlen"]))
            return found

        return await self._ask(read)

    async def _ask(self, question: Callable[[Any], Awaitable[_T]]) -> _T:
        async with self._lock:
            try:
                if self._route is None:
                    self._route = AsyncIPRoute()  # type: ignore[no-untyped-call]
                return await question(self._route)
            except NetlinkError:
                raise
            except OSError as reason:
                self._forget_route()
                raise UnavailableError(f"the kernel does not answer about addresses: {reason}") from reason
            except BaseException:
                # Cut short: half an answer may be waiting in the socket.
                self._forget_route()
                raise

    def _forget_route(self) -> None:
        route, self._route = self._route, None
        if route is not None:
            route.close()
