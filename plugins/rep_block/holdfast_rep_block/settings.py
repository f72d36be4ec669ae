"""What an operator may set. Everything else is in `options.py`, with its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, fields, post_load, validate

MIB = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """See SettingsSchema."""

    drbdsetup: str = "/usr/lib/drbd/drbdsetup-84"
    drbdmeta: str = "/usr/sbin/drbdmeta"
    resync_max_bytes_s: int = 4096 * MIB
    resync_min_bytes_s: int = 40 * MIB


class SettingsSchema(Schema):
    """The settings of the plugin."""

    drbdsetup = fields.String(
        load_default=Settings.drbdsetup,
        validate=validate.Regexp(r"^/\S+\Z"),
        metadata={"description": "The drbdsetup of DRBD 8.4; the plain `drbdsetup` only chooses between versions."},
    )
    drbdmeta = fields.String(
        load_default=Settings.drbdmeta,
        validate=validate.Regexp(r"^/\S+\Z"),
        metadata={"description": "The program that writes DRBD's metadata."},
    )
    resync_max_bytes_s = fields.Integer(
        load_default=Settings.resync_max_bytes_s,
        strict=True,
        validate=validate.Range(min=MIB, max=4096 * MIB),
        metadata={"description": "A resync goes no faster, in bytes a second."},
    )
    resync_min_bytes_s = fields.Integer(
        load_default=Settings.resync_min_bytes_s,
        strict=True,
        validate=validate.Range(min=MIB, max=4096 * MIB),
        metadata={"description": "A resync gives way to applications down to this, in bytes a second."},
    )

    @post_load
    def make(self, data: Mapping[str, Any], **_: object) -> Settings:
        """Give the frozen value."""
        return Settings(**data)
