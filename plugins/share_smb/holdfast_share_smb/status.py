"""What smbd's processes do now, read from `smbstatus --json` (seen with 4.17.12)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from holdfast.errors import UnavailableError
from holdfast.hooks.share import OpenFile, ShareSession


@dataclass(frozen=True)
class Connection:
    """A user of one client, connected to one share by a process of smbd's."""

    share: str
    client: str
    user: str
    pid: int
    number: str
    """Of this very connection; one that is made after it has another."""
    files: tuple[OpenFile, ...] = ()


def read_status(report: str, paths: dict[str, str]) -> tuple[Connection, ...]:
    """The connections to the shares in `paths`, name to directory. Raises UnavailableError for what is no report."""
    try:
        plain = json.loads(report)
        sessions = plain.get("sessions", {})
        files = _files(plain)
        found = []
        for number, tcon in plain.get("tcons", {}).items():
            share, session = tcon["service"], sessions.get(tcon["session_id"])
            if share not in paths or session is None:
                continue
            pid = int(tcon["server_id"]["pid"])
            opened = files.get((pid, int(session["uid"]), paths[share]), [])
            found.append(Connection(share, session["remote_machine"], session["username"], pid, number, tuple(opened)))
    except (ValueError, KeyError, TypeError, AttributeError) as reason:
        raise UnavailableError(f"smbstatus gave no report that can be read: {reason!r}") from reason
    return tuple(sorted(found, key=lambda c: (c.share, c.client, c.user, c.pid)))


def _files(plain: Any) -> dict[tuple[int, int, str], list[OpenFile]]:
    """By process, user's number and share's directory."""
    locked = {
        (int(lock["server_id"]["pid"]), path)
        for path, entry in plain.get("byte_range_locks", {}).items()
        for lock in _values(entry.get("locks", ()))
    }
    found: dict[tuple[int, int, str], list[OpenFile]] = defaultdict(list)
    for path, entry in plain.get("open_files", {}).items():
        if entry["filename"] == ".":
            continue  # a client looks at the directory itself, which holds up nobody
        for opened in _values(entry["opens"]):
            pid, mask = int(opened["server_id"]["pid"]), opened["access_mask"]
            is_writing = bool(mask.get("WRITE_DATA") or mask.get("APPEND_DATA"))
            file = OpenFile(str(entry["filename"]), is_writing, (pid, path) in locked)
            found[pid, int(opened["uid"]), str(entry["service_path"])].append(file)
    return found


def _values(entries: Any) -> Iterable[Any]:
    return entries.values() if isinstance(entries, dict) else entries


def sessions_of(connections: Iterable[Connection]) -> tuple[ShareSession, ...]:
    """The same as the contract shows it: several connections of one user from one client are one session."""
    merged: dict[tuple[str, str, str], list[OpenFile]] = defaultdict(list)
    for connection in connections:
        merged[connection.share, connection.client, connection.user] += connection.files
    return tuple(ShareSession(*key, files=tuple(dict.fromkeys(files))) for key, files in merged.items())
