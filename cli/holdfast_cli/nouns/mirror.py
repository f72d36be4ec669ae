"""`holdfast mirror`: synchronous copies of volumes between the pair."""

from __future__ import annotations

from typing import Any

import click

from holdfast_cli.addresses import Pair
from holdfast_cli.errors import CommandError, Exit
from holdfast_cli.jobs import Change
from holdfast_cli.options import DAYS, changing, confirm_option, confirmed, immediate
from holdfast_cli.session import Session, url_path
from holdfast_cli.sizes import Size
from holdfast_cli.verbs import add_action, add_confirmed_delete, add_list, add_show


@click.group()
def mirror() -> None:
    """Mirrors: synchronous copies of volumes between the two nodes."""


add_list(mirror, "mirrors", ("task", "direction", "source", "destination", "volumes", "is_started", "is_in_sync"))
add_show(mirror, "mirrors")
add_confirmed_delete(mirror, "mirrors", "takes the mirror apart")
add_action(mirror, "mirrors", "start", "Connect both sides and bring them up to date.")
add_action(mirror, "mirrors", "stop", "Disconnect both sides.")
add_action(mirror, "mirrors", "measure-link", "Measure the link beside the disks, for a second.")
add_action(mirror, "mirrors", "verify", "Compare both sides block by block while they are used.")
add_action(mirror, "mirrors", "pause-sync", "Hold a resync where it is.")
add_action(mirror, "mirrors", "resume-sync", "Let a held resync go on.")


@mirror.command()
@click.argument("name")
@click.option("--volume", "volumes", multiple=True, required=True, help="Several times for one write order of several.")
@click.option(
    "--first-sync",
    type=click.Choice(["zero", "full"]),
    required=True,
    help="zero: empty both sides, nothing to copy; full: keep the data of this side and copy it.",
)
@click.option(
    "--destination",
    "destinations",
    type=Pair("VOLUME=ITS-VOLUME"),
    metavar="VOLUME=ITS-VOLUME",
    multiple=True,
    help="Overwrite this volume of the partner, set to destination, instead of making one.",
)
@click.option("--zero-limit", type=Size(), metavar="SIZE", help="Each node zeroes no more than this in a second.")
@changing
def create(
    change: Change,
    name: str,
    volumes: tuple[str, ...],
    first_sync: str,
    destinations: tuple[tuple[str, str], ...],
    zero_limit: int | None,
) -> None:
    """Mirror volumes of this node to volumes of the same size, made on its partner."""
    body: dict[str, Any] = {"name": name, "volumes": list(volumes), "first_sync": first_sync}
    if destinations:
        body["destination_volumes"] = dict(destinations)
    if zero_limit is not None:
        body["zero_limit_bytes_s"] = zero_limit
    change.send("POST", url_path("mirrors"), body)


@mirror.command("change")
@click.argument("name")
@click.option("--most", type=Size(), metavar="SIZE", help="A resync sends no more than this in a second.")
@click.option("--least", type=Size(), metavar="SIZE", help="It gives way to applications down to this in a second.")
@click.option("--verify-every", type=int, metavar="HOURS", help="Verify it by itself, every so many hours.")
@click.option("--verify-on", "days", type=click.Choice(DAYS), multiple=True, help="Verify it on this weekday.")
@click.option("--at", metavar="HH:MM", help="The time of day of --verify-on, in UTC.")
@click.option("--no-verify", is_flag=True, help="Do not verify it by itself any more.")
@changing
def change_mirror(
    change: Change,
    name: str,
    most: int | None,
    least: int | None,
    verify_every: int | None,
    days: tuple[str, ...],
    at: str | None,
    no_verify: bool,
) -> None:
    """Change how fast resyncs may be, and when both sides are compared."""
    body: dict[str, Any] = {}
    if most is not None or least is not None:
        body["limits"] = {"max_bytes_s": most, "min_bytes_s": least}
    if verify_every is not None or days or at is not None:
        weekdays = [DAYS.index(day) for day in days]
        body["schedule"] = {"every_hours": verify_every, "weekdays": weekdays, "time_of_day": at}
    if no_verify:
        body["schedule"] = None
    change.send("PATCH", url_path("mirrors", name), body)


@mirror.command()
@click.argument("name")
@immediate
def verifications(session: Session, name: str) -> None:
    """List what comparisons of both sides found, the newest first."""
    found = session.get(url_path("mirrors", name, "verifications"))["items"]
    session.show_list(found, ("started_at", "ended_at", "out_of_sync_bytes", "reason"))


@mirror.command("repair-plan")
@click.argument("name")
@immediate
def repair_plan(session: Session, name: str) -> None:
    """Show what a repair would overwrite, and on which node."""
    session.show(session.get(url_path("mirrors", name, "repair")))


@mirror.command()
@click.argument("name")
@confirm_option
@changing
def repair(change: Change, name: str, confirm: str | None) -> None:
    """Make both sides equal where the last comparison found that they differ."""
    query = confirmed(name, confirm, "overwrites what differs on one side")
    change.send("POST", url_path("mirrors", name, "repair"), query=query)


@mirror.command()
@click.argument("name")
@click.option("--volume", required=True, help="Which of its volumes.")
@click.option("--size", "size_bytes", type=Size(), required=True, metavar="SIZE", help="What it is to have.")
@changing
def grow(change: Change, name: str, volume: str, size_bytes: int) -> None:
    """Make a volume larger on both nodes under its users, and the file system on it."""
    change.send("POST", url_path("mirrors", name, "grow"), {"volume": volume, "size_bytes": size_bytes})


@mirror.command("add-volume")
@click.argument("name")
@click.argument("volume")
@click.option(
    "--first-sync",
    type=click.Choice(["zero", "full"]),
    required=True,
    help="zero: empty both sides, nothing to copy; full: keep the data of this side and copy it.",
)
@click.option("--destination", metavar="ITS-VOLUME", help="Overwrite this volume of the partner, set to destination.")
@click.option("--zero-limit", type=Size(), metavar="SIZE", help="Each node zeroes no more than this in a second.")
@changing
def add_volume(
    change: Change, name: str, volume: str, first_sync: str, destination: str | None, zero_limit: int | None
) -> None:
    """Add a volume of this node to a mirror while the others are used."""
    body: dict[str, Any] = {"volume": volume, "first_sync": first_sync}
    if destination is not None:
        body["destination_volume"] = destination
    if zero_limit is not None:
        body["zero_limit_bytes_s"] = zero_limit
    change.send("POST", url_path("mirrors", name, "add-volume"), body)


@mirror.command("remove-volume")
@click.argument("name")
@click.argument("volume")
@confirm_option
@changing
def remove_volume(change: Change, name: str, volume: str, confirm: str | None) -> None:
    """Take a volume out of a mirror; both nodes keep their copies, as plain volumes."""
    query = confirmed(volume, confirm, "ends the mirroring of the volume and leaves a copy on each node")
    change.send("POST", url_path("mirrors", name, "remove-volume"), {"volume": volume}, query=query)


@mirror.command("replace-disk")
@click.argument("name")
@click.option("--volume", required=True, help="Which of its volumes lost its disk on this node.")
@click.option("--pool", required=True, help="The pool of this node that it is to lie in from now on.")
@click.option("--remove-old", is_flag=True, help="Remove what is left of it in its old pool.")
@changing
def replace_disk(change: Change, name: str, volume: str, pool: str, remove_old: bool) -> None:
    """Give a volume that lost its disk on this node a new one, while the partner serves."""
    body = {"volume": volume, "pool": pool, "remove_old": remove_old}
    change.send("POST", url_path("mirrors", name, "replace-disk"), body)


@mirror.command("split-brain")
@click.argument("name")
@immediate
def split_brain(session: Session, name: str) -> None:
    """Show the case file: how both sides diverged; the exit code is 4 when they did."""
    found = session.get(url_path("mirrors", name, "split-brain"))
    session.show(found)
    if found["is_split_brain"]:
        raise CommandError(Exit.CONFLICT, f"both sides of {name} were changed apart: choose the survivor")


@mirror.command("resolve-split-brain")
@click.argument("name")
@click.option("--survivor", metavar="NODE", required=True, help="The node whose data is kept on both sides.")
@confirm_option
@changing
def resolve_split_brain(change: Change, name: str, survivor: str, confirm: str | None) -> None:
    """Keep one side's data on both, after a snapshot of each."""
    query = confirmed(name, confirm, "overwrites what the other node changed")
    change.send("POST", url_path("mirrors", name, "resolve-split-brain"), {"survivor": survivor}, query=query)
