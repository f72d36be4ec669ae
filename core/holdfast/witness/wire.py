"""What a node asks its witness, and what that answers: one JSON object in a frame, and one for it, in turn.

A request may release and claim for several groups at once. The releases are carried out first, all of it at once.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import InvalidError
from holdfast.values import from_plain, to_plain

VERSION = 1
GROUPS_A_FRAME = 32
_GROUP = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")


@dataclass(frozen=True)
class Request:
    """`session` is the one that the versions are of."""

    groups: tuple[str, ...] = ()
    """What the node wants to know of; at most GROUPS_A_FRAME."""
    session: str = ""
    releases: dict[str, int] = field(default_factory=dict)
    """By group the version that the node read."""
    claims: dict[str, int] = field(default_factory=dict)
    """By group a number that is repeated if it is granted."""
    version: int = VERSION


@dataclass(frozen=True)
class GroupWord:
    """Of one group: the node's own version and word, and whether a claim of it would be granted now."""

    version: int
    has_released: bool
    is_open: bool


@dataclass(frozen=True)
class Reply:
    """`session` names this run of the witness: one that started anew knows no word of anybody."""

    session: str
    groups: dict[str, GroupWord]
    granted: dict[str, int]
    version: int = VERSION


def encode(message: Request | Reply) -> bytes:
    """Make a frame."""
    return json.dumps(to_plain(message), separators=(",", ":")).encode()


def decode_request(frame: bytes) -> Request:
    """Read a node's frame. Raises InvalidError."""
    request = from_plain(Request, _read(frame))
    named = {*request.groups, *request.releases, *request.claims}
    if len(named) > GROUPS_A_FRAME or any(not _GROUP.match(name) for name in named):
        raise InvalidError("a request names up to 32 groups, by their names")
    return request


def decode_reply(frame: bytes) -> Reply:
    """Read the witness's frame. Raises InvalidError."""
    return from_plain(Reply, _read(frame))


def _read(frame: bytes) -> dict[str, Any]:
    try:
        plain = json.loads(frame)
    except ValueError as reason:
        raise InvalidError(f"a frame is no JSON: {reason}") from reason
    if not isinstance(plain, dict) or plain.get("version") != VERSION:
        raise InvalidError(f"a frame is not of version {VERSION}")
    return plain
