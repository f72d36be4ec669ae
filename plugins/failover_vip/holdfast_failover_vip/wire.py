"""Messages between the monitors: authenticated before anything in them is read, versioned, bounded, never replayed.

A datagram is the HMAC-SHA256 of its body with the pair's key, then the body: one JSON object.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import lru_cache
from typing import Any

from holdfast.errors import InvalidError
from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import DiskState
from holdfast.values import Secret, from_plain, to_plain
from holdfast_failover_vip.facts import Verdict

VERSION = 1
FEATURES: tuple[str, ...] = ()
"""What a receiver must understand. Additions that may be ignored need a new version instead."""
MAX_BYTES = 60_000
"""Room for a heartbeat with as many groups as a pair can have mirrors; a datagram has 65,507."""
_MAC_BYTES = 32


class ForgedError(InvalidError):
    """The datagram is not of our partner: wrong key, wrong size, or mutilated."""

    code = "forged"


class ForeignVersionError(InvalidError):
    """It is authentic, but speaks what this version does not know."""

    code = "foreign-version"


@dataclass(frozen=True)
class GroupBeat:
    """One group in a heartbeat."""

    name: str
    state: GroupState
    epoch: int
    held_epoch: int
    last_active: str | None
    revision: int
    disk: DiskState


@dataclass(frozen=True)
class Beat:
    """A heartbeat: what the sender is, and whom it hears."""

    hears: tuple[str, ...]
    """Links on which it heard us just now."""
    has_sign: bool
    """Whether it had any sign of our life just now, echoes included."""
    ping_answers: bool
    groups: tuple[GroupBeat, ...]


@dataclass(frozen=True)
class FenceAsk:
    """Declare your data of `mirror` stale, so that I may go on without you."""

    mirror: str
    epoch: int
    nonce: str


@dataclass(frozen=True)
class FenceReply:
    """The answer to a FenceAsk."""

    mirror: str
    nonce: str
    verdict: Verdict
    epoch: int


@dataclass(frozen=True)
class Offer:
    """I stopped serving `group` and demoted: serve it under `epoch`."""

    group: str
    epoch: int
    revision: int


@dataclass(frozen=True)
class OfferRefused:
    """I will not; a taken offer shows in the heartbeat instead."""

    group: str
    epoch: int
    reason: str


@dataclass(frozen=True)
class Clients:
    """Who is connected to the addresses of `group`, to be woken by whoever takes it over."""

    group: str
    connections: tuple[tuple[str, int], ...]


Message = Beat | FenceAsk | FenceReply | Offer | OfferRefused | Clients
_KINDS: dict[str, type] = {
    "beat": Beat,
    "fence-ask": FenceAsk,
    "fence-reply": FenceReply,
    "offer": Offer,
    "offer-refused": OfferRefused,
    "clients": Clients,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True)
class _Header:
    """What proves that a message is new and meant for us."""

    sender: str
    boot: str
    """Made anew at each start of the sending monitor."""
    heard_boot: str
    """The receiver's `boot` as the sender knows it; empty at first."""
    link: str
    sequence: int
    """Grows with every datagram of one boot on one link."""


_HEADER = tuple(f.name for f in fields(_Header))


@dataclass(frozen=True)
class Envelope(_Header):
    """A message with its header."""

    message: Message


def encode(envelope: Envelope, key: Secret) -> bytes:
    """Make a datagram."""
    head = {
        "version": VERSION,
        "features": list(FEATURES),
        **{name: getattr(envelope, name) for name in _HEADER},
        "kind": _NAMES[type(envelope.message)],
    }
    data = f'{_text(head)[:-1]},"message":{_message_text(envelope.message)}}}'.encode()
    if len(data) + _MAC_BYTES > MAX_BYTES:
        raise InvalidError(f"a message of {len(data)} bytes is too long")
    return _mac(data, key) + data


def decode(datagram: bytes, key: Secret) -> Envelope:
    """Read a datagram. Raises ForgedError before anything is parsed, ForeignVersionError, InvalidError."""
    if not _MAC_BYTES < len(datagram) <= MAX_BYTES:
        raise ForgedError(f"a datagram of {len(datagram)} bytes is none of ours")
    mac, data = datagram[:_MAC_BYTES], datagram[_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(data, key)):
        raise ForgedError("a datagram has a wrong signature")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as reason:
        raise InvalidError(f"a message is no JSON: {reason}") from reason
    if not isinstance(body, dict):
        raise InvalidError("a message is an object")
    if body.get("version") != VERSION:
        raise ForeignVersionError(f"the partner speaks version {body.get('version')!r}, we speak {VERSION}")
    features = body.get("features")
    if not isinstance(features, list):
        raise InvalidError("the features of a message are a list")
    if unknown := [feature for feature in features if feature not in FEATURES]:
        raise ForeignVersionError(f"the partner needs {unknown!r}, which we do not know")
    kind = _KINDS.get(str(body.get("kind")))
    if kind is None:
        raise ForeignVersionError(f"the partner sent a {body.get('kind')!r}, which we do not know")
    header = from_plain(_Header, {name: body.get(name) for name in _HEADER})
    return Envelope(**vars(header), message=_message(kind, _text(body.get("message"))))


# A heartbeat goes out on every link and says the same as the one before it, most of the time. With dozens of groups
# to put into words and to read, twenty times a second, that would be most of what a monitor does.
_REMEMBERED = 8


def _text(plain: Any) -> str:
    return json.dumps(plain, separators=(",", ":"))


@lru_cache(_REMEMBERED)
def _message_text(message: Message) -> str:
    return _text(to_plain(message))


@lru_cache(_REMEMBERED)
def _message(kind: type, text: str) -> Message:
    message: Message = from_plain(kind, json.loads(text))
    return message


def _mac(data: bytes, key: Secret) -> bytes:
    return hmac.new(bytes.fromhex(key.reveal()), data, hashlib.sha256).digest()


class Judgement(StrEnum):
    """What becomes of an authentic message; but for the first two, why it is refused."""

    NEW = "new"
    GREETING = "the partner has not heard this monitor yet"
    OTHER_LINK = "it was sent on another link"
    FORMER_PARTNER = "it is of a former session of the partner's monitor"
    FORMER_SELF = "it is meant for a former session of this node's monitor, or for another node"
    NOT_NEWER = "it is no newer than what came before: it was repeated, or overtaken"


class Freshness:
    """Refuses what was recorded earlier and sent again.

    A sender's boot counts once it proves that it has heard ours, so it was made after we started; a boot that
    was followed by another one never counts again; on each link the sequence only grows.
    """

    def __init__(self, own_boot: str) -> None:
        self._own_boot = own_boot
        self._retired: set[str] = set()
        self._sequences: dict[str, int] = {}
        self.boot = ""
        """The partner's boot that counts now; empty before the first."""
        self.candidate = ""
        """The boot to answer to: the newest authentic one, proven or not."""

    def judge(self, envelope: Envelope, link: str, *, is_live: bool) -> Judgement:
        """Whether the message is new, from the link it says, and meant for this boot of ours.

        While the partner's present boot `is_live`, recorded messages of others cannot divert our answers.
        """
        if envelope.link != link:
            return Judgement.OTHER_LINK
        if envelope.boot in self._retired:
            return Judgement.FORMER_PARTNER
        if envelope.heard_boot != self._own_boot:
            if not is_live:
                self.candidate = envelope.boot
            return Judgement.FORMER_SELF if envelope.heard_boot else Judgement.GREETING
        if envelope.boot != self.boot:
            if self.boot:
                self._retired.add(self.boot)
            self.boot = self.candidate = envelope.boot
            self._sequences.clear()
        if envelope.sequence <= self._sequences.get(link, -1):
            return Judgement.NOT_NEWER
        self._sequences[link] = envelope.sequence
        return Judgement.NEW
