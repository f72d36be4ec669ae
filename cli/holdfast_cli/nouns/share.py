"""`holdfast share`: directories of NAS volumes."""

from __future__ import annotations

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, confirm_option, given, immediate
from holdfast_cli.session import Session, url_path
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


@share.command()
@click.argument("name")
@immediate
def sessions(session: Session, name: str) -> None:
    """Who uses a share, and what they hold open."""
    items = list(session.items(url_path("shares", name, "sessions")))
    session.show_list(items, ("protocol", "client", "user", "files"))


@share.command("show-smb")
@click.argument("name")
@immediate
def show_smb(session: Session, name: str) -> None:
    """How a share is offered by SMB, as it is wanted and as it is."""
    session.show(session.get(url_path("shares", name, "smb")))


@share.command("offer-smb")
@click.argument("name")
@click.option("--read", "read_users", multiple=True, metavar="USER", help="Who may read; several times for several.")
@click.option("--read-group", "read_groups", multiple=True, metavar="GROUP", help="A group that may read.")
@click.option("--write", "write_users", multiple=True, metavar="USER", help="Who may read and write.")
@click.option("--write-group", "write_groups", multiple=True, metavar="GROUP", help="A group that may read and write.")
@click.option("--read-only", "is_read_only", is_flag=True, help="Nobody writes, whatever the lists say.")
@click.option("--hidden", "is_hidden", is_flag=True, help="Do not show it to who browses.")
@click.option("--snapshots", "shows_snapshots", is_flag=True, help="Show snapshots of its volume as former versions.")
@changing
def offer_smb(
    change: Change, name: str, is_read_only: bool, is_hidden: bool, shows_snapshots: bool, **lists: tuple[str, ...]
) -> None:
    """Offer a share by SMB, or say anew how; who is not named has no access.

    Who may do as much as before notices nothing; who may do less is held to it at once.
    """
    switches = {"is_read_only": is_read_only, "is_hidden": is_hidden, "shows_snapshots": shows_snapshots}
    body = {**{key: list(names) for key, names in lists.items()}, **switches}
    change.send("PUT", url_path("shares", name, "smb"), body)


@share.command("withdraw-smb")
@click.argument("name")
@confirm_option
@changing
def withdraw_smb(change: Change, name: str, confirm: str | None) -> None:
    """Offer a share by SMB no more; no data is lost. --confirm disconnects clients that hold files open."""
    change.send("DELETE", url_path("shares", name, "smb"), query=given(confirm=confirm))


@share.command("show-nfs")
@click.argument("name")
@immediate
def show_nfs(session: Session, name: str) -> None:
    """How a share is offered by NFS, as it is wanted and as it is."""
    session.show(session.get(url_path("shares", name, "nfs")))


@share.command("offer-nfs")
@click.argument("name")
@click.option("--write", "writers", multiple=True, metavar="NETWORK", help="Hosts that may read and write.")
@click.option("--read", "readers", multiple=True, metavar="NETWORK", help="Hosts that may read.")
@click.option(
    "--squash",
    type=click.Choice(["root", "all", "none"]),
    default="root",
    show_default=True,
    help="Whose user numbers are replaced by those of nobody.",
)
@click.option("--read-only", "is_read_only", is_flag=True, help="Nobody writes, whatever else is said.")
@click.option("--snapshots", "shows_snapshots", is_flag=True, help="Show snapshots of its volume in `.snapshots`.")
@changing
def offer_nfs(
    change: Change,
    name: str,
    writers: tuple[str, ...],
    readers: tuple[str, ...],
    squash: str,
    is_read_only: bool,
    shows_snapshots: bool,
) -> None:
    """Offer a share by NFS, or say anew how; hosts in no NETWORK (10.0.0.7, 10.0.0.0/24) have no access."""
    clients = [
        {"network": network, "is_read_only": networks is readers, "squash": squash}
        for networks in (writers, readers)
        for network in networks
    ]
    body = {"clients": clients, "is_read_only": is_read_only, "shows_snapshots": shows_snapshots}
    change.send("PUT", url_path("shares", name, "nfs"), body)


@share.command("withdraw-nfs")
@click.argument("name")
@confirm_option
@changing
def withdraw_nfs(change: Change, name: str, confirm: str | None) -> None:
    """Offer a share by NFS no more; no data is lost. --confirm goes on while clients hold files open."""
    change.send("DELETE", url_path("shares", name, "nfs"), query=given(confirm=confirm))
