"""A copy by a list of changes: what is asked of rsync, and what of its answers counts.

What is gone and what changed are two passes. Only the first deletes what it does not find: a source that went away
in the middle of the second fails it, and looks like nothing else. Folders on the way to a name are sent with their
attributes, and so is the top, because each name begins with `./` (flist.c, send_implied_dirs). A directory that is
named is sent without what is in it, and so nothing is deleted in it (rsync(1), --files-from and --dirs).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from holdfast.hooks.copying import CopyChanges
from holdfast.hooks.replication import CopyResult
from holdfast_rep_rsync import reports

Push = Callable[[tuple[str, ...], Callable[[str], None]], Awaitable[list[str]]]
"""Called with options and who reads each line; returns the statistics."""

# Twice: also what is the same already is told. `Number of files` counts a folder once for each way to it.
_TELLING = ("--itemize-changes", "--itemize-changes", "--out-format=%i %n")
TOP = b"./\0"
TOP_ALONE = ("--filter=- /*",)


async def copy(
    changes: CopyChanges, top: Path, push: Push, follow: Callable[[str], None], *, is_deleting: bool
) -> CopyResult:
    """Copy by the list; `top` is a file that names the top alone, and `follow` reads each line."""
    considered = 0

    def count(line: str) -> None:
        nonlocal considered
        follow(line)
        considered += reports.is_considered(line)

    first = None
    if is_deleting and not _is_empty(changes.gone):
        first = reports.read_statistics(await push((*naming(changes.gone), "--delete-missing-args"), follow))
    lines = await push((*_TELLING, *changed(changes, top)), count)
    second = replace(reports.read_statistics(lines), files_considered=considered)
    return second if first is None else _sum(first, second)


def changed(changes: CopyChanges, top: Path) -> tuple[str, ...]:
    """Options that name what is new or differs, and the top."""
    return (*TOP_ALONE, *naming(str(top))) if _is_empty(changes.names) else naming(changes.names)


def naming(path: str) -> tuple[str, ...]:
    """Options that name what stands in a file."""
    return ("--from0", f"--files-from={path}")


def all_names(changes: CopyChanges, *, is_deleting: bool) -> bytes:
    """Everything that is to be compared: what differs, what is gone, and the top with it."""
    return b"".join(Path(path).read_bytes() for path in (changes.names, *([changes.gone] if is_deleting else [])))


def _is_empty(path: str) -> bool:
    return not Path(path).stat().st_size


def _sum(first: CopyResult, second: CopyResult) -> CopyResult:
    return replace(
        second,
        files_deleted=first.files_deleted + second.files_deleted,
        sent_bytes=first.sent_bytes + second.sent_bytes,
        received_bytes=first.received_bytes + second.received_bytes,
    )
