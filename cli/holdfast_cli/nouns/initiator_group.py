"""`holdfast initiator-group`: initiators that are let in together."""

from __future__ import annotations

import click

from holdfast_cli.initiators import Chap, Mutual, access_of, access_options
from holdfast_cli.jobs import Change
from holdfast_cli.options import changing
from holdfast_cli.session import url_path
from holdfast_cli.verbs import add_delete, add_list, add_show


@click.group()
def initiator_group() -> None:
    """Named groups of initiators, which targets let in as one."""


add_list(initiator_group, "initiator-groups", ("name", "members", "used_by"))
add_show(initiator_group, "initiator-groups")
add_delete(initiator_group, "initiator-groups")


@initiator_group.command()
@click.argument("name")
@access_options
@changing
def create(change: Change, name: str, allowed: tuple[str, ...], chap: Chap, mutual: Mutual, depth: int | None) -> None:
    """Name a group of initiators."""
    members = access_of(allowed, chap, mutual, depth)
    change.send("POST", url_path("initiator-groups"), {"name": name, "members": members})


@initiator_group.command("change")
@click.argument("name")
@access_options
@changing
def change_group(
    change: Change, name: str, allowed: tuple[str, ...], chap: Chap, mutual: Mutual, depth: int | None
) -> None:
    """Say anew who is in a group; who is not named is out of it, and out of its targets."""
    members = access_of(allowed, chap, mutual, depth)
    change.send("PUT", url_path("initiator-groups", name), {"members": members})
