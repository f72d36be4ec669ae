"""Decisions, kept in an append-only file that does not grow for ever."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from holdfast.hooks.failover import Decision
from holdfast.system.files import write_atomically
from holdfast.values import from_plain, to_plain

MAX_BYTES = 1_000_000
KEPT = 500


class Journal:
    """The decisions of a node, one JSON line each, numbered from 1. The daemon reads what the monitor writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next: int | None = None

    def append(self, decision: Decision) -> int:
        """Add one, durably, and return its number: it may wait for the disk. Raises OSError."""
        if self._next is None:
            kept = self.read()
            self._next = kept[-1][0] + 1 if kept else 1
        if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
            write_atomically(self._path, b"".join(_line(number, item) for number, item in self.read()[-KEPT:]))
        line = _line(self._next, decision)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, line) < len(line):  # what there was room for is a torn line, to be skipped
                raise OSError(errno.ENOSPC, "no room for a decision", str(self._path))
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        self._next += 1
        return self._next - 1

    def read(self, after: int = 0) -> tuple[tuple[int, Decision], ...]:
        """All kept decisions with a number above `after`; a line torn by a power cut is skipped."""
        found = []
        lines = self._path.read_text(errors="replace").splitlines() if self._path.exists() else []
        for line in lines:
            try:
                plain = json.loads(line)
            except ValueError:
                continue
            if plain["number"] > after:
                found.append((plain["number"], from_plain(Decision, plain["decision"])))
        return tuple(found)


def _line(number: int, decision: Decision) -> bytes:
    # A leading newline ends a line that a power cut may have torn.
    return b"\n" + json.dumps({"number": number, "decision": to_plain(decision)}).encode()
