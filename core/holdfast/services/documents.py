"""What the user asked for, one frozen document for each noun. No document holds a secret: only a reference to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from holdfast.hooks.failover import GroupPlan, VirtualAddress
from holdfast.hooks.links import Link, WitnessHost, with_ping_nodes
from holdfast.hooks.replication import MirrorEndpoint, MirrorSpec, MirrorVolume, SyncLimits
from holdfast.hooks.target import Portal
from holdfast.hooks.volume import FileSystem, IoType, VolumeKind
from holdfast.planning.failback import DEFAULT_AFTER_S, Failback
from holdfast.planning.mirror_link import LinkMeasurement
from holdfast.planning.schedules import Schedule
from holdfast.values import Secret


@dataclass(frozen=True)
class PoolDocument:
    """A pool of this node."""

    name: str
    disks: tuple[str, ...]
    most_promised_percent: int = 100
    """Of its thin pool's size, what all thin volumes together may be promised."""
    grows_itself: bool = True
    """Its thin pool, when it fills up."""


class ReplicationMode(StrEnum):
    """What a volume is set to before a mirror is made of two that are there (S31)."""

    NONE = "none"
    SOURCE = "source"
    DESTINATION = "destination"
    """What is on it is given up: a mirror may overwrite it, and nobody else may use it."""


@dataclass(frozen=True)
class VolumeDocument:
    """A volume of this node."""

    name: str
    pool: str
    size_bytes: int
    kind: VolumeKind
    label: str = ""
    is_blank: bool = False
    """Nothing but us ever had access to it: only then may it be zeroed without being asked."""
    made_for: str | None = None
    """The mirror, as `mirror:NAME`, that this volume was made for as its destination."""
    mirrored_as: str | None = None
    """The mirrored device that lies above it: whoever uses the volume uses that, and never the volume itself."""
    is_torn: bool = False
    """Its mirror was taken apart before this copy was complete: it holds no usable data."""
    directory_pool: str | None = None
    """The pool that its directory is named after, where it lost its disk, got one elsewhere and stayed mounted."""
    replication_mode: ReplicationMode = ReplicationMode.NONE
    claimed_for: str | None = None
    """The mirror, as `mirror:NAME`, that took this volume, which was there before, as its destination."""
    io_type: IoType = IoType.BLOCK
    file_bytes: int | None = None  # of the file that is the logical unit
    is_thin: bool = False
    file_system: FileSystem = FileSystem.XFS
    worm_retention_s: int | None = None
    """It is write once, and each of its files is retained so long."""

    @property
    def has_file_system(self) -> bool:
        """Whether this node mounts it: a NAS volume, or one for file I/O."""
        return self.kind is VolumeKind.NAS or self.io_type is IoType.FILE

    @property
    def mirror(self) -> str | None:
        """The mirror that this volume is the destination of, also while that is being made."""
        return (self.made_for or self.claimed_for or "").removeprefix("mirror:") or None


@dataclass(frozen=True)
class ShareDocument:
    """A directory of a NAS volume."""

    name: str
    volume: str
    path: str = ""
    """Below the volume's root; empty for the root itself."""


@dataclass(frozen=True)
class MirrorMember:
    """One volume of a mirror; its minor number and size are the same on both nodes."""

    volume: str
    """Its name in the mirror, which is that on the source."""
    minor: int
    size_bytes: int
    pools: dict[str, str]
    """Node to the pool it lies in."""
    devices: dict[str, str]
    metadata_devices: dict[str, str]
    kind: VolumeKind = VolumeKind.ISCSI
    metadata_bytes: int = 0
    """The room that its metadata was given, which bounds how far it can grow."""
    names: dict[str, str] = field(default_factory=dict)
    """Of the destination, the name of its volume there if it was chosen among those that there were."""
    file_bytes: int | None = None
    """Of the file on it that is the logical unit; None with block I/O."""
    number: int = 0
    """Its own in the mirror, the same on both nodes; members are kept in this order."""

    @property
    def io_type(self) -> IoType:
        """That of its volumes."""
        return IoType.BLOCK if self.file_bytes is None else IoType.FILE

    def on(self, node: str) -> str:
        """The name of the volume on a node."""
        return self.names.get(node, self.volume)


@dataclass(frozen=True)
class FirstSyncRecord:
    """How both sides became equal; where a sync was skipped, the proof that it was not needed."""

    how: str
    at: str
    job: str
    proof: tuple[str, ...] = ()


@dataclass(frozen=True)
class MirrorDocument:
    """A mirror, the same document on both nodes."""

    name: str
    source: str
    destination: str
    members: tuple[MirrorMember, ...]
    port: int
    addresses: dict[str, str]
    is_started: bool
    started_at: str | None = None
    is_authenticated: bool = False
    """The peers prove that they know a secret, which each node keeps under `secret_reference`."""
    limits: SyncLimits = field(default_factory=SyncLimits)
    schedule: Schedule | None = None
    """When it is verified by itself."""
    first_sync: FirstSyncRecord | None = None
    link: LinkMeasurement | None = None

    @staticmethod
    def upgraded(plain: Mapping[str, Any]) -> Mapping[str, Any]:
        """A mirror of a version whose volumes had the numbers of their order."""
        if not isinstance(members := plain.get("members"), list):
            return plain
        return {**plain, "members": [{"number": number, **member} for number, member in enumerate(members)]}

    @property
    def secret_reference(self) -> str:
        """Where each node keeps the peers' secret."""
        return f"secret:mirror:{self.name}"

    def other(self, node: str) -> str:
        """The other node's name."""
        return self.destination if node == self.source else self.source

    def spec(self, node: str, secret: Secret | None) -> MirrorSpec:
        """The mirror as `node` sees it."""
        return MirrorSpec(
            name=self.name,
            local=MirrorEndpoint(self.addresses[node], self.port),
            remote=MirrorEndpoint(self.addresses[self.other(node)], self.port),
            volumes=tuple(
                MirrorVolume(
                    volume=member.volume,
                    number=member.number,
                    minor=member.minor,
                    device=member.devices[node],
                    metadata_device=member.metadata_devices[node],
                    size_bytes=member.size_bytes,
                )
                for member in self.members
            ),
            secret=secret,
            limits=self.limits,
        )


@dataclass(frozen=True)
class UnitDocument:
    """One LUN of a target; `serial` is made once. The rest is what the initiator is told."""

    lun: int
    volume: str
    serial: str
    is_read_only: bool = False
    vendor: str = "HOLDFAST"
    product: str = "volume"
    block_size_bytes: int = 512
    may_unmap: bool = False
    optimal_blocks: int | None = None
    has_write_cache: bool = False
    """With file I/O only, never in a failover group."""


@dataclass(frozen=True)
class AccessDocument:
    """An initiator that may log in. Passwords are references into the secrets of this node."""

    initiator: str
    chap_user: str | None = None
    chap_password: str | None = None
    mutual_user: str | None = None
    mutual_password: str | None = None
    cmdsn_depth: int = 64


@dataclass(frozen=True)
class InitiatorGroupDocument:
    """Initiators that are let in together, the same on both nodes but for the references to secrets."""

    name: str
    members: tuple[AccessDocument, ...]


@dataclass(frozen=True)
class DiscoveryDocument:
    """What initiators must know to be told which targets there are. Passwords are references."""

    chap_user: str
    chap_password: str
    mutual_user: str | None = None
    mutual_password: str | None = None


@dataclass(frozen=True)
class TargetDocument:
    """A target; over a mirror the same on both nodes but for the references to secrets."""

    name: str
    iqn: str
    mirror: str | None
    """None: its units are volumes of this node, and this node alone serves it."""
    units: tuple[UnitDocument, ...]
    access: tuple[AccessDocument, ...]
    portals: tuple[Portal, ...] = ()
    """Empty: the virtual addresses of its group."""
    initiator_groups: tuple[str, ...] = ()
    is_open: bool = False


@dataclass(frozen=True)
class FailoverDocument:
    """The links, the ping nodes and the witness, as this node sees them."""

    links: tuple[Link, ...]
    ping_nodes: tuple[str, ...] = ()
    witness: WitnessHost | None = None
    upgraded = staticmethod(with_ping_nodes)


@dataclass(frozen=True)
class GroupDocument:
    """A failover group, the same on both nodes."""

    name: str
    revision: int
    mirror: str
    targets: tuple[str, ...]
    addresses: tuple[VirtualAddress, ...]
    preferred: str
    is_started: bool = False
    failback: Failback = Failback.MANUAL
    failback_after_s: int = DEFAULT_AFTER_S
    drill_schedule: Schedule | None = None
    drills_since: str | None = None  # when the schedule was given, RFC 3339

    def plan(self) -> GroupPlan:
        """The group as the monitor takes it."""
        what = self.mirror, self.targets, self.addresses
        return GroupPlan(self.name, self.revision, *what, preferred=self.preferred, is_started=self.is_started)
