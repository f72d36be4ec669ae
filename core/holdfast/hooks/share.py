"""The share roles: a directory of a NAS volume offered to clients, by one driver for each protocol."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from holdfast.hooks.base import Driver, Offer, hookspec
from holdfast.values import Secret


class Protocol(StrEnum):
    """How a share is offered."""

    SMB = "smb"
    NFS = "nfs"


SNAPSHOTS_FOLDER = ".snapshots"
"""In which clients of NFS find the snapshots of a share, at its root."""


@dataclass(frozen=True)
class ShownSnapshot:
    """A snapshot of a share's volume that its clients see. Nobody writes to it."""

    name: str
    taken_at: datetime
    """In UTC, to the second: no two of one share have the same."""
    path: str
    """The directory of the share within it: mounted, and with no symbolic link in it."""


@dataclass(frozen=True)
class SmbExposure:
    """One share offered by SMB. Who is in no list has no access."""

    share: str
    path: str
    """A mounted directory of this node, with no symbolic link in it."""
    read_users: tuple[str, ...] = ()
    read_groups: tuple[str, ...] = ()
    write_users: tuple[str, ...] = ()
    write_groups: tuple[str, ...] = ()
    """Who may write may read; who is in both kinds of lists may write."""
    is_read_only: bool = False
    """Nobody writes, whatever the lists say."""
    is_hidden: bool = False
    """It is not shown to who browses, and is used by its name all the same."""
    snapshots: tuple[ShownSnapshot, ...] | None = None
    """By name; shown as its former versions, by their times. None: it shows none, whatever there is."""


class Squash(StrEnum):
    """Whose user numbers a server replaces by those of nobody (exports(5), User ID Mapping)."""

    ROOT = "root"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True)
class NfsClient:
    """Hosts that may mount a share by NFS."""

    network: str
    """An address or a network, canonical: `10.0.0.7`, `10.0.0.0/24`, `fd00::/64`."""
    is_read_only: bool = False
    squash: Squash = Squash.ROOT


@dataclass(frozen=True)
class NfsExposure:
    """One share offered by NFS. Who is in no network has no access."""

    share: str
    path: str
    """As for SMB."""
    fsid: str
    """A UUID that names the file system to clients, the same for ever: mounts outlive a reboot by it."""
    clients: tuple[NfsClient, ...] = ()
    is_read_only: bool = False
    snapshots: tuple[ShownSnapshot, ...] | None = None
    """By name; shown by their names in SNAPSHOTS_FOLDER. None: there is no such folder."""


@dataclass(frozen=True)
class OpenFile:
    """A file that a client holds open."""

    path: str
    """Below the share, or only its last names where the protocol's server tells no more."""
    is_writing: bool = False
    is_locked: bool = False
    """It holds a lock on it, or a part of it."""


@dataclass(frozen=True)
class ShareSession:
    """A client at work on a share."""

    share: str
    client: str
    """Its address."""
    user: str | None
    """None where the protocol knows users by number only, call by call."""
    files: tuple[OpenFile, ...] = ()


@dataclass(frozen=True)
class ShareUser:
    """Somebody with a name and a password, and the number that owns the files."""

    name: str
    uid: int
    password: Secret
    password_version: str
    """Changes with each new password, so that a driver need not keep the password itself to see that."""


@dataclass(frozen=True)
class ShareGroup:
    """Several users."""

    name: str
    gid: int
    members: tuple[str, ...]


E = TypeVar("E", SmbExposure, NfsExposure)


class ShareDriver(Driver, Generic[E]):
    """Offers shares over one protocol. A share itself is the core's.

    It touches nothing that was not exposed by it, other shares of the same server included.
    """

    @abstractmethod
    async def expose(self, exposure: E) -> E:
        """Offer a share, or change how it is offered. Returns what was read back.

        A client that may do all that it could before notices nothing of a change. One that may do less is held to
        that at once, also in what it has open. A snapshot that is shown no more is in use by nobody when this returns:
        who had something open in it has lost that. Raises UnavailableError when the directory is not there, or when
        there is a symbolic link in its path; ConflictError when somebody else offers something under that name, or
        when the share has files of its own where its snapshots would be seen.
        """

    @abstractmethod
    async def withdraw(self, share: str) -> None:
        """Offer it no more, to nobody; the absent is success. Its clients lose it, and those of others do not."""

    @abstractmethod
    async def list_exposures(self) -> tuple[E, ...]:
        """What is offered now, by share, as it was exposed; what others offer is not among it."""

    @abstractmethod
    async def list_sessions(self) -> tuple[ShareSession, ...]:
        """Who uses the shares that this driver exposes, by share and client."""


class SmbDriver(ShareDriver[SmbExposure]):
    """Offers shares by SMB, to users of its own."""

    @abstractmethod
    async def set_accounts(self, users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...]) -> None:
        """Have exactly these accounts, of those that this driver made.

        Sessions of a user who is gone, or in fewer groups, or whose password is another one, end. Raises ConflictError,
        changing nothing, when a name or a number belongs to an account of somebody else.
        """

    @abstractmethod
    async def list_accounts(self) -> tuple[tuple[str, ...], tuple[ShareGroup, ...]]:
        """The names of the users, and the groups, that are there of those that this driver made, by name."""


class NfsDriver(ShareDriver[NfsExposure]):
    """Offers shares by NFS, to hosts."""


class ShareHooks:
    """Hook specs of the share roles."""

    @hookspec
    def smb_driver(self) -> Offer[SmbDriver]:
        """Asked once at start: return your offer."""
        raise AssertionError("a specification is never called")

    @hookspec
    def nfs_driver(self) -> Offer[NfsDriver]:
        """Asked once at start: return your offer."""
        raise AssertionError("a specification is never called")

    @hookspec
    async def share_changed(self, share: str, what: str) -> None:
        """Told after it was changed how a share is offered, or that it is no more (`what`: `smb` or `nfs`)."""
