"""`holdfast snapshot-schedule`: when a volume's snapshots are taken by themselves, and which are kept."""

from __future__ import annotations

from typing import Any

import click

from holdfast_cli.jobs import Change
from holdfast_cli.nouns.snapshot import policy_options
from holdfast_cli.options import DAYS, Command, changing, given, immediate
from holdfast_cli.session import Session, url_path
from holdfast_cli.sizes import Size

_RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_COLUMNS = (
    *("name", "is_enabled", "every_hours", "starts_at", "weekdays", "time_of_day", "cron", "time_zone"),
    *("retention", "reserve_bytes", "missed", "grace_s", "next_times"),
)


@click.group("snapshot-schedule")
def snapshot_schedule() -> None:
    """Schedules of snapshots: when they are taken, how many are kept, and what is done when they fill."""


def rule_options(function: Command) -> Command:
    """Give a command an option for each rule of retention."""
    for rule in reversed(_RULES):
        text = "Keep the newest so many." if rule == "last" else f"Keep the newest of so many {rule} periods."
        function = click.option(f"--{rule}", type=int, metavar="N", help=text)(function)
    return function


@snapshot_schedule.command("list")
@click.argument("volume")
@immediate
def list_schedules(session: Session, volume: str) -> None:
    """List those of a volume, each with its next five times."""
    session.show_list(list(session.items(url_path("volumes", volume, "snapshot-schedules"))), _COLUMNS)


@snapshot_schedule.command()
@click.argument("volume")
@click.argument("name")
@immediate
def show(session: Session, volume: str, name: str) -> None:
    """Show one, with its next five times."""
    session.show(session.get(url_path("volumes", volume, "snapshot-schedules", name)))


@snapshot_schedule.command("set")
@click.argument("volume")
@click.argument("name")
@click.option("--every", "every_hours", type=int, metavar="HOURS", help="Take one every so many hours.")
@click.option("--starts-at", metavar="INSTANT", help="The first one of --every, as in 2026-03-01T18:00:00+01:00.")
@click.option("--on", "days", type=click.Choice(DAYS), multiple=True, help="On this weekday; several for several.")
@click.option("--at", "time_of_day", metavar="HH:MM", help="The time of day of --on.")
@click.option("--cron", metavar="EXPRESSION", help="As cron(8) says: minute, hour, day, month, day of the week.")
@click.option("--time-zone", metavar="ZONE", help="Of --at, --cron and the rules, as in Europe/Berlin; UTC without it.")
@click.option("--missed", type=click.Choice(["skip", "run_once"]), help="What becomes of those that were missed.")
@click.option("--grace", "grace_s", type=int, metavar="SECONDS", help="One that is due for longer is missed.")
@click.option("--reserve", "reserve_bytes", type=Size(), help="Of each; by default part of the volume.")
@click.option("--disabled", is_flag=True, help="Keep it, and take none by it.")
@rule_options
@changing
def set_schedule(
    change: Change, volume: str, name: str, days: tuple[str, ...], disabled: bool, time_zone: str | None, **rest: Any
) -> None:
    """Make a schedule, or say anew what it is. Several rules hold at once: one that keeps a snapshot is enough."""
    rules = given(**{rule: rest.pop(rule) for rule in _RULES}, time_zone=time_zone)
    body = given(
        **rest,
        time_zone=time_zone,
        retention=rules,
        weekdays=[DAYS.index(day) for day in days] or None,
        is_enabled=False if disabled else None,
    )
    change.send("PUT", url_path("volumes", volume, "snapshot-schedules", name), body)


@snapshot_schedule.command()
@click.argument("volume")
@click.argument("name")
@rule_options
@immediate
def preview(session: Session, volume: str, name: str, **rules: int | None) -> None:
    """Tell of each snapshot of a schedule whether it is kept and why, by its rules or by others."""
    query = {rule: str(count) for rule, count in rules.items() if count is not None}
    items = session.items(url_path("volumes", volume, "snapshot-schedules", name, "preview"), query)
    session.show_list(list(items), ("name", "taken_at", "is_kept", "reasons"))


@snapshot_schedule.command()
@click.argument("volume")
@click.argument("name")
@changing
def delete(change: Change, volume: str, name: str) -> None:
    """Remove a schedule; the snapshots that it took stay."""
    change.send("DELETE", url_path("volumes", volume, "snapshot-schedules", name))


@snapshot_schedule.command("policy")
@click.argument("volume")
@immediate
def show_policy(session: Session, volume: str) -> None:
    """Show what is done when a snapshot of VOLUME is about to overflow."""
    session.show(session.get(url_path("volumes", volume, "snapshot-policy")))


@snapshot_schedule.command("set-policy")
@click.argument("volume")
@policy_options
@changing
def set_policy(change: Change, volume: str, **content: Any) -> None:
    """Say what is done when a snapshot of VOLUME is about to overflow."""
    change.send("PUT", url_path("volumes", volume, "snapshot-policy"), given(**content))
