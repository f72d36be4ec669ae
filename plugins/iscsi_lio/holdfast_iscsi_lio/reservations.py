"""Persistent reservations that are to outlive a power cut (APTPL, SPC-4 5.12).

The kernel writes what an initiator registered with one unit into `<dbroot>/pr/aptpl_<serial>` before it answers
(target_core_pr.c, __core_scsi3_write_aptpl_to_file): truncated, written in place, not synced. The zero that ends its
string is written too, and tells that the file is whole. The kernel never reads it.
Whoever opens the device later has to give it back line by line through `pr/res_aptpl_metadata`, before the first link.

Beside that file each node keeps a copy of its own, written atomically and synced: of this node's while it serves, of
the partner's while that does. A file that the kernel did not finish counts for nothing beside the copy. What a node
keeps as a passive one takes the place of the kernel's file, which is older then.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from holdfast.errors import InvalidError
from holdfast.system.files import write_atomically

_SERIAL = re.compile(r"[0-9a-f-]{16,64}\Z")
_WORD = re.compile(r"[a-z_]+=[!-+\--~]+\Z")
_START, _END = re.compile(r"PR_REG_START: \d+\Z"), re.compile(r"PR_REG_END: \d+\Z")
SETTLED_NS = 1_000_000_000
NONE = "No Registrations or Reservations"


def registrations(text: str) -> tuple[str, ...] | None:
    """Each registration in a file of the kernel's, as `res_aptpl_metadata` takes it; None if the file is not whole."""
    lines = text.splitlines()
    if lines in ([], [NONE]):
        # An empty one is truncated, and not written yet.
        return () if lines else None
    found: list[str] = []
    open_one: list[str] | None = None
    for line in lines:
        if _START.match(line) and open_one is None:
            open_one = []
        elif _END.match(line) and open_one:
            found.append(",".join(open_one))
            open_one = None
        elif open_one is not None and _WORD.match(line):
            open_one.append(line)
        else:
            return None
    return tuple(found) if open_one is None else None


class ReservationFiles:
    """The kernel's files and our copies."""

    def __init__(self, kernel_dir: Path, kept_dir: Path) -> None:
        self._kernel_dir = kernel_dir
        self._kept_dir = kept_dir
        self._seen: dict[str, tuple[object, str]] = {}

    def serials(self) -> frozenset[str]:
        """The units of which there is a file at all: most have none, and asking for each one takes time."""
        found: set[str] = set()
        with contextlib.suppress(FileNotFoundError):
            found.update(name.removeprefix("aptpl_") for name in os.listdir(self._kernel_dir))
        with contextlib.suppress(FileNotFoundError):
            found.update(os.listdir(self._kept_dir))
        return frozenset(found)

    def current(self, serial: str) -> str:
        """What is reserved of a unit: the kernel's word if it is whole, else what was kept; empty for nothing."""
        for path, is_kernels in ((self._kernel_file(serial), True), (self._kept_file(serial), False)):
            with contextlib.suppress(FileNotFoundError):
                text = path.read_text(errors="replace")
                found = None if is_kernels and not text.endswith("\0") else registrations(text.rstrip("\0"))
                if found is not None:
                    return text.rstrip("\0") if found else ""
        return ""

    def remember(self, serial: str) -> str:
        """Make a durable copy of what is current, if it is news; return it."""
        stamp = _stamp(self._kernel_file(serial)), _stamp(self._kept_file(serial))
        if (seen := self._seen.get(serial)) is not None and seen[0] == stamp:
            return seen[1]
        text = self._remember(serial)
        # Within one tick of the kernel's clock a second change would leave the same time.
        newest_ns = max((found[2] for found in stamp if found), default=0)
        if stamp[1] == _stamp(self._kept_file(serial)) and abs(time.time_ns() - newest_ns) > SETTLED_NS:
            self._seen[serial] = stamp, text
        return text

    def _remember(self, serial: str) -> str:
        text = self.current(serial)
        if text != self._kept(serial):
            self._write(serial, text)
        return text

    def adopt(self, serial: str, text: str) -> None:
        """Keep what the other node has, instead of anything older. Raises InvalidError when it is no such thing."""
        if text and not registrations(text):
            raise InvalidError("this is no list of registrations")
        self._write(serial, text)
        self._kernel_file(serial).unlink(missing_ok=True)

    def forget(self, serial: str) -> None:
        """The unit is no more."""
        for path in (self._kernel_file(serial), self._kept_file(serial)):
            path.unlink(missing_ok=True)

    def to_load(self, serial: str) -> tuple[str, ...]:
        """The registrations to begin with."""
        return registrations(self.current(serial)) or ()

    def _write(self, serial: str, text: str) -> None:
        self._kept_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._kept_file(serial), (text or f"{NONE}\n").encode(), mode=0o600)

    def _kept(self, serial: str) -> str:
        try:
            text = self._kept_file(serial).read_text()
        except FileNotFoundError:
            return ""
        return "" if text.strip() == NONE else text

    def _kernel_file(self, serial: str) -> Path:
        return self._kernel_dir / f"aptpl_{_checked(serial)}"

    def _kept_file(self, serial: str) -> Path:
        return self._kept_dir / _checked(serial)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _checked(serial: str) -> str:
    if not _SERIAL.match(serial):
        raise InvalidError(f"{serial!r} is no serial of a unit")
    return serial
