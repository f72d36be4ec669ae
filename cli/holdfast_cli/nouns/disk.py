"""`holdfast disk`: what pools can be made of."""

from __future__ import annotations

import click

from holdfast_cli.verbs import add_list


@click.group()
def disk() -> None:
    """The disks of this node: size, and any signature found on them."""


add_list(disk, "disks", ("path", "size_bytes", "signatures", "used_by", "faults", "health"))
