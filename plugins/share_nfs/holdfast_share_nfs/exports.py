"""Exports, written as exportfs(8) takes them, and read back from the table that it keeps (exports(5), etab)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from holdfast.errors import InvalidError, Reason
from holdfast.hooks.share import NfsClient, NfsExposure, Squash
from holdfast_share_nfs.settings import Settings

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
# Both words each time: `all_squash` stands in the table beside `root_squash`.
_SQUASH = {
    Squash.ROOT: ("root_squash", "no_all_squash"),
    Squash.ALL: ("root_squash", "all_squash"),
    Squash.NONE: ("no_root_squash", "no_all_squash"),
}

Export = tuple[str, str]
"""A client and a directory."""


def check(exposure: NfsExposure) -> None:
    """Raise InvalidError for what exportfs would take for something else."""
    if not _NAME.match(exposure.share):
        raise _refuse("share", f"{exposure.share!r} cannot name a share", "use a-z, 0-9 and '-', a letter first")
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", exposure.fsid):
        raise _refuse("fsid", f"{exposure.fsid!r} is no UUID", "give one in small letters")
    for client in exposure.clients:
        if not re.fullmatch(r"[0-9a-f.:]+(/\d{1,3})?", client.network):
            raise _refuse("clients", f"{client.network!r} is no network", "give an address or a network")


def options(client: NfsClient, exposure: NfsExposure, settings: Settings) -> tuple[str, ...]:
    """The options of one export, in the words that the table has for them.

    `mountpoint`: what is not mounted is not offered. `no_subtree_check`: with that check, whoever renames a file that
    is open elsewhere breaks it there; without it, who makes up file handles leaves the share, but not its volume.
    """
    all_squash = (f"anonuid={settings.squash_uid}", f"anongid={settings.squash_gid}")
    return (
        "ro" if client.is_read_only or exposure.is_read_only else "rw",
        "sync",
        "no_subtree_check",
        "mountpoint",
        f"fsid={exposure.fsid}",
        *_SQUASH[client.squash],
        *(all_squash if client.squash is Squash.ALL else ()),
    )


ROOT_OPTIONS = ("ro", "sync", "no_subtree_check", "fsid=0", "all_squash")
"""Of the directory in which the shares appear. Not `crossmnt`: it would open every share to whoever may see one."""


def read_table(text: str) -> dict[Export, frozenset[str]]:
    """Client and directory to options, of all exports of the machine."""
    table: dict[Export, frozenset[str]] = {}
    for line in text.splitlines():
        directory, _, rest = line.partition("\t")
        client, parenthesis, listed = rest.partition("(")
        if parenthesis:
            table[client, _unescape(directory)] = frozenset(listed.rstrip(")").split(","))
    return table


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def read_exposure(wanted: NfsExposure, there: Iterable[tuple[str, frozenset[str]]], settings: Settings) -> NfsExposure:
    """What is offered of a share whose exports are `there`, client and options; `wanted` if it is all as wanted."""
    exports = dict(there)
    as_wanted = {client.network: client for client in wanted.clients}
    if exports.keys() == as_wanted.keys() and all(
        exports[network].issuperset(options(client, wanted, settings)) for network, client in as_wanted.items()
    ):
        return wanted
    clients = tuple(_read_client(network, exports[network]) for network in sorted(exports))
    return replace(wanted, clients=clients, is_read_only=False)


def _read_client(network: str, found: frozenset[str]) -> NfsClient:
    squash = Squash.ALL if "all_squash" in found else Squash.NONE if "no_root_squash" in found else Squash.ROOT
    return NfsClient(network, "rw" not in found, squash)


def _refuse(field: str, text: str, remedy: str) -> InvalidError:
    return InvalidError(f"{field}: {text}", reasons=[Reason("bad-value", text, remedy, field)])
