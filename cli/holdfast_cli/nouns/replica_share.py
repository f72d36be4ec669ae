"""`holdfast replica-share`: shares opened as destinations."""

from __future__ import annotations

from typing import Any

import click

from holdfast_cli.copies import add_copies
from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, given, password_option, read_secret
from holdfast_cli.replication_rules import number, read_certificate
from holdfast_cli.session import url_path
from holdfast_cli.verbs import add_delete, add_list, add_show

_source_certificates = click.option(
    "--source-certificate",
    "certificate_files",
    multiple=True,
    metavar="FILE",
    help="Of a source that is not the partner; several for several.",
)
_bandwidth = click.option("--bandwidth", metavar="BYTES|none", help="The most that a source may send in a second.")


@click.group("replica-share")
def replica_share() -> None:
    """Replica shares: shares opened as a destination of data replication."""


add_list(
    replica_share,
    "replica-shares",
    (
        *("name", "share", "user", "allowed_sources", "task", "source"),
        *("newest_copy_at", "copy_age_s", "objective_s", "is_objective_missed"),
    ),
)
add_show(replica_share, "replica-shares")
add_delete(replica_share, "replica-shares")


@replica_share.command()
@click.argument("name")
@click.option("--share", required=True, help="The share that copies are written to.")
@click.option("--user", required=True, help="The ID that sources give.")
@password_option()
@click.option(
    "--allow",
    "allowed_sources",
    multiple=True,
    required=True,
    metavar="ADDRESS",
    help="A source; several times for several.",
)
@_source_certificates
@_bandwidth
@changing
def create(
    change: Change,
    name: str,
    share: str,
    user: str,
    password_file: str,
    allowed_sources: tuple[str, ...],
    certificate_files: tuple[str, ...],
    bandwidth: str | None,
) -> None:
    """Open a share as a destination, with an ID and a password of its own."""
    body = {
        "name": name,
        "share": share,
        "user": user,
        "password": read_secret(password_file),
        "allowed_sources": list(allowed_sources),
        **_limits(certificate_files, bandwidth),
    }
    change.send("POST", url_path("replica-shares"), body)


add_copies(replica_share)


@replica_share.command("change")
@click.argument("name")
@click.option("--allow", "allowed_sources", multiple=True, metavar="ADDRESS", help="All sources, said anew.")
@_source_certificates
@_bandwidth
@changing
def change_replica_share(
    change: Change,
    name: str,
    allowed_sources: tuple[str, ...],
    certificate_files: tuple[str, ...],
    bandwidth: str | None,
) -> None:
    """Change who may connect and how fast; a copy under way goes on."""
    body = _limits(certificate_files, bandwidth)
    if allowed_sources:
        body["allowed_sources"] = list(allowed_sources)
    if not body:
        raise click.UsageError("give what is to change")
    change.send("PATCH", url_path("replica-shares", name), body)


@replica_share.command()
@click.argument("name")
@password_option()
@click.option("--grace", "grace_s", type=int, metavar="SECONDS", help="How long the old one is accepted, too.")
@changing
def rotate(change: Change, name: str, password_file: str, grace_s: int | None) -> None:
    """Give it a new password; the partner is told, and other sources have some time."""
    body = given(password=read_secret(password_file), grace_s=grace_s)
    change.send("POST", url_path("replica-shares", name, "rotate"), body)


def _limits(certificate_files: tuple[str, ...], bandwidth: str | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if certificate_files:
        fields["source_certificates"] = [read_certificate(file) for file in certificate_files if file]
    if bandwidth is not None:
        fields["bandwidth_bytes_s"] = number(bandwidth, "none", "--bandwidth")
    return fields
