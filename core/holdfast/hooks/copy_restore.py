"""What a copy driver does besides copying: give back what it copied, and say how a destination is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.hooks.replication import CopyNote, CopyProgress, CopyResult, CopyRun

MOST_PREVIEWED = 1000
"""A preview names so many paths and counts the others."""


@dataclass(frozen=True)
class RestoreRun:
    """Some of what lies in `run.source` is to be written into `run.replica`."""

    run: CopyRun
    paths: tuple[str, ...] = ()
    """Files and folders relative to the source, as `os.fsdecode` has them; all of it if empty."""
    into: str = ""
    """A folder of the replica, made if absent, in which each path lies as it does in the source; the top if empty."""
    deletes: bool = False
    """What the source lacks below the folders that are named is removed, or below `into` when all is restored."""
    by_content: bool = False
    """Files are compared by their checksums, not by size and time."""


class Effect(StrEnum):
    """What a restore does to one path."""

    WRITTEN = "written"
    """It is not there now."""
    OVERWRITTEN = "overwritten"
    """Its content, or what kind of thing it is."""
    CHANGED = "changed"
    """Only its attributes: owner, mode, times …"""
    REMOVED = "removed"


@dataclass(frozen=True)
class Change:
    """What becomes of one path of the replica. It is as a person reads it: bytes that are no UTF-8 are `\\xff`."""

    path: str
    effect: Effect


@dataclass(frozen=True)
class RestorePreview:
    """What a restore would do."""

    written: int
    overwritten: int
    changed: int
    removed: int
    content_bytes: int
    """The size of the files that would be written or overwritten."""
    changes: tuple[Change, ...]
    """At most MOST_PREVIEWED of them."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return self.written + self.overwritten + self.changed + self.removed == 0


@dataclass(frozen=True)
class ReplicaFacts:
    """How a replica share's file system is now, and what its node takes for the time."""

    capacity_bytes: int
    free_bytes: int
    now: datetime
    note: CopyNote | None = None
    """On the copy in it, if nobody wrote to the replica through the agent since that was left; looking is no writing.

    None also from an agent that does not tell.
    """


class RestoringDriver(ABC):
    """The part of `CopyDriver` that gives back."""

    @abstractmethod
    async def restore(self, restore: RestoreRun, progress: Callable[[CopyProgress], None]) -> CopyResult:
        """Write what is asked for into the replica, all attributes included. Nothing else there is touched.

        Folders on the way to a path stay as they are where they are there. Nothing is ever written outside the
        replica, whatever links lie in it. Raises as `CopyDriver.copy` does; NotFoundError for a path that the source
        lacks, InvalidError for one that leaves it, or leads through a link. Then nothing was written.
        """

    @abstractmethod
    async def preview_restore(self, restore: RestoreRun) -> RestorePreview:
        """What `restore` would do; it changes nothing. Raises as `restore` does."""

    @abstractmethod
    async def verify_all(self, run: CopyRun) -> tuple[str, ...]:
        """Compare both sides by the checksums of all files and the metadata of all; it changes nothing.

        Returns what differs, one text for each path; empty when equal. Raises as `copy` does.
        """

    @abstractmethod
    def hold(self, replica: str) -> AbstractAsyncContextManager[CopyNote | None]:
        """Let no copy into a replica share of this node's agent as long as the context lasts.

        Its value is the note on the copy, if nobody wrote to the replica through the agent since that was left: then
        what lies there is the verified copy. None: nobody knows what lies there. Raises BusyError while a copy comes
        in, and where the replica share is held already; NotFoundError for an unknown one.
        """

    @abstractmethod
    async def distrust_replicas(self) -> None:
        """Note, durably, that somebody may have written to replica shares of this node's agent otherwise than by it.

        Until their next notes nobody knows what lies there. Without an agent there is nothing to note.
        """

    @abstractmethod
    async def replica_facts(self, run: CopyRun) -> ReplicaFacts:
        """How the replica's file system is. Raises as `copy` does, NotFoundError also from an agent that tells none."""
