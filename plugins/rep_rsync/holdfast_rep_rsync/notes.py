"""Notes on copies: as the name of a file that a source asks its agent for, and as that agent keeps it.

The agent keeps what is asked for, whatever it is: what cannot be read is no note.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterable
from pathlib import Path

from holdfast.errors import InvalidError, Reason
from holdfast.hooks.replication import CopyNote
from holdfast.values import from_plain, to_plain
from holdfast_rep_rsync.naming import former_module, note_module

log = logging.getLogger(__name__)

# A longer name is refused by the agent's kernel (NAME_MAX), before it is found not to be there.
LONGEST_NAME = 255


def encode(note: CopyNote) -> str:
    """A note as the name of a file. Raises InvalidError if it is too long."""
    plain = json.dumps(to_plain(note), separators=(",", ":"), ensure_ascii=False).encode()
    name = base64.urlsafe_b64encode(plain).decode().rstrip("=")
    if len(name) > LONGEST_NAME:
        text = f"a note takes {len(name)} of {LONGEST_NAME} characters"
        raise InvalidError(text, reasons=[Reason("note-too-long", text, "give the task or the node a shorter name")])
    return name


def decode(request: str, replica: str) -> CopyNote | None:
    """A note out of what was asked of the agent; None if it is none."""
    module, _, name = request.partition("/")
    if module not in (note_module(replica), note_module(former_module(replica))):
        return None
    try:
        plain = json.loads(base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)))
        note = from_plain(CopyNote, plain)
    except (ValueError, RecursionError, InvalidError):  # binascii's and JSON's are ValueErrors
        return None
    return note if note.frozen_at.tzinfo is not None else None


def read(directory: Path, replicas: Iterable[str]) -> dict[str, CopyNote]:
    """The notes of replica shares in a directory; where there is none, or what is no note, nothing."""
    found = {}
    for replica in replicas:
        try:
            request = (directory / replica).read_bytes().decode(errors="replace")
        except FileNotFoundError:
            continue
        note = decode(request, replica)
        if note is None:
            log.debug("what was left with the replica share %s is no note", replica)
        else:
            found[replica] = note
    return found


def keep_only(directory: Path, replicas: Iterable[str]) -> None:
    """Remove the notes of all other replica shares."""
    wanted = set(replicas)
    for path in directory.iterdir():
        if path.name not in wanted:
            path.unlink(missing_ok=True)
