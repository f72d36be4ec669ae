"""The verbs that most nouns share: list, show, delete, and actions that take a name only."""

from __future__ import annotations

from collections.abc import Sequence

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, confirm_option, confirmed, reading
from holdfast_cli.session import Session, url_path


def add_list(group: click.Group, path: str, columns: Sequence[str]) -> None:
    """Add `list` of everything at `/v1/<path>`."""

    @group.command("list", help="List them all.")
    @reading
    def list_items(session: Session) -> None:
        session.show_list(list(session.items(url_path(path))), columns)


def add_show(group: click.Group, path: str) -> None:
    """Add `show NAME`."""

    @group.command("show", help="Show one, as it is wanted and as it is.")
    @click.argument("name")
    @reading
    def show(session: Session, name: str) -> None:
        session.show(session.get(url_path(path, name)))


def add_delete(group: click.Group, path: str, *, destroys: str | None = None) -> None:
    """Add `delete NAME`; with `destroys`, what is lost, the name must be confirmed."""

    @group.command("delete", help=f"Delete one{': this ' + destroys if destroys else ''}.")
    @click.argument("name")
    @confirm_option
    @changing
    def delete(change: Change, name: str, confirm: str | None) -> None:
        query = {"confirm": confirm} if confirm else {}
        if destroys:
            query = confirmed(name, confirm, destroys)
        change.send("DELETE", url_path(path, name), query=query)


def add_action(group: click.Group, path: str, verb: str, text: str) -> None:
    """Add `VERB NAME`, a POST to `/v1/<path>/NAME/VERB` without a body."""

    @group.command(verb, help=text)
    @click.argument("name")
    @changing
    def act(change: Change, name: str) -> None:
        change.send("POST", url_path(path, name, verb))
