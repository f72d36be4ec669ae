"""`holdfast target`: iSCSI targets."""

from __future__ import annotations

from typing import Any

import click

from holdfast_cli.addresses import Pair, Portal
from holdfast_cli.errors import CommandError, Exit
from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, given, read_secret
from holdfast_cli.session import url_path
from holdfast_cli.verbs import add_confirmed_delete, add_list, add_show


@click.group()
def target() -> None:
    """Targets: mirrored volumes as iSCSI logical units, the same on both nodes."""


add_list(target, "targets", ("name", "iqn", "mirror", "portals", "initiators", "is_equal_on_both"))
add_show(target, "targets")
add_confirmed_delete(target, "targets", "removes the target from both nodes")


@target.command()
@click.argument("name")
@click.option("--mirror", required=True, help="The mirror whose volumes it exports.")
@click.option("--iqn", help="Its iSCSI name; by default one is made.")
@click.option(
    "--portal", "portals", type=Portal(), multiple=True, help="ADDRESS[:PORT]; by default the addresses of its group."
)
@click.option(
    "--unit", "units", type=Pair("LUN=VOLUME"), multiple=True, required=True, metavar="LUN=VOLUME", help="Such as 1=v1."
)
@click.option("--allow", "allowed", multiple=True, metavar="IQN", help="An initiator that needs no password.")
@click.option(
    "--allow-chap",
    "chap",
    nargs=3,
    type=(str, str, str),
    multiple=True,
    metavar="IQN USER FILE|-",
    help="An initiator, its CHAP user, and the file with the password.",
)
@changing
def create(
    change: Change,
    name: str,
    mirror: str,
    iqn: str | None,
    portals: tuple[dict[str, Any], ...],
    units: tuple[tuple[str, str], ...],
    allowed: tuple[str, ...],
    chap: tuple[tuple[str, str, str], ...],
) -> None:
    """Make a target of the volumes of a mirror. Only the initiators that are named may log in."""
    access: list[dict[str, Any]] = [{"initiator": initiator, "chap": None} for initiator in allowed]
    access += [
        {"initiator": initiator, "chap": {"user": user, "password": read_secret(file)}}
        for initiator, user, file in chap
    ]
    body = given(
        name=name,
        mirror=mirror,
        iqn=iqn,
        portals=list(portals),
        units=[{"lun": _lun(lun), "volume": volume} for lun, volume in units],
        access=access,
    )
    change.send("POST", url_path("targets"), body)


def _lun(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise CommandError(Exit.USAGE, f"{text} is not a LUN: give a number, such as 1=VOLUME")
    return int(text)
