"""What a decision may ask for: plain values, carried out in the order given by `group.py`."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import FenceAnswer


@dataclass(frozen=True)
class Clear:
    """At start: no address, no target active; the mirror connects, the rest is made ready."""


@dataclass(frozen=True)
class Adopt:
    """Go on serving what the monitor before us served: everything that is missing is activated again."""


@dataclass(frozen=True)
class TakeOver:
    """Persist the epoch and the refusal to be outdated, [leave the peer,] promote, activate, raise the address."""

    epoch: int
    leaves_peer: bool
    is_granted: bool = False


@dataclass(frozen=True)
class StopServing:
    """Drop the address, deactivate in reverse order, demote."""


@dataclass(frozen=True)
class HandOver:
    """Stop serving and offer the group to the partner under `epoch`."""

    epoch: int


@dataclass(frozen=True)
class OfferAgain:
    """Repeat the offer, for the message may have been lost."""


@dataclass(frozen=True)
class Outdate:
    """Leave the peer and mark this side stale."""


@dataclass(frozen=True)
class LeavePeer:
    """Disconnect by force, so that the kernel freezes now and not when its own timers run out."""


@dataclass(frozen=True)
class Connect:
    """Let the mirror connect."""


@dataclass(frozen=True)
class DropAddress:
    """Take the addresses away."""


@dataclass(frozen=True)
class RaiseAddress:
    """Bring the addresses back."""


@dataclass(frozen=True)
class AskPeer:
    """Ask the partner on every link to declare itself stale."""


@dataclass(frozen=True)
class Claim:
    """Ask the witness for the right to go on without the partner."""


@dataclass(frozen=True)
class Release:
    """Give that right back: no longer hold it, then tell the witness that the partner may be granted it."""


@dataclass(frozen=True)
class Answer:
    """Answer the kernel's question."""

    answer: FenceAnswer


@dataclass(frozen=True)
class Note:
    """Keep who is active under which epoch."""

    epoch: int
    last_active: str


@dataclass(frozen=True)
class Reboot:
    """End this node's kernel now: it holds writes that must never reach its disk's clients."""


Action = (
    Clear
    | Adopt
    | TakeOver
    | StopServing
    | HandOver
    | OfferAgain
    | Outdate
    | LeavePeer
    | Connect
    | DropAddress
    | RaiseAddress
    | AskPeer
    | Claim
    | Release
    | Answer
    | Note
    | Reboot
)


@dataclass(frozen=True)
class Step:
    """A decision: where the group goes, what is done first, and the sentence that says why."""

    state: GroupState
    actions: tuple[Action, ...] = ()
    sentence: str = ""
    """Empty when nothing is worth telling."""
    is_current: bool = False
    """See GroupView."""
