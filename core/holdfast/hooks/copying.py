"""How a copy is made: its transport, its rules, and what a look ahead at it shows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Tls:
    """What this node encrypts with, and whom it believes.

    Both sides show a certificate, and each must be one that the other was told to trust: no authority vouches
    for any. Paths are absolute; the key is readable by root only.
    """

    certificate_file: str
    key_file: str
    trusted: tuple[str, ...]
    """Certificates, PEM. Of an agent of this node: whoever may connect. Of one that is called: what it may show."""


@dataclass(frozen=True)
class FilterRule:
    """Whether paths that match are part of a copy; of several rules the first that matches decides.

    `*` is any text without a slash, `**` any text, `?` one byte, `[…]` one of several. A pattern that begins
    with a slash is matched from the top of the source, any other one at the end of a path. One that ends with a
    slash matches directories only. What lies in a directory that is excluded is excluded, too.
    """

    pattern: str
    is_included: bool


@dataclass(frozen=True)
class CopyOptions:
    """The rules of a copy. What is excluded is not copied, not compared, and left alone where it is in the replica."""

    filters: tuple[FilterRule, ...] = ()
    is_deleting: bool = True
    """Whether what the source lacks is deleted in the replica. If not it is no difference, either."""
    bandwidth_bytes_s: int | None = None
    """The most that is sent in a second, on average; None: no limit."""
    is_compressed: bool = False


@dataclass(frozen=True)
class CopyChanges:
    """Two files with what differs between a source and its replica, made by who has compared the source with itself.

    Each name is relative to the source, any bytes, with `./` before it and a zero byte after it, a directory before
    what is in it. A directory stands for itself, and not for what is in it.
    """

    names: str
    """Names that are new or changed. One that the source lacks fails the copy, and is never deleted."""
    gone: str
    """Names that the source lacks: they go from the replica with all below them. Passed over if nothing is deleted."""


class CopyAction(StrEnum):
    """What a copy would do with one path."""

    SEND = "send"
    """Its content is new or changed: all of it, or what differs, would be sent."""
    UPDATE = "update"
    """Its owner, mode, time or other attributes are changed; or it is made, and has no content."""
    DELETE = "delete"


@dataclass(frozen=True)
class CopyChange:
    """One path that a copy would change."""

    action: CopyAction
    path: str
    size_bytes: int | None
    """Of a file that is sent; None of all else."""


@dataclass(frozen=True)
class CopyPreview:
    """What a copy would do."""

    files_considered: int
    """Entries of the source of whatever kind, as `CopyResult.files_considered`."""
    files_created: int
    """How many of those the replica lacks."""
    files_sent: int
    files_deleted: int
    to_send_bytes: int
    """The size of all files that would be sent; less crosses where the replica has parts of them."""
    changes: tuple[CopyChange, ...]
    is_whole: bool
    """Whether `changes` are all changes; only so many were wanted."""

    @property
    def files_in_replica(self) -> int:
        """Entries of the replica now."""
        return self.files_considered - self.files_created + self.files_deleted
