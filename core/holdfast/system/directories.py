"""Directories that are given to others: none that a link leads to, and a group's own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from holdfast.errors import Reason, UnavailableError


def refuse_directory(path: str) -> None:
    """Raise UnavailableError unless `path` is a directory that is reached through no symbolic link."""
    if os.path.realpath(path) != path or not os.path.isdir(path):  # noqa: PTH112 - beside realpath
        text = f"{path} is not a directory that can be offered: it is not there, or a symbolic link leads to it"
        raise UnavailableError(text, reasons=[Reason("no-directory", text, "mount its volume, and look at the path")])


def has_below(root: Path, path: str) -> bool:
    """Whether there is a directory `path` below `root`, reached from there through no symbolic link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        descriptor = os.open(root, flags)
    except OSError:
        return False
    try:
        for part in Path(path).parts:
            try:
                inner = os.open(part, flags | os.O_NOFOLLOW, dir_fd=descriptor)
            except OSError:
                return False
            os.close(descriptor)
            descriptor = inner
    finally:
        os.close(descriptor)
    return True


def admit_group(path: str, gid: int) -> None:
    """Give a directory to a group, and what is made in it from now on; what is in it already stays."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        mode = stat.S_IMODE(found.st_mode) | stat.S_ISGID | stat.S_IRWXG
        if found.st_gid != gid:
            os.fchown(descriptor, -1, gid)
        if found.st_gid != gid or mode != stat.S_IMODE(found.st_mode):
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
