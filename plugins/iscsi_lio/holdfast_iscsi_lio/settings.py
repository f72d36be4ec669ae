"""What an administrator may set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, fields, post_load, validate


@dataclass(frozen=True)
class Settings:
    """See SettingsSchema."""

    deadline_s: float


class SettingsSchema(Schema):
    """Loads to Settings."""

    deadline_s = fields.Float(
        load_default=5.0,
        validate=validate.Range(min=0.1, max=300),
        metadata={
            "description": "How long the kernel may take for one change of a target, ending its sessions included, "
            "before the change is reported as stuck; in seconds. Failover treats a stuck target as a reason to fence."
        },
    )

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Settings:
        """Turn loaded data into Settings."""
        return Settings(**data)
