"""`holdfast replication-run`: the log of what tasks did."""

from __future__ import annotations

from typing import Any

import click

from holdfast_cli.options import Command, given, immediate
from holdfast_cli.session import Session, url_path

_COLUMNS = (
    *("started_at", "ended_at", "duration_s", "speed_bytes_s"),
    *("task", "schedule", "action", "result", "reason", "way", "way_reason", "counts"),
)


@click.group("replication-run")
def replication_run() -> None:
    """Runs: what the tasks did, and how it ended."""


def filtering(function: Command) -> Command:
    """Give a command the options that say which runs are meant."""
    for option in reversed(
        (
            click.option("--task", help="Of this task only."),
            click.option("--result", type=click.Choice(["ok", "failed", "skipped"]), help="That ended so."),
            click.option("--schedule", help="That were due by this schedule."),
            click.option("--since", metavar="INSTANT", help="That began then or later: 2026-03-01T00:00:00+00:00."),
            click.option("--until", metavar="INSTANT", help="That began before."),
        )
    ):
        function = option(function)
    return function


@replication_run.command("list")
@filtering
@immediate
def list_runs(session: Session, **which: Any) -> None:
    """List the log of runs, the newest first."""
    session.show_list(list(session.items(url_path("replication-runs"), given(**which))), _COLUMNS)


@replication_run.command()
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@filtering
@immediate
def download(session: Session, kind: str, **which: Any) -> None:
    """Print the whole log of runs as CSV, or as JSON, one run a line."""
    from holdfast_cli.render import clean

    for line in session.lines(url_path("replication-runs"), given(**which, format=kind)):
        click.echo(clean(line))
