"""How our things are called and marked in LVM.

Names of the contract have no dot, so that the dot tells the parts of ours apart: the volume `v0`,
its replication metadata `v0.meta`, its snapshot `v0.snap.monday`. What is ours carries the tag
`holdfast`, whatever it is called; anything else in a volume group belongs to somebody else.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from enum import StrEnum

from holdfast.errors import InvalidError, Reason
from holdfast.hooks.volume import FileSystem, IoType, VolumeKind, VolumeSpec

OURS = "holdfast"
THIN = "thin.pool"
"""The part of a pool that its thin volumes share; the dot keeps it from ever being a volume's name."""
READY = "holdfast.ready"
"""Set last: the volume has been all that was asked for."""
_KIND = "holdfast.kind="
_FILE_IO = "holdfast.io=file"
_EXT4 = "holdfast.fs=ext4"
_ROLE = "holdfast.role="
_HEIR = ".next"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
# lvm(8), VALID NAMES: these beginnings are LVM's own; the others it reserves have an underscore.
_RESERVED = ("snapshot", "pvmove")
# DM_NAME_LEN of linux/dm-ioctl.h is 128 with the final zero; LVM adds `-real` and `-cow`, and doubles each hyphen.
_DM_NAME_CHARS = 127 - len("-real")
_LETTERS = string.digits + string.ascii_letters


class Role(StrEnum):
    """What a logical volume of ours is."""

    VOLUME = "volume"
    METADATA = "metadata"
    SNAPSHOT = "snapshot"
    THIN_POOL = "thin-pool"


def check_name(name: str, field: str) -> None:
    """Raise InvalidError unless LVM, a shell and a path can all bear `name`. Core checked it; it is cheap."""
    if not _NAME.match(name):
        text = f"{name[:40]!r} cannot be a name"
        remedy = "begin with a lower-case letter; use lower-case letters, digits and hyphens, 31 at most"
        raise InvalidError(text, reasons=[Reason("bad-name", text, remedy, field)])
    if name.startswith(_RESERVED):
        text = f"{name} cannot be a name here: LVM keeps names that begin with {' or '.join(_RESERVED)} for itself"
        raise InvalidError(text, reasons=[Reason("reserved-name", text, "choose another name", field)])


def check_length(pool: str, logical: str) -> None:
    """Raise InvalidError when device-mapper cannot hold the name of `pool`/`logical`."""
    if len(pool.replace("-", "--")) + 1 + len(logical.replace("-", "--")) > _DM_NAME_CHARS:
        text = f"the names {pool} and {logical} are too long together for device-mapper, where a hyphen counts twice"
        raise InvalidError(text, reasons=[Reason("name-too-long", text, "choose a shorter name", "name")])


def metadata_name(volume: str) -> str:
    """The logical volume of `volume`'s replication metadata."""
    return f"{volume}.meta"


def snapshot_name(volume: str, name: str) -> str:
    """The logical volume of a snapshot."""
    return f"{volume}.snap.{name}"


def heir_name(volume: str) -> str:
    """The thin volume that takes the place of `volume` in a rollback."""
    return f"{volume}{_HEIR}"


def heir_of(logical: str) -> str | None:
    """The volume whose place a logical volume of this name takes."""
    return logical.removesuffix(_HEIR) if logical.endswith(_HEIR) else None


def snapshot_parts(logical: str) -> tuple[str, str]:
    """The volume and the name of a snapshot, out of its logical volume's name."""
    volume, _, name = logical.partition(".snap.")
    return volume, name


def device_path(pool: str, logical: str) -> str:
    """Where a logical volume is opened."""
    return f"/dev/{pool}/{logical}"


def tags_of(role: Role, spec: VolumeSpec | None = None) -> tuple[str, ...]:
    """The tags that a logical volume of ours is made with; `spec` is that of a volume."""
    tags = [OURS, f"{_ROLE}{role}"]
    if spec is not None:
        tags.append(f"{_KIND}{spec.kind}")
        tags += [_FILE_IO] if spec.io_type is IoType.FILE else []
        tags += [_EXT4] if spec.has_file_system and spec.file_system is FileSystem.EXT4 else []
    return tuple(tags)


def role_of(tags: frozenset[str]) -> Role | None:
    """What the tags say it is; None for what is not ours."""
    if OURS not in tags:
        return None
    return next((role for role in Role if f"{_ROLE}{role}" in tags), None)


def kind_of(tags: frozenset[str]) -> VolumeKind | None:
    """What the tags say it is for."""
    return next((kind for kind in VolumeKind if f"{_KIND}{kind}" in tags), None)


def io_type_of(tags: frozenset[str]) -> IoType:
    """What the tags say its logical unit is made of."""
    return IoType.FILE if _FILE_IO in tags else IoType.BLOCK


def file_system_of(tags: frozenset[str]) -> FileSystem | None:
    """What the tags say it was made with."""
    if _EXT4 in tags:
        return FileSystem.EXT4
    has_one = kind_of(tags) is VolumeKind.NAS or io_type_of(tags) is IoType.FILE
    return FileSystem.XFS if has_one else None


def disk_mark(pool: str) -> str:
    """How the identifiers of a pool's disks begin (LVM: 32 letters and digits as 6-4-4-4-4-4-6).

    By it a disk is known that an interrupted making or deletion of this very pool left behind.
    """
    digest = hashlib.sha256(pool.encode()).digest()
    letters = "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:8])
    return f"HLdfst-{letters[:4]}-{letters[4:]}-"


def is_marked(uuid: str) -> bool:
    """Whether a disk was prepared by us, for whatever pool."""
    return uuid.startswith("HLdfst-")


def new_disk_uuid(pool: str) -> str:
    """An identifier for a new disk of a pool."""
    parts = ["".join(secrets.choice(_LETTERS) for _ in range(length)) for length in (4, 4, 4, 6)]
    return disk_mark(pool) + "-".join(parts)
