"""What a node keeps of a group through a power cut: one small preallocated file of two slots.

Written in place and fsynced, so that no allocation can fail in the middle of a takeover. The slots alternate: a
torn write costs the new one only, and the older one is still whole.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

from holdfast.system.files import sync_directory
from holdfast.values import from_plain, to_plain
from holdfast_failover_vip.facts import Record

SLOT_BYTES = 512


class EpochFile:
    """The record of one group on this node. Blocking: callers put `write` into a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        self.record = Record()

    def load(self) -> Record:
        """Read the newest whole slot; a file that is absent is made, with all its room. Raises OSError."""
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, bytes(2 * SLOT_BYTES))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_directory(self._path.parent)
        data = self._path.read_bytes()
        slots = [_parse(data[start : start + SLOT_BYTES]) for start in (0, SLOT_BYTES)]
        self._number, self.record = max((slot for slot in slots if slot), key=lambda s: s[0], default=(0, Record()))
        return self.record

    def write(self, record: Record) -> None:
        """Make `record` durable; on return it outlives a power cut. Raises OSError."""
        number = self._number + 1
        text = json.dumps({"number": number, "record": to_plain(record)}, separators=(",", ":")).encode()
        slot = (zlib.crc32(text).to_bytes(4, "big") + len(text).to_bytes(2, "big") + text).ljust(SLOT_BYTES, b"\0")
        if len(slot) > SLOT_BYTES:
            raise ValueError("a record outgrew its slot")
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, slot, (number % 2) * SLOT_BYTES)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        self._number, self.record = number, record


def _parse(slot: bytes) -> tuple[int, Record] | None:
    checksum, length = int.from_bytes(slot[:4], "big"), int.from_bytes(slot[4:6], "big")
    text = slot[6 : 6 + length]
    if not length or len(text) != length or zlib.crc32(text) != checksum:
        return None
    plain = json.loads(text)
    return plain["number"], from_plain(Record, plain["record"])
