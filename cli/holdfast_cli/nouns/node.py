"""`holdfast node`: the node that answers."""

from __future__ import annotations

from typing import Any

import click

from holdfast_cli.errors import CommandError, Exit
from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, given, immediate
from holdfast_cli.session import Session, url_path


@click.group()
def node() -> None:
    """The node that answers: its name, version and partner, and what it serves while you work on it."""


@node.command()
@immediate
def show(session: Session) -> None:
    """Show the node."""
    session.show(session.get(url_path("node")))


@node.command()
@click.argument("switch", type=click.Choice(["on", "off"]))
@click.option("--reason", metavar="TEXT", help="Why it is on; shown wherever the mark is.")
@changing
def maintenance(change: Change, switch: str, reason: str | None) -> None:
    """Work on the node: its groups go to the partner, and none comes back by itself meanwhile.

    What could not be moved goes on here, and the exit code is 4. Off takes the mark away, and nothing else changes.
    """
    if switch == "on":
        _refuse_if_kept(change.send("POST", url_path("node", "maintenance"), given(reason=reason)))
    elif reason is not None:
        raise CommandError(Exit.USAGE, "--reason says why the maintenance begins")
    else:
        change.send("POST", url_path("node", "maintenance", "end"))


@node.command()
@click.option("--within", "within_s", type=float, metavar="SECONDS", help="Begin with no further group after this.")
@changing
def drain(change: Change, within_s: float | None) -> None:
    """Hand over every group that is served here, as before a reboot.

    What could not be moved goes on here, and the exit code is 4.
    """
    _refuse_if_kept(change.send("POST", url_path("node", "drain"), given(within_s=within_s)))


def _refuse_if_kept(drained: Any) -> None:
    """Let a script that goes on to switch the node off stop here."""
    if drained and drained["kept"]:
        names = ", ".join(item["group"] for item in drained["kept"])
        raise CommandError(Exit.CONFLICT, f"this node goes on serving {names}", "see why above, and mend that")
