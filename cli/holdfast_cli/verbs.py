"""The verbs that most nouns share: list, show, delete, and actions that take a name only."""

from __future__ import annotations

from collections.abc import Sequence

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, confirm_option, confirmed, immediate
from holdfast_cli.session import Session, url_path


def add_list(group: click.Group, path: str, columns: Sequence[str]) -> None:
    """Add `list` of everything at `/v1/<path>`."""

    @group.command("list", help="List them all.")
    @immediate
    def list_items(session: Session) -> None:
        session.show_list(list(session.items(url_path(path))), columns)


def add_show(group: click.Group, path: str) -> None:
    """Add `show NAME`."""

    @group.command("show", help="Show one, as it is wanted and as it is.")
    @click.argument("name")
    @immediate
    def show(session: Session, name: str) -> None:
        session.show(session.get(url_path(path, name)))


def add_delete(group: click.Group, path: str) -> None:
    """Add `delete NAME` of what takes no data with it."""

    @group.command("delete", help="Delete one; no data is lost.")
    @click.argument("name")
    @changing
    def delete(change: Change, name: str) -> None:
        change.send("DELETE", url_path(path, name))


def add_confirmed_delete(group: click.Group, path: str, what: str) -> None:
    """Add `delete NAME`, which must be confirmed: `what` it does, as in "destroys the volume"."""

    @group.command("delete", help=f"Delete one. This {what} and must be confirmed.")
    @click.argument("name")
    @confirm_option
    @changing
    def delete(change: Change, name: str, confirm: str | None) -> None:
        change.send("DELETE", url_path(path, name), query=confirmed(name, confirm, what))


def add_action(group: click.Group, path: str, verb: str, text: str) -> None:
    """Add `VERB NAME`, a POST to `/v1/<path>/NAME/VERB` without a body."""

    @group.command(verb, help=text)
    @click.argument("name")
    @changing
    def act(change: Change, name: str) -> None:
        change.send("POST", url_path(path, name, verb))
