"""The settings file as frozen dataclasses. What is misspelt is refused by name, never ignored."""

from __future__ import annotations

import argparse
import logging
import re
import socket
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError, InvalidError, Reason
from holdfast.values import from_plain

DEFAULT_PATH = Path("/etc/holdfast/holdfast.toml")
MOST_LOG_DAYS = 3650
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")


@dataclass(frozen=True)
class ApiSettings:
    """Where the JSON API listens."""

    address: str = "0.0.0.0"  # noqa: S104 - an appliance is managed over the network; every request needs a token
    port: int = 8443


@dataclass(frozen=True)
class PeerSettings:
    """Where the partner reaches this node. Nothing listens there before the nodes are paired."""

    address: str = "0.0.0.0"  # noqa: S104 - mutual TLS with the partner's pinned certificate only
    port: int = 8444
    pairing_port: int = 8445
    replication_address: str = ""
    """This node's address on the link that carries mirrors; empty: mirrors cannot be made."""


@dataclass(frozen=True)
class PluginSettings:
    """One plugin's section: whether it is wanted, and its own settings, judged by its own schema."""

    enabled: bool = True
    required: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """Everything the daemon and the monitor are told from outside."""

    node: str
    state_dir: Path = Path("/var/lib/holdfast")
    run_dir: Path = Path("/run/holdfast")
    mount_dir: Path = Path("/srv/holdfast")
    api: ApiSettings = ApiSettings()
    peer: PeerSettings = PeerSettings()
    run_log_days: int = 90
    """How long the log of data replication remembers a run; the newest copy of each task it always does."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Which offer plays a role, where several plugins could: `volume = "lvm"`."""
    plugins: Mapping[str, PluginSettings] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    node: str
    state_dir: str = "/var/lib/holdfast"
    run_dir: str = "/run/holdfast"
    mount_dir: str = "/srv/holdfast"
    api: ApiSettings = ApiSettings()
    peer: PeerSettings = PeerSettings()
    run_log_days: int = 90
    roles: dict[str, str] = field(default_factory=dict)
    plugins: dict[str, Any] = field(default_factory=dict)


def read_config(path: Path) -> Config:
    """Read a settings file. Raises InvalidError naming the file and the field."""
    try:
        plain = tomllib.loads(path.read_text())
    except FileNotFoundError:
        plain = {}
    except (OSError, ValueError) as reason:
        raise InvalidError(f"{path}: {reason}") from reason
    plain.setdefault("node", socket.gethostname().split(".")[0].lower())
    return parse_config(plain, source=str(path))


def parse_config(plain: Mapping[str, Any], *, source: str) -> Config:
    """Judge settings. Raises InvalidError."""
    try:
        raw = from_plain(_File, plain)
        plugins = {name: _plugin(name, section) for name, section in raw.plugins.items()}
    except InvalidError as reason:
        raise InvalidError(f"{source}: {reason.message}", reasons=reason.reasons) from reason
    if not NAME.match(raw.node):
        text = f"the node's name {raw.node!r} must be 1 to 31 of a-z, 0-9 and -, a letter first"
        raise InvalidError(f"{source}: {text}", reasons=[Reason("bad-name", text, "set `node`", "node")])
    if not 1 <= raw.run_log_days <= MOST_LOG_DAYS:
        text = f"run_log_days is from 1 to {MOST_LOG_DAYS}"
        raise InvalidError(
            f"{source}: {text}", reasons=[Reason("bad-value", text, "correct the number", "run_log_days")]
        )
    return Config(
        node=raw.node,
        state_dir=Path(raw.state_dir),
        run_dir=Path(raw.run_dir),
        mount_dir=Path(raw.mount_dir),
        api=raw.api,
        peer=raw.peer,
        run_log_days=raw.run_log_days,
        roles=raw.roles,
        plugins=plugins,
    )


def _plugin(name: str, section: Any) -> PluginSettings:
    if not isinstance(section, dict):
        raise InvalidError(f"plugins.{name}: a table is needed")
    own = {key: value for key, value in section.items() if key not in ("enabled", "required")}
    core = {key: section[key] for key in ("enabled", "required") if key in section}
    return from_plain(PluginSettings, {**core, "settings": own}, path=f"plugins.{name}")


def read_arguments(arguments: Sequence[str] | None, program: str) -> Config:
    """Read the command line and the settings file; exit with 2 and a sentence when they cannot be used."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--config", type=Path, default=DEFAULT_PATH, help="the settings file (TOML)")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    given = parser.parse_args(arguments)
    logging.basicConfig(
        level=given.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        return read_config(given.config)
    except HoldfastError as reason:
        sys.stderr.write(f"{program}: {reason}\n")
        raise SystemExit(2) from reason
