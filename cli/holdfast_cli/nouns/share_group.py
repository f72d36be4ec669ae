"""`holdfast share-group`: users who are named together."""

from __future__ import annotations

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, given
from holdfast_cli.session import url_path
from holdfast_cli.verbs import add_delete, add_list, add_show


@click.group("share-group")
def share_group() -> None:
    """Groups of the users of shares."""


add_list(share_group, "share-groups", ("name", "gid", "members"))
add_show(share_group, "share-groups")
add_delete(share_group, "share-groups")

_members = click.option("--member", "members", multiple=True, metavar="USER", help="A user; several times for several.")


@share_group.command()
@click.argument("name")
@_members
@click.option("--gid", type=int, help="The number, to have the same on both nodes; by default the next one.")
@changing
def create(change: Change, name: str, members: tuple[str, ...], gid: int | None) -> None:
    """Make a group."""
    change.send("POST", url_path("share-groups"), given(name=name, members=list(members), gid=gid))


@share_group.command("change")
@click.argument("name")
@_members
@changing
def change_group(change: Change, name: str, members: tuple[str, ...]) -> None:
    """Say anew who is in a group; sessions of those who are taken out end."""
    change.send("PUT", url_path("share-groups", name), {"members": list(members)})
