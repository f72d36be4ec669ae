"""`holdfast pool`: where volumes are cut from."""

from __future__ import annotations

import click

from holdfast_cli.addresses import Pair
from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, given, immediate
from holdfast_cli.session import Session, url_path
from holdfast_cli.sizes import Size
from holdfast_cli.verbs import add_action, add_confirmed_delete, add_list, add_show


@click.group()
def pool() -> None:
    """Pools: where volumes are cut from."""


add_list(pool, "pools", ("name", "size_bytes", "free_bytes", "disks"))
add_show(pool, "pools")
add_confirmed_delete(pool, "pools", "destroys the pool")


add_action(pool, "pools", "forget-missing", "Go on without missing disks on which nothing lies.")

_disks = click.option(
    "--disk", "disks", multiple=True, required=True, metavar="PATH", help="May be given several times."
)
_overwrite = click.option(
    "--overwrite",
    multiple=True,
    type=Pair("PATH=SIGNATURE"),
    metavar="PATH=SIGNATURE",
    help="Destroy this signature, seen on this disk. Once for each of them.",
)


def _signatures(overwrite: tuple[tuple[str, str], ...]) -> dict[str, list[str]]:
    signatures: dict[str, list[str]] = {}
    for path, signature in overwrite:
        signatures.setdefault(path, []).append(signature)
    return signatures


@pool.command()
@click.argument("name")
@_disks
@_overwrite
@changing
def create(change: Change, name: str, disks: tuple[str, ...], overwrite: tuple[tuple[str, str], ...]) -> None:
    """Make a pool of disks. One that carries any signature is refused, unless it is named with --overwrite."""
    change.send("POST", url_path("pools"), {"name": name, "disks": list(disks), "overwrite": _signatures(overwrite)})


@pool.command()
@click.argument("name")
@_disks
@_overwrite
@changing
def extend(change: Change, name: str, disks: tuple[str, ...], overwrite: tuple[tuple[str, str], ...]) -> None:
    """Add disks to a pool."""
    change.send("POST", url_path("pools", name, "extend"), {"disks": list(disks), "overwrite": _signatures(overwrite)})


@pool.command("remove-disk")
@click.argument("name")
@click.argument("disk")
@changing
def remove_disk(change: Change, name: str, disk: str) -> None:
    """Move what lies on a disk to the pool's others, under its users, and give the disk back blank."""
    change.send("POST", url_path("pools", name, "remove-disk"), {"disk": disk})


@pool.command()
@click.argument("name")
@click.argument("new_name")
@changing
def rename(change: Change, name: str, new_name: str) -> None:
    """Call a pool otherwise. Refused while mirrors or targets use its volumes."""
    change.send("POST", url_path("pools", name, "rename"), {"new_name": new_name})


@pool.command()
@immediate
def found(session: Session) -> None:
    """List what is on the disks of this node and could become a pool."""
    columns = ("id", "name", "size_bytes", "disks", "missing_disks", "is_ours", "contents")
    session.show_list(list(session.items(url_path("found-pools"))), columns)


@pool.command("import")
@click.argument("found_id", metavar="ID")
@click.option("--name", required=True, help="What the pool is to be called.")
@changing
def take(change: Change, found_id: str, name: str) -> None:
    """Make a pool of what was found, with the volumes in it that this product made."""
    change.send("POST", url_path("found-pools"), {"id": found_id, "name": name})


@pool.command("set-thin")
@click.argument("name")
@click.option("--size", "size_bytes", type=Size(), help="Such as 10GiB. Needed for a new one; never smaller.")
@click.option("--metadata", "metadata_bytes", type=Size(), help="Room for its maps; never smaller.")
@click.option(
    "--promise", "most_promised_percent", type=int, metavar="PERCENT", help="Of its size, for all its volumes."
)
@click.option(
    "--grows/--grows-not", "grows_itself", default=None, help="Whether it gets more by itself as it fills up."
)
@changing
def set_thin(change: Change, name: str, **content: object) -> None:
    """Make the thin pool of a pool, make it larger, or let it promise more."""
    change.send("PUT", url_path("pools", name, "thin"), given(**content))


@pool.command("delete-thin")
@click.argument("name")
@changing
def delete_thin(change: Change, name: str) -> None:
    """Give the room of an empty thin pool back to its pool."""
    change.send("DELETE", url_path("pools", name, "thin"))


@pool.command()
@click.argument("name")
@immediate
def report(session: Session, name: str) -> None:
    """Show what the room of a pool is used for."""
    session.show(session.get(url_path("pools", name, "report")))
