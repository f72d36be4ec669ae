"""What every command that is answered at once, and every command that starts a job, has in common."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from holdfast_cli.errors import CommandError, Exit
from holdfast_cli.jobs import Change
from holdfast_cli.session import Session

Command = Callable[..., None]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The weekdays of a schedule, as the API counts them."""

_json = click.option("--json", "as_json", is_flag=True, help="Print what the API answers, as JSON.")


def immediate(function: Command) -> Command:
    """Give a command that is answered at once `--json` and, as its first argument, the Session."""

    @_json
    @click.pass_context
    @functools.wraps(function)
    def command(context: click.Context, /, as_json: bool, **arguments: Any) -> None:
        function(_session(context, as_json), **arguments)

    return command


def changing(function: Command) -> Command:
    """Give a command that starts a job the options of all of them and, as its first argument, the Change."""

    @_json
    @click.option("--async", "is_async", is_flag=True, help="Do not wait: print the id of the job.")
    @click.option(
        "-n", "--dry-run", "is_dry_run", is_flag=True, help="Let the daemon check everything, change nothing."
    )
    @timeout_option
    @click.pass_context
    @functools.wraps(function)
    def command(
        context: click.Context, /, as_json: bool, is_async: bool, is_dry_run: bool, timeout_s: float | None, **rest: Any
    ) -> None:
        function(Change(_session(context, as_json), is_async, is_dry_run, timeout_s), **rest)

    return command


timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Wait no longer than this; the job goes on.",
)

confirm_option = click.option("--confirm", metavar="NAME", help="The name again, for what cannot be undone.")


def confirmed(name: str, confirm: str | None, what: str) -> dict[str, str]:
    """The query that confirms a destructive change, asked for on a terminal. Raises CommandError elsewhere."""
    if confirm is None:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CommandError(
                Exit.USAGE, f"this {what} and cannot be undone", f"say that you mean it: --confirm {name}"
            )
        confirm = click.prompt(f"This {what} and cannot be undone. Type {name} to go on", err=True)
    if confirm != name:
        raise CommandError(Exit.USAGE, f"{confirm} was confirmed, and {name} is meant: nothing was changed")
    return {"confirm": confirm}


def password_option(name: str = "--password-file") -> Callable[[Command], Command]:
    """A password from a file, or from standard input for `-`: never from the command line, which others can read."""
    return click.option(
        name, "password_file", required=True, metavar="FILE|-", help="File with the password; - reads standard input."
    )


def read_secret(file: str, what: str = "password") -> str:
    """The first line of a file, or of standard input for `-`; a terminal is asked without echo."""
    try:
        if file != "-":
            text = Path(file).read_text()
        elif sys.stdin.isatty():
            text = click.prompt(what.capitalize(), hide_input=True, err=True)
        else:
            text = sys.stdin.readline()
    except (OSError, ValueError) as reason:
        raise CommandError(Exit.USAGE, f"the {what} cannot be read: {file}: {reason}") from reason
    lines = text.splitlines()
    if len(lines) != 1 or not lines[0]:
        raise CommandError(Exit.USAGE, f"{file} holds no {what}: one line, not empty, is needed")
    return str(lines[0])


def given(**fields: Any) -> dict[str, Any]:
    """A request's body of the fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def _session(context: click.Context, as_json: bool) -> Session:
    session = context.find_object(Session)
    assert session is not None
    session.as_json = session.as_json or as_json
    return session
