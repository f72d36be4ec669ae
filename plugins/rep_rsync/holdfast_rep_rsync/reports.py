"""What rsync prints, read. Captured from rsync 3.5.0 with `--no-human-readable --outbuf=L`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from holdfast.errors import VerificationError
from holdfast.hooks.copying import CopyAction, CopyChange, CopyPreview
from holdfast.hooks.replication import CopyProgress, CopyResult, RemoteReplica

_PROGRESS = re.compile(r"\s*(\d+)\s+(\d+)%\s+\S+/s\s+\S+(?:\s+\(xfr#\d+, (?:to|ir)-chk=(\d+)/(\d+)\))?\s*\Z")
_STATISTICS = {
    "Number of files": "files_considered",
    "Number of deleted files": "files_deleted",
    "Number of regular files transferred": "files_sent",
    "Total file size": "considered_bytes",
    "Literal data": "literal_bytes",
    "Total bytes sent": "sent_bytes",
    "Total bytes received": "received_bytes",
}
_STATISTIC = re.compile(r"([A-Z][a-z ]+): (\d+)")
_ESCAPED = re.compile(rb"\\#([0-3][0-7]{2})")


def read_progress(line: str) -> CopyProgress | None:
    """Read a record of `--info=progress2`; None if the line is something else."""
    match = _PROGRESS.match(line)
    if match is None:
        return None
    sent, percent, left, total = match.groups()
    text = f"{int(total) - int(left)} of {total} entries done" if total else "copying"
    return CopyProgress(sent_bytes=int(sent), percent=float(percent), text=text)


def is_statistic(line: str) -> bool:
    """Whether a line is one of `--info=stats2`."""
    match = _STATISTIC.match(line)
    return match is not None and (match[1] in _STATISTICS or match[1] in _PREVIEWED)


def read_statistics(lines: Iterable[str]) -> CopyResult:
    """Read the lines of `--info=stats2`. Raises VerificationError if one is missing: the run's end is then unknown."""
    return CopyResult(**_read_numbers(lines, _STATISTICS))


def _read_numbers(lines: Iterable[str], wanted: Mapping[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in lines:
        match = _STATISTIC.match(line)
        if match is not None and match[1] in wanted:
            found[wanted[match[1]]] = int(match[2])
    if missing := [label for label, name in wanted.items() if name not in found]:
        raise VerificationError(f"rsync did not report what it did: {', '.join(missing)} missing")
    return found


def read_listing(lines: Iterable[str]) -> tuple[RemoteReplica, ...]:
    """Read a module list, `%-15s\\t%s` a line. Lines without a tab are a greeting (motd)."""
    pairs = (line.split("\t", 1) for line in lines if "\t" in line)
    return tuple(_read_module(name.rstrip(" "), comment) for name, comment in pairs)


def limit_words(bandwidth_bytes_s: int) -> str:
    """How an agent tells the limit of a replica share, at the end of its comment."""
    return f"; at most {bandwidth_bytes_s} bytes a second"


_LIMIT = re.compile(r"; at most ([1-9]\d{0,18}) bytes a second\Z")


def _read_module(name: str, comment: str) -> RemoteReplica:
    match = _LIMIT.search(comment)
    return RemoteReplica(name, comment, int(match[1]) if match else None)


def unescape(name: str) -> str:
    """Turn a name as rsync prints it into a text to show.

    rsync writes `\\#ooo` for bytes that do not print, and for the backslash of a name that holds such a text itself;
    what is not UTF-8 is shown as `\\xff`.
    """
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), name.encode(errors="surrogateescape"))
    return raw.decode(errors="backslashreplace")


@dataclass(frozen=True)
class Difference:
    """One path that is not the same on both sides, and in what."""

    path: str
    text: str


_PREVIEWED = {
    "Number of files": "files_considered",
    "Number of created files": "files_created",
    "Number of deleted files": "files_deleted",
    "Number of regular files transferred": "files_sent",
    "Total transferred file size": "to_send_bytes",
}
_AHEAD = re.compile(r"(.{11}) (\d+) (.+)\Z", re.DOTALL)


def read_change(line: str) -> CopyChange | None:
    """Read a line of `--out-format='%i %l %n'`; None if it is something else, or changes nothing."""
    match = _AHEAD.match(line)
    if match is None:
        return None
    itemized, size, name = match.groups()
    path = unescape(name).removesuffix("/")
    if itemized == "*deleting  ":
        return CopyChange(CopyAction.DELETE, path, None)
    if _ITEMIZED.match(itemized) is None or not itemized[2:].strip(". "):
        return None
    if itemized[0] == "<" and itemized[1] == "f":
        return CopyChange(CopyAction.SEND, path, int(size))
    return CopyChange(CopyAction.UPDATE, path, None)


def read_preview(lines: Iterable[str], changes: tuple[CopyChange, ...], *, is_whole: bool) -> CopyPreview:
    """Read the lines of `--info=stats2` of a dry run. Raises VerificationError if one is missing."""
    return CopyPreview(**_read_numbers(lines, _PREVIEWED), changes=changes, is_whole=is_whole)


SURPLUS = "is only in the replica"
_ITEMIZED = re.compile(r"[<>ch.][fdLDS][.+?csTtpoguaxnb ]{9}\Z")
_ATTRIBUTES = {
    "s": "size",
    "t": "modification time",
    "T": "modification time",
    "p": "mode",
    "o": "owner",
    "g": "group",
    "a": "ACL",
    "x": "extended attributes",
}


def is_considered(line: str) -> bool:
    """Whether a line of `--out-format='%i %n'` is of a name of the source, be it the same on both sides."""
    return line[11:12] == " " and _ITEMIZED.match(line[:11]) is not None


def read_difference(line: str) -> Difference | None:
    """Read a line of `--out-format='%i %n'` (rsync(1), "itemize-changes"); None if it reports nothing."""
    # %i is always 11 wide; a name may begin with a space.
    itemized, path = line[:11], unescape(line[12:]).removesuffix("/")
    if not path or line[11] != " ":
        return None
    if itemized == "*deleting  ":
        return Difference(path, SURPLUS)
    if _ITEMIZED.match(itemized) is None:
        return None
    flags = itemized[2:]
    if "+" in flags:
        return Difference(path, "is not in the replica")
    words = []
    if flags[0] == "c":
        words.append("target" if itemized[1] == "L" else "device number" if itemized[1] in "DS" else "content")
    words += [word for sign, word in _ATTRIBUTES.items() if sign in flags[1:]]
    if not words:
        words.append("hard links" if itemized[0] == "h" else "content")
    return Difference(path, "differs in " + ", ".join(words))
