"""The verbs of `holdfast replica-share` that give back what is in a copy."""

from __future__ import annotations

from typing import Any

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import (
    Command,
    changing,
    confirm_option,
    confirmed,
    given,
    immediate,
    read_secret,
)
from holdfast_cli.replication_rules import certificate_option, read_certificate, transport_option
from holdfast_cli.session import Session, url_path

_FILE = ("name", "kind", "size_bytes", "modified_at", "mode", "owner", "group")
_COPY = ("snapshot", "frozen_at", "task", "source", "reserve_bytes", "used_percent", "is_void")


def _what(function: Command) -> Command:
    """Give a command the options that say what is restored, and where to."""
    for option in reversed(
        (
            click.option("--path", "paths", multiple=True, help="A file or folder of the copy; several for several."),
            click.option("--all", "is_all", is_flag=True, help="All of the copy."),
            click.option("--snapshot", help="As this snapshot of its volume has it; as it is now without it."),
            click.option("--to-share", metavar="SHARE", help="To a share of this node, or of the partner."),
            click.option("--on-partner", is_flag=True, help="The share is one of the partner, such as the source."),
            click.option("--to-agent", metavar="ADDRESS", help="To another system, with a replica share open there."),
            click.option("--agent-port", type=click.IntRange(1, 65535), help="The port of its agent."),
            transport_option,
            certificate_option,
            click.option("--replica-share", "replica", help="As `holdfast agent browse` lists it."),
            click.option("--user", help="The ID of that replica share."),
            click.option("--password-file", metavar="FILE|-", help="File with its password; - reads standard input."),
            click.option("--into", metavar="FOLDER", help="Below this folder, which is made."),
            click.option(
                "--delete", "deletes", is_flag=True, help="Remove what the copy has not, in what is restored."
            ),
        )
    ):
        function = option(function)
    return function


def _body(
    *,
    paths: tuple[str, ...],
    is_all: bool,
    snapshot: str | None,
    to_share: str | None,
    on_partner: bool,
    to_agent: str | None,
    agent_port: int | None,
    transport: str | None,
    certificate_file: str | None,
    replica: str | None,
    user: str | None,
    password_file: str | None,
    into: str | None,
    deletes: bool,
) -> dict[str, Any]:
    if bool(paths) is is_all:
        raise click.UsageError("give either --path or --all")
    if (to_share is None) is (to_agent is None):
        raise click.UsageError("give either --to-share or --to-agent")
    to: dict[str, Any] = given(share=to_share, is_on_partner=True if on_partner else None)
    if to_agent is not None:
        if replica is None or user is None or password_file is None:
            raise click.UsageError("--to-agent needs --replica-share, --user and --password-file")
        secret = read_secret(password_file)
        agent = {"address": to_agent, "port": agent_port, "replica_share": replica, "user": user, "password": secret}
        certificate = None if certificate_file is None else read_certificate(certificate_file)
        to = {"agent": given(**agent, transport=transport, certificate=certificate)}
    return given(
        paths=list(paths) or None,
        is_all=True if is_all else None,
        snapshot=snapshot,
        into=into,
        deletes=True if deletes else None,
        to=to,
    )


def add_copies(group: click.Group) -> None:
    """Add the verbs."""

    @group.command()
    @click.argument("name")
    @click.option("--path", help="A folder of the copy; its top without it.")
    @click.option("--snapshot", help="As this snapshot of its volume has it; as it is now without it.")
    @immediate
    def files(session: Session, name: str, path: str | None, snapshot: str | None) -> None:
        """List a folder of the copy, by name."""
        query = given(path=path, snapshot=snapshot)
        session.show_list(list(session.items(url_path("replica-shares", name, "files"), query)), _FILE)

    @group.command()
    @click.argument("name")
    @immediate
    def copies(session: Session, name: str) -> None:
        """List the verified copies that are kept as snapshots, the newest first."""
        session.show_list(list(session.items(url_path("replica-shares", name, "copies"))), _COPY)

    @group.command()
    @click.argument("name")
    @immediate
    def retention(session: Session, name: str) -> None:
        """Show what is kept after good runs."""
        session.show(session.get(url_path("replica-shares", name, "retention")))

    @group.command("set-retention")
    @click.argument("name")
    @click.option("--last", type=click.IntRange(0), help="So many of the newest.")
    @click.option("--daily", type=click.IntRange(0), help="The newest of each of so many days.")
    @click.option("--weekly", type=click.IntRange(0), help="The newest of each of so many weeks.")
    @click.option("--monthly", type=click.IntRange(0), help="The newest of each of so many months.")
    @click.option("--reserve-percent", type=click.IntRange(1, 110), help="Of the volume, for each copy; 10 without it.")
    @changing
    def set_retention(change: Change, name: str, **rule: int | None) -> None:
        """Say what is kept from the next good run on; without any count nothing more is kept, and nothing removed."""
        change.send("PUT", url_path("replica-shares", name, "retention"), given(**rule))

    @group.command("preview-restore")
    @click.argument("name")
    @_what
    @changing
    def preview_restore(change: Change, name: str, **what: Any) -> None:
        """Tell what a restore would write, overwrite and remove; change nothing."""
        change.send("POST", url_path("replica-shares", name, "preview-restore"), _body(**what))

    @group.command()
    @click.argument("name")
    @_what
    @confirm_option
    @changing
    def restore(change: Change, name: str, confirm: str | None, **what: Any) -> None:
        """Restore files, folders or all of a copy; --delete must be confirmed with the name of what is restored to."""
        body, target = _body(**what), what["to_share"] or what["replica"]
        query = confirmed(target, confirm, "removes what the copy has not") if what["deletes"] else {}
        change.send("POST", url_path("replica-shares", name, "restore"), body, query)

    @group.command()
    @click.argument("name")
    @immediate
    def direction(session: Session, name: str) -> None:
        """Show which end has the newer data: is_reversed means this one."""
        session.show(session.get(url_path("replica-shares", name, "direction")))

    @group.command("take-over")
    @click.argument("name")
    @changing
    def take_over(change: Change, name: str) -> None:
        """Take no copies any more: the data is used, and changed, here."""
        change.send("POST", url_path("replica-shares", name, "take-over"), {})

    @group.command("fail-back")
    @click.argument("name")
    @click.option(
        "--source-share", required=True, metavar="SHARE", help="The share of the source, which is overwritten."
    )
    @click.option("--return", "returns", is_flag=True, help="The source is the source again afterwards.")
    @confirm_option
    @changing
    def fail_back(change: Change, name: str, source_share: str, returns: bool, confirm: str | None) -> None:
        """Make the source equal to what is here, by the differences only."""
        query = confirmed(source_share, confirm, "overwrites what changed on the source since its last run")
        change.send("POST", url_path("replica-shares", name, "fail-back"), {"returns": returns}, query)
