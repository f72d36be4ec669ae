"""`holdfast decision`: what the nodes decided by themselves."""

from __future__ import annotations

import click

from holdfast_cli.verbs import add_list


@click.group()
def decision() -> None:
    """Decisions the nodes took by themselves, each with its facts."""


add_list(decision, "decisions", ("number", "at", "node", "group", "sentence"))
