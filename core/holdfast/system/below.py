"""Directories that others write to: read below them without ever leaving them, whatever links lie there."""

from __future__ import annotations

import contextlib
import heapq
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import InvalidError, NotFoundError, Reason

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Found:
    """One name of a folder."""

    name: str
    """As `os.fsdecode` has it."""
    kind: str
    """`file`, `folder`, `link` or `other`."""
    size_bytes: int | None
    """Of a file."""
    modified_ns: int
    mode: int
    owner: int
    group: int


def normal(path: str, *, field: str = "path") -> str:
    """A relative path in its shortest form; the top is an empty text. Raises InvalidError for one that leaves it."""
    shortest = posixpath.normpath(path) if path else "."
    is_outside = posixpath.isabs(path) or shortest.split("/")[0] == ".." or ".." in path.split("/")
    try:
        is_outside = is_outside or b"\0" in os.fsencode(path)
    except UnicodeEncodeError:
        is_outside = True
    if is_outside:
        text = f"{shown(path)} is not a path below the share"
        raise InvalidError(
            text, reasons=[Reason("bad-value", text, "give it relative to the share, without ..", field)]
        )
    return "" if shortest == "." else shortest


def shown(path: str) -> str:
    """A path for a person: bytes that are no UTF-8 as `\\xff`, and what does not print escaped."""
    text = path.encode(errors="surrogateescape" if _is_file_name(path) else "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text.decode(errors="backslashreplace"))


def _is_file_name(path: str) -> bool:
    with contextlib.suppress(UnicodeEncodeError):
        os.fsencode(path)
        return True
    return False


@contextlib.contextmanager
def folder(root: Path, path: str, *, field: str = "path") -> Iterator[int]:
    """Open a folder below `root`; its descriptor. Raises NotFoundError, or InvalidError where a link is on the way."""
    descriptor = os.open(root, _FOLDER)
    try:
        for part in [part for part in normal(path, field=field).split("/") if part]:
            inner = _inner(descriptor, part, path, field)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _inner(descriptor: int, part: str, path: str, field: str) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=descriptor)
    except FileNotFoundError as reason:
        raise _absent(path, field) from reason
    except OSError as reason:
        text = f"{shown(path)} leads through {shown(part)}, which is no folder"
        raise InvalidError(text, reasons=[Reason("no-folder", text, "name a path without links", field)]) from reason


def _absent(path: str, field: str) -> NotFoundError:
    text = f"there is no {shown(path)}"
    return NotFoundError(text, reasons=[Reason("no-such-path", text, "browse it for what there is", field)])


def need(root: Path, path: str, *, field: str = "paths") -> None:
    """Raise NotFoundError for a path that is not there, InvalidError where it leaves `root` or a link is on the way."""
    head, _, name = normal(path, field=field).rpartition("/")
    with folder(root, head, field=field) as descriptor:
        if not name:
            return
        try:
            os.lstat(name, dir_fd=descriptor)
        except OSError as reason:
            raise _absent(path, field) from reason


def page(root: Path, path: str, *, after: bytes | None, most: int) -> tuple[tuple[Found, ...], bool]:
    """The next `most` names of a folder in the order of their bytes, and whether there are more.

    `after` is the last name seen. Memory is bounded whatever the number of names.
    """
    with folder(root, path) as descriptor, os.scandir(descriptor) as entries:
        later = (raw for entry in entries if (raw := os.fsencode(entry.name)) > (after or b""))
        chosen = heapq.nsmallest(most + 1, later)
        found = []
        for raw in chosen[:most]:
            with contextlib.suppress(FileNotFoundError):
                found.append(_found(os.fsdecode(raw), os.lstat(raw, dir_fd=descriptor)))
    return tuple(found), len(chosen) > most


def _found(name: str, status: os.stat_result) -> Found:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "other")
    size_bytes = status.st_size if kind == "file" else None
    mode = stat.S_IMODE(status.st_mode)
    return Found(name, kind, size_bytes, status.st_mtime_ns, mode, status.st_uid, status.st_gid)


def files(root: Path, tops: Iterable[str]) -> Iterator[str]:
    """Every regular file at or below some paths, in the order of a walk that follows no link."""
    for top in tops:
        path = root / top if top else root
        if path.is_file() and not path.is_symlink():
            yield top
            continue
        for directory, subdirectories, names in os.walk(path):
            subdirectories.sort()
            for name in sorted(names):
                found = Path(directory, name)
                if found.is_file() and not found.is_symlink():
                    yield str(found.relative_to(root))
