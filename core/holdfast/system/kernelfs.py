"""The one door to kernel trees (configfs, sysfs, procfs).

Blocking by nature: a write to configfs runs kernel code. Callers put work that can wait
into a thread. Tests give a plain directory as the root.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from holdfast.system.watching import Watch


class KernelFs:
    """Files below `root`, which is `/` on a real machine. Paths given are absolute, as on it."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._prefix = str(root).rstrip("/")

    def path(self, path: str) -> Path:
        """Where `path` really lies."""
        return self._root / path.lstrip("/")

    def _at(self, path: str) -> str:
        # As text: a takeover asks thousands of times, and making a Path costs as much as the asking.
        return f"{self._prefix}/{path.lstrip('/')}"

    def exists(self, path: str) -> bool:
        """Whether `path` exists; a dangling link does not."""
        return os.path.exists(self._at(path))  # noqa: PTH110 - see _at

    def size_bytes(self, path: str) -> int:
        """The size of a file. Raises OSError."""
        return os.stat(self._at(path)).st_size  # noqa: PTH116 - see _at

    def read(self, path: str) -> str:
        """Return the text of an attribute without its last newline. Raises OSError."""
        # By bare system calls, half of what a text file costs: a takeover reads hundreds of attributes.
        descriptor = os.open(self._at(path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, 65536)
            # Attributes of configfs and sysfs, a page at most, come whole; files of procfs come in pieces.
            while data and not path.startswith("/sys/") and (more := os.read(descriptor, 65536)):
                data += more
        finally:
            os.close(descriptor)
        return data.decode(errors="replace").removesuffix("\n")

    def write(self, path: str, text: str) -> None:
        """Write an attribute in one write(2), as the kernel wants it. Raises OSError with the kernel's errno."""
        descriptor = os.open(self._at(path), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def make_directory(self, path: str) -> bool:
        """Make one directory, which in configfs makes an object; False if it was there."""
        try:
            os.mkdir(self._at(path))  # noqa: PTH102 - see _at
        except FileExistsError:
            return False
        return True

    def remove_directory(self, path: str) -> bool:
        """Remove one directory, which in configfs removes its object; False if it was absent."""
        try:
            os.rmdir(self._at(path))  # noqa: PTH106 - see _at
        except FileNotFoundError:
            return False
        return True

    def link(self, path: str, target: str) -> bool:
        """Make `path` a symbolic link to `target`; False if it was there."""
        try:
            os.symlink(self._at(target), self._at(path))  # noqa: PTH211 - see _at
        except FileExistsError:
            return False
        return True

    def unlink(self, path: str) -> bool:
        """Remove a link; False if it was absent."""
        try:
            os.unlink(self._at(path))  # noqa: PTH108 - see _at
        except FileNotFoundError:
            return False
        return True

    def names(self, path: str) -> tuple[str, ...]:
        """The sorted names in a directory; empty if it is absent."""
        with contextlib.suppress(FileNotFoundError):
            return tuple(sorted(os.listdir(self._at(path))))
        return ()

    def links(self, path: str) -> tuple[str, ...]:
        """The sorted names of the symbolic links in a directory; empty if it is absent."""
        # The directory itself tells what is a link: asking for each name costs a takeover hundreds of calls.
        with contextlib.suppress(FileNotFoundError), os.scandir(self._at(path)) as entries:
            return tuple(sorted(entry.name for entry in entries if entry.is_symlink()))
        return ()

    def link_target(self, path: str) -> str:
        """Where a link points, as seen from the machine. Raises OSError."""
        target = Path(os.path.normpath(self.path(path).parent / os.readlink(self.path(path))))
        return "/" + str(target.relative_to(self._root)) if target.is_relative_to(self._root) else str(target)

    def watch(self) -> Watch:
        """Something that tells of changes from now on. Raises OSError when the kernel gives no more of them."""
        return Watch(self._at)
