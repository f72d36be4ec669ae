"""What the user asked for of shares offered to clients, and of who may use them."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.hooks.share import NfsClient, NfsExposure, ShownSnapshot, SmbExposure


@dataclass(frozen=True)
class SmbOfferDocument:
    """A share offered by SMB."""

    share: str
    read_users: tuple[str, ...] = ()
    read_groups: tuple[str, ...] = ()
    write_users: tuple[str, ...] = ()
    write_groups: tuple[str, ...] = ()
    is_read_only: bool = False
    is_hidden: bool = False
    shows_snapshots: bool = False

    def exposure(self, path: str, snapshots: tuple[ShownSnapshot, ...] | None, *, is_replica: bool) -> SmbExposure:
        """What is asked of the driver. A destination of replication is written to by nobody else."""
        return SmbExposure(
            self.share,
            path,
            read_users=tuple(sorted(self.read_users)),
            read_groups=tuple(sorted(self.read_groups)),
            write_users=tuple(sorted(self.write_users)),
            write_groups=tuple(sorted(self.write_groups)),
            is_read_only=self.is_read_only or is_replica,
            is_hidden=self.is_hidden,
            snapshots=snapshots,
        )

    def names(self, noun: str) -> frozenset[str]:
        """The `users` or the `groups` in its lists."""
        return frozenset(
            (*self.read_users, *self.write_users) if noun == "users" else (*self.read_groups, *self.write_groups)
        )


@dataclass(frozen=True)
class NfsOfferDocument:
    """A share offered by NFS."""

    share: str
    fsid: str
    """A UUID, made once: clients know the file system by it."""
    clients: tuple[NfsClient, ...] = ()
    is_read_only: bool = False
    shows_snapshots: bool = False

    def exposure(self, path: str, snapshots: tuple[ShownSnapshot, ...] | None, *, is_replica: bool) -> NfsExposure:
        """As for SMB."""
        clients = tuple(sorted(self.clients, key=lambda client: client.network))
        return NfsExposure(self.share, path, self.fsid, clients, self.is_read_only or is_replica, snapshots)


@dataclass(frozen=True)
class ShareUserDocument:
    """Somebody who may use shares, and owns files by a number."""

    name: str
    uid: int
    password: str
    """A reference into the secrets; another one with each new password."""
    label: str = ""


@dataclass(frozen=True)
class ShareGroupDocument:
    """Several users."""

    name: str
    gid: int
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShareNumbersDocument:
    """The next numbers to give: one that was given is never given again, as files may still belong to it."""

    uid: int
    gid: int
