"""The settings of this plugin. Each has a default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marshmallow import Schema, fields, post_load
from marshmallow.validate import OneOf, Range, Regexp


@dataclass(frozen=True)
class Settings:
    """See SettingsSchema."""

    workgroup: str = "WORKGROUP"
    least_dialect: str = "SMB2_10"
    encryption: str = "default"
    group: str = "holdfast-shares"
    group_gid: int = 19999
    start_timeout_s: float = 10.0
    close_timeout_s: float = 5.0
    restart_delay_s: float = 0.2
    restart_delay_limit_s: float = 30.0
    snapshot_dir: str = "/run/holdfast-snapshots"

    def snapshots_of(self, share: str) -> Path:
        """Where the snapshots of a share are bound."""
        return Path(self.snapshot_dir) / share


def _seconds(default: float, description: str) -> Any:
    return fields.Float(load_default=default, validate=Range(min=0.01), metadata={"description": description})


class SettingsSchema(Schema):
    """Loads to Settings; an unknown setting is an error."""

    workgroup = fields.String(
        load_default=Settings.workgroup,
        validate=Regexp(r"[A-Za-z0-9][A-Za-z0-9-]{0,14}\Z"),
        metadata={"description": "The workgroup that clients see."},
    )
    least_dialect = fields.String(
        load_default=Settings.least_dialect,
        validate=OneOf(("SMB2_02", "SMB2_10", "SMB3_00", "SMB3_02", "SMB3_11")),
        metadata={"description": "The oldest dialect of SMB that a client may speak."},
    )
    encryption = fields.String(
        load_default=Settings.encryption,
        validate=OneOf(("default", "desired", "required")),
        metadata={"description": "`default`: where a client asks for it; `desired`: where it can; `required`."},
    )
    group = fields.String(
        load_default=Settings.group,
        validate=Regexp(r"[a-z][a-z0-9-]{0,30}\Z"),
        metadata={"description": "The group that owns what users make in shares; nobody is a member of it."},
    )
    group_gid = fields.Integer(
        load_default=Settings.group_gid,
        validate=Range(min=1000, max=59999),
        metadata={"description": "Its number, the same on both nodes of a pair: copies keep the numbers of owners."},
    )
    start_timeout_s = _seconds(Settings.start_timeout_s, "How long smbd may take from its start to its first answer.")
    close_timeout_s = _seconds(
        Settings.close_timeout_s, "A client that has not left so long after it was told to is cut off."
    )
    restart_delay_s = _seconds(Settings.restart_delay_s, "The wait before an smbd that died is started; it doubles.")
    restart_delay_limit_s = _seconds(
        Settings.restart_delay_limit_s, "The wait before a restart never grows beyond this."
    )

    snapshot_dir = fields.String(
        load_default=Settings.snapshot_dir,
        validate=Regexp(r"/[A-Za-z0-9._/-]+\Z"),
        metadata={"description": "Where snapshots are bound for clients. Their users must be able to reach it."},
    )

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Settings:
        return Settings(**values)
