"""`holdfast replication-run`: the log of what tasks did."""

from __future__ import annotations

import click

from holdfast_cli.options import given, immediate
from holdfast_cli.session import Session, url_path

_COLUMNS = ("at", "task", "type", "action", "result", "reason", "counts")


@click.group("replication-run")
def replication_run() -> None:
    """Runs: what the tasks did, and how it ended."""


@replication_run.command("list")
@click.option("--task", help="Of this task only.")
@immediate
def list_runs(session: Session, task: str | None) -> None:
    """List the log of runs."""
    session.show_list(list(session.items(url_path("replication-runs"), given(task=task))), _COLUMNS)
