"""The settings of this plugin. Each has a default; the timeouts stand together because they depend on each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, fields, post_load
from marshmallow.validate import Length, Range, Regexp


@dataclass(frozen=True)
class Settings:
    """See SettingsSchema.

    connect_timeout_s < io_timeout_s <= agent_io_timeout_s: the agent may be silent while it reads a large file
    for its checksum, and must not give up on its peer before the peer does.
    """

    program: str = "rsync"
    tls_program: str = "stunnel"
    connect_timeout_s: int = 10
    io_timeout_s: int = 120
    agent_io_timeout_s: int = 600
    dead_peer_s: int = 60
    agent_start_timeout_s: float = 5.0
    busy_wait_s: float = 15.0
    restart_delay_s: float = 0.2
    restart_delay_limit_s: float = 30.0
    checksum_bytes_per_s: int = 20_000_000


def _seconds(default: float, description: str, *, least: float = 1) -> Any:
    field = fields.Integer if isinstance(default, int) else fields.Float
    return field(load_default=default, validate=Range(min=least), metadata={"description": description})


class SettingsSchema(Schema):
    """Loads to Settings; an unknown setting is an error."""

    program = fields.String(
        load_default=Settings.program,
        validate=Length(min=1),
        metadata={"description": "The rsync program, a name or an absolute path."},
    )
    tls_program = fields.String(
        load_default=Settings.tls_program,
        validate=[Length(min=1), Regexp(r"[A-Za-z0-9/._-]+\Z")],
        metadata={"description": "The stunnel program, a name or an absolute path."},
    )
    connect_timeout_s = _seconds(Settings.connect_timeout_s, "How long an agent may take to accept a connection.")
    io_timeout_s = _seconds(
        Settings.io_timeout_s, "A copy whose other side was silent for so long has failed: the agent is unreachable."
    )
    agent_io_timeout_s = _seconds(
        Settings.agent_io_timeout_s, "An agent drops a source that was silent for so long, and frees its replica share."
    )
    dead_peer_s = _seconds(
        Settings.dead_peer_s,
        "A peer whose machine or line went silent is given up after so long where what crosses is encrypted.",
        least=6,
    )
    agent_start_timeout_s = _seconds(
        Settings.agent_start_timeout_s, "How long an agent may take from its start to its first answer.", least=0.1
    )
    busy_wait_s = _seconds(
        Settings.busy_wait_s,
        "A replica share takes one copy at a time; a copy waits so long for the one before it to leave.",
        least=0,
    )
    restart_delay_s = _seconds(
        Settings.restart_delay_s, "The wait before an agent that died is started again; it doubles.", least=0.01
    )
    restart_delay_limit_s = _seconds(
        Settings.restart_delay_limit_s, "The wait before a restart never grows beyond this.", least=0.01
    )
    checksum_bytes_per_s = fields.Integer(
        load_default=Settings.checksum_bytes_per_s,
        validate=Range(min=1),
        metadata={"description": "The slowest disk to expect: a verification may be silent while it reads a file."},
    )

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Settings:
        return Settings(**values)
