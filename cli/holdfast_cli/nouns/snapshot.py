"""`holdfast snapshot`: point-in-time copies of a volume. Their names belong to their volume."""

from __future__ import annotations

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, confirm_option, confirmed, given, immediate
from holdfast_cli.session import Session, url_path
from holdfast_cli.sizes import Size
from holdfast_cli.verbs import add_list


@click.group()
def snapshot() -> None:
    """Snapshots: point-in-time copies of a volume."""


add_list(snapshot, "snapshots", ("pool", "volume", "name", "reserve_bytes", "used_percent", "is_overflown"))


@snapshot.command()
@click.argument("volume")
@click.argument("name")
@immediate
def show(session: Session, volume: str, name: str) -> None:
    """Show one."""
    session.show(session.get(url_path("snapshots", volume, name)))


@snapshot.command()
@click.argument("volume")
@click.argument("name")
@click.option("--reserve", "reserve_bytes", type=Size(), help="Space for what changes; by default part of the volume.")
@changing
def create(change: Change, volume: str, name: str, reserve_bytes: int | None) -> None:
    """Take a snapshot of VOLUME."""
    change.send("POST", url_path("snapshots"), given(volume=volume, name=name, reserve_bytes=reserve_bytes))


@snapshot.command()
@click.argument("volume")
@click.argument("name")
@confirm_option
@changing
def delete(change: Change, volume: str, name: str, confirm: str | None) -> None:
    """Delete one: this destroys the copy."""
    query = confirmed(name, confirm, "destroys the snapshot")
    change.send("DELETE", url_path("snapshots", volume, name), query=query)
