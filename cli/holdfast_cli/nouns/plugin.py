"""`holdfast plugin`: the mechanisms and their states."""

from __future__ import annotations

import click

from holdfast_cli.verbs import add_list


@click.group()
def plugin() -> None:
    """The mechanisms this node has: each with its state, and why it is not ready."""


add_list(plugin, "plugins", ("name", "role", "offer", "state", "version", "reasons"))
