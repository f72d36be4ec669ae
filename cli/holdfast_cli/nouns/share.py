"""`holdfast share`: directories of NAS volumes."""

from __future__ import annotations

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, given
from holdfast_cli.session import url_path
from holdfast_cli.verbs import add_delete, add_list, add_show


@click.group()
def share() -> None:
    """Shares: directories of NAS volumes."""


add_list(share, "shares", ("name", "volume", "path"))
add_show(share, "shares")
add_delete(share, "shares")


@share.command()
@click.argument("name")
@click.option("--volume", required=True, help="A volume of the kind nas.")
@click.option("--path", help="The directory in it; by default the whole volume.")
@changing
def create(change: Change, name: str, volume: str, path: str | None) -> None:
    """Make a share of a directory; one that does not exist is made."""
    change.send("POST", url_path("shares"), given(name=name, volume=volume, path=path))
