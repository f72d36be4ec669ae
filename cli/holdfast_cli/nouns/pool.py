"""`holdfast pool`: where volumes are cut from."""

from __future__ import annotations

import click

from holdfast_cli.addresses import Pair
from holdfast_cli.jobs import Change
from holdfast_cli.options import changing
from holdfast_cli.session import url_path
from holdfast_cli.verbs import add_confirmed_delete, add_list, add_show


@click.group()
def pool() -> None:
    """Pools: where volumes are cut from."""


add_list(pool, "pools", ("name", "size_bytes", "free_bytes", "disks"))
add_show(pool, "pools")
add_confirmed_delete(pool, "pools", "destroys the pool")


@pool.command()
@click.argument("name")
@click.option("--disk", "disks", multiple=True, required=True, metavar="PATH", help="May be given several times.")
@click.option(
    "--overwrite",
    multiple=True,
    type=Pair("PATH=SIGNATURE"),
    metavar="PATH=SIGNATURE",
    help="Destroy this signature, seen on this disk. Once for each of them.",
)
@changing
def create(change: Change, name: str, disks: tuple[str, ...], overwrite: tuple[tuple[str, str], ...]) -> None:
    """Make a pool of disks. One that carries any signature is refused, unless it is named with --overwrite."""
    signatures: dict[str, list[str]] = {}
    for path, signature in overwrite:
        signatures.setdefault(path, []).append(signature)
    change.send("POST", url_path("pools"), {"name": name, "disks": list(disks), "overwrite": signatures})
