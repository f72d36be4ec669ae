"""A block that says where it belongs, which write it came from, and whether it is whole."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

BLOCK_BYTES = 4096
_MAGIC = b"HOLDFAST"
_FIELDS = struct.Struct("!8sQQ16s")
_SUM = struct.Struct("!I")
_BODY_BYTES = BLOCK_BYTES - _SUM.size
_ZEROS = bytes(BLOCK_BYTES)


@dataclass(frozen=True)
class Stamp:
    """`lba` counts blocks of 4 KiB; `sequence` counts the writes of a run from 1."""

    run: str
    lba: int
    sequence: int


def encode(stamp: Stamp) -> bytes:
    """The whole block. The run's name must fit 16 bytes of ASCII."""
    name = stamp.run.encode("ascii")
    if len(name) > 16:
        raise ValueError(f"run name {stamp.run!r} is longer than 16 bytes")
    fields = _FIELDS.pack(_MAGIC, stamp.lba, stamp.sequence, name)
    # Repeated through the block, so that a torn one differs in every sector of 512 bytes.
    body = (fields * (_BODY_BYTES // len(fields) + 1))[:_BODY_BYTES]
    return body + _SUM.pack(zlib.crc32(body))


def decode(block: bytes) -> Stamp | None:
    """The stamp of a block; None for a block never written. Raises ValueError for anything else."""
    if block == _ZEROS:
        return None
    body, (total,) = block[:_BODY_BYTES], _SUM.unpack(block[_BODY_BYTES:])
    if len(block) != BLOCK_BYTES or zlib.crc32(body) != total:
        raise ValueError("the sum does not match the content")
    magic, lba, sequence, name = _FIELDS.unpack_from(body)
    if magic != _MAGIC:
        raise ValueError("not a stamped block")
    return Stamp(name.rstrip(b"\0").decode("ascii"), lba, sequence)
