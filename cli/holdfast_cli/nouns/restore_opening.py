"""`holdfast restore-opening`: shares that take a restore now."""

from __future__ import annotations

import click

from holdfast_cli.verbs import add_confirmed_delete, add_list


@click.group("restore-opening")
def restore_opening() -> None:
    """Restore openings: shares that a restore is written to now."""


add_list(restore_opening, "restore-openings", ("name", "share", "node", "source", "opened_at"))
add_confirmed_delete(restore_opening, "restore-openings", "ends a restore that is under way")
