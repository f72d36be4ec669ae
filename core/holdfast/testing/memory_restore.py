"""How the in-memory copy driver gives back: the reference of that part of the contract."""

# What it needs of the driver is documented there.
# ruff: noqa: D102

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import BusyError, InvalidError, NotFoundError
from holdfast.hooks.copy_restore import MOST_PREVIEWED, Change, Effect, ReplicaFacts, RestorePreview, RestoreRun
from holdfast.hooks.copying import CopyOptions
from holdfast.hooks.replication import AgentSpec, CopyNote, CopyProgress, CopyResult, CopyRun, ReplicaShare
from holdfast.system import below
from holdfast.testing.trees import Entry, read_tree

if TYPE_CHECKING:
    from holdfast.testing.memory_copy import Count, MemoryNetwork

# Made anew by whatever happens to a folder, so no difference by itself.
_ATTRIBUTES = ("mode", "owner", "group", "modified_ns", "attributes")


@dataclass(frozen=True)
class Wanted:
    """What is restored, name by name, and where it is to lie."""

    source: Path
    top: Path
    """The replica's folder that the names are relative to."""
    entries: dict[bytes, Entry]
    folders: tuple[bytes, ...]
    """Those that are restored whole: what else lies below them is removed, if that is asked for."""


class MemoryRestores:
    """See RestoringDriver; a part of MemoryCopyDriver, which has what is declared here."""

    if TYPE_CHECKING:
        network: MemoryNetwork
        spec: AgentSpec | None

        def admit(self, run: CopyRun) -> ReplicaShare: ...
        def check_source(self, run: CopyRun) -> Path: ...
        def within(self, options: CopyOptions, tree: dict[bytes, Entry]) -> dict[bytes, Entry]: ...
        def begin_writing(self, run: CopyRun) -> None: ...
        def refuse_to_empty(self, wanted: dict[bytes, Entry], replica: Path) -> None: ...
        def copy_entry(self, name: bytes, entry: Entry, source: Path, replica: Path, count: Count) -> None: ...
        def set_attributes(self, entry: Entry, path: Path) -> None: ...
        async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]: ...
        async def read_notes(self) -> Mapping[str, CopyNote]: ...

    async def restore(self, restore: RestoreRun, progress: Callable[[CopyProgress], None]) -> CopyResult:
        """See RestoringDriver."""
        from holdfast.testing.memory_copy import Count

        wanted, count = self.wanted_of(restore), Count()
        changes = dict(self.effects(wanted, restore))
        self.begin_writing(restore.run)
        root = Path(self.admit(restore.run).path)
        self.make_folders(root, restore.into)
        for name, effect in sorted(changes.items(), reverse=True):
            if effect is Effect.REMOVED:
                self.remove(wanted.top / os.fsdecode(name))
                count.files_deleted += 1
        for name in sorted(wanted.entries):
            self.make_folders(root, str(Path(restore.into) / Path(os.fsdecode(name)).parent))
            if changes.get(name) is not None:
                self.restore_entry(wanted, name, restore, count)
        for name in sorted(wanted.entries, key=lambda name: (-name.count(b"/"), name == b".")):
            self.set_attributes(wanted.entries[name], wanted.top / os.fsdecode(name))
        progress(CopyProgress(count.literal_bytes, 100.0, "all done"))
        considered_bytes = sum(entry.size_bytes or 0 for entry in wanted.entries.values())
        return CopyResult(
            files_considered=len(wanted.entries),
            files_sent=count.files_sent,
            files_deleted=count.files_deleted,
            considered_bytes=considered_bytes,
            literal_bytes=count.literal_bytes,
            sent_bytes=count.literal_bytes,
            received_bytes=0,
        )

    def restore_entry(self, wanted: Wanted, name: bytes, restore: RestoreRun, count: Count) -> None:
        """Bring one name over."""
        path = wanted.top / os.fsdecode(name)
        entry = wanted.entries[name]
        if os.path.lexists(path) and (_kind_of(path) != entry.kind or (restore.by_content and entry.kind == "-")):
            path.unlink() if not path.is_dir() or path.is_symlink() else path.rmdir()
        self.copy_entry(name, entry, wanted.source, wanted.top, count)

    async def preview_restore(self, restore: RestoreRun) -> RestorePreview:
        """See RestoringDriver."""
        wanted = self.wanted_of(restore)
        counts, changes, content_bytes = dict.fromkeys(Effect, 0), [], 0
        for name, effect in sorted(self.effects(wanted, restore)):
            counts[effect] += 1
            changes.append(Change(name.decode(errors="backslashreplace"), effect))
            if effect in (Effect.WRITTEN, Effect.OVERWRITTEN):
                content_bytes += wanted.entries[name].size_bytes or 0
        told = {str(effect): number for effect, number in counts.items()}
        return RestorePreview(**told, content_bytes=content_bytes, changes=tuple(changes[:MOST_PREVIEWED]))

    def wanted_of(self, restore: RestoreRun) -> Wanted:
        """Find what is meant, or refuse."""
        source, replica = self.check_source(restore.run), Path(self.admit(restore.run).path)
        if ".." in restore.into.split("/") or restore.into.startswith("/"):
            raise InvalidError(f"{restore.into!r} cannot be the folder of a restore")
        for path in restore.paths:
            self.check_path(source, path)
        tree = self.within(restore.run.options, read_tree(source))
        tops = [os.fsencode(below.normal(path) or ".") for path in restore.paths] or [b"."]
        entries = {name: e for name, e in tree.items() if any(_is_below(name, top) for top in tops)}
        names = set(entries)
        entries = {name: _among(entry, names) for name, entry in entries.items()}
        if restore.deletes and not restore.paths and not restore.into:
            self.refuse_to_empty(entries, replica)
        folders = tuple(top for top in tops if tree[top].kind == "d")
        return Wanted(source, replica / restore.into, entries, folders)

    async def verify_all(self, run: CopyRun) -> tuple[str, ...]:
        """See RestoringDriver."""
        tree = self.within(run.options, read_tree(self.check_source(run)))
        everything = tuple(os.fsdecode(name) for name in tree)
        return await self.verify(run, sample=everything)

    def check_path(self, source: Path, path: str) -> None:
        """Refuse a path that is not there, or that a link leads to."""
        below.need(source, path)

    def effects(self, wanted: Wanted, restore: RestoreRun) -> Iterator[tuple[bytes, Effect]]:
        """What becomes of each name."""
        there = self.within(restore.run.options, read_tree(wanted.top)) if wanted.top.is_dir() else {}
        for name, entry in wanted.entries.items():
            old = there.get(name)
            if old is None:
                yield name, Effect.WRITTEN
            elif old.kind != entry.kind or _is_other(entry, old, by_content=restore.by_content):
                yield name, Effect.OVERWRITTEN
            elif any(getattr(entry, field) != getattr(old, field) for field in _ATTRIBUTES):
                yield name, Effect.CHANGED
        for name in there if restore.deletes else ():
            if name not in wanted.entries and any(_is_below(name, folder) for folder in wanted.folders):
                yield name, Effect.REMOVED

    def make_folders(self, root: Path, folder: str) -> None:
        """Make the folders on the way; a link that is there is replaced by a folder, for nothing leaves the replica."""
        place = root
        for part in [part for part in folder.split("/") if part not in ("", ".")]:
            place = place / part
            if place.is_symlink():
                place.unlink()
            place.mkdir(exist_ok=True)

    def remove(self, path: Path) -> None:
        """Remove one name with all below it."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def hold(self, replica: str) -> AsyncIterator[CopyNote | None]:
        """See RestoringDriver."""
        if self.spec is None or replica not in self.network.agents.get((self.spec.address, self.spec.port), {}):
            raise NotFoundError(f"this node's agent has no replica share {replica}")
        key = ((self.spec.address, self.spec.port), replica)
        if key in self.network.busy:
            raise BusyError(f"a copy is coming into the replica share {replica}")
        self.network.busy.add(key)
        try:
            yield (await self.read_notes()).get(replica) if key in self.network.untouched else None
        finally:
            self.network.busy.discard(key)

    async def distrust_replicas(self) -> None:
        """See RestoringDriver."""
        if self.spec is not None:
            where = self.spec.address, self.spec.port
            self.network.untouched = {key for key in self.network.untouched if key[0] != where}

    async def replica_facts(self, run: CopyRun) -> ReplicaFacts:
        """See RestoringDriver."""
        told = os.statvfs(self.admit(run).path)
        where = run.agent.address, run.agent.port
        note = self.network.notes[where].get(run.replica) if (where, run.replica) in self.network.untouched else None
        return ReplicaFacts(told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize, self.network.now(), note)


def _kind_of(path: Path) -> str:
    return stat.filemode(path.lstat().st_mode)[0]


def _is_below(name: bytes, top: bytes) -> bool:
    return top == b"." or name == top or name.startswith(top + b"/")


def _among(entry: Entry, names: set[bytes]) -> Entry:
    """An entry whose other names are only those that are restored with it."""
    values = {field.name: getattr(entry, field.name) for field in fields(Entry)}
    return Entry(**{**values, "other_names": tuple(name for name in entry.other_names if name in names)})


def _is_other(entry: Entry, old: Entry, *, by_content: bool) -> bool:
    if entry.kind == "-":
        if by_content:
            return entry.content != old.content
        return (entry.size_bytes, entry.modified_ns) != (old.size_bytes, old.modified_ns)
    return (entry.target, entry.device) != (old.target, old.device)
