"""`holdfast share-user`: who may use shares."""

from __future__ import annotations

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, given, password_option, read_secret
from holdfast_cli.session import url_path
from holdfast_cli.verbs import add_delete, add_list, add_show


@click.group("share-user")
def share_user() -> None:
    """Users of shares: SMB knows them by name and password, files by number."""


add_list(share_user, "share-users", ("name", "uid", "label"))
add_show(share_user, "share-users")
add_delete(share_user, "share-users")


@share_user.command()
@click.argument("name")
@password_option()
@click.option("--uid", type=int, help="The number, to have the same on both nodes; by default the next one.")
@click.option("--label", help="Free text.")
@changing
def create(change: Change, name: str, password_file: str, uid: int | None, label: str | None) -> None:
    """Make a user."""
    body = given(name=name, password=read_secret(password_file), uid=uid, label=label)
    change.send("POST", url_path("share-users"), body)


@share_user.command("set-password")
@click.argument("name")
@password_option()
@changing
def set_password(change: Change, name: str, password_file: str) -> None:
    """Give a user another password; his sessions end."""
    change.send("PUT", url_path("share-users", name, "password"), {"password": read_secret(password_file)})
