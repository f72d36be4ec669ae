"""The reference driver of the target role: targets in memory, for tests of core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from holdfast.errors import BusyError, ConflictError, NotFoundError, Reason
from holdfast.hooks.base import Can
from holdfast.hooks.target import Chap, Reservations, TargetDriver, TargetSession, TargetSpec, TargetState


@dataclass
class _Entry:
    spec: TargetSpec
    is_active: bool = False
    sessions: list[TargetSession] = field(default_factory=list)


class MemoryTargets(TargetDriver):
    """See TargetDriver.

    `can_open` says whether a device may be opened now, as a mirror would: only while it is Primary.
    """

    can = frozenset({Can.TARGET_CHAP, Can.TARGET_CLOSE, Can.TARGET_DISCOVERY, Can.TARGET_RESERVATIONS})

    def __init__(self, can_open: Callable[[str], bool] = lambda device: "absent" not in device) -> None:
        self._can_open = can_open
        self._entries: dict[str, _Entry] = {}
        self.held_devices: set[str] = set()
        """What targets hold open now."""
        self.stuck_iqns: set[str] = set()
        """Targets whose sessions do not end: deactivating and removing them raises BusyError."""
        self.discovery: Chap | None = None
        self.reservations: dict[str, str] = {}
        """Serial to what is reserved now, or what will be once the unit is served here."""

    def log_in(self, iqn: str, initiator: str, address: str, port: int) -> bool:
        """Try a login as a client would; False if it is refused."""
        entry = self._entries.get(iqn)
        if entry is None or not entry.is_active:
            return False
        if not entry.spec.is_open and initiator not in {access.initiator for access in entry.spec.access}:
            return False
        entry.sessions.append(TargetSession(initiator, address, port))
        return True

    async def stage(self, spec: TargetSpec) -> None:
        """See TargetDriver."""
        entry = self._entries.setdefault(spec.iqn, _Entry(spec))
        if entry.is_active:
            self._open(spec, already=entry.spec)
            allowed = {access.initiator for access in spec.access}
            entry.sessions = [session for session in entry.sessions if session.initiator in allowed]
        entry.spec = spec

    async def activate(self, spec: TargetSpec) -> None:
        """See TargetDriver."""
        await self.stage(spec)
        entry = self._entries[spec.iqn]
        if not entry.is_active:
            self._open(spec)
            entry.is_active = True

    async def deactivate(self, name: str, iqn: str) -> None:
        """See TargetDriver."""
        entry = self._entries.get(iqn)
        if entry is None or not entry.is_active:
            return
        if iqn in self.stuck_iqns:
            reasons = [
                Reason("session-stuck", f"{session.initiator} has not ended", "reset this node")
                for session in entry.sessions
            ]
            raise BusyError(f"sessions of {iqn} do not end", reasons=reasons)
        entry.sessions.clear()
        entry.is_active = False
        self.held_devices -= _devices(entry.spec)

    async def remove(self, name: str, iqn: str) -> None:
        """See TargetDriver."""
        await self.deactivate(name, iqn)
        self._entries.pop(iqn, None)

    async def state(self, spec: TargetSpec) -> TargetState:
        """See TargetDriver."""
        entry = self._entries.get(spec.iqn)
        if entry is None:
            return TargetState.ABSENT
        if entry.spec != spec:
            return TargetState.PARTIAL
        return TargetState.ACTIVE if entry.is_active else TargetState.STAGED

    async def serves(self, iqn: str) -> bool:
        """See TargetDriver."""
        return iqn in self._entries and self._entries[iqn].is_active

    async def read(self, iqn: str) -> TargetSpec | None:
        """See TargetDriver."""
        entry = self._entries.get(iqn)
        if entry is None:
            return None
        return replace(entry.spec, access=tuple(replace(access, chap=None) for access in entry.spec.access))

    async def list_iqns(self) -> tuple[str, ...]:
        """See TargetDriver."""
        return tuple(sorted(self._entries))

    async def list_sessions(self, iqn: str) -> tuple[TargetSession, ...]:
        """See TargetDriver."""
        entry = self._entries.get(iqn)
        return tuple(entry.sessions) if entry else ()

    async def close_sessions(self, iqn: str, initiator: str) -> None:
        """See TargetDriver."""
        entry = self._entries.get(iqn)
        kept = [] if entry is None else [session for session in entry.sessions if session.initiator != initiator]
        if entry is None or kept == entry.sessions:
            raise NotFoundError(f"{initiator} has no session with {iqn}")
        if initiator not in {access.initiator for access in entry.spec.access}:
            raise ConflictError(f"{initiator} came in by an open export")
        entry.sessions = kept

    async def set_discovery(self, chap: Chap | None) -> None:
        """See TargetDriver."""
        self.discovery = chap

    async def discovery_differs(self, chap: Chap | None) -> bool:
        """See TargetDriver."""
        return self.discovery != chap

    async def read_reservations(self, serials: Sequence[str]) -> tuple[Reservations, ...]:
        """See TargetDriver."""
        return tuple(Reservations(serial, self.reservations.get(serial, "")) for serial in serials)

    async def keep_reservations(self, found: Reservations) -> None:
        """See TargetDriver."""
        for entry in self._entries.values():
            if entry.is_active and found.serial in {unit.serial for unit in entry.spec.units}:
                raise ConflictError(f"the unit {found.serial} is served here")
        self.reservations[found.serial] = found.text

    def _open(self, spec: TargetSpec, already: TargetSpec | None = None) -> None:
        """Hold the devices of `spec` instead of those of `already`; all or none."""
        before = _devices(already) if already else set()
        for unit in spec.units:
            if unit.file_bytes is None:
                continue
            if not Path(unit.device).exists():
                raise NotFoundError(f"the file {unit.device} cannot be opened")
            if Path(unit.device).stat().st_size < unit.file_bytes:
                raise ConflictError(f"the file {unit.device} has less than {unit.file_bytes} bytes")
        files = {unit.device for unit in spec.units if unit.file_bytes is not None}
        for device in sorted(_devices(spec) - before):
            if device not in files and not self._can_open(device):
                raise NotFoundError(f"the device {device} cannot be opened")
            if device in self.held_devices:
                raise BusyError(f"the device {device} is in use")
        self.held_devices = self.held_devices - before | _devices(spec)


def _devices(spec: TargetSpec) -> set[str]:
    return {unit.device for unit in spec.units}
