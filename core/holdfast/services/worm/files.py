"""Files of a volume that is write once: each looked at, decided upon, and held or let go; and the volume's own note."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from holdfast.errors import InvalidError
from holdfast.planning.write_once import FileMark, FileSeen, Held, Settle, VolumeClock, left_s, settle
from holdfast.system import write_once
from holdfast.values import from_plain, to_plain

VOLUME_NOTE = f"{write_once.NOTE}-volume"
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class VolumeMark:
    """What is noted with the top folder of a volume: it goes where the volume goes."""

    volume: str
    """The volume's own identity: a clone has another, and is an ordinary volume."""
    retention_s: int
    clock: VolumeClock


def read_mark(directory: Path) -> VolumeMark | None:
    """The mark of the volume that is mounted there, if it has one. Raises OSError."""
    with _opened(directory) as top:
        note = write_once.read_note(top, VOLUME_NOTE)
    try:
        return None if note is None else from_plain(VolumeMark, json.loads(note))
    except (ValueError, InvalidError):
        return None  # somebody wrote there by hand: what is on record is noted anew


def write_mark(directory: Path, mark: VolumeMark) -> None:
    """Note a mark. Raises OSError."""
    with _opened(directory) as top:
        os.setxattr(top, VOLUME_NOTE, json.dumps(to_plain(mark)).encode())


def remove_mark(directory: Path) -> None:
    """Make it an ordinary volume. Raises OSError."""
    with _opened(directory) as top, contextlib.suppress(OSError):
        os.removexattr(top, VOLUME_NOTE)


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    top = os.open(directory, _FOLDER)
    try:
        yield top
    finally:
        os.close(top)


class Became(StrEnum):
    """What a file is now."""

    RETAINED = "retained"
    REMOVABLE = "removable"
    """It was retained."""
    OPEN = "open"
    """Somebody has it open for writing: it is looked at again when that ends."""
    FREE = "free"


@dataclass(frozen=True)
class Terms:
    """What holds for the files of a volume now."""

    retention_s: int
    clock_s: float


def settle_file(descriptor: int, terms: Terms) -> Became:
    """Do what is to be done with an open file; may be repeated, and interrupted anywhere. Raises OSError."""
    seen = look(descriptor)
    what = settle(seen, terms.clock_s, terms.retention_s)
    if what is Settle.COMMIT:
        note = _note(FileMark(terms.clock_s, seen.modified_ns))
        return Became.RETAINED if write_once.freeze(descriptor, note) else Became.OPEN
    if what is Settle.FINISH:
        return Became.RETAINED if write_once.freeze(descriptor, None) else Became.OPEN
    if what is Settle.RELEASE:
        # Its time of modification may have been set as it was closed; from now on another one means another content.
        assert seen.mark is not None
        write_once.thaw(descriptor, _note(FileMark(seen.mark.closed_s, seen.modified_ns)))
        return Became.REMOVABLE
    if what is Settle.KEEP:
        return Became.RETAINED
    return Became.REMOVABLE if seen.mark is not None and not seen.is_immutable else Became.FREE


def look(descriptor: int) -> FileSeen:
    """A file as it is. Raises OSError."""
    status = os.fstat(descriptor)
    note = write_once.read_note(descriptor)
    return FileSeen(status.st_size, status.st_mtime_ns, write_once.is_immutable(descriptor), _mark_of(note))


def _note(mark: FileMark) -> bytes:
    return json.dumps(to_plain(mark)).encode()


def _mark_of(note: bytes | None) -> FileMark | None:
    try:
        return None if note is None else from_plain(FileMark, json.loads(note))
    except (ValueError, InvalidError):
        return None


@dataclass
class Counts:
    """What a walk found."""

    retained_files: int = 0
    retained_bytes: int = 0
    removable_files: int = 0
    open_files: int = 0
    """For writing: they are retained once they are closed."""
    last_ends_s: float = 0.0
    """When no file is retained any more, by the volume's clock."""


class Walk:
    """Goes through all files of a volume, without following links and without leaving its file system."""

    def __init__(self, directory: Path, terms: Terms) -> None:
        self._directory = directory
        self._terms = terms
        self.counts = Counts()
        self.stopping = threading.Event()
        """Set it to end the walk before its next file."""

    def settle_all(self) -> Counts:
        """Settle each file. Raises OSError."""
        for _, descriptor in self._files():
            seen = look(descriptor)
            self._count(settle_file(descriptor, self._terms), seen)
        return self.counts

    def release_all(self) -> None:
        """Take our flags and notes away: the volume becomes an ordinary one. Raises OSError."""
        for _, descriptor in self._files():
            if look(descriptor).mark is not None:
                write_once.thaw(descriptor, None)

    def first_held(self) -> Held | None:
        """A file that is retained, or has to be; nothing is changed. Raises OSError."""
        for path, descriptor in self._files():
            seen = look(descriptor)
            if settle(seen, self._terms.clock_s, self._terms.retention_s).is_retained:
                mark = seen.mark or FileMark(self._terms.clock_s, seen.modified_ns)
                return Held(path, left_s(mark, self._terms.clock_s, self._terms.retention_s))
        return None

    def _count(self, became: Became, seen: FileSeen) -> None:
        counts, now_s = self.counts, self._terms.clock_s
        if became is Became.RETAINED:
            counts.retained_files += 1
            counts.retained_bytes += seen.size_bytes
            closed_s = now_s if seen.mark is None else seen.mark.closed_s
            counts.last_ends_s = max(counts.last_ends_s, closed_s + self._terms.retention_s)
        counts.removable_files += became is Became.REMOVABLE
        counts.open_files += became is Became.OPEN

    def _files(self) -> Iterator[tuple[str, int]]:
        """Each regular file, open for reading, and its path below the top."""
        device = self._directory.stat().st_dev
        for folder, folders, names, at in os.fwalk(self._directory):
            # What is mounted below is not of this volume.
            folders[:] = [name for name in folders if _is_on(device, name, at)]
            for name in names:
                if self.stopping.is_set():
                    return
                with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
                    if not stat.S_ISREG(os.lstat(name, dir_fd=at).st_mode):
                        continue
                    descriptor = os.open(name, _FILE, dir_fd=at)
                    try:
                        yield os.path.relpath(f"{folder}/{name}", self._directory), descriptor
                    finally:
                        os.close(descriptor)


def _is_on(device: int, name: str, at: int) -> bool:
    try:
        return os.lstat(name, dir_fd=at).st_dev == device
    except FileNotFoundError:
        return False
