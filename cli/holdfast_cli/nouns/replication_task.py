"""`holdfast replication-task`: asynchronous copies of shares."""

from __future__ import annotations

from typing import Any

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import DAYS, changing, given, immediate, password_option, read_secret
from holdfast_cli.replication_rules import rules
from holdfast_cli.session import Session, url_path
from holdfast_cli.verbs import add_action, add_delete, add_list, add_show

_SCHEDULE = (
    *("name", "is_enabled", "every_hours", "starts_at", "weekdays", "time_of_day", "cron", "time_zone"),
    *("missed", "grace_s", "next_runs"),
)


@click.group("replication-task")
def replication_task() -> None:
    """Tasks: asynchronous copies of a share to a replica share."""


add_list(
    replication_task,
    "replication-tasks",
    (
        *("name", "share", "agent_address", "replica_share", "user", "is_enabled"),
        *("newest_copy_at", "copy_age_s", "objective_s", "is_objective_missed", "next_run_at"),
    ),
)
add_show(replication_task, "replication-tasks")
add_delete(replication_task, "replication-tasks")


@replication_task.command()
@click.argument("name")
@click.option("--confirm-deletions", is_flag=True, help="This one may delete as much of the copy as it will.")
@changing
def run(change: Change, name: str, confirm_deletions: bool) -> None:
    """Copy now: from a snapshot, only what changed."""
    body = {"confirm_deletions": True} if confirm_deletions else None
    change.send("POST", url_path("replication-tasks", name, "run"), body)


@replication_task.command("dry-run")
@click.argument("name")
@click.option("--most", type=click.IntRange(0, 1000), help="How many changes are named; all are counted.")
@changing
def dry_run(change: Change, name: str, most: int | None) -> None:
    """Show what a run would send and delete now; nothing is changed."""
    change.send("POST", url_path("replication-tasks", name, "dry-run"), given(most=most) or None)


@replication_task.command()
@click.argument("name")
@click.option("--share", required=True, help="The share that is copied.")
@click.option("--agent", "agent_address", required=True, metavar="ADDRESS", help="The destination.")
@click.option("--agent-port", type=click.IntRange(1, 65535), help="The port of its agent.")
@click.option("--replica-share", "replica", required=True, help="As `holdfast agent browse` lists it.")
@click.option("--user", required=True, help="The ID of the replica share.")
@password_option()
@click.option("--objective", "objective_s", type=int, metavar="SECONDS", help="How old its newest copy may become.")
@rules
@changing
def create(
    change: Change,
    name: str,
    share: str,
    agent_address: str,
    agent_port: int | None,
    replica: str,
    user: str,
    password_file: str,
    objective_s: int | None,
    rules: dict[str, Any],
) -> None:
    """Make a task; it copies when it is run, or by its schedules."""
    body = given(
        name=name,
        share=share,
        agent_address=agent_address,
        agent_port=agent_port,
        replica_share=replica,
        user=user,
        password=read_secret(password_file),
        objective_s=objective_s,
        **rules,
    )
    change.send("POST", url_path("replication-tasks"), body)


@replication_task.command("change")
@click.argument("name")
@click.option("--agent", "agent_address", metavar="ADDRESS", help="The destination.")
@click.option("--agent-port", type=click.IntRange(1, 65535), help="The port of its agent.")
@click.option("--replica-share", "replica", help="As `holdfast agent browse` lists it.")
@click.option("--user", help="The ID of the replica share.")
@click.option("--password-file", metavar="FILE|-", help="File with its password; - reads standard input.")
@click.option("--objective", "objective_s", type=int, metavar="SECONDS", help="How old its newest copy may become.")
@click.option("--no-objective", is_flag=True, help="It may become as old as it likes.")
@rules
@changing
def change_task(
    change: Change,
    name: str,
    replica: str | None,
    password_file: str | None,
    objective_s: int | None,
    no_objective: bool,
    rules: dict[str, Any],
    **rest: Any,
) -> None:
    """Change what is given; what a run goes by is changed only while none is under way.

    The filters, and the windows, are said anew as a whole; an empty --exclude ends the filters.
    """
    if no_objective and objective_s is not None:
        raise click.UsageError("give either --objective or --no-objective")
    body = given(**rest, replica_share=replica, objective_s=objective_s, **rules)
    body.update({key: value for key, value in rules.items() if value is None})
    if no_objective:
        body["objective_s"] = None
    if password_file is not None:
        body["password"] = read_secret(password_file)
    if not body:
        raise click.UsageError("give what is to change")
    change.send("PATCH", url_path("replication-tasks", name), body)


@replication_task.command()
@click.argument("name")
@changing
def enable(change: Change, name: str) -> None:
    """Let it run again, by its schedules and when asked; it makes up for nothing."""
    change.send("PATCH", url_path("replication-tasks", name), {"is_enabled": True})


@replication_task.command()
@click.argument("name")
@changing
def disable(change: Change, name: str) -> None:
    """Keep it, and do not run it; a run under way goes on."""
    change.send("PATCH", url_path("replication-tasks", name), {"is_enabled": False})


add_action(replication_task, "replication-tasks", "verify", "Copy now, and compare every file by its checksum.")


@replication_task.command()
@click.argument("name")
@immediate
def verification(session: Session, name: str) -> None:
    """Show the last full verification of a task, and its two ends compared: capacities and clocks."""
    session.show(session.get(url_path("replication-tasks", name, "verification")))


@replication_task.command("set-verification")
@click.argument("name")
@click.option("--every-days", type=click.IntRange(1, 366), help="A run compares every file after so many days.")
@click.option("--never", is_flag=True, help="Only when it is asked for.")
@changing
def set_verification(change: Change, name: str, every_days: int | None, never: bool) -> None:
    """Say how often a run compares every file by its checksum."""
    if never is (every_days is not None):
        raise click.UsageError("give either --every-days or --never")
    change.send("PUT", url_path("replication-tasks", name, "verification"), {"every_days": every_days})


@replication_task.command()
@click.argument("name")
@immediate
def schedules(session: Session, name: str) -> None:
    """List the schedules of a task, each with its next five runs."""
    session.show_list(list(session.items(url_path("replication-tasks", name, "schedules"))), _SCHEDULE)


@replication_task.command("schedule")
@click.argument("name")
@click.argument("schedule")
@immediate
def show_schedule(session: Session, name: str, schedule: str) -> None:
    """Show a schedule of a task, with its next five runs."""
    session.show(session.get(url_path("replication-tasks", name, "schedules", schedule)))


@replication_task.command("set-schedule")
@click.argument("name")
@click.argument("schedule")
@click.option("--every", "every_hours", type=int, metavar="HOURS", help="Run every so many hours.")
@click.option("--starts-at", metavar="INSTANT", help="The first one of --every, as in 2026-03-01T18:00:00+01:00.")
@click.option("--on", "days", type=click.Choice(DAYS), multiple=True, help="Run on this weekday; several for several.")
@click.option("--at", "time_of_day", metavar="HH:MM", help="The time of day of --on.")
@click.option("--cron", metavar="EXPRESSION", help="Run as cron(8) says: minute, hour, day, month, day of the week.")
@click.option("--time-zone", metavar="ZONE", help="Of --at and --cron, as in Europe/Berlin; UTC without it.")
@click.option("--missed", type=click.Choice(["skip", "run_once"]), help="What becomes of runs that were missed.")
@click.option("--grace", "grace_s", type=int, metavar="SECONDS", help="A run that is due for longer is missed.")
@click.option("--disabled", is_flag=True, help="Keep it, and do not run by it.")
@changing
def set_schedule(change: Change, name: str, schedule: str, days: tuple[str, ...], disabled: bool, **rest: Any) -> None:
    """Make a schedule of a task, or say anew what it is."""
    body = given(**rest, weekdays=[DAYS.index(day) for day in days] or None, is_enabled=False if disabled else None)
    change.send("PUT", url_path("replication-tasks", name, "schedules", schedule), body)


@replication_task.command("delete-schedule")
@click.argument("name")
@click.argument("schedule")
@changing
def delete_schedule(change: Change, name: str, schedule: str) -> None:
    """Remove a schedule of a task; a run under way goes on."""
    change.send("DELETE", url_path("replication-tasks", name, "schedules", schedule))
