"""Who is logged in, of what the kernel shows in two places. The parsing is pure.

An ACL's `info` names the client's address but not its port (iscsi_target_configfs.c, lio_target_nacl_info_show)
and knows only the newest session of an initiator; the sockets of /proc/net/tcp have both ends but no
name. They are joined by address: where one client has several connections to the same portal, whatever
for, each is listed, because for waking clients one too many is harmless and one too few is not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from holdfast.hooks.target import Portal, TargetSession
from holdfast.system.kernelfs import KernelFs
from holdfast_iscsi_lio.describe import portal_of
from holdfast_iscsi_lio.tree import tpg_of

_SESSION = re.compile(r"LIO Session ID: (\d+).*TSIH: (\d+)")
"""The first is used again as soon as it is free, the second not before all others were."""
_COUNTS = {"commands": "cmd_pdus", "read_bytes": "txdata_octs"}
"""As the target sees it: what it transmits, the initiator reads (iscsi_target_stat.c). Of what it receives it counts
only what it had to ask for, so writes are taken from the mapped LUNs, in MiB since they were mapped."""
_ADDRESS = re.compile(r"^\s*Address (\S+) TCP", re.MULTILINE)
_ESTABLISHED = "01"
TCP_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


@dataclass(frozen=True)
class Connection:
    """One established TCP connection."""

    local: Portal
    remote: Portal


def read_sessions(kernel: KernelFs, iqn: str) -> tuple[TargetSession, ...]:
    """The sessions of a target; none if it is absent."""
    tpg = tpg_of(iqn)
    acls = kernel.names(f"{tpg}/acls")
    infos = {name: kernel.read(path) for name in acls if kernel.exists(path := f"{tpg}/acls/{name}/info")}
    addresses = {name: parse_info(info) for name, info in infos.items()}
    dynamic = kernel.read(f"{tpg}/dynamic_sessions") if kernel.exists(f"{tpg}/dynamic_sessions") else ""
    anonymous = tuple(name for name in re.split(r"[\n\0]+", dynamic) if name)
    if not anonymous and not any(addresses.values()):
        return ()
    portals = tuple(portal_of(name) for name in kernel.names(f"{tpg}/np"))
    connections = [
        connection
        for table in TCP_TABLES
        if kernel.exists(table)
        for connection in parse_tcp(kernel.read(table))
        if connection.local in portals
    ]
    found = {name: _more(kernel, f"{tpg}/acls/{name}", infos[name]) for name, known in addresses.items() if known}
    return (
        *(replace(session, **found[session.initiator]) for session in join(addresses, connections)),
        *(TargetSession(name, None, None) for name in anonymous),
    )


def _more(kernel: KernelFs, acl: str, info: str) -> dict[str, Any]:
    number = _SESSION.search(info)
    more: dict[str, Any] = {"id": f"{number[1]}.{number[2]}" if number else None}
    for field, name in _COUNTS.items():
        path = f"{acl}/fabric_statistics/iscsi_sess_stats/{name}"
        if kernel.exists(path) and (text := kernel.read(path)).isdigit():
            more[field] = int(text)
    written = [
        int(kernel.read(path))
        for lun in kernel.names(acl)
        if lun.startswith("lun_") and kernel.exists(path := f"{acl}/{lun}/statistics/scsi_auth_intr/write_mbytes")
    ]
    return more | {"written_bytes": sum(written) << 20 if written else None}


def parse_info(text: str) -> tuple[str, ...]:
    """The addresses of the connections that an ACL's `info` shows."""
    return tuple(str(ip_address(address.strip("[]"))) for address in _ADDRESS.findall(text))


def parse_tcp(text: str) -> tuple[Connection, ...]:
    """The established connections of a table such as /proc/net/tcp (proc(5))."""
    rows = (line.split() for line in text.splitlines()[1:])
    return tuple(Connection(_end(row[1]), _end(row[2])) for row in rows if len(row) > 3 and row[3] == _ESTABLISHED)


def join(addresses: Mapping[str, tuple[str, ...]], connections: Iterable[Connection]) -> tuple[TargetSession, ...]:
    """Give each initiator the ports that are connected from its address, each port to one initiator only.

    Several initiators behind one address share its ports in the order of their names; the last takes the rest.
    """
    ports: dict[str, list[int]] = {}
    for connection in connections:
        ports.setdefault(connection.remote.address, []).append(connection.remote.port)
    for free in ports.values():
        free.sort()
    claims = [(initiator, address) for initiator in sorted(addresses) for address in addresses[initiator]]
    found = []
    for number, (initiator, address) in enumerate(claims):
        free = ports.get(address, [])
        is_last = all(other != address for _, other in claims[number + 1 :])
        taken = free[:] if is_last else free[:1]
        ports[address] = free[len(taken) :]
        found += [TargetSession(initiator, address, port) for port in (taken or (None,))]
    return tuple(found)


def _end(text: str) -> Portal:
    address, _, port = text.partition(":")
    # The kernel prints each 32-bit word of an address as a number in its own byte order.
    words = (address[i : i + 8] for i in range(0, len(address), 8))
    raw = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    parsed = IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)
    return Portal(str(parsed), int(port, 16))
