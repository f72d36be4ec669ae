"""How both sides are compared: which passes, how long they may be silent, and how the answers are put together."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterable
from pathlib import Path

from holdfast.errors import InvalidError, Reason
from holdfast_rep_rsync.reports import Difference, read_difference

_REPORT = ("--dry-run", "--out-format=%i %n")


def metadata_options(rules: tuple[str, ...]) -> tuple[str, ...]:
    """Options that report every path whose attributes differ or that only one side has, and change nothing."""
    return (*_REPORT, *rules)


def checksum_options(names_file: Path, filters: tuple[str, ...]) -> tuple[str, ...]:
    """Options that report each named path whose content or attributes differ, and change nothing."""
    return (*_REPORT, *filters, "--checksum", "--from0", f"--files-from={names_file}")


def encode_sample(sample: Iterable[str]) -> bytes:
    """Write relative paths for `--files-from` with `--from0`: any name, also one that is not UTF-8 (`os.fsdecode`).

    Raises InvalidError for a path that is absolute or leaves the source.
    """
    encoded = []
    for path in sample:
        # Normalised, because rsync would cut a path at `/./`; then `./`, so that no name looks like anything else.
        normal = posixpath.normpath(path)
        if not path or "\0" in path or posixpath.isabs(path) or normal.split("/")[0] == "..":
            text = f"{path!r} is not a path below the source"
            raise InvalidError(text, reasons=[Reason("bad-value", text, "give paths relative to the source", "sample")])
        encoded.append(b"./" + os.fsencode(normal) + b"\0")
    return b"".join(encoded)


def lull_s(source: str, sample: Iterable[str], bytes_per_s: int) -> int:
    """Seconds that both sides may be silent: rsync says nothing while it reads one file for its checksum."""
    largest = 0
    for path in sample:
        try:
            largest = max(largest, (Path(source) / path).lstat().st_size)
        except OSError:
            # rsync meets it too, and says so.
            continue
    return largest // bytes_per_s


def whole_lull_s(source: str, bytes_per_s: int) -> int:
    """The same for all files: the sender reads them before it lists them, and the destination may be as slow."""
    total = 0
    for directory, _, names in os.walk(source):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(directory, name).lstat().st_size
    return 2 * total // bytes_per_s


def describe(*passes: Iterable[str]) -> tuple[str, ...]:
    """One text for each path that differs, in the order of paths; a path found by both passes is told once."""
    found: dict[str, Difference] = {}
    for lines in passes:
        for line in lines:
            difference = read_difference(line)
            if difference is not None:
                found.setdefault(difference.path, difference)
    return tuple(f"{path} {found[path].text}" for path in sorted(found))
