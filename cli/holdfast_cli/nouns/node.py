"""`holdfast node`: the node that answers."""

from __future__ import annotations

import click

from holdfast_cli.options import immediate
from holdfast_cli.session import Session, url_path


@click.group()
def node() -> None:
    """The node that answers: its name, version and partner."""


@node.command()
@immediate
def show(session: Session) -> None:
    """Show the node."""
    session.show(session.get(url_path("node")))
