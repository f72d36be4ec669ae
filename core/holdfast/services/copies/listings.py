"""The files of runs by changes: the listing that each task's last good run left, and a run's list of changes.

They lie beside the database. A listing is made while the frozen source is read for the verification anyhow, so nothing
of the source is held until the next run: no snapshot, no reserve.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from holdfast.hooks.copying import CopyChanges
from holdfast.hooks.filters import is_excluded
from holdfast.hooks.replication import CopyRun
from holdfast.planning.copy_ways import Compared
from holdfast.planning.sampling import sample_paths
from holdfast.system import listing

SAMPLED_FILES = 100
# Of what is free where the database is, too: a listing is never the reason that there is no room for that.
SHARE_OF_FREE = 10


@dataclass(frozen=True)
class RunFiles:
    """Which files are a run's: of its task, and of its job."""

    task_uuid: str
    job_id: str


@dataclass
class Walked:
    """What a run's source has, as it was read for the run."""

    names: int = 0
    """Its top is one."""
    files: int = 0
    file_bytes: int = 0
    sample: tuple[str, ...] = ()
    """Files that are compared by checksum."""


class Listings:
    """Makes, finds and removes them. All of it blocks."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    # --- making ---

    def walk(self, files: RunFiles, run: CopyRun, frozen_at: datetime, *, keeps: bool) -> Walked:
        """Read the source; with `keeps` its listing is made, if there is room. Raises OSError, ListingError."""
        walked = Walked()
        with self._writing(files, frozen_at, keeps=keeps) as writer:
            walked.sample = _sample(files, _counted(_tree(run), walked, writer))
        return walked

    def compare(self, last: RunFiles, files: RunFiles, run: CopyRun, frozen_at: datetime) -> tuple[Walked, Compared]:
        """Read the source, make its listing, and list where it differs from the `last` one. Raises as `walk` does."""
        walked, changes = Walked(), self.changes(files)
        with (
            self._writing(files, frozen_at, keeps=True) as writer,
            Path(changes.names).open("wb") as changed,
            Path(changes.gone).open("wb") as gone,
        ):
            names = listing.Names(changed, gone, is_deleting=run.options.is_deleting)
            entries = listing.compare(listing.read(self._listing(last)), _tree(run), names)
            walked.sample = _sample(files, _counted(entries, walked, writer))
        return walked, Compared(walked.names, names.changed, names.created, names.removed, names.looked_at)

    @contextlib.contextmanager
    def _writing(self, files: RunFiles, frozen_at: datetime, *, keeps: bool) -> Iterator[listing.ListingWriter | None]:
        if not keeps:
            yield None
            return
        self._directory.mkdir(mode=0o700, exist_ok=True)
        most_bytes = shutil.disk_usage(self._directory).free // SHARE_OF_FREE
        frozen_ns = int(frozen_at.timestamp() * 1e9)
        writer = listing.ListingWriter(self._listing(files), frozen_ns=frozen_ns, most_bytes=most_bytes)
        try:
            yield writer
            writer.finish()
        finally:
            writer.drop()  # what was finished stays

    # --- finding and removing ---

    def changes(self, files: RunFiles) -> CopyChanges:
        """Where a run's list of changes lies."""
        return CopyChanges(str(self._path(files, "names")), str(self._path(files, "gone")))

    def has_changes(self, files: RunFiles) -> bool:
        """Whether it is there."""
        changes = self.changes(files)
        return Path(changes.names).exists() and Path(changes.gone).exists()

    def has_listing(self, files: RunFiles) -> bool:
        """Whether a run left one."""
        return self._listing(files).exists()

    def drop(self, files: RunFiles) -> None:
        """Leave nothing of a run."""
        for path in self._directory.glob(f"{files.task_uuid}.{files.job_id}.*"):
            path.unlink(missing_ok=True)

    def drop_all_but(self, kept: RunFiles) -> None:
        """Leave of a task nothing but one listing."""
        for path in self._directory.glob(f"{kept.task_uuid}.*"):
            if path != self._listing(kept):
                path.unlink(missing_ok=True)

    def tidy(self, tasks: Collection[str]) -> None:
        """Leave nothing of tasks other than those, by their uuids."""
        for path in self._directory.glob("*"):
            if path.name.partition(".")[0] not in tasks:
                path.unlink(missing_ok=True)

    def _listing(self, files: RunFiles) -> Path:
        return self._path(files, "listing")

    def _path(self, files: RunFiles, what: str) -> Path:
        return self._directory / f"{files.task_uuid}.{files.job_id}.{what}"


def _tree(run: CopyRun) -> Iterator[listing.Entry]:
    rules = run.options.filters
    if not rules:
        return listing.walk(Path(run.source))
    return listing.walk(
        Path(run.source), lambda path, is_directory: is_excluded(rules, path, is_directory=is_directory)
    )


def _counted(entries: Iterator[listing.Entry], walked: Walked, writer: listing.ListingWriter | None) -> Iterator[str]:
    """The regular files among the entries; all are counted, and written down."""
    for entry in entries:
        walked.names += 1
        if writer is not None:
            writer.add(entry)
        if entry.is_file:
            walked.files += 1
            walked.file_bytes += entry.size_bytes
            yield os.fsdecode(entry.path)


def _sample(files: RunFiles, paths: Iterator[str]) -> tuple[str, ...]:
    return sample_paths(paths, most=SAMPLED_FILES, seed=files.job_id)
