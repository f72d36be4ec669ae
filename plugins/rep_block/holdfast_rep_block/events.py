"""What `drbdsetup events2` prints, and the picture of the kernel's state that follows from it.

Pure. The words are DRBD 8.4's (drbd_strings.c); numbers of bytes are printed in KiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from holdfast.hooks.replication import (
    ConnectionState,
    DiskState,
    MirrorStatus,
    MirrorVolumeStatus,
    ReplicationState,
    Role,
    Suspension,
)
from holdfast_rep_block.progress import NOTHING, Progress

DEVICE_PREFIX = "/dev/drbd"

_CONNECTIONS = {
    "StandAlone": ConnectionState.STANDALONE,
    "Connected": ConnectionState.CONNECTED,
    # On its way to StandAlone, or to the next attempt: neither is settled.
    "Disconnecting": ConnectionState.UNKNOWN,
    "Unconnected": ConnectionState.CONNECTING,
    "Timeout": ConnectionState.CONNECTING,
    "BrokenPipe": ConnectionState.CONNECTING,
    "NetworkFailure": ConnectionState.CONNECTING,
    "ProtocolError": ConnectionState.CONNECTING,
    "TearDown": ConnectionState.CONNECTING,
    "Connecting": ConnectionState.CONNECTING,
}

_REPLICATIONS = {
    "Off": ReplicationState.OFF,
    "Established": ReplicationState.ESTABLISHED,
    "StartingSyncS": ReplicationState.SYNC_SOURCE,
    "WFBitMapS": ReplicationState.SYNC_SOURCE,
    "SyncSource": ReplicationState.SYNC_SOURCE,
    "StartingSyncT": ReplicationState.SYNC_TARGET,
    "WFBitMapT": ReplicationState.SYNC_TARGET,
    "WFSyncUUID": ReplicationState.SYNC_TARGET,
    "SyncTarget": ReplicationState.SYNC_TARGET,
    "VerifyS": ReplicationState.VERIFY,
    "VerifyT": ReplicationState.VERIFY,
    "PausedSyncS": ReplicationState.PAUSED,
    "PausedSyncT": ReplicationState.PAUSED,
}

# Several may hold at once, printed with commas; the one that says most comes first.
_SUSPENSIONS = (Suspension.FENCING, Suspension.NO_DATA, Suspension.USER)


@dataclass(frozen=True)
class Event:
    """One line: `verb` is exists, create, change, destroy, call or response; `kind` is what it speaks of."""

    verb: str
    kind: str
    fields: Mapping[str, str]

    @property
    def is_end_of_dump(self) -> bool:
        """Whether all that existed at the start has been told."""
        return self.verb == "exists" and self.kind == "-"


def parse(line: str) -> Event | None:
    """Read one line; None for what is not an event."""
    words = line.split()
    if len(words) < 2:
        return None
    pairs = (word.partition(":") for word in words[2:])
    return Event(words[0], words[1], {key: value for key, sign, value in pairs if sign})


@dataclass
class Resource:
    """One DRBD resource as told so far: the newest value of each field."""

    name: str
    resource: dict[str, str] = field(default_factory=dict)
    connection: dict[str, str] = field(default_factory=dict)
    devices: dict[int, dict[str, str]] = field(default_factory=dict)
    peer_devices: dict[int, dict[str, str]] = field(default_factory=dict)

    @property
    def minors(self) -> tuple[int, ...]:
        """The minors of its volumes, in the volumes' order."""
        return tuple(int(self.devices[number]["minor"]) for number in sorted(self.devices))

    @property
    def is_connection_configured(self) -> bool:
        """Whether the kernel holds addresses for it; a connection without a name is a stand-in."""
        return "conn-name" in self.connection

    @property
    def connection_state(self) -> ConnectionState:
        """See ConnectionState."""
        return _CONNECTIONS.get(self.connection.get("connection", "StandAlone"), ConnectionState.UNKNOWN)

    @property
    def role(self) -> Role:
        """The role here."""
        return _role(self.resource)

    def status(self, working: Mapping[int, Progress] | None = None) -> MirrorStatus:
        """The contract's view; `working` by minor number."""
        suspended = self.resource.get("suspended", "no").split(",")
        return MirrorStatus(
            name=self.name,
            is_up=True,
            role=self.role,
            peer_role=_role(self.connection),
            connection=self.connection_state,
            suspended=next((s for s in _SUSPENSIONS if s.value in suspended), Suspension.NO),
            volumes=tuple(self._volume(number, working or {}) for number in sorted(self.devices)),
        )

    def _volume(self, number: int, working: Mapping[int, Progress]) -> MirrorVolumeStatus:
        device = self.devices[number]
        peer = self.peer_devices.get(number, {})
        replication = _REPLICATIONS.get(peer.get("replication", "Off"), ReplicationState.OTHER)
        is_working = replication in (
            ReplicationState.SYNC_SOURCE,
            ReplicationState.SYNC_TARGET,
            ReplicationState.VERIFY,
            ReplicationState.PAUSED,
        )
        now = working.get(int(device["minor"]), NOTHING) if is_working else NOTHING
        return MirrorVolumeStatus(
            number=number,
            device=device_path(int(device["minor"])),
            disk=_disk(device.get("disk")),
            peer_disk=_disk(peer.get("peer-disk")),
            replication=replication,
            out_of_sync_bytes=_bytes(peer, "out-of-sync"),
            sent_bytes=_bytes(peer, "sent"),
            received_bytes=_bytes(peer, "received"),
            done_percent=now.done_percent,
            size_bytes=int(device["size"]) * 1024 if device.get("size", "0") != "0" else None,
            to_go_bytes=now.to_go_bytes,
            rate_bytes_s=now.rate_bytes_s,
        )


class Picture:
    """The state of all resources, built by applying events in order."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self.resources: dict[str, Resource] = {}
        for line in lines:
            if event := parse(line):
                self.apply(event)

    def apply(self, event: Event) -> str | None:
        """Take an event in; return the name of the resource it speaks of, None if it speaks of none."""
        name = event.fields.get("name")
        if name is None:
            return None
        if event.kind == "resource" and event.verb == "destroy":
            self.resources.pop(name, None)
        elif event.kind in ("resource", "connection", "device", "peer-device"):
            _apply(self.resources.setdefault(name, Resource(name)), event)
        return name

    def status(self, name: str) -> MirrorStatus:
        """The contract's view of a mirror, also of one that the kernel does not have."""
        resource = self.resources.get(name)
        return absent(name) if resource is None else resource.status()


def _apply(resource: Resource, event: Event) -> None:
    number = int(event.fields.get("volume", "0"))
    is_gone = event.verb == "destroy"
    if event.kind == "resource":
        resource.resource.update(event.fields)
    elif event.kind == "connection":
        # Without a peer the kernel tells of a stand-in, StandAlone and nameless.
        resource.connection = {} if is_gone else {**resource.connection, **event.fields}
    elif event.kind == "device" and is_gone:
        resource.devices.pop(number, None)
        resource.peer_devices.pop(number, None)
    elif event.kind == "device":
        resource.devices.setdefault(number, {}).update(event.fields)
    elif is_gone:
        # The peer's last known disk state outlives the connection; it was told before.
        resource.peer_devices.get(number, {}).update(replication="Off")
    else:
        resource.peer_devices.setdefault(number, {}).update(event.fields)


def device_path(minor: int) -> str:
    """The mirrored device of a minor number."""
    return f"{DEVICE_PREFIX}{minor}"


def absent(name: str) -> MirrorStatus:
    """The status of a mirror that the kernel does not have."""
    return MirrorStatus(name, False, Role.UNKNOWN, Role.UNKNOWN, ConnectionState.UNKNOWN, Suspension.NO, ())


def _role(fields: Mapping[str, str]) -> Role:
    return {"Primary": Role.PRIMARY, "Secondary": Role.SECONDARY}.get(fields.get("role", ""), Role.UNKNOWN)


def _disk(word: str | None) -> DiskState:
    try:
        return DiskState(word or DiskState.UNKNOWN)
    except ValueError:
        return DiskState.UNKNOWN


def _bytes(fields: Mapping[str, str], key: str) -> int:
    return int(fields.get(key, "0")) * 1024
