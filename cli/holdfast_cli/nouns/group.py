"""`holdfast group`: what moves together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from holdfast_cli.addresses import VirtualAddress
from holdfast_cli.errors import CommandError, Exit
from holdfast_cli.group_explanation import add_explanation
from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, confirm_option, confirmed, given, immediate
from holdfast_cli.session import Session, url_path
from holdfast_cli.verbs import add_action, add_delete, add_list, add_show

_COLUMNS = (
    "document.name",
    "active_node",
    "this_node.state",
    "other_node.state",
    "document.mirror",
    "document.targets",
)


@click.group()
def group() -> None:
    """Failover groups: mirror, targets and virtual addresses that move together."""


add_list(group, "groups", _COLUMNS)
add_show(group, "groups")
add_delete(group, "groups")
add_action(group, "groups", "start", "Serve, and take over when the active node is lost.")
add_action(group, "groups", "stop", "Stop serving, on both nodes.")
add_action(group, "groups", "failback", "Move the group back to its preferred node.")
add_action(group, "groups", "resync", "Bring the passive side up to date by its bitmap.")
add_explanation(group)

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_failback = click.option(
    "--failback", type=click.Choice(["manual", "automatic"]), help="Who moves it back to its preferred node."
)
_failback_after = click.option(
    "--failback-after", "after_s", type=int, metavar="SECONDS", help="How long all must have been well and quiet."
)


def _members(function: Callable[..., None]) -> Callable[..., None]:
    mirror = click.option("--mirror", required=True, help="Its mirror: a group has one.")
    targets = click.option("--target", "targets", multiple=True, required=True, help="Several times for several.")
    addresses = click.option(
        "--address",
        "addresses",
        type=VirtualAddress(),
        multiple=True,
        metavar="ADDRESS/PREFIX@INTERFACE",
        help="A virtual address; several times for several.",
    )
    return mirror(targets(addresses(function)))


@group.command()
@click.argument("name")
@_members
@_failback
@_failback_after
@changing
def create(
    change: Change,
    name: str,
    mirror: str,
    targets: tuple[str, ...],
    addresses: tuple[dict[str, Any], ...],
    failback: str | None,
    after_s: int | None,
) -> None:
    """Make a group; it serves once it is started."""
    body = {"name": name, "mirror": mirror, "targets": list(targets), "addresses": list(addresses)}
    change.send("POST", url_path("groups"), body | given(failback=failback, failback_after_s=after_s))


@group.command("change")
@click.argument("name")
@_members
@changing
def change_group(
    change: Change, name: str, mirror: str, targets: tuple[str, ...], addresses: tuple[dict[str, Any], ...]
) -> None:
    """Say anew what a stopped group serves; what is not named is taken out."""
    body = {"mirror": mirror, "targets": list(targets), "addresses": list(addresses)}
    change.send("PUT", url_path("groups", name), body)


@group.command()
@click.argument("name")
@immediate
def preflight(session: Session, name: str) -> None:
    """List every requirement that is not met, with its remedy; the exit code is 4 when there is any."""
    found = session.get(url_path("groups", name, "preflight"))
    session.show(found)
    if not found["is_ready"]:
        raise CommandError(Exit.CONFLICT, f"group {name} cannot start yet")


@group.command()
@click.argument("name")
@click.option("--to", metavar="NODE", help="The node that serves afterwards; by default the other one.")
@changing
def switchover(change: Change, name: str, to: str | None) -> None:
    """Move the group to the other node, while both are well: no write fails."""
    change.send("POST", url_path("groups", name, "switchover"), given(to=to))


@group.command()
@click.argument("name")
@_failback
@_failback_after
@click.option("--drill-every", type=int, metavar="HOURS", help="Hold a drill by itself, every so many hours.")
@click.option("--drill-on", "days", type=click.Choice(_DAYS), multiple=True, help="Hold a drill on this weekday.")
@click.option("--at", metavar="HH:MM", help="The time of day of --drill-on, in UTC.")
@click.option("--no-drills", is_flag=True, help="Hold no drills by itself any more.")
@changing
def rules(
    change: Change,
    name: str,
    failback: str | None,
    after_s: int | None,
    drill_every: int | None,
    days: tuple[str, ...],
    at: str | None,
    no_drills: bool,
) -> None:
    """Change what the group does by itself, also while it serves: failing back, and drills."""
    body = given(failback=failback, failback_after_s=after_s)
    if drill_every is not None or days or at is not None:
        weekdays = [_DAYS.index(day) for day in days]
        body["drill_schedule"] = {"every_hours": drill_every, "weekdays": weekdays, "time_of_day": at}
    if no_drills:
        body["drill_schedule"] = None
    change.send("PATCH", url_path("groups", name), body)


@group.command()
@click.argument("name")
@click.option("--only-there", is_flag=True, help="Leave it on the other node.")
@changing
def drill(change: Change, name: str, only_there: bool) -> None:
    """Move the group to the other node and back, while it is used, and keep what it took."""
    change.send("POST", url_path("groups", name, "drill"), {"and_back": not only_there})


@group.command()
@click.argument("name")
@immediate
def drills(session: Session, name: str) -> None:
    """List the drills that were held, the newest first."""
    found = session.get(url_path("groups", name, "drills"))["items"]
    if not session.as_json:
        found = [{**each, "gaps_ms": [move["gap_ms"] for move in each["moves"]]} for each in found]
    session.show_list(found, ("started_at", "started_by", "is_ok", "gaps_ms", "was_interrupted", "reason"))


@group.command()
@click.argument("name")
@confirm_option
@immediate
def promote(session: Session, name: str, confirm: str | None) -> None:
    """Serve here although the partner cannot be asked: writes that only it has are lost."""
    body = confirmed(name, confirm, "may lose writes that only the partner has")
    session.show(session.send("POST", url_path("groups", name, "promote"), body))
