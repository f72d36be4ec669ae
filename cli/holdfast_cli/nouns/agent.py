"""`holdfast agent`: the part that accepts data replication."""

from __future__ import annotations

from typing import Any

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, given, immediate
from holdfast_cli.replication_rules import certificate_option, read_certificate, transport_option
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
@transport_option
@changing
def enable(change: Change, address: str | None, port: int | None, transport: str | None) -> None:
    """Accept data replication; what is not given stays as it is."""
    _put(change, is_enabled=True, **given(address=address, port=port, transport=transport))


@agent.command()
@changing
def disable(change: Change) -> None:
    """Accept data replication no more."""
    _put(change, is_enabled=False)


@agent.command()
@immediate
def certificate(session: Session) -> None:
    """Show this node's certificate, for a system that is not its partner to pin."""
    click.echo(session.get(url_path("agent", "certificate")).get("certificate", ""), nl=False)


@agent.command()
@click.argument("address")
@_port
@transport_option
@certificate_option
@immediate
def browse(
    session: Session, address: str, port: int | None, transport: str | None, certificate_file: str | None
) -> None:
    """List the replica shares of the agent at ADDRESS."""
    body = given(address=address, port=port, transport=transport)
    if certificate_file is not None:
        body["certificate"] = read_certificate(certificate_file)
    found = session.send("POST", url_path("agent", "browse"), body)
    session.show_list(found["items"], ("name", "comment", "bandwidth_bytes_s"))


def _put(change: Change, **fields: Any) -> None:
    now = change.session.get(url_path("agent"))
    kept = {name: now[name] for name in ("address", "port", "transport") if now.get(name) is not None}
    change.send("PUT", url_path("agent"), {**kept, **fields})
