"""`holdfast failover`: what both nodes know each other by."""

from __future__ import annotations

import click

from holdfast_cli.errors import CommandError, Exit
from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, immediate
from holdfast_cli.session import Session, url_path


@click.group()
def failover() -> None:
    """The links that carry heartbeats, and the ping nodes, for all groups."""


@failover.command()
@immediate
def show(session: Session) -> None:
    """Show links and ping nodes, and what the monitor sees of them."""
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
@changing
def set_links(
    change: Change, links: tuple[tuple[str, str, str, str], ...], ping_nodes: tuple[str, ...], has_none: bool
) -> None:
    """Set links and ping nodes on both nodes; what is not named is forgotten."""
    if (not ping_nodes) != has_none:
        raise CommandError(Exit.USAGE, "give either --ping-node ADDRESS or --no-ping-node")
    body = {
        "links": [
            {"name": name, "interface": interface, "local_address": local, "peer_address": peer}
            for name, interface, local, peer in links
        ],
        "ping_nodes": list(ping_nodes),
    }
    change.send("PUT", url_path("failover"), body)
