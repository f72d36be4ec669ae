"""What an operator may set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, fields, post_load, validate

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True)
class Settings:
    """See SettingsSchema."""

    look_timeout_s: float = 30.0
    change_timeout_s: float = 120.0
    file_system_timeout_s: float = 600.0
    zero_bytes_s: int = 20 * MIB
    pv_metadata_bytes: int = 16 * MIB
    snapshot_chunk_bytes: int = 64 * KIB
    zero_new_volumes: bool = False
    rejected_devices: tuple[str, ...] = ("^/dev/drbd",)
    mount_options: tuple[str, ...] = ("nosuid", "nodev")


class SettingsSchema(Schema):
    """The settings of the plugin."""

    look_timeout_s = fields.Float(
        load_default=Settings.look_timeout_s,
        validate=validate.Range(min=1, max=600),
        metadata={"description": "A command that only reads is given up after this time."},
    )
    change_timeout_s = fields.Float(
        load_default=Settings.change_timeout_s,
        validate=validate.Range(min=10, max=3600),
        metadata={"description": "A command of LVM that changes something is killed after this time."},
    )
    file_system_timeout_s = fields.Float(
        load_default=Settings.file_system_timeout_s,
        validate=validate.Range(min=10, max=36000),
        metadata={
            "description": "Making, mounting (a log may have to be replayed) or unmounting a file system may take this."
        },
    )
    zero_bytes_s = fields.Integer(
        load_default=Settings.zero_bytes_s,
        strict=True,
        validate=validate.Range(min=MIB),
        metadata={"description": "The slowest speed of writing zeros that is waited for, in bytes a second."},
    )
    pv_metadata_bytes = fields.Integer(
        load_default=Settings.pv_metadata_bytes,
        strict=True,
        validate=validate.Range(min=MIB, max=1024 * MIB),
        metadata={
            "description": "The room for LVM's metadata on each new disk of a pool. LVM's own default, 1 MiB, ends at"
            " about 1800 logical volumes; a mirrored volume with one snapshot is three."
        },
    )
    snapshot_chunk_bytes = fields.Integer(
        load_default=Settings.snapshot_chunk_bytes,
        strict=True,
        validate=validate.OneOf([4 * KIB << shift for shift in range(8)]),
        metadata={
            "description": "What is copied to a snapshot's reserve at the first write to it. More makes first writes"
            " faster and needs less memory; less lets the reserve last longer under small scattered writes."
        },
    )
    zero_new_volumes = fields.Boolean(
        load_default=Settings.zero_new_volumes,
        truthy={True},
        falsy={False},
        metadata={
            "description": "Write zeros over the whole of a new block volume, so that nobody reads what deleted volumes"
            " held. It takes the time of writing the volume once."
        },
    )
    rejected_devices = fields.List(
        fields.String(validate=validate.Regexp(r'^[^|"\\\s]+\Z')),
        load_default=Settings.rejected_devices,
        metadata={
            "description": "Regular expressions of devices where LVM never looks for pools. A mirror's device shows"
            " what lies on a volume, which is the initiators' and not this machine's."
        },
    )
    mount_options = fields.List(
        fields.String(validate=validate.Regexp(r"^[a-z0-9_]+(=[A-Za-z0-9]+)?\Z")),
        load_default=Settings.mount_options,
        metadata={"description": "Options of every mount, besides those that a snapshot needs."},
    )

    @post_load
    def make(self, data: Mapping[str, Any], **_: object) -> Settings:
        """Give the frozen value."""
        lists = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
        return Settings(**{**data, **lists})
