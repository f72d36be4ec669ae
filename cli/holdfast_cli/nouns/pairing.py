"""`holdfast pairing`: make two nodes partners."""

from __future__ import annotations

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, confirm_option, confirmed, immediate, read_secret
from holdfast_cli.session import Session, url_path


@click.group()
def pairing() -> None:
    """Make two nodes partners, with a code shown on one and typed on the other."""


@pairing.command()
@immediate
def offer(session: Session) -> None:
    """Show a code that works once, for a few minutes."""
    session.show(session.send("POST", url_path("pairing", "offer")))


@pairing.command()
@click.argument("address")
@click.option("--port", type=click.IntRange(1, 65535), default=8445, show_default=True, help="As the offer shows it.")
@click.option("--code-file", default="-", metavar="FILE|-", help="File with the code; by default it is asked for.")
@immediate
def join(session: Session, address: str, port: int, code_file: str) -> None:
    """Become the partner of the node at ADDRESS, which shows the code."""
    body = {"address": address, "port": port, "code": read_secret(code_file, "code")}
    session.show(session.send("POST", url_path("pairing", "join"), body))


@pairing.command("give-up")
@click.argument("partner")
@confirm_option
@changing
def give_up(change: Change, partner: str, confirm: str | None) -> None:
    """Note that PARTNER is lost for good. This node goes on alone; another machine of that name takes its place."""
    query = confirmed(partner, confirm, f"takes {partner} out of the pair")
    change.send("POST", url_path("pairing", "give-up"), query=query)


@pairing.command()
@changing
def rebuild(change: Change) -> None:
    """Make the new partner what the lost one was: its side of the mirrors, and all that both nodes have on record."""
    change.send("POST", url_path("pairing", "rebuild"))
