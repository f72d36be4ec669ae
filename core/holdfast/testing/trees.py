"""Trees of files with everything that a copy must keep: make one, read one, compare two.

Needs root: owners, devices, ACLs and trusted attributes are part of a tree.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import struct
from collections import defaultdict
from dataclasses import dataclass, fields, replace
from pathlib import Path

HOLE_BYTES = 4 << 20
_ACL_VERSION = 2
_UNDEFINED_ID = 0xFFFFFFFF
# Below this a file system may keep a file whole, or store it with its inode.
_SPARSE_FROM_BYTES = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One name of a tree and all that belongs to it. What does not apply to its kind is None."""

    kind: str
    mode: int
    owner: int
    group: int
    modified_ns: int | None
    size_bytes: int | None
    content: str | None
    target: bytes | None
    device: int | None
    has_holes: bool | None
    attributes: tuple[tuple[str, bytes], ...]
    """Extended ones; ACLs are among them."""
    other_names: tuple[bytes, ...]
    """The other names of the same inode in this tree."""


def read_tree(root: Path) -> dict[bytes, Entry]:
    """Read every name below `root`, and `root` itself as `.`, without following links."""
    top = os.fsencode(root)
    names: list[bytes] = [b"."]
    for directory, below, files in os.walk(top):
        names += [os.path.relpath(_join(directory, name), top) for name in (*below, *files)]
    found = {name: os.lstat(_join(top, name)) for name in names}
    inodes: dict[int, list[bytes]] = defaultdict(list)
    for name, status in found.items():
        if not stat.S_ISDIR(status.st_mode):
            inodes[status.st_ino].append(name)
    return {
        name: _read_entry(_join(top, name), status, tuple(sorted(set(inodes[status.st_ino]) - {name})))
        for name, status in found.items()
    }


def _join(directory: bytes, name: bytes) -> bytes:
    # Bytes throughout: a name need not be text.
    return directory + b"/" + name


def _read_entry(path: bytes, status: os.stat_result, other_names: tuple[bytes, ...]) -> Entry:
    is_file, is_link = stat.S_ISREG(status.st_mode), stat.S_ISLNK(status.st_mode)
    is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    attributes = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in _attribute_names(path)]
    return Entry(
        kind=stat.filemode(status.st_mode)[0],
        mode=stat.S_IMODE(status.st_mode),
        owner=status.st_uid,
        group=status.st_gid,
        modified_ns=status.st_mtime_ns,
        size_bytes=status.st_size if is_file else None,
        content=_digest(path) if is_file else None,
        target=os.readlink(path) if is_link else None,
        device=status.st_rdev if is_device else None,
        has_holes=status.st_blocks * 512 < status.st_size if status.st_size >= _SPARSE_FROM_BYTES and is_file else None,
        attributes=tuple(sorted(attributes)),
        other_names=other_names,
    )


def _attribute_names(path: bytes) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


def _digest(path: bytes) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def differences(one: dict[bytes, Entry], other: dict[bytes, Entry]) -> tuple[str, ...]:
    """Say what is not the same in two trees, one text for each field of each name; empty when all is."""
    told = []
    for name in sorted(one.keys() | other.keys()):
        left, right = one.get(name), other.get(name)
        if left is None or right is None:
            told.append(f"{os.fsdecode(name)!r}: only in the {'second' if left is None else 'first'}")
            continue
        told += [
            f"{os.fsdecode(name)!r}: {field.name} is {getattr(left, field.name)!r} and {getattr(right, field.name)!r}"
            for field in fields(Entry)
            if getattr(left, field.name) != getattr(right, field.name)
        ]
    return tuple(told)


def without_times(tree: dict[bytes, Entry]) -> dict[bytes, Entry]:
    """The same tree as if nothing were known of its modification times."""
    return {name: replace(entry, modified_ns=None) for name, entry in tree.items()}


def acl(named_user: int, rights: int) -> bytes:
    """Write a POSIX ACL with one named user as the kernel keeps it (linux/posix_acl_xattr.h)."""
    # Tags in their required order: owner, named user, group, mask, others.
    entries = [(0x01, 7, _UNDEFINED_ID), (0x02, rights, named_user), (0x04, 5, _UNDEFINED_ID)]
    entries += [(0x10, 7, _UNDEFINED_ID), (0x20, 1, _UNDEFINED_ID)]
    return struct.pack("<I", _ACL_VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


HOSTILE_NAMES = (
    b"-rf",
    b"--delete",
    b" leading and trailing ",
    b"quote'double\"dollar$back`tick",
    b"back\\slash",
    b"escaped\\#012not",
    b"new\nline",
    b"carriage\rreturn",
    b"tab\tbell\x07",
    b"#comment",
    b"; semicolon",
    b"star*question?[set]",
    b"percent%n",
    b"..dots",
    b"rsync: [sender] : No space left on device (28)",
    b"latin1-\xe9\xff",
    "utf-8-é-日本".encode(),
    b"n" * 255,
)


@functools.cache
def _noise() -> bytes:
    """A mebibyte in which no block is like another, and always the same."""
    return b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(1 << 15))


def make_tree(root: Path) -> None:
    """Fill the directory `root` with one of everything."""
    docs = root / "docs"
    docs.mkdir()
    (docs / "letter").write_bytes(b"dear reader\n" * 1000)
    (docs / "empty").write_bytes(b"")
    (docs / "big").write_bytes(_noise())
    (root / "empty directory").mkdir()
    deep = root / "/".join(["deep"] * 20)
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(b"found\n")
    for name in HOSTILE_NAMES:
        Path(os.fsdecode(_join(os.fsencode(root), name))).write_bytes(b"named " + name)
    _add_kinds(root)
    _add_rights(root)
    _set_times(root)


def _add_kinds(root: Path) -> None:
    with (root / "sparse").open("wb") as stream:
        stream.write(b"beginning")
        stream.seek(HOLE_BYTES)
        stream.write(b"end")
    (root / "link to nowhere").symlink_to("/does/not/exist")
    (root / "link out").symlink_to("../../../../etc/passwd")
    (root / "link to docs").symlink_to("docs")
    os.link(root / "docs/letter", root / "same letter")
    os.link(root / "docs/letter", root / "empty directory" / "same letter again")
    os.mkfifo(root / "pipe")
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "disk", stat.S_IFBLK | 0o660, os.makedev(7, 99))


def _add_rights(root: Path) -> None:
    os.chown(root / "docs/empty", 4711, 4712)
    os.chown(root / "link out", 4713, 4714, follow_symlinks=False)
    os.chown(root / "docs", 12345, 54321)
    modes = {"docs/empty": 0o4751, "docs/big": 0o2640, "docs": 0o1777, "empty directory": 0o2700, "same letter": 0o000}
    for name, mode in modes.items():
        (root / name).chmod(mode)
    os.setxattr(root / "docs/letter", "user.colour", b"blue \x00 and binary")
    os.setxattr(root / "docs", "user.of directory", b"yes")
    # rsync keeps its own notes under this prefix, and would not copy ours if it took them for its own.
    os.setxattr(root / "docs/big", "user.rsync.%stat", b"100644 0,0 0:0")
    os.setxattr(root / "docs/letter", "trusted.holdfast", b"for root only")
    os.setxattr(root / "docs/empty", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    os.setxattr(root / "docs/big", "system.posix_acl_access", acl(12345, 6))
    os.setxattr(root / "docs", "system.posix_acl_default", acl(777, 7))


def _set_times(root: Path) -> None:
    # From the deepest up, for each change below a directory changes its time.
    start_ns = 1_700_000_000_123_456_789
    for i, name in enumerate(sorted(read_tree(root), key=lambda name: (-name.count(b"/"), name == b".", name))):
        path = _join(os.fsencode(root), name)
        time_ns = start_ns + i * 1_000_000_007
        os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)
