"""`holdfast volume`: block devices and NAS file systems."""

from __future__ import annotations

from typing import Any

import click

from holdfast_cli.errors import CommandError, Exit
from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, confirm_option, confirmed, given, immediate
from holdfast_cli.session import Session, url_path
from holdfast_cli.sizes import Size
from holdfast_cli.verbs import add_confirmed_delete, add_list, add_show

DAY_S = 86400


@click.group()
def volume() -> None:
    """Volumes: block devices and NAS file systems, cut from a pool."""


add_list(
    volume,
    "volumes",
    ("name", "pool", "kind", "io_type", "size_bytes", "replication_mode", "used_by", "drift", "label"),
)
add_show(volume, "volumes")
add_confirmed_delete(volume, "volumes", "destroys the volume and its data")


@volume.command()
@click.argument("name")
@click.option("--pool", required=True, help="Where it is cut from.")
@click.option("--size", "size_bytes", type=Size(), required=True, help="Such as 10GiB or 512MiB.")
@click.option("--kind", type=click.Choice(["nas", "iscsi", "fc"]), required=True, help="What it will be used for.")
@click.option(
    "--io-type",
    type=click.Choice(["block", "file"]),
    help="The logical unit is the volume itself (default), or a file in a file system on it.",
)
@click.option("--label", help="Free text for people.")
@click.option("--file-system", type=click.Choice(["xfs", "ext4"]), help="Of the kind nas: what keeps the files.")
@click.option("--thin", "is_thin", is_flag=True, default=None, help="Take room from the thin pool as it is written.")
@click.option("--worm-days", type=click.IntRange(1, 36500), help="Of the kind nas: write once, retained so long.")
@changing
def create(change: Change, name: str, worm_days: int | None, **content: Any) -> None:
    """Make a volume."""
    worm_retention_s = None if worm_days is None else worm_days * DAY_S
    change.send("POST", url_path("volumes"), given(name=name, worm_retention_s=worm_retention_s, **content))


@volume.command()
@click.argument("name")
@click.option("--size", "size_bytes", type=Size(), required=True, metavar="SIZE", help="What it is to have.")
@changing
def grow(change: Change, name: str, size_bytes: int) -> None:
    """Make a volume larger under its users, and what lies on it. One in a mirror: holdfast mirror grow."""
    change.send("POST", url_path("volumes", name, "grow"), {"size_bytes": size_bytes})


@volume.command("set-label")
@click.argument("name")
@click.argument("label")
@changing
def set_label(change: Change, name: str, label: str) -> None:
    """Give a volume another label."""
    change.send("PUT", url_path("volumes", name, "label"), {"label": label})


@volume.command()
@click.argument("name")
@immediate
def worm(session: Session, name: str) -> None:
    """Show what is retained of a volume that is write once."""
    session.show(session.get(url_path("volumes", name, "worm")))


@volume.command("set-worm")
@click.argument("name")
@click.option("--days", type=click.IntRange(1, 36500), help="How long each of its files is retained.")
@click.option("--off", is_flag=True, help="Make it an ordinary volume. Refused while a file is retained.")
@changing
def set_worm(change: Change, name: str, days: int | None, off: bool) -> None:
    """Retain the files of a volume that is write once longer. Shorter is refused while a file is retained."""
    if (days is None) is not off:
        raise CommandError(Exit.USAGE, "say either --days N or --off")
    body = {"retention_s": None if days is None else days * DAY_S}
    change.send("PUT", url_path("volumes", name, "worm"), body)


@volume.command("walk-worm")
@click.argument("name")
@changing
def walk_worm(change: Change, name: str) -> None:
    """Look at every file of a volume that is write once now: those whose time has passed can be removed then."""
    change.send("POST", url_path("volumes", name, "worm", "walk"))


@volume.command("set-mode")
@click.argument("name")
@click.argument("mode", type=click.Choice(["none", "source", "destination"]))
@click.option("--clear-metadata", is_flag=True, help="Remove what an earlier mirror noted beside it.")
@confirm_option
@changing
def set_mode(change: Change, name: str, mode: str, clear_metadata: bool, confirm: str | None) -> None:
    """Set a volume to source or destination of replication, or to neither."""
    query = confirmed(name, confirm, "gives up what is on it") if mode == "destination" else None
    body = {"mode": mode, "clear_metadata": clear_metadata}
    change.send("PUT", url_path("volumes", name, "replication"), body, query=query)


@volume.command()
@click.argument("name")
@immediate
def destinations(session: Session, name: str) -> None:
    """List the partner's volumes, each with what keeps it from being the destination of this one."""
    found = session.get(url_path("volumes", name, "destinations"))["items"]
    for candidate in found:
        candidate["not_usable"] = [reason["text"] for reason in candidate["reasons"]]
    session.show_list(found, ("name", "pool", "kind", "size_bytes", "replication_mode", "not_usable"))
