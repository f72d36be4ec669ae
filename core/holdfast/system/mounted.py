"""What is mounted where, told from mountinfo and from the directories themselves (proc(5))."""

from __future__ import annotations

import re
from pathlib import Path

from holdfast.system.kernelfs import KernelFs

_MOUNTS = "/proc/self/mountinfo"


def mounted_in(kernel: KernelFs, directory: Path) -> frozenset[str]:
    """The names in `directory` at which something is mounted."""
    places = (Path(_unescape(line.split(" ")[4])) for line in kernel.read(_MOUNTS).splitlines())
    return frozenset(place.name for place in places if place.parent == directory)


def is_bound(place: Path, path: str) -> bool:
    """Whether one directory is the other, as it is after `mount --bind`."""
    try:
        return place.samefile(path)
    except OSError:
        return False


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
