"""Directories that are exported: read from the table that exportfs(8) keeps, and changed one by one.

`exportfs -i`: the files in which others say what they export are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from holdfast.hooks.base import Host
from holdfast_share_nfs import exports
from holdfast_share_nfs.server import TABLE, Server


class Exporting:
    """What is exported to whom, and how."""

    def __init__(self, host: Host, server: Server) -> None:
        self._host = host
        self._server = server

    def table(self) -> dict[exports.Export, frozenset[str]]:
        """All exports of the machine."""
        if not self._host.kernel.exists(TABLE):
            return {}
        return exports.read_table(self._host.kernel.read(TABLE))

    def of(self, place: Path) -> dict[str, frozenset[str]]:
        """Those of one directory: network to options."""
        return {client: found for (client, directory), found in self.table().items() if directory == str(place)}

    async def set(self, place: Path, wanted: Mapping[str, tuple[str, ...]]) -> None:
        """Have a directory exported to exactly these networks; an export that stays as it is is not touched."""
        there = self.of(place)
        for network in there.keys() - wanted.keys():
            await self._server.run("exportfs", "-u", f"{_quoted(network)}:{place}")
        for network, options in wanted.items():
            if not there.get(network, frozenset()).issuperset(options):
                await self._server.run("exportfs", "-i", "-o", ",".join(options), f"{_quoted(network)}:{place}")


def _quoted(network: str) -> str:
    # exportfs(8): an IPv6 address stands in brackets, since a colon ends the client.
    if ":" not in network:
        return network
    address, slash, length = network.partition("/")
    return f"[{address}]{slash}{length}"
