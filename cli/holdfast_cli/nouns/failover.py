"""`holdfast failover`: what both nodes know each other by."""

from __future__ import annotations

from typing import TextIO

import click

from holdfast_cli.errors import CommandError, Exit
from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, immediate
from holdfast_cli.session import Session, url_path


@click.group()
def failover() -> None:
    """The links that carry heartbeats, the ping nodes and the witness, for all groups."""


@failover.command()
@immediate
def show(session: Session) -> None:
    """Show links, ping nodes and witness, and what the monitor sees of them."""
    session.show(session.get(url_path("failover")))


@failover.command("set")
@click.option(
    "--link",
    "links",
    nargs=4,
    type=(str, str, str, str),
    multiple=True,
    required=True,
    metavar="NAME INTERFACE LOCAL PEER",
    help="Name, interface, this node's and the partner's address. Give each link that there is.",
)
@click.option(
    "--ping-node",
    "ping_nodes",
    multiple=True,
    metavar="ADDRESS",
    help="A third host that answers ICMP; one, or an odd number, of which a majority counts.",
)
@click.option("--no-ping-node", "has_none", is_flag=True, help="There is none.")
@click.option(
    "--witness",
    metavar="ADDRESS",
    help="A third host on which holdfast-witness runs: without its word neither node goes on without the other.",
)
@click.option("--witness-port", type=click.IntRange(1, 65535), default=8446, show_default=True)
@click.option(
    "--witness-certificate",
    type=click.File(),
    help="A file with what `holdfast-witness --show-certificate` prints there; - for standard input.",
)
@changing
def set_links(
    change: Change,
    links: tuple[tuple[str, str, str, str], ...],
    ping_nodes: tuple[str, ...],
    has_none: bool,
    witness: str | None,
    witness_port: int,
    witness_certificate: TextIO | None,
) -> None:
    """Set links, ping nodes and witness on both nodes; what is not named is forgotten."""
    if (not ping_nodes) != has_none:
        raise CommandError(Exit.USAGE, "give either --ping-node ADDRESS or --no-ping-node")
    if (witness is None) != (witness_certificate is None):
        raise CommandError(Exit.USAGE, "give both --witness ADDRESS and --witness-certificate FILE, or neither")
    body: dict[str, object] = {
        "links": [
            {"name": name, "interface": interface, "local_address": local, "peer_address": peer}
            for name, interface, local, peer in links
        ],
        "ping_nodes": list(ping_nodes),
    }
    if witness is not None and witness_certificate is not None:
        certificate = witness_certificate.read()
        body["witness"] = {"address": witness, "port": witness_port, "certificate": certificate}
    change.send("PUT", url_path("failover"), body)
