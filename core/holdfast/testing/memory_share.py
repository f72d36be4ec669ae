"""The share roles in memory: the references of their contracts, and what their clients see."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from holdfast.errors import ConflictError, UnavailableError
from holdfast.hooks.share import (
    SNAPSHOTS_FOLDER,
    NfsDriver,
    NfsExposure,
    OpenFile,
    ShareDriver,
    ShareGroup,
    ShareSession,
    ShareUser,
    ShownSnapshot,
    SmbDriver,
    SmbExposure,
)

E = TypeVar("E", SmbExposure, NfsExposure)
NOTHING, READ, WRITE = 0, 1, 2


@dataclass(eq=False)
class MemorySession:
    """A client with a share, which holds one file open for writing, or for reading where it may not write."""

    share: str
    client: str
    user: str | None
    is_writing: bool
    right: int
    """What the server grants it: told once where a server tells it once."""
    is_open: bool = True

    def write(self) -> bool:
        """Write to the open file; False if that is refused."""
        return self.is_open and self.is_writing and self.right == WRITE


@dataclass
class _Served(Generic[E]):
    exposures: dict[str, E] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    """Shares that somebody else offers with the same server, and their directories."""
    sessions: list[MemorySession] = field(default_factory=list)


class MemoryShares(ShareDriver[E]):
    """What both protocols have in common. Subclasses say who may what."""

    def __init__(self) -> None:
        self.served: _Served[E] = _Served()
        self.open_in: list[ShownSnapshot] = []
        """Snapshots in which a client has something open."""

    def right_of(self, exposure: E, client: str, user: str | None) -> int:
        """What a client may do with a share."""
        raise AssertionError("override this")

    def check_path(self, path: str) -> None:
        """Raise UnavailableError for a directory that cannot be offered."""
        if os.path.realpath(path) != path or not Path(path).is_dir():
            raise UnavailableError(f"{path} is no directory that can be offered")

    def may(self, share: str, client: str, user: str | None) -> int:
        """What a client that comes now may do."""
        exposure = self.served.exposures.get(share)
        return NOTHING if exposure is None else self.right_of(exposure, client, user)

    def connect(self, share: str, client: str, user: str | None = None) -> MemorySession | None:
        """Come as a client, and open a file; None if nothing is granted."""
        right = self.may(share, client, user)
        if right == NOTHING:
            return None
        session = MemorySession(share, client, user, right == WRITE, right)
        self.served.sessions.append(session)
        return session

    def shown(self, share: str) -> tuple[ShownSnapshot, ...]:
        """The snapshots of a share that clients see."""
        exposure = self.served.exposures.get(share)
        return () if exposure is None else exposure.snapshots or ()

    def open_snapshot(self, share: str, client: str, user: str | None, name: str, *, for_writing: bool = False) -> bool:
        """Come as a client, and open something in a snapshot; whether that is granted."""
        found = [each for each in self.shown(share) if each.name == name]
        if not found or self.may(share, client, user) == NOTHING or (for_writing and not self.writes_snapshots):
            return False
        self.open_in += found
        return True

    writes_snapshots = False

    def let_go(self) -> None:
        """Take from clients what they have open in snapshots that are shown no more."""
        shown = {each for share in self.served.exposures for each in self.shown(share)}
        self.open_in = [each for each in self.open_in if each in shown]

    def settle(self, is_meant: Callable[[MemorySession], bool]) -> None:
        """Hold sessions to what their clients may do now."""
        for session in filter(is_meant, self.served.sessions):
            right = self.may(session.share, session.client, session.user)
            session.is_open = session.is_open and right >= session.right
            session.right = right
        self.served.sessions = [session for session in self.served.sessions if session.is_open]

    async def expose(self, exposure: E) -> E:
        """See ShareDriver."""
        self.check_path(exposure.path)
        if exposure.share in self.served.foreign:
            raise ConflictError(f"somebody else offers a share {exposure.share}")
        for each in exposure.snapshots or ():
            self.check_path(each.path)
        self.served.exposures[exposure.share] = exposure
        self.let_go()
        self.settle(lambda session: session.share == exposure.share)
        return exposure

    async def withdraw(self, share: str) -> None:
        """See ShareDriver."""
        self.served.exposures.pop(share, None)
        self.let_go()
        self.settle(lambda session: session.share == share)

    async def list_exposures(self) -> tuple[E, ...]:
        """See ShareDriver."""
        return tuple(self.served.exposures[name] for name in sorted(self.served.exposures))

    async def list_sessions(self) -> tuple[ShareSession, ...]:
        """See ShareDriver."""
        found = [
            ShareSession(s.share, s.client, s.user, (OpenFile("held", s.is_writing),)) for s in self.served.sessions
        ]
        return tuple(sorted(found, key=lambda session: (session.share, session.client)))


class MemorySmb(MemoryShares[SmbExposure], SmbDriver):
    """See SmbDriver."""

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[str, ShareUser] = {}
        self.groups: dict[str, ShareGroup] = {}
        self.system_names = {"root": 0}
        """Accounts of somebody else, and their numbers."""

    def right_of(self, exposure: SmbExposure, client: str, user: str | None) -> int:
        """See MemoryShares."""
        groups = {group.name for group in self.groups.values() if user in group.members}
        if user not in self.users:
            return NOTHING
        if user in exposure.write_users or groups.intersection(exposure.write_groups):
            return READ if exposure.is_read_only else WRITE
        return READ if user in exposure.read_users or groups.intersection(exposure.read_groups) else NOTHING

    def log_in(self, share: str, user: str, password: str) -> MemorySession | None:
        """Come with a name and a password."""
        known = self.users.get(user)
        is_right = known is not None and known.password.reveal() == password
        return self.connect(share, "127.0.0.1", user) if is_right else None

    async def set_accounts(self, users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...]) -> None:
        """See SmbDriver."""
        self.refuse_foreign(users, groups)
        before = self.users
        self.users = {user.name: user for user in users}
        self.groups = {group.name: group for group in groups}
        for session in self.served.sessions:
            name = session.user or ""
            old, new = before.get(name), self.users.get(name)
            if old is None or new is None or old.password_version != new.password_version:
                session.is_open = False
        self.settle(lambda session: True)

    def refuse_foreign(self, users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...]) -> None:
        """Raise ConflictError for a name or a number of somebody else's."""
        numbers = {**{user.name: user.uid for user in users}, **{group.name: group.gid for group in groups}}
        for name, number in numbers.items():
            if name in self.system_names or number in self.system_names.values():
                raise ConflictError(f"{name} or {number} is an account of the system")

    async def list_accounts(self) -> tuple[tuple[str, ...], tuple[ShareGroup, ...]]:
        """See SmbDriver."""
        members = [replace(group, members=tuple(sorted(group.members))) for group in self.groups.values()]
        return tuple(sorted(self.users)), tuple(sorted(members, key=lambda group: group.name))


class MemoryNfs(MemoryShares[NfsExposure], NfsDriver):
    """See NfsDriver."""

    def right_of(self, exposure: NfsExposure, client: str, user: str | None) -> int:
        """See MemoryShares. The closest network counts, as with exportfs."""
        address = ipaddress.ip_address(client)
        found = [allowed for allowed in exposure.clients if address in ipaddress.ip_network(allowed.network)]
        if not found:
            return NOTHING
        closest = max(found, key=lambda allowed: ipaddress.ip_network(allowed.network).prefixlen)
        return READ if exposure.is_read_only or closest.is_read_only else WRITE

    async def expose(self, exposure: NfsExposure) -> NfsExposure:
        """See ShareDriver."""
        self.check_folder(exposure)
        return await super().expose(exposure)

    def check_folder(self, exposure: NfsExposure) -> None:
        """Raise ConflictError for files of the share itself where its snapshots would be seen."""
        folder = Path(exposure.path) / SNAPSHOTS_FOLDER
        if exposure.snapshots is not None and folder.is_dir() and any(folder.iterdir()):
            raise ConflictError(f"{folder} is not empty")
