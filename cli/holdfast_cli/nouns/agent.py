"""`holdfast agent`: the part that accepts data replication."""

from __future__ import annotations

from typing import Any

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, given, immediate
from holdfast_cli.session import Session, url_path

_port = click.option("--port", type=click.IntRange(1, 65535), help="Its port.")


@click.group()
def agent() -> None:
    """The agent: what accepts data replication on a destination."""


@agent.command()
@immediate
def show(session: Session) -> None:
    """Show the agent of this node."""
    session.show(session.get(url_path("agent")))


@agent.command()
@click.option("--address", help="Where it listens, an address of this node.")
@_port
@changing
def enable(change: Change, address: str | None, port: int | None) -> None:
    """Accept data replication; what is not given stays as it is."""
    _put(change, is_enabled=True, **given(address=address, port=port))


@agent.command()
@changing
def disable(change: Change) -> None:
    """Accept data replication no more."""
    _put(change, is_enabled=False)


@agent.command()
@click.argument("address")
@_port
@immediate
def browse(session: Session, address: str, port: int | None) -> None:
    """List the replica shares of the agent at ADDRESS."""
    body = given(address=address, port=port)
    found = session.send("POST", url_path("agent", "browse"), body)
    session.show_list(found["items"], ("name", "comment"))


def _put(change: Change, **fields: Any) -> None:
    now = change.session.get(url_path("agent"))
    kept = {name: now[name] for name in ("address", "port") if now.get(name) is not None}
    change.send("PUT", url_path("agent"), {**kept, **fields})
