"""`holdfast target`: volumes as logical units."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import click

from holdfast_cli.addresses import Pair, Portal
from holdfast_cli.errors import CommandError, Exit
from holdfast_cli.initiators import access_of, access_options
from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, given, immediate
from holdfast_cli.session import Session, url_path
from holdfast_cli.verbs import add_confirmed_delete, add_list, add_show

_NUMBERS = {"block-size": "block_size_bytes", "optimal-blocks": "optimal_blocks"}
_WORDS = {"serial": "serial", "vendor": "vendor", "product": "product"}
_FLAGS = {"ro": "is_read_only", "unmap": "may_unmap", "write-cache": "has_write_cache"}


@click.group()
def target() -> None:
    """Targets: volumes as logical units; those of a mirror are the same on both nodes."""


add_list(target, "targets", ("name", "iqn", "mirror", "portals", "initiators", "this_node", "is_equal_on_both"))
add_show(target, "targets")
add_confirmed_delete(target, "targets", "removes the target")


def _content(function: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option("--mirror", help="The mirror whose volumes it exports; without one, volumes of this node."),
        click.option("--iqn", help="Its name on the wire; by default one is made."),
        click.option(
            "--portal",
            "portals",
            type=Portal(),
            multiple=True,
            help="ADDRESS[:PORT]; by default its group's addresses.",
        ),
        click.option(
            "--unit",
            "units",
            type=Pair("LUN=VOLUME"),
            multiple=True,
            required=True,
            metavar="LUN=VOLUME[,OPTION…]",
            help="Such as 1=v1 or 1=v1,ro,unmap,serial=…,vendor=…,product=…,block-size=4096,optimal-blocks=N. With "
            "file I/O also write-cache: RISK, what an initiator did not flush is lost with the power or the node.",
        ),
        click.option("--allow-group", "groups", multiple=True, metavar="NAME", help="A group of initiators."),
        click.option("--open-to-everybody", "is_open", is_flag=True, help="Anybody may log in and write."),
        access_options,
    )
    for option in reversed(options):
        function = option(function)
    return function


def _body(
    mirror: str | None,
    iqn: str | None,
    portals: tuple[dict[str, Any], ...],
    units: tuple[tuple[str, str], ...],
    groups: tuple[str, ...],
    is_open: bool,
    **access: Any,
) -> dict[str, Any]:
    return given(
        mirror=mirror,
        iqn=iqn,
        portals=list(portals),
        units=[_unit(lun, text) for lun, text in units],
        access=access_of(**access),
        initiator_groups=list(groups) or None,
        is_open=is_open or None,
    )


@target.command()
@click.argument("name")
@_content
@changing
def create(change: Change, name: str, **content: Any) -> None:
    """Make a target. Only the initiators that are named may log in."""
    change.send("POST", url_path("targets"), {"name": name, **_body(**content)})


@target.command("change")
@click.argument("name")
@_content
@changing
def change_target(change: Change, name: str, **content: Any) -> None:
    """Say anew what a target exports and to whom; sessions that this does not concern go on."""
    change.send("PUT", url_path("targets", name), _body(**content))


@target.command()
@click.argument("name")
@immediate
def identity(session: Session, name: str) -> None:
    """Compare it with the kernels of both nodes; the exit code is 4 when anything differs."""
    found = session.get(url_path("targets", name, "identity"))
    session.show(found)
    if found["differences"]:
        raise CommandError(Exit.CONFLICT, f"target {name} is not the same everywhere")


@target.command("initiator-profile")
@click.argument("name")
@immediate
def initiator_profile(session: Session, name: str) -> None:
    """Print what to run on an initiator before it logs in, so that it goes on at once after a takeover."""
    found = session.get(url_path("targets", name, "initiator-profile"))
    if session.as_json:
        session.show(found)
        return
    for setting in found["settings"]:
        click.echo(f"# {setting['name']} = {setting['value']}: {setting['why']}")
    for command in found["commands"]:
        click.echo(shlex.join(command))


@target.command("close-session")
@click.argument("name")
@click.argument("initiator")
@immediate
def close_session(session: Session, name: str, initiator: str) -> None:
    """Close an initiator's sessions; it may log in again."""
    session.show(session.send("POST", url_path("targets", name, "close-session"), {"initiator": initiator}))


@target.command()
@immediate
def foreign(session: Session) -> None:
    """List targets in the kernel that Holdfast did not make."""
    session.show_list(list(session.items(url_path("foreign-targets"))), ("iqn", "portals"))


def _unit(lun: str, text: str) -> dict[str, Any]:
    volume, *options = text.split(",")
    unit: dict[str, Any] = {"lun": _number(lun, "a LUN: give a number, such as 1=VOLUME"), "volume": volume}
    for option in options:
        word, _, value = option.partition("=")
        if word in _FLAGS and not value:
            unit[_FLAGS[word]] = True
        elif word in _WORDS and value:
            unit[_WORDS[word]] = value
        elif word in _NUMBERS and value:
            unit[_NUMBERS[word]] = _number(value, f"a number for {word}")
        else:
            known = ", ".join([*_FLAGS, *(f"{name}=…" for name in (*_WORDS, *_NUMBERS))])
            raise CommandError(Exit.USAGE, f"{option} is no option of a unit: there are {known}")
    return unit


def _number(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise CommandError(Exit.USAGE, f"{text} is not {what}")
    return int(text)
