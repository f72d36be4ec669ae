"""The settings of this plugin. Each has a default; what depends on another stands beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, fields, post_load
from marshmallow.validate import Range


@dataclass(frozen=True)
class Settings:
    """See SettingsSchema.

    lease_s <= grace_s: after a start every client that held something must have noticed, and claimed it again.
    """

    threads: int = 8
    lease_s: int = 15
    grace_s: int = 20
    squash_uid: int = 65534
    squash_gid: int = 19999
    release_timeout_s: float = 5.0


def _whole(default: int, least: int, most: int, description: str) -> Any:
    return fields.Integer(
        load_default=default, validate=Range(min=least, max=most), metadata={"description": description}
    )


class SettingsSchema(Schema):
    """Loads to Settings; an unknown setting is an error."""

    threads = _whole(Settings.threads, 1, 1024, "Threads of the kernel's server.")
    lease_s = _whole(Settings.lease_s, 10, 3600, "A client that is silent for so long loses what it holds.")
    grace_s = _whole(
        Settings.grace_s, 10, 3600, "After a start nothing is opened for so long but what was open before."
    )
    squash_uid = _whole(Settings.squash_uid, 1, 2**31, "The number that squashed users get.")
    squash_gid = _whole(
        Settings.squash_gid, 1, 2**31, "The group that squashed users get: by default that of what SMB users make."
    )
    release_timeout_s = fields.Float(
        load_default=Settings.release_timeout_s,
        validate=Range(min=0.1),
        metadata={"description": "How long the kernel may take to let go of a share that is offered no more."},
    )

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Settings:
        return Settings(**values)
