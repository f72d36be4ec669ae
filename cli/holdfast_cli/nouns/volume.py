"""`holdfast volume`: block devices and NAS file systems."""

from __future__ import annotations

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, given
from holdfast_cli.session import url_path
from holdfast_cli.sizes import Size
from holdfast_cli.verbs import add_confirmed_delete, add_list, add_show


@click.group()
def volume() -> None:
    """Volumes: block devices and NAS file systems, cut from a pool."""


add_list(volume, "volumes", ("name", "pool", "kind", "size_bytes", "used_by", "drift", "label"))
add_show(volume, "volumes")
add_confirmed_delete(volume, "volumes", "destroys the volume and its data")


@volume.command()
@click.argument("name")
@click.option("--pool", required=True, help="Where it is cut from.")
@click.option("--size", "size_bytes", type=Size(), required=True, help="Such as 10GiB or 512MiB.")
@click.option("--kind", type=click.Choice(["nas", "iscsi", "fc"]), required=True, help="What it will be used for.")
@click.option("--label", help="Free text for people.")
@changing
def create(change: Change, name: str, pool: str, size_bytes: int, kind: str, label: str | None) -> None:
    """Make a volume."""
    change.send("POST", url_path("volumes"), given(name=name, pool=pool, size_bytes=size_bytes, kind=kind, label=label))
