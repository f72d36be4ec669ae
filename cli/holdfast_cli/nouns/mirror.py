"""`holdfast mirror`: synchronous copies of volumes between the pair."""

from __future__ import annotations

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing
from holdfast_cli.session import url_path
from holdfast_cli.verbs import add_action, add_confirmed_delete, add_list, add_show


@click.group()
def mirror() -> None:
    """Mirrors: synchronous copies of volumes between the two nodes."""


add_list(mirror, "mirrors", ("task", "direction", "source", "destination", "volumes", "is_started", "is_in_sync"))
add_show(mirror, "mirrors")
add_confirmed_delete(mirror, "mirrors", "takes the mirror apart")
add_action(mirror, "mirrors", "start", "Connect both sides and bring them up to date.")
add_action(mirror, "mirrors", "stop", "Disconnect both sides.")
add_action(mirror, "mirrors", "verify", "Compare both sides block by block while they are used.")


@mirror.command()
@click.argument("name")
@click.option("--volume", "volumes", multiple=True, required=True, help="Several times for one write order of several.")
@click.option(
    "--first-sync",
    type=click.Choice(["zero", "full"]),
    required=True,
    help="zero: empty both sides, nothing to copy; full: keep the data of this side and copy it.",
)
@changing
def create(change: Change, name: str, volumes: tuple[str, ...], first_sync: str) -> None:
    """Mirror volumes of this node to volumes of the same size, made on its partner."""
    change.send("POST", url_path("mirrors"), {"name": name, "volumes": list(volumes), "first_sync": first_sync})
