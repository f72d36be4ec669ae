"""What an operator may set: the timers, in milliseconds. Their meaning and inequalities are in `timers.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from holdfast_failover_vip.timers import Timers


@dataclass(frozen=True)
class Settings:
    """See SettingsSchema."""

    timers: Timers = field(default_factory=Timers)
    is_realtime: bool = True


class SettingsSchema(Schema):
    """The settings of the plugin."""

    timers = fields.Dict(
        keys=fields.String(validate=validate.OneOf([f.name for f in dataclass_fields(Timers)])),
        values=fields.Integer(strict=True, validate=validate.Range(min=1, max=3_600_000)),
        load_default=dict,
        metadata={"description": "Timers that differ from the table's first values, in milliseconds."},
    )
    is_realtime = fields.Boolean(
        load_default=True,
        truthy={True},
        falsy={False},
        metadata={"description": "Run the monitor with real-time priority and locked in memory."},
    )

    @validates_schema
    def inequalities(self, data: Mapping[str, Any], **_: object) -> None:
        """Refuse timers that would not be safe together."""
        if violations := Timers(**data.get("timers", {})).violations():
            raise ValidationError(list(violations), "timers")

    @post_load
    def make(self, data: Mapping[str, Any], **_: object) -> Settings:
        """Give the frozen value."""
        return Settings(Timers(**data["timers"]), data["is_realtime"])
