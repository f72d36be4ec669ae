"""`holdfast replica-share`: shares opened as destinations."""

from __future__ import annotations

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, password_option, read_secret
from holdfast_cli.session import url_path
from holdfast_cli.verbs import add_delete, add_list, add_show


@click.group("replica-share")
def replica_share() -> None:
    """Replica shares: shares opened as a destination of data replication."""


add_list(replica_share, "replica-shares", ("name", "share", "user", "allowed_sources"))
add_show(replica_share, "replica-shares")
add_delete(replica_share, "replica-shares")


@replica_share.command()
@click.argument("name")
@click.option("--share", required=True, help="The share that copies are written to.")
@click.option("--user", required=True, help="The ID that sources give.")
@password_option()
@click.option(
    "--allow",
    "allowed_sources",
    multiple=True,
    required=True,
    metavar="ADDRESS",
    help="A source; several times for several.",
)
@changing
def create(
    change: Change, name: str, share: str, user: str, password_file: str, allowed_sources: tuple[str, ...]
) -> None:
    """Open a share as a destination, with an ID and a password of its own."""
    body = {
        "name": name,
        "share": share,
        "user": user,
        "password": read_secret(password_file),
        "allowed_sources": list(allowed_sources),
    }
    change.send("POST", url_path("replica-shares"), body)
