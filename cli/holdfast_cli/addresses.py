"""Addresses as people write them."""

from __future__ import annotations

import re
from typing import Any

import click

ISCSI_PORT = 3260

_PORTAL = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+))(?::(?P<port>\d{1,5}))?\Z")
_VIRTUAL = re.compile(r"(?P<address>[0-9A-Fa-f:.]+)/(?P<length>\d{1,3})@(?P<interface>[^\s/@]{1,15})\Z")


class Portal(click.ParamType[dict[str, Any]]):
    """`ADDRESS`, `ADDRESS:PORT` or `[IPV6]:PORT`."""

    name = "portal"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """See click.ParamType."""
        if not (match := _PORTAL.match(str(value))):
            self.fail(f"{value} is not ADDRESS, ADDRESS:PORT or [IPV6]:PORT", param, ctx)
        return {"address": match["six"] or match["four"], "port": int(match["port"] or ISCSI_PORT)}


class VirtualAddress(click.ParamType[dict[str, Any]]):
    """`ADDRESS/PREFIX@INTERFACE`, such as `10.0.0.9/24@eth0`."""

    name = "virtual address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """See click.ParamType."""
        if not (match := _VIRTUAL.match(str(value))):
            self.fail(f"{value} is not ADDRESS/PREFIX@INTERFACE, such as 10.0.0.9/24@eth0", param, ctx)
        return {
            "address": match["address"],
            "prefix_length": int(match["length"]),
            "interface": match["interface"],
        }


class Pair(click.ParamType[tuple[str, str]]):
    """`LEFT=RIGHT`, both there."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """See click.ParamType."""
        left, _, right = str(value).partition("=")
        if not left or not right:
            self.fail(f"{value} is not {self.name}", param, ctx)
        return left, right
