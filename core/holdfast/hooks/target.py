"""The target role: exporting block devices to initiators."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from holdfast.hooks.base import Driver, Offer, hookspec
from holdfast.values import Secret


class Fabric(StrEnum):
    """What carries the commands of a target; told by the form of its name."""

    ISCSI = "iscsi"
    """`iqn.…`"""
    LOOPBACK = "loopback"
    """`naa.…`: a SCSI disk of this very machine, for hypervisors and tests on it."""
    FC = "fc"
    """`01:23:…`, eight bytes: the name of a port of a Fibre Channel card."""
    FCOE = "fcoe"
    """`fcoe.01:23:…`: the same over Ethernet, by the kernel's own libfc."""


def fabric_of(name: str) -> Fabric:
    """The fabric of a target's name."""
    for prefix, fabric in (("iqn.", Fabric.ISCSI), ("naa.", Fabric.LOOPBACK), ("fcoe.", Fabric.FCOE)):
        if name.startswith(prefix):
            return fabric
    return Fabric.FC


class TargetState(StrEnum):
    """How much of a target is in the kernel."""

    ABSENT = "absent"
    STAGED = "staged"
    """Everything that may exist before the data is reachable; no login is accepted."""
    ACTIVE = "active"
    PARTIAL = "partial"
    """Neither of these: an interrupted change."""


@dataclass(frozen=True)
class Portal:
    """Where a target listens. The address may be absent from the node: it is bound all the same."""

    address: str
    port: int = 3260


@dataclass(frozen=True)
class LogicalUnit:
    """One LUN. Everything here is the same on both nodes but `device`, whose path is the same too for a mirror."""

    lun: int
    name: str
    """The kernel object's name, unique on the pair."""
    device: str
    """A block device, or with `file_bytes` a file: its absolute path."""
    serial: str
    """The unit serial number: 16 to 64 hexadecimal digits, for the NAA identifier is made of them; kept for ever."""
    vendor: str = "HOLDFAST"
    product: str = "volume"
    revision: str = "1"
    is_read_only: bool = False
    block_size_bytes: int = 512
    """What the initiator is told; never less than the device's own. Another size needs the unit to be made afresh."""
    may_unmap: bool = False
    """Whether UNMAP and WRITE SAME with the unmap bit reach the device, which must support them then."""
    optimal_blocks: int | None = None
    """The longest transfer that the initiator is advised to make, in blocks of the unit; None: the device's own."""
    file_bytes: int | None = None
    """The size of a unit that is a file; None for a block device. A file that is absent or smaller is never made or
    changed: `activate` refuses it (NotFoundError, ConflictError). Of one that is larger no more than this is served. A
    unit that only becomes larger is served all the while; its initiators see it when they rescan."""
    has_write_cache: bool = False
    """Of a file only: answer a write before it is on the disk. The unit tells its initiators of the cache. What they
    did not flush is lost with the node. Without it each write is on the disk before it is answered."""


@dataclass(frozen=True)
class Chap:
    """Credentials; with `mutual_user` the target proves itself too."""

    user: str
    password: Secret
    mutual_user: str | None = None
    mutual_password: Secret | None = None


@dataclass(frozen=True)
class InitiatorAccess:
    """One client that may log in."""

    initiator: str
    """Its IQN."""
    chap: Chap | None = None
    cmdsn_depth: int = 64
    """How many commands it may have under way. A change closes its sessions; it logs in again."""


@dataclass(frozen=True)
class TargetSpec:
    """A target as asked for, the same value on both nodes."""

    name: str
    iqn: str
    """Its name on the wire: an IQN, or the name of another fabric (see `fabric_of`)."""
    portals: tuple[Portal, ...]
    units: tuple[LogicalUnit, ...]
    access: tuple[InitiatorAccess, ...]
    """Empty: nobody may log in. There is no open export by accident."""
    is_open: bool = False
    """Anybody may log in and write, without a password. What `access` says of an initiator still holds for it."""


@dataclass(frozen=True)
class TargetSession:
    """An initiator logged in now. Counts grow while it is, from any beginning; None where the kernel does not tell."""

    initiator: str
    address: str | None
    port: int | None
    """The initiator's own address and TCP port, for the tickle after a takeover."""
    id: str | None = None
    """What tells this login from the next one of the same initiator."""
    commands: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None


@dataclass(frozen=True)
class Reservations:
    """The persistent reservations of one unit that are to outlive a power cut (SPC-4, APTPL)."""

    serial: str
    """The unit's."""
    text: str
    """What the driver keeps; nobody else reads it. Empty: none."""


class TargetDriver(Driver):
    """Builds targets by one mechanism."""

    @abstractmethod
    async def stage(self, spec: TargetSpec) -> None:
        """Make all that needs no readable device, so that `activate` is short. Nothing accepts logins.

        Differences to an existing target are applied. An active target stays active.
        """

    @abstractmethod
    async def activate(self, spec: TargetSpec) -> None:
        """Serve: devices opened, LUNs linked, logins accepted, and read back. Stages first where needed."""

    @abstractmethod
    async def deactivate(self, name: str, iqn: str) -> None:
        """Accept no login, end the sessions, let go of every device; what `stage` made may stay.

        On return no device is held open. Raises BusyError, naming what is stuck, at the driver's own deadline.
        """

    @abstractmethod
    async def remove(self, name: str, iqn: str) -> None:
        """Take it out of the kernel wholly; the absent is success. Nothing that is not ours is touched."""

    @abstractmethod
    async def state(self, spec: TargetSpec) -> TargetState:
        """How much of `spec` is in the kernel."""

    @abstractmethod
    async def serves(self, iqn: str) -> bool:
        """Whether it accepts logins now. Cheap: asked several times a second."""

    @abstractmethod
    async def read(self, iqn: str) -> TargetSpec | None:
        """The target as the kernel has it (secrets are not read: None in their place), or None if absent."""

    @abstractmethod
    async def list_iqns(self) -> tuple[str, ...]:
        """Every target in the kernel, foreign ones included."""

    @abstractmethod
    async def list_sessions(self, iqn: str) -> tuple[TargetSession, ...]:
        """Who is logged in."""

    async def close_sessions(self, iqn: str, initiator: str) -> None:
        """End every session of an initiator; it may log in again. Nobody else's is touched.

        Raises NotFoundError when it has none, ConflictError when it came in by an open export, which keeps
        nothing of it that could be closed.
        """
        raise self.unsupported("closing a session")

    async def set_discovery(self, chap: Chap | None) -> None:
        """Ask every initiator that looks for targets on this node for these credentials; None: ask for none."""
        raise self.unsupported("authentication of discovery")

    async def discovery_differs(self, chap: Chap | None) -> bool:
        """Whether discovery is otherwise than `set_discovery(chap)` would leave it."""
        raise self.unsupported("authentication of discovery")

    async def read_reservations(self, serials: Sequence[str]) -> tuple[Reservations, ...]:
        """What each of these units has: as of now where it is served, else what it will begin with."""
        raise self.unsupported("keeping of reservations")

    async def keep_reservations(self, found: Reservations) -> None:
        """Keep durably what the node that serves a unit has; the next `activate` here begins with it.

        Raises ConflictError while the unit is served here: this node knows better then.
        """
        raise self.unsupported("keeping of reservations")


class TargetHooks:
    """Hook specs of the target role."""

    @hookspec
    def target_driver(self) -> Offer[TargetDriver]:
        """Asked once at start: return your offer."""
        raise AssertionError("a specification is never called")

    @hookspec
    async def target_changed(self, target: str, what: str) -> None:
        """Told after a target was made, changed, started, stopped or removed (`what`)."""
