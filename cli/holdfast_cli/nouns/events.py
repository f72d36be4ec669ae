"""`holdfast events`: what happens, as it happens."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import click

from holdfast_cli.errors import CommandError, Exit
from holdfast_cli.options import immediate
from holdfast_cli.session import Session, say, url_path

_RECONNECT_S = 1.0


@dataclass(frozen=True)
class Event:
    """One server-sent event. `id` is the last one seen, where the event has none of its own."""

    id: str
    kind: str
    data: str


def parse_events(lines: Iterable[str], last_id: str = "") -> Iterator[Event]:
    """The events of a stream (HTML standard, section 9.2.6); one that is cut off is dropped."""
    kind, data = "", list[str]()
    for line in lines:
        if not line:
            if data:
                yield Event(last_id, kind or "message", "\n".join(data))
            kind, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            last_id = value


@click.command()
@click.option(
    "--after", metavar="ID", default="", help="Begin after this event; by default with the oldest that is kept."
)
@immediate
def events(session: Session, after: str) -> None:
    """Follow events until Ctrl-C; a connection that breaks is taken up where it was."""
    has_connected = False
    while True:
        try:
            headers = {"Last-Event-ID": after} if after else {}
            stream = session.connection.stream(url_path("events"), headers=headers)
            for event in parse_events(stream, after):
                after = event.id
                has_connected = True
                _show(session, event)
        except ConnectionError:
            has_connected = True
        except CommandError as reason:
            if reason.code is not Exit.UNREACHABLE or not has_connected:
                raise
        say("the connection ended; trying again")
        time.sleep(_RECONNECT_S)


def _show(session: Session, event: Event) -> None:
    import json

    from holdfast_cli.render import clean

    try:
        data = json.loads(event.data)
    except ValueError:
        data = event.data
    if session.as_json:
        click.echo(json.dumps({"id": event.id, "event": event.kind, "data": data}, ensure_ascii=False))
        return
    if not isinstance(data, dict):
        click.echo(clean(f"{event.id}  {event.kind}  {event.data}"))
        return
    body = "  ".join(f"{name}={value}" for name, value in (data.get("body") or {}).items())
    click.echo(clean(f"{event.id}  {data.get('at')}  {event.kind}  {data.get('subject')}  {body}".rstrip()))
