"""A copy driver that works within one process, on real directories: the reference of the contract.

Drivers that share a `MemoryNetwork` reach each other's agents, as nodes on one network would.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from holdfast.errors import (
    BusyError,
    DeniedError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    VerificationError,
)
from holdfast.hooks.base import Can
from holdfast.hooks.copying import CopyAction, CopyChange, CopyOptions, CopyPreview, Tls
from holdfast.hooks.filters import is_excluded
from holdfast.hooks.replication import (
    AgentSpec,
    CopyDriver,
    CopyNote,
    CopyProgress,
    CopyResult,
    CopyRun,
    RemoteReplica,
    ReplicaShare,
)
from holdfast.testing.memory_restore import MemoryRestores
from holdfast.testing.trees import Entry, read_tree

BLOCK_BYTES = 4096
TICK_S = 0.02

Where = tuple[str, int]
"""Address and port: where an agent is, whatever it encrypts with."""


@dataclass
class MemoryNetwork:
    """Agents by where they listen."""

    agents: dict[Where, dict[str, ReplicaShare]] = field(default_factory=dict)
    notes: dict[Where, dict[str, CopyNote]] = field(default_factory=dict)
    tls: dict[Where, Tls | None] = field(default_factory=dict)
    partials: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    """What copies that were cut off had brought of a file, by replica directory and name."""
    busy: set[tuple[Where, str]] = field(default_factory=set)
    """Replica shares that take a copy, or are held, now."""
    untouched: set[tuple[Where, str]] = field(default_factory=set)
    """Those to which nobody wrote since their note was left."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    """What agents take for the time."""


@dataclass
class Count:
    """What a copy counts."""

    files_sent: int = 0
    files_deleted: int = 0
    literal_bytes: int = 0


class MemoryCopyDriver(MemoryRestores, CopyDriver):
    """See CopyDriver. `address` is where its copies come from, in the eyes of an agent."""

    can = frozenset({Can.COPY_AGENT, Can.COPY_CHANGES})

    def __init__(self, network: MemoryNetwork | None = None, *, address: str = "127.0.0.1") -> None:
        self.network = network if network is not None else MemoryNetwork()
        self.address = address
        self.spec: AgentSpec | None = None

    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        """See CopyDriver."""
        where = _where(spec)
        if self.spec is None or where != _where(self.spec):
            if where in self.network.agents:
                raise UnavailableError(f"the agent does not start on {spec.address} port {spec.port}: address in use")
            old = await self.read_notes()
            await self.stop_agent()
            self.network.notes[where] = dict(old)
        self.spec = spec
        self.network.tls[where] = spec.tls
        self.network.agents[where] = {share.name: share for share in replicas}
        notes = self.network.notes.get(where, {})
        self.network.notes[where] = {name: note for name, note in notes.items() if name in self.network.agents[where]}

    async def stop_agent(self) -> None:
        """See CopyDriver."""
        if self.spec is not None:
            self.network.agents.pop(_where(self.spec), None)
            self.network.notes.pop(_where(self.spec), None)
            self.spec = None

    async def is_agent_running(self) -> bool:
        """See CopyDriver."""
        return self.spec is not None and _where(self.spec) in self.network.agents

    async def browse(self, agent: AgentSpec) -> tuple[RemoteReplica, ...]:
        """See CopyDriver."""
        shares = self.replicas_of(agent)
        return tuple(RemoteReplica(name, "", shares[name].bandwidth_bytes_s) for name in sorted(shares))

    async def copy(self, run: CopyRun, progress: Callable[[CopyProgress], None]) -> CopyResult:
        """See CopyDriver."""
        source, replica = self.check_source(run), Path(self.admit(run).path)
        wanted, count = self.looked_at(run, self.within(run.options, read_tree(source))), Count()
        if run.options.is_deleting and run.changes is None:
            self.refuse_to_empty(wanted, replica)
        if run.changes is not None and (absent := names_in(run.changes.names) - wanted.keys()):
            raise VerificationError(f"the source could not be read whole: {sorted(absent)[0]!r} is not there")
        self.begin_writing(run)
        limit = self.limit(run)
        try:
            there = read_tree(replica)
            if run.options.is_deleting:
                kept = {**self.passed_over(run, there, wanted), **wanted, **self.excluded(run.options, there)}
                self.delete_extra(kept, replica, count)
            for done, name in enumerate(sorted(wanted)):
                # The one place to be cancelled at but for large files: between two names nothing is half-written.
                await asyncio.sleep(0)
                await self.wait_out(limit, _below(source, name), _below(replica, name), wanted[name])
                self.copy_entry(name, wanted[name], source, replica, count)
                percent = 100 * (done + 1) / len(wanted)
                text = f"{done + 1} of {len(wanted)} entries done"
                progress(CopyProgress(count.literal_bytes, percent, text))
            # From the deepest up: what is made below a directory changes its time.
            for name in sorted(wanted, key=lambda name: (-name.count(b"/"), name == b".")):
                self.set_attributes(wanted[name], _below(replica, name))
        except OSError as reason:
            if reason.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpaceError(f"the destination is full: {reason}") from reason
            raise VerificationError(f"the copy stopped: {reason}") from reason
        considered_bytes = sum(entry.size_bytes or 0 for entry in wanted.values())
        return CopyResult(
            files_considered=len(wanted),
            files_sent=count.files_sent,
            files_deleted=count.files_deleted,
            considered_bytes=considered_bytes,
            literal_bytes=count.literal_bytes,
            sent_bytes=self.on_the_wire(run.options, count.literal_bytes) + 64 * len(wanted),
            received_bytes=64,
        )

    async def preview(self, run: CopyRun, *, most: int) -> CopyPreview:
        """See CopyDriver."""
        source, there = read_tree(self.check_source(run)), read_tree(Path(self.admit(run).path))
        wanted = self.within(run.options, source)
        there = self.within(run.options, there)
        if run.options.is_deleting:
            self.refuse_to_empty(wanted, Path(self.admit(run).path))
        surplus = sorted(there.keys() - wanted.keys()) if run.options.is_deleting else []
        changes = [CopyChange(CopyAction.DELETE, _shown(name), None) for name in surplus]
        sent = [name for name, entry in wanted.items() if entry.kind == "-" and self.is_to_send(entry, there.get(name))]
        for name in sorted(wanted):
            if name in sent:
                changes.append(CopyChange(CopyAction.SEND, _shown(name), wanted[name].size_bytes))
            elif self.tell_difference(name, wanted[name], there.get(name), False):
                changes.append(CopyChange(CopyAction.UPDATE, _shown(name), None))
        return CopyPreview(
            files_considered=len(wanted),
            files_created=len(wanted.keys() - there.keys()),
            files_sent=len(sent),
            files_deleted=len(surplus),
            to_send_bytes=sum(wanted[name].size_bytes or 0 for name in sent),
            changes=tuple(changes[:most]),
            is_whole=len(changes) <= most,
        )

    async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        """See CopyDriver."""
        source, replica = read_tree(self.check_source(run)), read_tree(Path(self.admit(run).path))
        sampled = {os.fsencode(Path(path)) for path in sample}
        if absent := sorted(sampled - source.keys()):
            raise VerificationError(f"the source could not be read whole: {os.fsdecode(absent[0])!r} is not there")
        source, replica = self.within(run.options, source), self.within(run.options, replica)
        names = set(self.looked_at(run, source)) | (sampled & source.keys())
        if run.options.is_deleting:
            names |= self.looked_at(run, replica).keys()
        told = (
            self.tell_difference(name, source.get(name), replica.get(name), name in sampled) for name in sorted(names)
        )
        return tuple(text for text in told if text)

    async def leave_note(self, run: CopyRun, note: CopyNote) -> None:
        """See CopyDriver."""
        share = self.admit(run)
        where = _where(run.agent)
        self.network.notes[where][share.name] = note
        self.network.untouched.add((where, share.name))

    async def read_notes(self) -> Mapping[str, CopyNote]:
        """See CopyDriver."""
        return dict(self.network.notes[_where(self.spec)]) if self.spec is not None else {}

    # --- the agent's side ---

    def replicas_of(self, agent: AgentSpec) -> dict[str, ReplicaShare]:
        """Reach an agent, and believe each other."""
        where = _where(agent)
        if where not in self.network.agents:
            raise UnavailableError(f"the agent on {agent.address} port {agent.port} does not answer")
        self.greet(agent.tls, self.network.tls[where])
        return self.network.agents[where]

    def greet(self, source: Tls | None, agent: Tls | None) -> None:
        """Both in clear, or each with a certificate that the other trusts."""
        if (source is None) is not (agent is None):
            raise UnavailableError("one side encrypts, and the other one does not")
        if source is None or agent is None:
            return
        if not self.believes(agent, source):
            raise DeniedError("the agent does not trust the certificate of this node")
        if not self.believes(source, agent):
            raise DeniedError("the agent shows a certificate that is not the one to be trusted")

    def believes(self, one: Tls, other: Tls) -> bool:
        """Whether one side takes the other's certificate."""
        shown = Path(other.certificate_file).read_text()
        return shown in one.trusted and not is_expired(shown)

    def admit(self, run: CopyRun) -> ReplicaShare:
        """Let a run in, as an agent would."""
        share = self.replicas_of(run.agent).get(run.replica)
        if share is None:
            raise NotFoundError("the agent has no such replica share")
        if self.address not in share.allowed_sources:
            raise DeniedError("the agent does not accept copies from this address")
        passwords = [known.reveal() for known in (share.password, share.former_password) if known is not None]
        if share.user != run.user or run.password.reveal() not in passwords:
            raise DeniedError("the agent does not accept this ID and password for the replica share")
        if not Path(share.path).is_dir():
            raise UnavailableError("the directory of the replica share is not there on the destination")
        return share

    def begin_writing(self, run: CopyRun) -> None:
        """Find the replica free, and no longer as its note says."""
        if (_where(run.agent), run.replica) in self.network.busy:
            raise BusyError("the replica share is held, or takes another copy")
        where, written = _where(run.agent), Path(self.admit(run).path)
        for share in self.network.agents[where].values():
            if Path(share.path) in (written, *written.parents) or written in Path(share.path).parents:
                self.network.untouched.discard((where, share.name))

    # --- the rules of a copy ---

    def looked_at(self, run: CopyRun, tree: dict[bytes, Entry]) -> dict[bytes, Entry]:
        """What of a tree is looked at: what is named, the folders on the way to it, and the top."""
        if run.changes is None:
            return tree
        named = {b".", *names_in(run.changes.names), *names_in(run.changes.gone)}
        ways = {name[:place] for name in named for place in range(len(name)) if name[place : place + 1] == b"/"}
        return {name: entry for name, entry in tree.items() if name in named | ways}

    def passed_over(self, run: CopyRun, there: dict[bytes, Entry], wanted: dict[bytes, Entry]) -> dict[bytes, Entry]:
        """What of the replica a run leaves alone: what is not gone, and does not lie in what is to go."""
        if run.changes is None:
            return {}
        others = {name for name in names_in(run.changes.names) if name in wanted and wanted[name].kind != "d"}
        gone = names_in(run.changes.gone)
        tops = tuple(name + b"/" for name in gone | others)
        return {name: entry for name, entry in there.items() if name not in gone and not name.startswith(tops)}

    def within(self, options: CopyOptions, tree: dict[bytes, Entry]) -> dict[bytes, Entry]:
        """What of a tree is part of the copy."""
        outside = self.excluded(options, tree)
        return {name: entry for name, entry in tree.items() if name not in outside}

    def excluded(self, options: CopyOptions, tree: dict[bytes, Entry]) -> dict[bytes, Entry]:
        """What of a tree is not."""
        return {
            name: entry
            for name, entry in tree.items()
            if name != b"." and is_excluded(options.filters, os.fsdecode(name), is_directory=entry.kind == "d")
        }

    def is_to_send(self, entry: Entry, there: Entry | None) -> bool:
        """Whether a file's content is not known to be there."""
        return there is None or (there.kind, there.size_bytes, there.modified_ns) != (
            "-",
            entry.size_bytes,
            entry.modified_ns,
        )

    def on_the_wire(self, options: CopyOptions, literal_bytes: int) -> int:
        """What content becomes on its way."""
        return literal_bytes // 4 if options.is_compressed else literal_bytes

    def limit(self, run: CopyRun) -> int | None:
        """Bytes a second: what the run asks for, and the replica allows."""
        limits = (run.options.bandwidth_bytes_s, self.admit(run).bandwidth_bytes_s)
        return min((limit for limit in limits if limit is not None), default=None)

    async def wait_out(self, limit: int | None, source: Path, path: Path, entry: Entry) -> None:
        """Let the time go by that a limited line takes for a new file. Cut off in it, its part is kept aside."""
        if limit is None or entry.kind != "-" or path.exists():  # noqa: ASYNC240 - a reference, of small trees
            return
        content = source.read_bytes()  # noqa: ASYNC240
        key = str(path.parent), os.fsencode(path.name)
        had_bytes = len(self.network.partials.get(key, b""))
        sent_bytes = 0
        try:
            while had_bytes + sent_bytes < len(content):
                await asyncio.sleep(TICK_S)
                sent_bytes += int(limit * TICK_S)
        except asyncio.CancelledError:
            self.keep_partial(key, content[: had_bytes + sent_bytes])
            raise

    def keep_partial(self, key: tuple[str, bytes], content: bytes) -> None:
        """Keep a part of a file aside."""
        self.network.partials[key] = content

    # --- the steps of a copy ---

    def check_source(self, run: CopyRun) -> Path:
        """Find the source, or nothing is touched on the destination."""
        source = Path(run.source)
        if not source.is_dir():
            raise VerificationError(f"the source could not be read whole: {run.source} is not there")
        return source

    def refuse_to_empty(self, wanted: dict[bytes, Entry], replica: Path) -> None:
        """An empty source may be a mount that went away."""
        if len(wanted) == 1 and any(replica.iterdir()):
            raise RefusedError("the source is empty and the replica is not; nothing was deleted")

    def delete_extra(self, wanted: dict[bytes, Entry], replica: Path, count: Count) -> None:
        """Delete what the source lacks, and what is of another kind there."""
        there = read_tree(replica)
        for name in sorted(there, key=lambda name: -name.count(b"/")):
            if name != b"." and (name not in wanted or wanted[name].kind != there[name].kind):
                path = _below(replica, name)
                shutil.rmtree(path) if there[name].kind == "d" else path.unlink()
                count.files_deleted += 1

    def copy_entry(self, name: bytes, entry: Entry, source: Path, replica: Path, count: Count) -> None:
        """Make one name and its content."""
        path = _below(replica, name)
        first = min((name, *entry.other_names))
        if first != name:
            self.link(path, _below(replica, first))
        elif entry.kind == "d":
            path.mkdir(exist_ok=True)
        elif entry.kind == "-":
            self.copy_content(_below(source, name), path, entry, count)
        elif entry.kind == "l":
            if not path.is_symlink() or os.fsencode(path.readlink()) != entry.target:
                path.unlink(missing_ok=True)
                path.symlink_to(os.fsdecode(entry.target or b""))
        elif not os.path.lexists(path) or path.lstat().st_rdev != (entry.device or 0):
            path.unlink(missing_ok=True)
            kind = {"p": stat.S_IFIFO, "s": stat.S_IFSOCK, "c": stat.S_IFCHR, "b": stat.S_IFBLK}[entry.kind]
            os.mknod(path, kind | 0o600, entry.device or 0)

    def link(self, path: Path, first: Path) -> None:
        """Make `path` another name of `first`."""
        if not os.path.lexists(path) or not os.path.samestat(path.lstat(), first.lstat()):
            path.unlink(missing_ok=True)
            os.link(first, path, follow_symlinks=False)

    def copy_content(self, source: Path, path: Path, entry: Entry, count: Count) -> None:
        """Bring one file's content over, unless size and time say that it is there."""
        old = path.lstat() if path.exists() else None
        wanted = (entry.size_bytes, entry.modified_ns, 1 + len(entry.other_names))
        # The links count too: a name may have to leave an inode that it shared.
        if old is not None and (old.st_size, old.st_mtime_ns, old.st_nlink) == wanted:
            return
        fresh = path.with_name(".holdfast-memory-copy")
        try:
            count.literal_bytes += self.write_content(source, path, fresh)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        count.files_sent += 1

    def write_content(self, source: Path, old: Path, fresh: Path) -> int:
        """Write `source` to `fresh`, holes as holes; return how many bytes `old` did not have at the same place."""
        literal_bytes = 0
        before = self.network.partials.pop((str(old.parent), os.fsencode(old.name)), b"")
        before = before or (old.read_bytes() if old.exists() else b"")
        with source.open("rb") as reader, fresh.open("wb") as writer:
            while block := reader.read(BLOCK_BYTES):
                start = reader.tell() - len(block)
                if block.strip(b"\0"):
                    writer.seek(start)
                    writer.write(block)
                if before[start : start + len(block)] != block:
                    literal_bytes += len(block)
            writer.truncate(reader.tell())
        return literal_bytes

    def set_attributes(self, entry: Entry, path: Path) -> None:
        """Give one name its owner, mode, extended attributes and time."""
        # chown clears setuid bits and capabilities, so it is first; the time is last, for all else changes it.
        os.chown(path, entry.owner, entry.group, follow_symlinks=False)
        if entry.kind != "l":
            path.chmod(entry.mode)
        wanted = dict(entry.attributes)
        for name in os.listxattr(path, follow_symlinks=False):
            if name not in wanted:
                os.removexattr(path, name, follow_symlinks=False)
        for name, value in wanted.items():
            os.setxattr(path, name, value, follow_symlinks=False)
        if entry.modified_ns is not None:
            os.utime(path, ns=(entry.modified_ns, entry.modified_ns), follow_symlinks=False)

    def tell_difference(self, name: bytes, source: Entry | None, replica: Entry | None, is_sampled: bool) -> str:
        """Say what differs at one path; an empty text if nothing."""
        path = name.decode(errors="backslashreplace")
        if source is None:
            return f"{path} is only in the replica"
        if replica is None:
            return f"{path} is not in the replica"
        told = [field for field in METADATA if getattr(source, field) != getattr(replica, field)]
        if is_sampled and source.content != replica.content:
            told.append("content")
        return f"{path} differs in {', '.join(told)}" if told else ""


METADATA = (
    "kind",
    "mode",
    "owner",
    "group",
    "modified_ns",
    "size_bytes",
    "target",
    "device",
    "attributes",
    "other_names",
)


def names_in(path: str) -> set[bytes]:
    """The names of a list of changes."""
    return {name.removeprefix(b"./") for name in Path(path).read_bytes().split(b"\0") if name}


def is_expired(certificate: str) -> bool:
    """Whether a certificate's dates are past."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc < datetime.now(UTC)


def _where(spec: AgentSpec) -> Where:
    return spec.address, spec.port


def _shown(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def _below(root: Path, name: bytes) -> Path:
    return root / os.fsdecode(name)
