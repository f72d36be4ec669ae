"""What every role shares: the offer a plugin makes, the host it is given, the driver it opens."""

from __future__ import annotations

from abc import ABC
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pluggy
from marshmallow import Schema

from holdfast.errors import UnsupportedError
from holdfast.system.clock import Clock
from holdfast.system.command import Commands
from holdfast.system.kernelfs import KernelFs

PROJECT = "holdfast"
ENTRY_POINT_GROUP = "holdfast.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, order=True)
class ContractVersion:
    """A plugin works if its `major` equals the core's and its `minor` is not above the core's."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


CONTRACT = ContractVersion(1, 0)


class Can(StrEnum):
    """Optional operations. A driver declares those it has; the others raise UnsupportedError."""

    VOLUME_NAS = "volume.nas"
    VOLUME_SNAPSHOT = "volume.snapshot"
    VOLUME_GROW = "volume.grow"
    VOLUME_FILE = "volume.file"
    SNAPSHOT_GROW = "snapshot.grow"
    SNAPSHOT_ROLL_BACK = "snapshot.roll-back"
    SNAPSHOT_COPY = "snapshot.copy"
    VOLUME_THIN = "volume.thin"
    VOLUME_EXT4 = "volume.ext4"
    POOL_DISKS = "pool.disks"
    POOL_RENAME = "pool.rename"
    POOL_IMPORT = "pool.import"
    DISK_HEALTH = "disk.health"
    MIRROR_VERIFY = "mirror.verify"
    MIRROR_SYNC_CONTROL = "mirror.sync-control"
    MIRROR_GROW = "mirror.grow"
    MIRROR_VOLUMES = "mirror.volumes"
    MIRROR_DETACH = "mirror.detach"
    COPY_AGENT = "copy.agent"
    COPY_CHANGES = "copy.changes"
    TARGET_CHAP = "target.chap"
    TARGET_CLOSE = "target.close"
    TARGET_DISCOVERY = "target.discovery"
    TARGET_RESERVATIONS = "target.reservations"
    FAILOVER_TAKEOVER = "failover.takeover"


@dataclass(frozen=True)
class Missing:
    """Something a plugin needs and this machine lacks, and what a person does about it."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Host:
    """What a plugin may touch: nothing of the machine is reached in another way."""

    node: str
    commands: Commands
    kernel: KernelFs
    clock: Clock
    state_dir: Path
    """Survives a reboot; a directory of the plugin's own, mode 0700."""
    run_dir: Path
    """Gone after a reboot; a directory of the plugin's own, mode 0700."""


class Driver(ABC):
    """A mechanism at work. Every operation may be repeated and may be interrupted:

    exists as asked is success, exists otherwise is ConflictError, deleting the absent is success, and
    what is returned was read back.
    """

    can: ClassVar[frozenset[Can]] = frozenset()

    async def close(self) -> None:
        """Release what `open` took. The data planes go on: nothing served stops."""

    def unsupported(self, operation: str) -> UnsupportedError:
        """The error of an optional operation that this driver does not declare."""
        return UnsupportedError(f"{type(self).__name__} does not support {operation}")


D = TypeVar("D", bound=Driver)


@dataclass(frozen=True)
class Offer(Generic[D]):
    """A plugin's word that it can play a role.

    Core judges it in this order and stops at the first no: `api` against CONTRACT, the
    configured settings through `settings` (whose load gives a frozen dataclass), `probe`, `open`.
    """

    name: str
    """The word used in configuration and API, such as `lvm`."""
    api: ContractVersion
    settings: type[Schema]
    probe: Callable[[Any, Host], Awaitable[tuple[Missing, ...]]]
    """Say what is missing. It changes nothing: no module is loaded, no file written."""
    open: Callable[[Any, Host], Awaitable[D]]
    """Make the driver. Raises HoldfastError with the reason when it cannot."""
