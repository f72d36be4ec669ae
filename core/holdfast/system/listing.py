"""A tree as a list of its names in one order, kept in a file, and where the tree differs from it later.

Both are read as streams, side by side: what is in memory is the names of the directories on the way to the one that is
read. Of each name its kind and mode, owner, inode, size, time and change time are kept. Whatever is done to a file,
extended attributes and ACLs included, changes its change time, which no program can set; whatever is done in a
directory changes that of the directory. So equal values mean an unchanged name, but for one case: what changed in the
very moment before the tree was frozen may have changed once more in the same tick of the file system's clock. Such
names are kept as ones that differ.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

# Mode, owner, group, inode, size, modification and change time in ns, device number.
_FIXED = struct.Struct("<IIIQQqqQ")
_HEAD = struct.Struct("<I52s")
_CHANGED_AT = struct.Struct("<q")
_CHANGED_PLACE = struct.calcsize("<IIIQQq")
_NEVER = _CHANGED_AT.pack(-(1 << 63))
_END = 0xFFFFFFFF
# The clock of a file system goes by ticks, up to 10 ms; the rest is for what lies between asking and freezing.
_TICK_NS = 1_000_000_000
_LOOK_EVERY = 4096

LeftOut = Callable[[str, bool], bool]
"""Called with a path below the top, and whether it is a directory: whether it is no part of the tree."""


class ListingError(Exception):
    """A listing is not there, or damaged, or a tree cannot be listed; says which."""


class Entry(NamedTuple):
    """One name. The top has the empty path."""

    path: bytes
    fixed: bytes
    """What tells whether it changed."""
    mode: int
    size_bytes: int
    changed_ns: int

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)


def walk(root: Path, is_left_out: LeftOut | None = None) -> Iterator[Entry]:
    """Every name of the tree, directories before what is in them, siblings by their bytes.

    Raises OSError for what cannot be read, and ListingError where another file system is mounted in the tree.
    """
    top = os.fsencode(root)
    status = os.lstat(top)
    device = status.st_dev
    yield _entry(b"", status)
    stack = [_children(top, b"", is_left_out)]
    while stack:
        for path, status in stack[-1]:
            yield _entry(path, status)
            if stat.S_ISDIR(status.st_mode):
                if status.st_dev != device:
                    raise ListingError(f"another file system is mounted at {os.fsdecode(path)!r}")
                stack.append(_children(top, path, is_left_out))
                break
        else:
            stack.pop()


def _children(top: bytes, path: bytes, is_left_out: LeftOut | None) -> Iterator[tuple[bytes, os.stat_result]]:
    directory = top + b"/" + path if path else top
    for name in sorted(os.listdir(directory)):
        below = path + b"/" + name if path else name
        status = os.lstat(directory + b"/" + name)
        if is_left_out is None or not is_left_out(os.fsdecode(below), stat.S_ISDIR(status.st_mode)):
            yield below, status


def _entry(path: bytes, status: os.stat_result) -> Entry:
    fixed = _FIXED.pack(
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_rdev,
    )
    return Entry(path, fixed, status.st_mode, status.st_size, status.st_ctime_ns)


# --- the file ---


class ListingWriter:
    """Writes a listing into a file of mode 0600. What cannot be written is a listing less, and no error."""

    def __init__(self, path: Path, *, frozen_ns: int, most_bytes: int) -> None:
        self._path = path
        self._doubtful_ns = frozen_ns - _TICK_NS
        self._most_bytes = most_bytes
        self._count = 0
        self._raw: io.FileIO | None = None
        with contextlib.suppress(OSError):
            self._raw = io.FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w")
            # Level 1: names share most of their text, and the disk is not what is waited for.
            self._packed = gzip.GzipFile(fileobj=self._raw, mode="wb", compresslevel=1, mtime=0)
            self._stream = io.BufferedWriter(self._packed, 1 << 16)

    def add(self, entry: Entry) -> None:
        """Add the next name."""
        if self._raw is None:
            return
        fixed = entry.fixed
        if entry.changed_ns >= self._doubtful_ns:
            fixed = fixed[:_CHANGED_PLACE] + _NEVER + fixed[_CHANGED_PLACE + _CHANGED_AT.size :]
        try:
            self._stream.write(_HEAD.pack(len(entry.path), fixed) + entry.path)
            self._count += 1
            if self._count % _LOOK_EVERY == 0 and self._raw.tell() > self._most_bytes:
                self.drop()
        except OSError:
            self.drop()

    def finish(self) -> bool:
        """Write the end, durably; whether there is a listing now."""
        if self._raw is None:
            return False
        try:
            self._stream.write(_HEAD.pack(_END, _FIXED.pack(0, 0, 0, self._count, 0, 0, 0, 0)))
            self._stream.close()
            os.fsync(self._raw.fileno())
            self._raw.close()
        except OSError:
            self.drop()
            return False
        self._raw = None
        return True

    def drop(self) -> None:
        """Leave no file."""
        raw, self._raw = self._raw, None
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.close()
            self._path.unlink(missing_ok=True)


class Kept(NamedTuple):
    """One name of a listing."""

    path: bytes
    fixed: bytes

    @property
    def is_directory(self) -> bool:
        """Whether it was one."""
        return stat.S_ISDIR(int.from_bytes(self.fixed[:4], "little"))


def read(path: Path) -> Iterator[Kept]:
    """The names of a listing. Raises ListingError, at its end at the latest, unless it is whole."""
    count = 0
    try:
        with gzip.open(path, "rb") as packed:
            stream = io.BufferedReader(packed, 1 << 16)
            while True:
                length, fixed = _HEAD.unpack(stream.read(_HEAD.size))
                if length == _END:
                    break
                name = stream.read(length)
                if len(name) != length:
                    raise ListingError(f"the listing ends in the middle, after {count} names")
                count += 1
                yield Kept(name, fixed)
            if _FIXED.unpack(fixed)[3] != count or stream.read(1):
                raise ListingError(f"the listing has {count} names, and other ones were written")
    except (OSError, EOFError, struct.error, zlib.error) as reason:
        raise ListingError(f"the listing cannot be read: {reason}") from reason


# --- the comparison ---


class Names:
    """Writes what a copier is to look at, as it reads names from a file: `./` before each, and a zero byte after."""

    def __init__(self, changed: BinaryIO, gone: BinaryIO, *, is_deleting: bool) -> None:
        self._changed = changed
        self._gone = gone
        self._is_deleting = is_deleting
        self._covered: bytes | None = None
        """What lay below it goes with it: it is gone, or no directory any more."""
        self._way: list[bytes] = []
        """The directories that are looked at already, on the way to the name of before."""
        self.changed = 0
        self.created = 0
        self.removed = 0
        self.looked_at = 1
        """Names of the source that a copier considers: what changed, the folders on the way to it, and the top."""

    def differs(self, old: Kept | None, new: Entry) -> None:
        """A name is new, or it changed."""
        self.changed += 1
        self.created += old is None
        if not new.path:
            return  # a copier looks at the top whatever else it does
        self._changed.write(b"./" + new.path + b"\0")
        self._count(new.path)
        if old is not None and old.is_directory and not stat.S_ISDIR(new.mode):
            self._covered = new.path + b"/"

    def gone(self, old: Kept) -> None:
        """A name is there no more."""
        if not self._is_deleting:
            return
        self.removed += 1
        if self._covered is None or not old.path.startswith(self._covered):
            self._gone.write(b"./" + old.path + b"\0")
            self._covered = old.path + b"/"

    def _count(self, path: bytes) -> None:
        while self._way and not path.startswith(self._way[-1] + b"/"):
            self._way.pop()
        start = len(self._way[-1]) + 1 if self._way else 0
        while (place := path.find(b"/", start)) >= 0:
            self._way.append(path[:place])
            self.looked_at += 1
            start = place + 1
        self._way.append(path)
        self.looked_at += 1


def compare(old: Iterator[Kept], new: Iterator[Entry], names: Names) -> Iterator[Entry]:
    """Pass on what there is now, and tell `names` where it differs from what there was."""
    known = next(old, None)
    for entry in new:
        key = _key(entry.path)
        while known is not None and _key(known.path) < key:
            names.gone(known)
            known = next(old, None)
        if known is None or known.path != entry.path:
            names.differs(None, entry)
        else:
            if known.fixed != entry.fixed:
                names.differs(known, entry)
            known = next(old, None)
        yield entry
    while known is not None:
        names.gone(known)
        known = next(old, None)


def _key(path: bytes) -> bytes:
    # So a directory comes right before what is in it, and a name that goes on after it later: `a`, `a/x`, `a-b`.
    return path.replace(b"/", b"\0")
