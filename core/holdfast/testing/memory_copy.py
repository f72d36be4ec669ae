"""A copy driver that works within one process, on real directories: the reference of the contract.

Drivers that share a `MemoryNetwork` reach each other's agents, as nodes on one network would.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.errors import DeniedError, NoSpaceError, NotFoundError, RefusedError, UnavailableError, VerificationError
from holdfast.hooks.base import Can
from holdfast.hooks.replication import (
    AgentSpec,
    CopyDriver,
    CopyProgress,
    CopyResult,
    CopyRun,
    RemoteReplica,
    ReplicaShare,
)
from holdfast.testing.trees import Entry, read_tree

BLOCK_BYTES = 4096


@dataclass
class MemoryNetwork:
    """Agents by where they listen."""

    agents: dict[AgentSpec, dict[str, ReplicaShare]] = field(default_factory=dict)


@dataclass
class Count:
    """What a copy counts."""

    files_sent: int = 0
    files_deleted: int = 0
    literal_bytes: int = 0


class MemoryCopyDriver(CopyDriver):
    """See CopyDriver. `address` is where its copies come from, in the eyes of an agent."""

    can = frozenset({Can.COPY_AGENT})

    def __init__(self, network: MemoryNetwork | None = None, *, address: str = "127.0.0.1") -> None:
        self.network = network if network is not None else MemoryNetwork()
        self.address = address
        self.spec: AgentSpec | None = None

    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        """See CopyDriver."""
        if spec != self.spec:
            if spec in self.network.agents:
                raise UnavailableError(f"the agent does not start on {spec.address} port {spec.port}: address in use")
            await self.stop_agent()
        self.spec = spec
        self.network.agents[spec] = {share.name: share for share in replicas}

    async def stop_agent(self) -> None:
        """See CopyDriver."""
        if self.spec is not None:
            self.network.agents.pop(self.spec, None)
            self.spec = None

    async def is_agent_running(self) -> bool:
        """See CopyDriver."""
        return self.spec is not None and self.spec in self.network.agents

    async def browse(self, agent: AgentSpec) -> tuple[RemoteReplica, ...]:
        """See CopyDriver."""
        return tuple(RemoteReplica(name, "") for name in sorted(self.replicas_of(agent)))

    async def copy(self, run: CopyRun, progress: Callable[[CopyProgress], None]) -> CopyResult:
        """See CopyDriver."""
        source, replica = self.check_source(run), Path(self.admit(run).path)
        wanted, count = read_tree(source), Count()
        self.refuse_to_empty(wanted, replica)
        try:
            self.delete_extra(wanted, replica, count)
            for done, name in enumerate(sorted(wanted)):
                # The one place to be cancelled at: between two names nothing is half-written.
                await asyncio.sleep(0)
                self.copy_entry(name, wanted[name], source, replica, count)
                percent = 100 * (done + 1) / len(wanted)
                progress(CopyProgress(count.literal_bytes, percent, f"{done + 1} of {len(wanted)} entries done"))
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
            sent_bytes=count.literal_bytes + 64 * len(wanted),
            received_bytes=64,
        )

    async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        """See CopyDriver."""
        source, replica = read_tree(self.check_source(run)), read_tree(Path(self.admit(run).path))
        sampled = {os.fsencode(Path(path)) for path in sample}
        if absent := sorted(sampled - source.keys()):
            raise VerificationError(f"the source could not be read whole: {os.fsdecode(absent[0])!r} is not there")
        told = (
            self.tell_difference(name, source.get(name), replica.get(name), name in sampled)
            for name in sorted(source.keys() | replica.keys())
        )
        return tuple(text for text in told if text)

    # --- the agent's side ---

    def replicas_of(self, agent: AgentSpec) -> dict[str, ReplicaShare]:
        """Reach an agent."""
        if agent not in self.network.agents:
            raise UnavailableError(f"the agent on {agent.address} port {agent.port} does not answer")
        return self.network.agents[agent]

    def admit(self, run: CopyRun) -> ReplicaShare:
        """Let a run in, as an agent would."""
        share = self.replicas_of(run.agent).get(run.replica)
        if share is None:
            raise NotFoundError("the agent has no such replica share")
        if self.address not in share.allowed_sources:
            raise DeniedError("the agent does not accept copies from this address")
        if (share.user, share.password.reveal()) != (run.user, run.password.reveal()):
            raise DeniedError("the agent does not accept this ID and password for the replica share")
        if not Path(share.path).is_dir():
            raise UnavailableError("the directory of the replica share is not there on the destination")
        return share

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
        before = old.read_bytes() if old.exists() else b""
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


def _below(root: Path, name: bytes) -> Path:
    return root / os.fsdecode(name)
