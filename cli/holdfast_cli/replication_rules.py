"""The options of a data replication task that are said when it is made and changed later."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from holdfast_cli.errors import CommandError, Exit
from holdfast_cli.options import DAYS

Command = Callable[..., None]
TRANSPORTS = click.Choice(["tls", "plain"])
_WINDOW = re.compile(r"([a-z,-]+) (\d\d:\d\d)-(\d\d:\d\d)(?:@(\d+))?\Z")

transport_option = click.option(
    "--transport", type=TRANSPORTS, help="tls unless told otherwise; with plain whoever is on the line reads along."
)
certificate_option = click.option(
    "--certificate", "certificate_file", metavar="FILE", help="What a destination that is not the partner must show."
)


def read_certificate(file: str) -> str:
    """The text of a certificate's file."""
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as reason:
        raise CommandError(Exit.USAGE, f"the certificate cannot be read: {file}: {reason}") from reason


def rules(function: Command) -> Command:
    """Give a command the options of a task's rules; it gets those that were given as `rules`, fields of the API."""

    @transport_option
    @certificate_option
    @click.option("--include", "included", multiple=True, metavar="PATTERN", help="Exempt from --exclude; several.")
    @click.option("--exclude", "excluded", multiple=True, metavar="PATTERN", help="Not part of the copy; several.")
    @click.option("--delete/--no-delete", "is_deleting", default=None, help="Whether what left the source is deleted.")
    @click.option(
        "--most-deleted",
        "most_deleted",
        metavar="PERCENT|any",
        help="A run that would delete more of the copy asks first.",
    )
    @click.option("--bandwidth", metavar="BYTES|none", help="The most that is sent in a second.")
    @click.option("--compress/--no-compress", "is_compressed", default=None, help="Whether it is sent compressed.")
    @click.option(
        "--window",
        "windows",
        multiple=True,
        metavar="DAYS HH:MM-HH:MM[@BYTES]",
        help='When it may send, as in "mon,tue 22:00-06:00@10000000"; several. `always` ends that.',
    )
    @click.option("--window-time-zone", "windows_time_zone", metavar="ZONE", help="Of --window; UTC without it.")
    @click.option("--retries", type=int, help="How often a run tries again when the line was cut.")
    @click.option("--retry-delay", "retry_delay_s", type=int, metavar="SECONDS", help="Before the first of them.")
    @click.option(
        "--way", type=click.Choice(["auto", "walk", "changes"]), help="Walk everything, or look at what changed."
    )
    @functools.wraps(function)
    def command(*positional: Any, **given: Any) -> None:
        taken = {name: given.pop(name) for name in _TAKEN}
        function(*positional, rules=_fields(**taken), **given)

    return command


_TAKEN = (
    *("transport", "certificate_file", "included", "excluded", "is_deleting", "most_deleted", "bandwidth"),
    *("is_compressed", "windows", "windows_time_zone", "retries", "retry_delay_s", "way"),
)


def _fields(
    *,
    certificate_file: str | None,
    included: tuple[str, ...],
    excluded: tuple[str, ...],
    most_deleted: str | None,
    bandwidth: str | None,
    windows: tuple[str, ...],
    **plain: Any,
) -> dict[str, Any]:
    fields = {name: value for name, value in plain.items() if value is not None}
    if certificate_file is not None:
        fields["certificate"] = read_certificate(certificate_file)
    if included or excluded:
        # Inclusions first: of several rules the first that matches decides.
        fields["filters"] = [
            {"pattern": pattern, "is_included": is_included}
            for patterns, is_included in ((included, True), (excluded, False))
            for pattern in patterns
            if pattern
        ]
    if most_deleted is not None:
        fields["most_deleted_percent"] = number(most_deleted, "any", "--most-deleted")
    if bandwidth is not None:
        fields["bandwidth_bytes_s"] = number(bandwidth, "none", "--bandwidth")
    if windows:
        fields["windows"] = [] if windows == ("always",) else [_window(text) for text in windows]
    return fields


def number(text: str, no_limit: str, option: str) -> int | None:
    """A number, or None for the word that means no limit."""
    if text == no_limit:
        return None
    if not text.isdecimal():
        raise click.UsageError(f"{option} takes a number, or {no_limit}")
    return int(text)


def _window(text: str) -> dict[str, Any]:
    match = _WINDOW.match(text)
    if match is None:
        raise click.UsageError(f'{text!r} is no window: give it as in "mon,tue 22:00-06:00"')
    days, begins_at, ends_at, bandwidth = match.groups()
    window: dict[str, Any] = {"weekdays": _days(days), "begins_at": begins_at, "ends_at": ends_at}
    return {**window, "bandwidth_bytes_s": int(bandwidth)} if bandwidth else window


def _days(text: str) -> list[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last and last not in DAYS):
            raise click.UsageError(f"{part!r} is no weekday: give mon to sun, or mon-fri")
        start, end = DAYS.index(first), DAYS.index(last or first)
        found |= {(start + step) % len(DAYS) for step in range((end - start) % len(DAYS) + 1)}
    return sorted(found)
