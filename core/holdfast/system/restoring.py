"""Files and folders copied back into a tree that others may change meanwhile.

Nothing outside of the two roots is ever read or written: each step of a path is opened below the one before and never
followed where it is a symbolic link, whoever planted that and whenever. A file takes its place whole, or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import PurePosixPath

from holdfast.errors import InvalidError, NoSpaceError, NotFoundError, Reason, RefusedError, UnavailableError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MOST_SHOWN = 1000
_DEEPEST = 200


class Action(StrEnum):
    """What becomes of a name."""

    CREATE = "create"
    REPLACE = "replace"
    """Something else is there, and is replaced."""
    SAME = "same"
    """The same is there already: kind, size, time, owner and mode."""
    CONFLICT = "conflict"
    """A folder is there where a file is to be, or the other way round: it is left alone."""
    SKIP = "skip"
    """A device, a pipe or a socket: it is not copied."""


@dataclass(frozen=True)
class Entry:
    """One name below what is restored."""

    path: str
    action: Action
    size_bytes: int


@dataclass
class Report:
    """What was found or done: all are counted, the first of them are named."""

    counts: dict[Action, int] = field(default_factory=lambda: dict.fromkeys(Action, 0))
    copied_bytes: int = 0
    entries: list[Entry] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        """Count one."""
        self.counts[entry.action] += 1
        if entry.action in (Action.CREATE, Action.REPLACE):
            self.copied_bytes += entry.size_bytes
        if entry.action is not Action.SAME and len(self.entries) < MOST_SHOWN:
            # Names of files are bytes, and what is told is text.
            shown = entry.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            self.entries.append(replace(entry, path=shown))


def parts_of(path: str, name: str = "path") -> tuple[str, ...]:
    """The steps of a path below a root. Raises InvalidError, naming the field, for one that leaves it."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\0" in path or len(pure.parts) > _DEEPEST:
        text = f"{path[:80]!r} is no path below the share"
        raise InvalidError(text, reasons=[Reason("bad-path", text, "name it from the root of the share, no ..", name)])
    return pure.parts


@contextlib.contextmanager
def opened(root: int, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
    """The folder below a root that is open already. Raises NotFoundError, RefusedError for a link on the way."""
    descriptor = os.dup(root)
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=descriptor)
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            except FileNotFoundError as reason:
                raise NotFoundError(f"there is no folder {part!r} of {'/'.join(parts)!r}") from reason
            except OSError as reason:
                if reason.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                text = f"{part!r} of {'/'.join(parts)!r} is a link or a file, and not a folder"
                raise RefusedError(text, reasons=[Reason("not-a-folder", text, "name the folder itself")]) from reason
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


class Restoring:
    """Copies one file or folder from one root to another; or only says what that would do."""

    def __init__(self, *, is_preview: bool, mark: str, progress: Callable[[Report], None] | None = None) -> None:
        """`mark` is in the names of files that are not whole yet: what an interrupted copy left is known by it."""
        self.report = Report()
        self._is_preview = is_preview
        self._unfinished = f".holdfast-restore-{mark}"
        self._progress = progress or (lambda report: None)
        self.stopping = threading.Event()
        """Set it to end the copy before its next file."""

    def restore(self, source_root: int, source: tuple[str, ...], root: int, target: tuple[str, ...]) -> Report:
        """Copy what is at `source` to `target`; the folders above `target` are made. Raises NotFoundError."""
        try:
            if not source:
                self._folder(source_root, root, "")
                return self.report
            if not target:
                # A folder that is to be the root of the share itself.
                with opened(source_root, source) as folder:
                    self._folder(folder, root, "")
                return self.report
            with opened(source_root, source[:-1]) as above:
                try:
                    os.stat(source[-1], dir_fd=above, follow_symlinks=False)
                except FileNotFoundError as reason:
                    raise NotFoundError(f"the snapshot has no {'/'.join(source)!r}") from reason
                self._below(above, source[-1], root, target)
        except OSError as reason:
            raise _translated(reason) from reason
        return self.report

    def _below(self, above: int, name: str, root: int, target: tuple[str, ...]) -> None:
        try:
            with opened(root, target[:-1], make=not self._is_preview) as there:
                self._entry(above, name, there, target[-1], "/".join(target))
        except NotFoundError:
            if not self._is_preview:
                raise
            self._entry(above, name, None, target[-1], "/".join(target))

    # --- one name; `there` is None where its folder is not there yet ---

    def _entry(self, above: int, name: str, there: int | None, new_name: str, path: str) -> None:
        if self.stopping.is_set():
            return
        wanted = os.stat(name, dir_fd=above, follow_symlinks=False)
        action = _action(wanted, _stat(there, new_name))
        is_folder = stat.S_ISDIR(wanted.st_mode)
        self.report.add(Entry(path, action, wanted.st_size if stat.S_ISREG(wanted.st_mode) else 0))
        self._progress(self.report)
        if action in (Action.CONFLICT, Action.SKIP):
            return
        if is_folder:
            self._enter(above, name, there, new_name, path, wanted)
        elif action is not Action.SAME and not self._is_preview:
            assert there is not None
            self._put(above, name, there, new_name, wanted)

    def _enter(
        self, above: int, name: str, there: int | None, new_name: str, path: str, wanted: os.stat_result
    ) -> None:
        if path.count("/") >= _DEEPEST:
            raise RefusedError(f"folders lie more than {_DEEPEST} deep: restore one further down by itself")
        inner = os.open(name, _DIRECTORY, dir_fd=above)
        try:
            if self._is_preview and _stat(there, new_name) is None:
                return self._folder(inner, None, path)
            assert there is not None
            is_new = False
            with contextlib.suppress(FileExistsError):
                os.mkdir(new_name, 0o700, dir_fd=there)
                is_new = True
            with opened(there, (new_name,)) as inner_there:
                self._folder(inner, inner_there, path)
                # Those of a folder that people have now stay what they made of them.
                if is_new and not self.stopping.is_set():
                    _take_over(inner, inner_there, wanted)
        finally:
            os.close(inner)
        return None

    def _folder(self, source: int, there: int | None, path: str) -> None:
        if there is not None and not self._is_preview:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._unfinished, dir_fd=there)
        for name in sorted(os.listdir(source)):
            if not name.startswith(".holdfast-restore-"):
                self._entry(source, name, there, name, f"{path}/{name}" if path else name)

    def _put(self, above: int, name: str, there: int, new_name: str, wanted: os.stat_result) -> None:
        temporary = self._unfinished
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=there)
        try:
            if stat.S_ISLNK(wanted.st_mode):
                os.symlink(os.readlink(name, dir_fd=above), temporary, dir_fd=there)
                os.chown(temporary, wanted.st_uid, wanted.st_gid, dir_fd=there, follow_symlinks=False)
                times = (wanted.st_atime_ns, wanted.st_mtime_ns)
                os.utime(temporary, ns=times, dir_fd=there, follow_symlinks=False)
            else:
                _copy_file(above, name, there, temporary, wanted)
            os.rename(temporary, new_name, src_dir_fd=there, dst_dir_fd=there)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=there)
            raise
        os.fsync(there)


def _copy_file(above: int, name: str, there: int, temporary: str, wanted: os.stat_result) -> None:
    # O_NONBLOCK: what was a file when it was looked at may be a pipe by now, and must not be waited for.
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=above)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        copy = os.open(temporary, flags, 0o600, dir_fd=there)
        try:
            _copy_data(source, copy, os.fstat(source).st_size)
            _take_over(source, copy, wanted)
            os.fsync(copy)
        finally:
            os.close(copy)
    finally:
        os.close(source)


def _copy_data(source: int, copy: int, size_bytes: int) -> None:
    """Holes stay holes."""
    os.truncate(copy, size_bytes)
    offset = 0
    while offset < size_bytes:
        try:
            start = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as reason:
            if reason.errno == errno.ENXIO:
                return
            raise
        offset = os.lseek(source, start, os.SEEK_HOLE)
        while start < offset:
            done = os.sendfile(copy, source, start, min(offset - start, 1 << 26)) if _seek(copy, start) else 0
            if not done:
                return
            start += done


def _seek(descriptor: int, offset: int) -> bool:
    return os.lseek(descriptor, offset, os.SEEK_SET) == offset


def _take_over(source: int, copy: int, wanted: os.stat_result) -> None:
    """Owner before mode, for a change of owner takes setuid away; times last, for all else changes them."""
    os.fchown(copy, wanted.st_uid, wanted.st_gid)
    for name in os.listxattr(source):
        with contextlib.suppress(FileNotFoundError):
            os.setxattr(copy, name, os.getxattr(source, name))
    os.fchmod(copy, stat.S_IMODE(wanted.st_mode))
    os.utime(copy, ns=(wanted.st_atime_ns, wanted.st_mtime_ns))


def _stat(folder: int | None, name: str) -> os.stat_result | None:
    if folder is None:
        return None
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _action(wanted: os.stat_result, found: os.stat_result | None) -> Action:
    kind = stat.S_IFMT(wanted.st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        return Action.SKIP
    if found is None:
        return Action.CREATE
    if stat.S_ISDIR(found.st_mode) is not stat.S_ISDIR(wanted.st_mode):
        return Action.CONFLICT
    if kind == stat.S_IFDIR or _identity(wanted) == _identity(found):
        return Action.SAME
    return Action.REPLACE


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_mode, found.st_size, found.st_mtime_ns, found.st_uid, found.st_gid


def _translated(reason: OSError) -> Exception:
    if reason.errno in (errno.ENOSPC, errno.EDQUOT):
        text = f"there is no room for {reason.filename or 'what is restored'}: {reason.strerror}"
        return NoSpaceError(text, reasons=[Reason("no-space", text, "make the volume larger, or restore less")])
    return UnavailableError(f"{reason.filename or 'the tree'} could not be read or written: {reason.strerror}")
