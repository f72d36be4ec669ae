"""The part of a pool that thin volumes share, and the volumes in it (lvmthin(7))."""

from __future__ import annotations

import logging

from holdfast.errors import BusyError, ConflictError, InvalidError, NoSpaceError, NotFoundError, Reason
from holdfast.hooks.volume import VolumeSpec
from holdfast_volume_lvm import inventory
from holdfast_volume_lvm.naming import THIN, Role, tags_of
from holdfast_volume_lvm.report import Group, LogicalVolume
from holdfast_volume_lvm.room import refuse_without_room
from holdfast_volume_lvm.settings import KIB, MIB
from holdfast_volume_lvm.tools import IGNORE_SKIP, Tools

log = logging.getLogger(__name__)

_MOST_METADATA_BYTES = 16192 * MIB
"""LVM uses no more (lvmthin(7), Metadata space: 15.81 GiB)."""
_LEAST_METADATA_BYTES = 8 * MIB
_SMALL_CHUNK_BYTES = 64 * KIB
_MOST_CHUNKS = 1 << 26
"""Above it, larger chunks: the maps of so many, with those of some snapshots, fill the metadata that LVM can use."""


def chunk_bytes(size_bytes: int) -> int:
    """What a thin volume takes at a time from a thin pool of this size. A power of two from 64 KiB on."""
    chunk = _SMALL_CHUNK_BYTES
    while size_bytes > chunk * _MOST_CHUNKS:
        chunk *= 2
    return chunk


def metadata_bytes(size_bytes: int) -> int:
    """What the maps of a thin pool get: 256 bytes for each chunk, four times what one volume that fills it needs.

    The kernel's own estimate is 64 bytes (thin_metadata_size(8)); each snapshot has maps of its own for what differs.
    """
    wanted = size_bytes // chunk_bytes(size_bytes) * 256
    return min(max(wanted, _LEAST_METADATA_BYTES), _MOST_METADATA_BYTES)


async def create_pool(tools: Tools, pool: str, size_bytes: int) -> None:
    """See PoolUpkeep.create_thin_pool."""
    group = inventory.find_pool(await tools.report(), pool)
    _check_size(size_bytes)
    size_bytes = group.round_up(size_bytes)
    found = group.find(THIN)
    if found is not None:
        if found.role is not Role.THIN_POOL or found.size_bytes != size_bytes:
            text = f"the pool {pool} has a thin pool already, of {found.size_bytes} bytes"
            raise ConflictError(text, reasons=[Reason("exists", text, "make that one larger", "size_bytes")])
        return
    maps = group.round_up(metadata_bytes(size_bytes))
    # Twice: LVM keeps as much again to mend them.
    refuse_without_room(group, size_bytes + 2 * maps, "the thin pool and its metadata", "size_bytes")
    argv = ["lvcreate", "--yes", "--type", "thin-pool", "--name", THIN]
    argv += ["--extents", str(size_bytes // group.extent_bytes), "--poolmetadatasize", f"{maps}b"]
    argv += ["--chunksize", f"{chunk_bytes(size_bytes)}b", "--zero", "y", "--poolmetadataspare", "y"]
    argv += [word for tag in tags_of(Role.THIN_POOL) for word in ("--addtag", tag)]
    await tools.change([*argv, pool], f"the thin pool of {pool}")
    log.info("made the thin pool of %s, %d bytes", pool, size_bytes)


async def grow_pool(tools: Tools, pool: str, size_bytes: int | None, maps_bytes: int | None) -> None:
    """See PoolUpkeep.grow_thin_pool."""
    group = inventory.find_pool(await tools.report(), pool)
    thin = _need(group)
    if maps_bytes is not None and (wanted := group.round_up(maps_bytes)) > thin.metadata_bytes:
        if wanted > group.round_up(_MOST_METADATA_BYTES):
            text = f"the metadata of a thin pool is at most {_MOST_METADATA_BYTES} bytes"
            raise InvalidError(text, reasons=[Reason("too-large", text, "ask for less", "metadata_bytes")])
        # Its spare grows with it.
        refuse_without_room(group, 2 * (wanted - thin.metadata_bytes), "the metadata", "metadata_bytes")
        await tools.change(
            ["lvextend", "--poolmetadatasize", f"{wanted}b", f"{pool}/{THIN}"], f"the metadata of {pool}"
        )
        group = inventory.find_pool(await tools.report(), pool)
    if size_bytes is not None and (wanted := group.round_up(size_bytes)) > thin.size_bytes:
        refuse_without_room(group, wanted - thin.size_bytes, "the thin pool", "size_bytes")
        extents = str(wanted // group.extent_bytes)
        await tools.change(["lvextend", "--extents", extents, f"{pool}/{THIN}"], f"the thin pool of {pool}")
    log.info("the thin pool of %s was made larger", pool)


async def delete_pool(tools: Tools, pool: str) -> None:
    """See PoolUpkeep.delete_thin_pool."""
    group = (await tools.report()).find(pool)
    thin = group.find(THIN) if group is not None and group.is_ours else None
    if group is None or thin is None or thin.role is not Role.THIN_POOL:
        return
    if names := sorted(volume.name for volume in group.volumes if volume.thin_pool == THIN):
        text = f"the thin pool of {pool} still has {', '.join(names)}"
        raise BusyError(text, reasons=[Reason("pool-not-empty", text, "delete its volumes first")])
    # --yes answers the question whether an active one may go: it has no volume, and was asked for.
    await tools.change(["lvremove", "--yes", f"{pool}/{THIN}"], f"the thin pool of {pool}")
    log.info("the thin pool of %s is gone", pool)


async def make_volume(tools: Tools, group: Group, spec: VolumeSpec, size_bytes: int) -> None:
    """Make a volume that takes room as it is written; `size_bytes` is in whole extents."""
    _refuse_full(group, "is_thin")
    argv = ["lvcreate", "--yes", "--virtualsize", f"{size_bytes}b", "--thinpool", THIN, "--name", spec.name]
    argv += [word for tag in tags_of(Role.VOLUME, spec) for word in ("--addtag", tag)]
    await tools.change([*argv, group.name], f"the volume {group.name}/{spec.name}")


async def branch(tools: Tools, source: LogicalVolume, name: str, tags: tuple[str, ...], subject: str) -> None:
    """Make a thin volume or snapshot `name` that shares all that a thin one holds. LVM freezes what is mounted.

    Writable, for a file system replays its log when it is mounted; and available at once and after a boot as volumes
    are, where LVM would leave it out.
    """
    argv = ["lvcreate", "--snapshot", "--setactivationskip", "n", *IGNORE_SKIP, "--permission", "rw", "--name", name]
    argv += [word for tag in tags for word in ("--addtag", tag)]
    await tools.change([*argv, f"{source.group}/{source.name}"], subject)


async def take_snapshot(tools: Tools, group: Group, volume: LogicalVolume, name: str, subject: str) -> None:
    """Take a thin snapshot. See SnapshotUpkeep.create_snapshot."""
    _refuse_full(group, None)
    await branch(tools, volume, name, tags_of(Role.SNAPSHOT), subject)


def _refuse_full(group: Group, field: str | None) -> None:
    thin = _need(group)
    for percent, what in ((thin.used_percent, "room"), (thin.metadata_percent, "metadata")):
        if percent is not None and percent >= 100:
            text = f"the thin pool of {group.name} has no {what} left"
            raise NoSpaceError(text, reasons=[Reason("thin-pool-full", text, "make the thin pool larger", field)])


def _need(group: Group) -> LogicalVolume:
    thin = group.find(THIN)
    if thin is None or thin.role is not Role.THIN_POOL:
        text = f"the pool {group.name} has no thin pool"
        raise NotFoundError(text, reasons=[Reason("no-thin-pool", text, "make one in it first", "is_thin")])
    return thin


def _check_size(size_bytes: int) -> None:
    if size_bytes <= 0:
        text = "a size is at least one byte"
        raise InvalidError(text, reasons=[Reason("bad-size", text, "ask for more", "size_bytes")])
