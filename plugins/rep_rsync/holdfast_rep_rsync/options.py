"""The rules of a copy as rsync's options. Pure: the same rules give the same words."""

from __future__ import annotations

from holdfast.hooks.copying import CopyOptions
from holdfast.hooks.filters import check_pattern

# Everything of a tree, and nothing else:
#   -XX                also the attributes named user.rsync.*, which one X takes for rsync's own;
#   --modify-window=-1 compares nanoseconds: by default a change within the same second at the same size is not seen.
# No --inplace: what is on the destination is the old file or the new one.
ATTRIBUTES = ("-aHAXXS", "--numeric-ids", "--modify-window=-1")
# Deletes before it copies: source and destination may be of the same capacity (S21), where
# what is new fits only when what is gone has left. rsync deletes nothing if the source could not be listed whole.
DELETING = ("--delete-before",)
# Where the agent keeps what a copy that was cut off had brought of a file: one directory at the top, so that it can be
# told from all else and taken away. The agent is confined to the replica, so `/` is the top of that.
PARTIAL = ".holdfast-partial"
APART = f"--filter=- /{PARTIAL}"
KIB = 1024


def check(options: CopyOptions) -> None:
    """Raises InvalidError for a pattern that rsync would read otherwise than meant."""
    for rule in options.filters:
        check_pattern(rule.pattern)


def filters(options: CopyOptions) -> tuple[str, ...]:
    """What is left out."""
    return tuple(f"--filter={'+' if rule.is_included else '-'} {rule.pattern}" for rule in options.filters)


def rules(options: CopyOptions) -> tuple[str, ...]:
    """What is left out, and whether what the source lacks is deleted."""
    return (*filters(options), *(DELETING if options.is_deleting else ()))


def copying(options: CopyOptions, told_bytes_s: int | None) -> tuple[str, ...]:
    """What is sent, and how. `told_bytes_s` is the limit that the agent told for its replica share."""
    words = [APART, *rules(options), f"--partial-dir=/{PARTIAL}", *limits(options.bandwidth_bytes_s, told_bytes_s)]
    if options.is_compressed:
        words.append("--compress")
    return tuple(words)


def limits(*bytes_s: int | None) -> tuple[str, ...]:
    """The least of several limits, of those that are there."""
    known = [limit for limit in bytes_s if limit is not None]
    # In KiB; 0 would mean no limit.
    return (f"--bwlimit={max(min(known) // KIB, 1)}",) if known else ()


def looking_ahead(options: CopyOptions, *, with_names: bool) -> tuple[str, ...]:
    """What a copy would do, reported; nothing is changed."""
    report = ("--out-format=%i %l %n",) if with_names else ()
    return ("--dry-run", "--info=stats2", *report, APART, *rules(options))


def tidying() -> tuple[str, ...]:
    """Take away what was kept aside, and touch nothing else: all else is excluded, on both sides.

    The first filter is of the source only: what has this name there is none of it.
    """
    return (f"--filter=H /{PARTIAL}", f"--filter=+ /{PARTIAL}/", f"--filter=+ /{PARTIAL}/**", "--filter=- *", *DELETING)
