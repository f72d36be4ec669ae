"""The replication role: copies of files (asynchronous) and mirrors of blocks (synchronous)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from holdfast.hooks.base import Driver, Offer, hookspec
from holdfast.hooks.copy_restore import RestoringDriver
from holdfast.hooks.copying import CopyChanges, CopyOptions, CopyPreview, Tls
from holdfast.values import Secret

# --- data replication -----------------------------------------------------------------------------


@dataclass(frozen=True)
class AgentSpec:
    """The part that accepts copies on a destination: where it listens, and whether what crosses is encrypted."""

    address: str
    port: int
    tls: Tls | None = None
    """None: in clear, and whoever answers there is believed."""


@dataclass(frozen=True)
class ReplicaShare:
    """A share opened as a destination, with credentials of its own (S23)."""

    name: str
    path: str
    user: str
    password: Secret
    allowed_sources: tuple[str, ...]
    """Addresses or networks that may connect; nobody if empty."""
    former_password: Secret | None = None
    """Accepted beside the new one, so that no run fails before its source was told; None: no other is."""
    bandwidth_bytes_s: int | None = None
    """The most that a copy into it may send in a second. Whoever browses is told; a source is to keep to it."""


@dataclass(frozen=True)
class RemoteReplica:
    """What browsing an agent shows (S24)."""

    name: str
    comment: str
    bandwidth_bytes_s: int | None = None
    """See ReplicaShare."""


@dataclass(frozen=True)
class CopyRun:
    """One execution of a task: everything below `source` is to be in the replica, nothing else."""

    source: str
    """A directory that does not change meanwhile: a mounted snapshot."""
    agent: AgentSpec
    replica: str
    user: str
    password: Secret
    options: CopyOptions = field(default_factory=CopyOptions)
    changes: CopyChanges | None = None
    """All that may differ from the replica (`Can.COPY_CHANGES`); None: anything may.

    `copy` and `verify` look at that, at the folders on the way to it and at the top, and at nothing else. The other
    operations pass it over.
    """


@dataclass(frozen=True)
class CopyProgress:
    """How far a run is. Unknown is None."""

    sent_bytes: int
    percent: float | None
    text: str


@dataclass(frozen=True)
class CopyResult:
    """What a run did, as counted by the copier."""

    files_considered: int
    """Entries of the source of whatever kind; of a run by changes those that it looks at."""
    files_sent: int
    files_deleted: int
    considered_bytes: int
    literal_bytes: int
    """Content that crossed because the destination lacked it."""
    sent_bytes: int
    """All bytes on the wire from source to destination."""
    received_bytes: int


@dataclass(frozen=True)
class CopyNote:
    """What a source tells of a copy that it has verified. Whoever has the replica's ID and password can tell it."""

    task: str
    source: str
    """The node."""
    frozen_at: datetime
    """The copy is of the source as it was then."""
    objective_s: int | None
    """How old the newest copy may become, if anybody said so."""


class CopyDriver(RestoringDriver, Driver):
    """Copies trees of files to another system, or within one, and gives them back."""

    @abstractmethod
    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        """Run the agent with exactly these replica shares; watch it, and restart it when it dies, until `close`.

        Called again with other replicas it changes them without cutting runs under way. Only `stop_agent` ends it: it
        goes on after `close` and after the death of holdfastd, and the next call adopts it, runs under way included.
        """

    @abstractmethod
    async def stop_agent(self) -> None:
        """End the agent and the runs it accepts, also one that an earlier holdfastd left; not running is success."""

    @abstractmethod
    async def is_agent_running(self) -> bool:
        """Whether the agent answers now."""

    @abstractmethod
    async def browse(self, agent: AgentSpec) -> tuple[RemoteReplica, ...]:
        """The replica shares an agent offers. Raises UnavailableError when it does not answer."""

    @abstractmethod
    async def copy(self, run: CopyRun, progress: Callable[[CopyProgress], None]) -> CopyResult:
        """Bring the replica to equal the source, all attributes included, within `run.options`.

        What a copy that was cut off had brought of a large file is kept aside in the replica: the next one goes on from
        there, and leaves nothing of it.
        Raises DeniedError (wrong ID or password; a certificate that is expired, or that one side was not told to
        trust), UnavailableError (agent unreachable), NoSpaceError
        (destination full), NotFoundError (no such replica), VerificationError (the source could not be read whole),
        BusyError (the replica takes another copy), RefusedError (an empty source, a replica that is not: a mount that
        went away looks the same, and nothing was deleted).
        Cancelled, it leaves no process behind.
        """

    @abstractmethod
    async def preview(self, run: CopyRun, *, most: int) -> CopyPreview:
        """What `copy` would do now, with at most `most` changes by name; nothing is changed.

        Raises as `copy` does.
        """

    @abstractmethod
    async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        """Compare both sides by checksum for the sampled relative paths, and by metadata for all, within `run.options`.

        With `run.changes` metadata is compared of those names only; the sample may be of any.
        Returns what differs, one text for each path; empty when equal.
        """

    @abstractmethod
    async def leave_note(self, run: CopyRun, note: CopyNote) -> None:
        """Leave a note with the replica, in place of the one before; the copy itself is not touched.

        Raises as `copy` does; NotFoundError also from an agent that takes no notes, or none from this address.
        """

    @abstractmethod
    async def read_notes(self) -> Mapping[str, CopyNote]:
        """The note that lies with each replica share that this node's agent offers; none was left with the others.

        They outlast a reboot, and go with their replica share, or with the agent when it is stopped.
        """


# --- mirrors --------------------------------------------------------------------------------------


class Role(StrEnum):
    """The storage role of a node in a mirror."""

    PRIMARY = "Primary"
    SECONDARY = "Secondary"
    UNKNOWN = "Unknown"


class DiskState(StrEnum):
    """The state of one side's data."""

    DISKLESS = "Diskless"
    ATTACHING = "Attaching"
    DETACHING = "Detaching"
    FAILED = "Failed"
    NEGOTIATING = "Negotiating"
    INCONSISTENT = "Inconsistent"
    OUTDATED = "Outdated"
    UNKNOWN = "DUnknown"
    CONSISTENT = "Consistent"
    UP_TO_DATE = "UpToDate"


class ConnectionState(StrEnum):
    """The state of the link between both sides."""

    STANDALONE = "StandAlone"
    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    """Whatever replication does on it."""
    UNKNOWN = "Unknown"


class ReplicationState(StrEnum):
    """What a connected link does."""

    OFF = "Off"
    ESTABLISHED = "Established"
    SYNC_SOURCE = "SyncSource"
    SYNC_TARGET = "SyncTarget"
    VERIFY = "Verify"
    PAUSED = "Paused"
    OTHER = "Other"


class Suspension(StrEnum):
    """Why I/O is frozen."""

    NO = "no"
    USER = "user"
    NO_DATA = "no-data"
    FENCING = "fencing"


@dataclass(frozen=True)
class MirrorVolume:
    """One volume of a mirror on one node."""

    volume: str
    number: int
    minor: int
    """The same on both nodes."""
    device: str
    """The local lower device."""
    metadata_device: str
    size_bytes: int


@dataclass(frozen=True)
class MirrorEndpoint:
    """An address of one side for replication traffic."""

    address: str
    port: int


@dataclass(frozen=True)
class SyncLimits:
    """How fast a resync may be, in bytes a second. None: as the plugin's settings say."""

    max_bytes_s: int | None = None
    min_bytes_s: int | None = None
    """It gives way to applications down to this."""


@dataclass(frozen=True)
class MirrorSpec:
    """A mirror as one node sees it."""

    name: str
    local: MirrorEndpoint
    remote: MirrorEndpoint
    volumes: tuple[MirrorVolume, ...]
    secret: Secret | None = None
    """Both sides must prove that they know it before they talk; None: whoever has the address is believed.

    It is never in an argument list, a log or an error.
    """
    limits: SyncLimits = field(default_factory=SyncLimits)


@dataclass(frozen=True)
class MirrorVolumeStatus:
    """One volume of a mirror, as both sides are known here."""

    number: int
    device: str
    """The mirrored device to open, such as `/dev/drbd0`."""
    disk: DiskState
    peer_disk: DiskState
    replication: ReplicationState
    out_of_sync_bytes: int
    sent_bytes: int
    received_bytes: int
    """Counted since the connection was made."""
    done_percent: float | None
    """Of a resync or verify under way."""
    size_bytes: int | None = None
    """Of the mirrored device, as this kernel has it; None while it has no disk."""
    to_go_bytes: int | None = None
    """What a resync or verify under way has before it."""
    rate_bytes_s: int | None = None
    """How fast that is, of late."""


@dataclass(frozen=True)
class MirrorStatus:
    """A mirror as the kernel has it. `is_up` False: it is not configured in the kernel, all else is unknown."""

    name: str
    is_up: bool
    role: Role
    peer_role: Role
    connection: ConnectionState
    suspended: Suspension
    volumes: tuple[MirrorVolumeStatus, ...]

    @property
    def is_in_sync(self) -> bool:
        """Connected, both sides UpToDate on every volume, nothing out of sync."""
        return (
            self.connection is ConnectionState.CONNECTED
            and bool(self.volumes)
            and all(
                v.disk is DiskState.UP_TO_DATE and v.peer_disk is DiskState.UP_TO_DATE and v.out_of_sync_bytes == 0
                for v in self.volumes
            )
        )

    @property
    def marked_bytes(self) -> int:
        """What is marked as different on two connected sides of which nothing makes an end: no resync is under way."""
        is_quiet = self.connection is ConnectionState.CONNECTED and all(
            v.replication is ReplicationState.ESTABLISHED and v.disk is v.peer_disk is DiskState.UP_TO_DATE
            for v in self.volumes
        )
        return sum(v.out_of_sync_bytes for v in self.volumes) if is_quiet else 0


class Lineage(StrEnum):
    """How the data of one side stands to the data of the other, by the generations that both have kept."""

    EQUAL = "equal"
    AHEAD = "ahead"
    """It has changed since the other side was lost, and the other one has not."""
    BEHIND = "behind"
    DIVERGED = "diverged"
    """Both have changed since they last were one: a split brain."""
    UNRELATED = "unrelated"
    """They never were one, or too long ago to be known."""


class FenceAnswer(StrEnum):
    """What may be told to a mirror that lost its peer and asks whether it may go on alone."""

    PEER_INCONSISTENT = "peer-inconsistent"
    PEER_OUTDATED = "peer-outdated"
    PEER_UNREACHABLE = "peer-unreachable"
    """It is silent on every link for T_dead. Accepted only by a side that is UpToDate."""
    PEER_PRIMARY = "peer-primary"
    PEER_FENCED = "peer-fenced"


class FenceArbiter(ABC):
    """Who decides whether a side that lost its peer may go on."""

    @abstractmethod
    async def fence_peer(self, mirror: str) -> FenceAnswer:
        """Answer only when it is decided; until then the mirror stays frozen, which is safe.

        On a promotion that this process itself started it answers at once, for the
        kernel holds the resource's lock until it does.
        """

    async def mirror_event(self, mirror: str, event: str) -> None:
        """Told of other calls of the kernel's handler, such as `split-brain` or `local-io-error`."""


class MirrorDriver(Driver):
    """Mirrors blocks synchronously between the pair by one mechanism.

    A side with external metadata: its usable size is the volume's, and data already there is not touched.
    """

    @abstractmethod
    def metadata_bytes(self, size_bytes: int) -> int:
        """Room that the metadata of a volume of `size_bytes` needs, with some to grow."""

    @abstractmethod
    def largest_bytes(self, metadata_bytes: int) -> int:
        """The largest volume whose metadata has room in so much: how far a mirror can grow."""

    @abstractmethod
    def device_path(self, minor: int) -> str:
        """The mirrored device of a minor number."""

    @abstractmethod
    async def create_metadata(self, spec: MirrorSpec) -> None:
        """Write fresh metadata where there is none; metadata of this mirror that is there already stays."""

    @abstractmethod
    async def wipe_metadata(self, spec: MirrorSpec) -> None:
        """Clear the metadata (S31) of the spec's volumes. None of them may be in the kernel (ConflictError)."""

    @abstractmethod
    async def zero(
        self, device: str, *, done_bytes: int = 0, most_s: float | None = None, limit_bytes_s: int | None = None
    ) -> int:
        """Make a lower device, whose first `done_bytes` are zero already, read zero; return how many bytes do, durably.

        That is its size, and then samples of the whole were read back (VerificationError), or less if it took
        longer than `most_s`: but each call gets further. `limit_bytes_s` is the most it writes in a second.
        Raises BusyError if the device is held open.
        """

    @abstractmethod
    async def attach(self, spec: MirrorSpec) -> MirrorStatus:
        """Configure the mirror in the kernel with its disks, unconnected, Secondary. Already so is success.

        In one that is connected, volumes that it lacks are added: once both sides have them they are compared by their
        generations, those that are equal are UpToDate and nothing is sent. Volumes that it has are not disturbed; one
        that is added is Secondary, also under a Primary.
        """

    @abstractmethod
    async def connect(self, spec: MirrorSpec, *, discard_changes: bool = False) -> MirrorStatus:
        """Let it connect to its peer (it goes on trying). Attaches first if needed.

        A peer that does not know `spec.secret` is never connected. Sides that diverged stay apart, unless one of them
        comes with `discard_changes`: its changes since they were one are then overwritten by the other's. A Primary
        never does (ConflictError).
        """

    @abstractmethod
    async def disconnect(self, name: str, *, force: bool = False) -> None:
        """Leave the peer and stay StandAlone. `force` does not wait for an answer of the peer."""

    @abstractmethod
    async def down(self, name: str) -> None:
        """Take it out of the kernel. Raises BusyError while its device is held open. The absent is success."""

    @abstractmethod
    async def skip_first_sync(self, name: str) -> None:
        """Declare both sides equal: only connected, with metadata just created, and after both sides were zeroed.

        Raises ConflictError when the kernel's state is not exactly that.
        """

    @abstractmethod
    async def start_full_sync(self, spec: MirrorSpec) -> None:
        """Declare this side's data the truth and send all of it to the peer. Only with just-created metadata."""

    @abstractmethod
    async def promote(self, name: str, *, numbers: Collection[int] | None = None) -> None:
        """Become Primary. Never forced: raises RefusedError with the kernel's reason. Already Primary is success.

        With `numbers`, these volumes become so, all of them or none, and nothing is asked of the others.
        """

    @abstractmethod
    async def demote(self, name: str) -> None:
        """Become Secondary. Raises BusyError, after a short retry, while a device is held open."""

    @abstractmethod
    async def outdate(self, name: str) -> DiskState:
        """Leave the peer by force, mark this side Outdated, and return the worst state **read back**.

        Only OUTDATED or worse (INCONSISTENT, DISKLESS) in the answer means it took. Never on a Primary (ConflictError).
        """

    @abstractmethod
    async def status(self, name: str) -> MirrorStatus:
        """Read the kernel's state."""

    @abstractmethod
    async def generations(self, name: str) -> tuple[str, ...]:
        """What `compare` needs of this side, for each volume in their order: to be carried to the other node as it is.

        Raises NotFoundError when the mirror is not up. A volume without its disk has an empty text.
        """

    @abstractmethod
    def compare(self, mine: str, theirs: str) -> Lineage:
        """How this side's data of a volume stands to the other's. Pure; an empty text compares as UNRELATED."""

    @abstractmethod
    async def list_up(self) -> tuple[str, ...]:
        """Names of the mirrors in the kernel now, foreign ones included."""

    @abstractmethod
    def watch(self) -> AsyncIterator[MirrorStatus]:
        """Yield a mirror's status each time the kernel says that something of it changed; never ends by itself.

        It is as the kernel told it, so that nobody has to ask: without how far a resync or a comparison is.
        """

    @abstractmethod
    async def serve_fence_requests(self, arbiter: FenceArbiter) -> None:
        """Answer the kernel's fence requests through `arbiter` until cancelled. One process of a node does so."""

    async def verify(self, name: str) -> None:
        """Start comparing both sides online (`Can.MIRROR_VERIFY`); progress and findings are in `status`.

        Everything is compared, also after a comparison that was cut off. One under way is left alone.
        """
        raise self.unsupported("verify")

    async def pause_sync(self, name: str) -> None:
        """Hold a resync where it is (`Can.MIRROR_SYNC_CONTROL`); paused already, or none under way, is success."""
        raise self.unsupported("pausing a resync")

    async def resume_sync(self, name: str) -> None:
        """Let a paused resync go on; not paused is success."""
        raise self.unsupported("resuming a resync")

    async def limit_sync(self, name: str, limits: SyncLimits) -> None:
        """Change how fast resyncs are, one under way included."""
        raise self.unsupported("limiting a resync")

    async def grow(self, name: str, *, new_part_is_zero: bool) -> MirrorStatus:
        """Take up the room that the lower devices of both sides have gained (`Can.MIRROR_GROW`).

        Only connected, with both sides UpToDate and one of them Primary (ConflictError). What is new is synced,
        unless it is known to read zero on both sides. Nothing gained is success. Raises NoSpaceError when the metadata
        has no room for so much.
        """
        raise self.unsupported("growing")

    async def detach(self, name: str, number: int) -> MirrorStatus:
        """Take a volume's disk out of a mirror that stays up (`Can.MIRROR_DETACH`).

        From then on the peer is read and written instead; `attach` brings the disk back, or another one. No disk is
        success. Raises RefusedError unless the peer is connected and has all of the volume's data.
        """
        raise self.unsupported("taking out a disk")

    async def take_out(self, name: str, number: int) -> None:
        """Take a volume out of a mirror that stays up (`Can.MIRROR_VOLUMES`); its data and its metadata stay.

        The other volumes are not disturbed. No such volume, or no such mirror, is success. Raises BusyError while its
        device is held open.
        """
        raise self.unsupported("taking out a volume")


class ReplicationHooks:
    """Hook specs of the replication role."""

    @hookspec
    def copy_driver(self) -> Offer[CopyDriver]:
        """Asked once at start: return your offer."""
        raise AssertionError("a specification is never called")

    @hookspec
    def mirror_driver(self) -> Offer[MirrorDriver]:
        """Asked once at start: return your offer."""
        raise AssertionError("a specification is never called")

    @hookspec
    async def run_finished(self, task: str, is_ok: bool, reason: str | None) -> None:
        """Told after a run of a data replication task ended."""

    @hookspec
    async def mirror_changed(self, mirror: str, what: str) -> None:
        """Told after a mirror was made, changed, started, stopped or removed (`what`)."""
