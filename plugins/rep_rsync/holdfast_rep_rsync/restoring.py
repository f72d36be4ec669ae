"""What is given back, how that is asked of rsync, and what its preview says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from holdfast.errors import UnavailableError
from holdfast.hooks.copy_restore import MOST_PREVIEWED, Change, Effect, ReplicaFacts, RestorePreview, RestoreRun
from holdfast.system import below
from holdfast_rep_rsync import naming, notes
from holdfast_rep_rsync import options as copy_options
from holdfast_rep_rsync.configuration import NOTE_LINE
from holdfast_rep_rsync.reports import unescape

_ITEMIZED = re.compile(r"(?:[<>ch.][fdLDS][.+?csTtpoguaxnb ]{9}|\*deleting  ) ")
_TRANSFERRED = re.compile(r"Total transferred file size: (\d+)")
PREVIEWING = ("--dry-run", "--out-format=%i %n", "--info=stats2")


def check(restore: RestoreRun) -> None:
    """Raise NotFoundError or InvalidError unless every path is there, below the source, and no link leads to it."""
    naming.check_run(restore.run)
    naming.check_folder(restore.into)
    if not Path(restore.run.source).is_dir():
        return  # rsync says so, as for every other run
    for path in restore.paths:
        below.need(Path(restore.run.source), path)


def names_of(restore: RestoreRun) -> bytes:
    """The paths for `--files-from` with `--from0`: `./` before each, so that no name looks like anything else."""
    return b"".join(b"./" + os.fsencode(below.normal(path) or ".") + b"\0" for path in restore.paths)


def options(restore: RestoreRun, names_file: Path | None) -> tuple[str, ...]:
    """What a restore and its preview have in common."""
    chosen = [copy_options.APART, *copy_options.filters(restore.run.options)]
    if names_file is not None:
        # -r anew, which --files-from takes from -a; folders on the way are no part of what is restored.
        chosen += ["--from0", f"--files-from={names_file}", "--recursive", "--no-implied-dirs"]
    if restore.into:
        chosen.append("--mkpath")
    if restore.deletes:
        chosen.append("--delete-before")
    if restore.by_content:
        chosen.append("--checksum")
    chosen += copy_options.limits(restore.run.options.bandwidth_bytes_s)
    return tuple(chosen)


def effect_of(itemized: str) -> Effect | None:
    """What the first eleven characters of an itemized line mean (rsync(1), "itemize-changes"); None: nothing."""
    if itemized == "*deleting  ":
        return Effect.REMOVED
    flags = itemized[2:]
    if "+" in flags:
        return Effect.WRITTEN
    if itemized[0] in "<>ch" and not (itemized[0] == "h" and itemized[1] != "f"):
        return Effect.OVERWRITTEN
    return Effect.CHANGED if flags.strip(".") else None


def read_preview(lines: Iterable[str]) -> RestorePreview:
    """Read what a dry run printed."""
    changes: list[Change] = []
    counts, content_bytes = dict.fromkeys(Effect, 0), 0
    for line in lines:
        if match := _TRANSFERRED.match(line):
            content_bytes = int(match[1])
        if _ITEMIZED.match(line) is None or (effect := effect_of(line[:11])) is None:
            continue
        path = unescape(line[12:]).removesuffix("/").removeprefix("./")
        counts[effect] += 1
        if len(changes) < MOST_PREVIEWED:
            changes.append(Change(path or ".", effect))
    return RestorePreview(
        **{str(effect): count for effect, count in counts.items()}, content_bytes=content_bytes, changes=tuple(changes)
    )


def read_facts(data: bytes, replica: str) -> ReplicaFacts:
    """Read what `df --output=size,avail` and `date --iso-8601=ns` print. Raises UnavailableError for anything else."""
    text, _, note = data.decode(errors="replace").partition(f"\n{NOTE_LINE}\n")
    try:
        _, sizes, now = text.splitlines()[:3]
        capacity, free = sizes.split()
        # Nanoseconds behind a comma: six digits of them are what Python knows.
        instant = datetime.fromisoformat(re.sub(r",(\d{6})\d*", r".\1", now))
        return ReplicaFacts(int(capacity), int(free), instant, notes.decode(note, replica) if note else None)
    except ValueError as reason:
        raise UnavailableError("what the agent told of its replica share makes no sense") from reason


def read_ended(data: bytes) -> int | None:
    """The status with which the agent's rsync of the last connection ended; None while that goes on, or if not told."""
    ended = data.decode(errors="replace").splitlines()[3:4]
    return int(ended[0]) if ended and ended[0].isdecimal() else None
