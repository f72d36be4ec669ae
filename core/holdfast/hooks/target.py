"""The target role: exporting block devices to initiators."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from enum import StrEnum

from holdfast.hooks.base import Driver, Offer, hookspec
from holdfast.values import Secret


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
    serial: str
    """The unit serial number: 16 to 64 hexadecimal digits, for the NAA identifier is made of them; kept for ever."""
    vendor: str = "HOLDFAST"
    product: str = "volume"
    revision: str = "1"
    is_read_only: bool = False


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


@dataclass(frozen=True)
class TargetSpec:
    """A target as asked for, the same value on both nodes."""

    name: str
    iqn: str
    portals: tuple[Portal, ...]
    units: tuple[LogicalUnit, ...]
    access: tuple[InitiatorAccess, ...]
    """Empty: nobody may log in. There is no open export by accident."""


@dataclass(frozen=True)
class TargetSession:
    """An initiator logged in now."""

    initiator: str
    address: str | None
    port: int | None
    """The initiator's own address and TCP port, for the tickle after a takeover."""


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
    async def read(self, iqn: str) -> TargetSpec | None:
        """The target as the kernel has it (secrets are not read: None in their place), or None if absent."""

    @abstractmethod
    async def list_iqns(self) -> tuple[str, ...]:
        """Every target in the kernel, foreign ones included."""

    @abstractmethod
    async def list_sessions(self, iqn: str) -> tuple[TargetSession, ...]:
        """Who is logged in."""


class TargetHooks:
    """Hook specs of the target role."""

    @hookspec
    def target_driver(self) -> Offer[TargetDriver]:
        """Asked once at start: return your offer."""
        raise AssertionError("a specification is never called")

    @hookspec
    async def target_changed(self, target: str, what: str) -> None:
        """Told after a target was made, changed, started, stopped or removed (`what`)."""
