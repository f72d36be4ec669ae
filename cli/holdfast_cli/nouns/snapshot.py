"""`holdfast snapshot`: point-in-time copies of a volume. Their names belong to their volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import Command, changing, confirm_option, confirmed, given, immediate
from holdfast_cli.session import Session, url_path
from holdfast_cli.sizes import Size

_COLUMNS = (
    *("pool", "volume", "name", "taken_at", "cause", "schedule", "reserve_bytes", "used_bytes", "used_percent"),
    *("full_in_s", "is_thin", "is_overflown", "locked_until", "mounted_at"),
)


@click.group()
def snapshot() -> None:
    """Snapshots: point-in-time copies of a volume."""


def named(function: Command) -> Command:
    """Give a command the arguments VOLUME and NAME."""
    return click.argument("volume")(click.argument("name")(function))


def policy_options(function: Command) -> Command:
    """Give a command the parts of an overflow policy as options."""
    options: tuple[Callable[[Command], Command], ...] = (
        click.option(
            "--action",
            type=click.Choice(["extend", "drop_oldest", "stop"]),
            help="Give room from the pool; the same, and drop the oldest of a schedule where it has none; or nothing.",
        ),
        click.option(
            "--alert-at", "alert_percent", type=int, metavar="PERCENT", help="Tell, and act, from this use on."
        ),
        click.option("--alert-ahead", "alert_ahead_s", type=int, metavar="SECONDS", help="Tell so long before."),
        click.option("--extend-by", "extend_percent", type=int, metavar="PERCENT", help="What is given at a time."),
        click.option("--keep-free", "keep_free_bytes", type=Size(), help="What is left in the pool by that."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@snapshot.command("list")
@click.option("--volume", help="Of this volume only.")
@immediate
def list_snapshots(session: Session, volume: str | None) -> None:
    """List them all, or those of a volume."""
    query = given(volume=volume)
    session.show_list(list(session.items(url_path("snapshots"), query)), _COLUMNS)


@snapshot.command()
@named
@immediate
def show(session: Session, volume: str, name: str) -> None:
    """Show one, and when its reserve will be full."""
    session.show(session.get(url_path("snapshots", volume, name)))


@snapshot.command()
@named
@click.option("--reserve", "reserve_bytes", type=Size(), help="Space for what changes; by default part of the volume.")
@click.option("--locked-until", metavar="INSTANT", help="Nobody removes it before, as in 2026-12-31T18:00:00+01:00.")
@changing
def create(change: Change, volume: str, name: str, **content: Any) -> None:
    """Take a snapshot of VOLUME."""
    change.send("POST", url_path("snapshots"), given(volume=volume, name=name, **content))


@snapshot.command()
@named
@confirm_option
@changing
def delete(change: Change, volume: str, name: str, confirm: str | None) -> None:
    """Delete one: this destroys the copy."""
    query = confirmed(name, confirm, "destroys the snapshot")
    change.send("DELETE", url_path("snapshots", volume, name), query=query)


@snapshot.command()
@named
@click.option("--reserve", "reserve_bytes", type=Size(), required=True, help="What it is to have.")
@changing
def extend(change: Change, volume: str, name: str, reserve_bytes: int) -> None:
    """Make its reserve larger."""
    change.send("POST", url_path("snapshots", volume, name, "extend"), {"reserve_bytes": reserve_bytes})


@snapshot.command()
@named
@click.option("--until", "locked_until", required=True, metavar="INSTANT", help="As in 2026-12-31T18:00:00+01:00.")
@changing
def lock(change: Change, volume: str, name: str, locked_until: str) -> None:
    """Let nobody remove it before an instant. A lock is never made shorter."""
    change.send("PUT", url_path("snapshots", volume, name, "lock"), {"locked_until": locked_until})


@snapshot.command("set-policy")
@named
@policy_options
@click.option("--of-volume", is_flag=True, help="Have no policy of its own any more.")
@changing
def set_policy(change: Change, volume: str, name: str, of_volume: bool, **content: Any) -> None:
    """Say what is done when its reserve is about to be full. Of a volume: snapshot-schedule set-policy."""
    policy = given(**content)
    if of_volume is bool(policy):
        raise click.UsageError("give either parts of a policy or --of-volume")
    change.send("PUT", url_path("snapshots", volume, name, "policy"), {"policy": policy or None})


@snapshot.command()
@named
@changing
def mount(change: Change, volume: str, name: str) -> None:
    """Make it readable beside its volume."""
    change.send("POST", url_path("snapshots", volume, name, "mount"))


@snapshot.command()
@named
@changing
def unmount(change: Change, volume: str, name: str) -> None:
    """Make it readable no more."""
    change.send("POST", url_path("snapshots", volume, name, "unmount"))


@snapshot.command("roll-back")
@named
@confirm_option
@changing
def roll_back(change: Change, volume: str, name: str, confirm: str | None) -> None:
    """Make VOLUME what it was then. What it holds now is kept in another snapshot."""
    query = confirmed(volume, confirm, "takes away what was written since")
    change.send("POST", url_path("snapshots", volume, name, "roll-back"), query=query)


@snapshot.command()
@named
@click.argument("clone")
@click.option("--label", help="Free text for people.")
@changing
def clone(change: Change, volume: str, name: str, clone: str, label: str | None) -> None:
    """Make the new volume CLONE of it, in the same pool."""
    change.send("POST", url_path("snapshots", volume, name, "clone"), given(name=clone, label=label))


@snapshot.command()
@named
@click.option("--share", required=True, help="Where it goes back to.")
@click.option("--path", help="A file or a folder below the root of the share; all of it without this.")
@click.option("--to", help="Another place below the root of the share.")
@click.option("--preview", is_flag=True, help="Tell what would be created and replaced, and do nothing.")
@click.option("--replace", "may_replace", is_flag=True, help="Files that are there and differ may be replaced.")
@changing
def restore(change: Change, volume: str, name: str, preview: bool, may_replace: bool, **content: Any) -> None:
    """Bring a file or a folder back into a share. Files that are only there now stay."""
    if preview and may_replace:
        raise click.UsageError("--preview replaces nothing")
    word = "preview-restore" if preview else "restore"
    body = given(**content, may_replace=True if may_replace else None)
    change.send("POST", url_path("snapshots", volume, name, word), body)
