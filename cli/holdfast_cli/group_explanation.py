"""`holdfast group forecast` and `holdfast group decisions`: what would happen, and what happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from holdfast_cli.options import immediate
from holdfast_cli.session import Session, say, url_path

_COLUMNS = ("if", "serves", "writes", "a_person", "says")


def add_explanation(group: click.Group) -> None:
    """Add `forecast NAME` and `decisions NAME`."""

    @group.command(help="Say for each fault what it would lead to now: who serves, and what a person does.")
    @click.argument("name")
    @click.option("--why", is_flag=True, help="Say below each why, with the facts.")
    @immediate
    def forecast(session: Session, name: str, why: bool) -> None:
        found = session.get(url_path("groups", name, "forecast"))
        if session.as_json:
            session.show(found)
            return
        for line in _forecast(found["items"], tells_why=why):
            click.echo(line)
        _tell_not_asked(found["not_asked"])

    @group.command(help="List what both nodes decided about it, oldest first, with the facts and times of each step.")
    @click.argument("name")
    @immediate
    def decisions(session: Session, name: str) -> None:
        items, not_asked = _all_pages(session, url_path("groups", name, "decisions"))
        if session.as_json:
            session.show({"items": items, "next_page_token": None, "not_asked": not_asked})
            return
        for item in items:
            for line in _decision(item):
                click.echo(line)
        if not items:
            say("none")
        _tell_not_asked(not_asked)


def _all_pages(session: Session, path: str) -> tuple[list[Any], list[Any]]:
    """All items, and who could not be asked for one of the pages."""
    items: list[Any] = []
    not_asked: dict[str, Any] = {}
    asked: dict[str, str] = {}
    while True:
        page = session.get(path, asked)
        items += page["items"]
        not_asked.update({away["node"]: away for away in page["not_asked"]})
        if not (token := page["next_page_token"]):
            return items, list(not_asked.values())
        asked["page_token"] = token


def _tell_not_asked(not_asked: Sequence[Mapping[str, Any]]) -> None:
    from holdfast_cli.render import clean

    for away in not_asked:
        say(clean(f"{away['node']} could not be asked, and what only it knows is missing: {away['why']}"))


def _forecast(items: Sequence[Mapping[str, Any]], *, tells_why: bool) -> Iterator[str]:
    from holdfast_cli.render import clean, table

    rows = [
        {
            "if": item["text"],
            "serves": item["serves"] or "NOBODY",
            "writes": _writes(item),
            "a_person": item["person"] or "nothing",
            "says": item["by"],
        }
        for item in items
    ]
    yield from table(rows, _COLUMNS)
    if tells_why:
        yield ""
        for item in items:
            yield clean(f"If {item['text']}: {item['sentence']}")
    reasons = {(reason["text"], reason["remedy"]): None for item in items for reason in item["blockers"]}
    if reasons:
        yield ""
        yield "To be mended before it ends better:"
    for text, remedy in reasons:
        yield clean(f"  - {text}")
        yield clean(f"    remedy: {remedy}")


def _writes(item: Mapping[str, Any]) -> str:
    held_ms = item["held_at_least_ms"]
    if not item["holds_writes"]:
        return "go on"
    if held_ms is None:
        return "held until a person acts"
    return f"held {held_ms / 1000:g} s or longer" if held_ms else "held for a moment"


def _decision(item: Mapping[str, Any]) -> Iterator[str]:
    from holdfast_cli.render import clean

    yield clean(f"{item['at']}  {item['node']}  {item['sentence']}")
    yield clean("    " + "; ".join(f"{name} {value}" for name, value in item["facts"].items()))
    if item["timeline_ms"]:
        yield clean("    " + ", ".join(f"{step} after {ms} ms" for step, ms in item["timeline_ms"].items()))
