"""`holdfast job`: changes under way and past."""

from __future__ import annotations

import click

from holdfast_cli import jobs
from holdfast_cli.options import immediate, timeout_option
from holdfast_cli.session import Session, url_path
from holdfast_cli.verbs import add_list, add_show


@click.group()
def job() -> None:
    """Jobs: every change, under way or past."""


add_list(job, "jobs", ("id", "kind", "target", "state", "progress.percent", "created_at", "ended_at"))
add_show(job, "jobs")


@job.command()
@click.argument("name", metavar="JOB")
@timeout_option
@immediate
def wait(session: Session, name: str, timeout_s: float | None) -> None:
    """Wait for a job and show what came of it; the exit code is 6 when it failed."""
    jobs.finish(session, session.get(url_path("jobs", name)), timeout_s)


@job.command()
@click.argument("name", metavar="JOB")
@immediate
def cancel(session: Session, name: str) -> None:
    """Ask a job to stop: it undoes what it did."""
    session.show(session.send("POST", url_path("jobs", name, "cancel")))
