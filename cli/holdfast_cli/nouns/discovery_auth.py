"""`holdfast discovery-auth`: what an initiator must know to be told which targets there are."""

from __future__ import annotations

import click

from holdfast_cli.initiators import chap_of
from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, immediate
from holdfast_cli.session import Session, url_path


@click.group()
def discovery_auth() -> None:
    """Credentials that iSCSI discovery asks for, on both nodes."""


@discovery_auth.command()
@immediate
def show(session: Session) -> None:
    """Show what discovery asks for."""
    session.show(session.get(url_path("discovery-auth")))


@discovery_auth.command("set")
@click.option("--chap", nargs=2, type=(str, str), required=True, metavar="USER FILE|-", help="User and password file.")
@click.option("--mutual", nargs=2, type=(str, str), metavar="USER FILE", help="By what the target proves itself.")
@changing
def set_credentials(change: Change, chap: tuple[str, str], mutual: tuple[str, str] | None) -> None:
    """Ask for these credentials from now on."""
    change.send("PUT", url_path("discovery-auth"), {"chap": chap_of(*chap, *(mutual or ()))})


@discovery_auth.command()
@changing
def clear(change: Change) -> None:
    """Ask for nothing."""
    change.send("PUT", url_path("discovery-auth"), {"chap": None})
