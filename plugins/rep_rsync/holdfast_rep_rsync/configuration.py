"""The agent's configuration as text: for each replica share a module, and one that takes notes (rsyncd.conf(5))."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from holdfast.hooks.replication import ReplicaShare
from holdfast_rep_rsync import naming
from holdfast_rep_rsync.reports import limit_words

LONGEST_NOTE = 512
COMMENT = "Holdfast replica share"
FACTS_FILE = "facts"
NOTE_LINE = "note"
"""What stands alone on the line before the note, the last one."""
ENDED_FILE = "ended"
"""With what status the agent's rsync of the last connection ended; not there while one is under way."""

# All that our copier and our verification ask for, and nothing else; found by printing RSYNC_ARG* in a `pre-xfer exec`.
# `delete*` unlocks `--remove-source-files` too, which is nothing to a receiver.
_ACCEPTED_OPTIONS = (
    *("recursive", "links", "perms", "times", "group", "owner", "devices", "specials", "D"),
    *("hard-links", "acls", "xattrs", "sparse", "numeric-ids", "delete*", "modify-window"),
    *("mkpath", "no-implied-dirs"),
    *("checksum", "checksum-choice", "relative", "dirs", "no-r", "timeout", "no-inc-recursive", "info"),
    *("partial", "partial-dir", "bwlimit", "compress"),
)


@dataclass(frozen=True)
class NotePlaces:
    """Where notes are kept, by replica share, and what goes with them; and a directory with nothing in it."""

    directory: Path
    nothing: Path
    untouched: Path
    """Files that stand for a replica share to which nobody wrote since its note was left."""
    facts: Path
    """A directory for each replica share, with what its node tells of it."""


def _global_lines(log_file: Path, agent_io_timeout_s: int) -> Iterable[str]:
    yield f"log file = {log_file}"
    # Lookups would make access depend on DNS, and every connection wait for it.
    yield "reverse lookup = no"
    yield "forward lookup = no"
    yield "use chroot = true"
    yield "uid = 0"
    yield "gid = 0"
    yield "numeric ids = yes"
    yield "fake super = no"
    # The module is the root of the chroot: no link leads out of it, and links are to be kept exactly.
    yield "munge symlinks = no"
    yield "read only = no"
    # Its password lets a source write a copy and compare it, never fetch it.
    yield "write only = yes"
    yield "list = yes"
    yield "strict modes = yes"
    yield "auth digest = sha256"
    # Two sources that delete in one tree would destroy each other's copy.
    yield "max connections = 1"
    yield f"timeout = {agent_io_timeout_s}"
    yield "refuse options = * " + " ".join(f"!{option}" for option in _ACCEPTED_OPTIONS)
    # rsync's greeting goes back and forth in small pieces; Nagle's waiting for acknowledgements costs a run 0.17 s.
    yield "socket options = TCP_NODELAY"


# Whether rsync was asked only to look: `n` among the short options, which `e` with a value of its own ends.
_LOOKS = "/usr/bin/expr \"$RSYNC_ARG2\" : '-[^e]*n' >/dev/null"


def _module_lines(
    module: str, share: ReplicaShare, touched: Iterable[str], secrets_file: Path, lock_file: Path, notes: NotePlaces
) -> Iterable[str]:
    yield f"[{module}]"
    yield f"path = {share.path}"
    yield f"comment = {COMMENT}{limit_words(share.bandwidth_bytes_s) if share.bandwidth_bytes_s else ''}"
    if module != share.name:
        yield "list = no"
    # A run is verified over a connection of its own: what it finds equal is on the disk by then, not in memory only.
    # That somebody writes is durable before he does.
    marks = shlex.quote(str(notes.untouched))
    forgotten = " ".join(shlex.quote(str(notes.untouched / name)) for name in touched)
    ended, fresh = (shlex.quote(str(notes.facts / share.name / name)) for name in (ENDED_FILE, ".ended"))
    forget = f"{{ {_LOOKS} || /usr/bin/rm -f {forgotten}; }} && /usr/bin/rm -f {ended} && /usr/bin/sync {marks}"
    yield f'pre-xfer exec = {forget} && /usr/bin/sync -f "$RSYNC_MODULE_PATH"'
    # What it says last may be lost where a tunnel ends with it.
    yield f'post-xfer exec = umask 077; echo "$RSYNC_EXIT_STATUS" >{fresh} && /usr/bin/mv {fresh} {ended}'
    yield from _access_lines(share, secrets_file, lock_file)


def _access_lines(share: ReplicaShare, secrets_file: Path, lock_file: Path) -> Iterable[str]:
    yield f"auth users = {share.user}"
    yield f"secrets file = {secrets_file}"
    yield f"lock file = {lock_file}"
    # Without `hosts deny` an empty `hosts allow` would let everybody in.
    if share.allowed_sources:
        yield f"hosts allow = {' '.join(share.allowed_sources)}"
    yield "hosts deny = *"


def _note_lines(
    module: str, share: ReplicaShare, secrets_file: Path, lock_file: Path, notes: NotePlaces
) -> Iterable[str]:
    """A module that is never read: what is asked of it, by who has the password, is noted, in 512 bytes at most.

    Nothing can be written into it, so that no source can fill this node's own disk.
    """
    kept, fresh = (shlex.quote(str(notes.directory / f"{share.name}{ending}")) for ending in ("", ".new"))
    yield f"[{naming.note_module(module)}]"
    yield f"path = {notes.nothing}"
    yield "list = no"
    yield "read only = yes"
    yield "write only = no"
    yield "refuse options = * !dirs !timeout !ignore-missing-args"
    told = f'printf %s "$RSYNC_REQUEST" | /usr/bin/head -c {LONGEST_NOTE}'
    mark = shlex.quote(str(notes.untouched / share.name))
    yield f"pre-xfer exec = umask 077; {told} >{fresh} && /usr/bin/mv {fresh} {kept} && : >{mark}"
    yield from _access_lines(share, secrets_file, lock_file)


def _fact_lines(
    module: str, share: ReplicaShare, secrets_file: Path, lock_file: Path, notes: NotePlaces
) -> Iterable[str]:
    """A module with one file that is made anew for whoever fetches it: size, free bytes, and the time here.

    Behind them, how the last connection ended, once it has, and the note if nobody wrote since that was left.
    """
    directory = notes.facts / share.name
    fresh, kept = (shlex.quote(str(directory / name)) for name in (".new", FACTS_FILE))
    yield f"[{naming.facts_module(module)}]"
    yield f"path = {directory}"
    yield "list = no"
    yield "read only = yes"
    yield "write only = no"
    yield "refuse options = * !timeout"
    size = f"/usr/bin/df --block-size=1 --output=size,avail {shlex.quote(share.path)}"
    ended = shlex.quote(str(directory / ENDED_FILE))
    mark, note = (shlex.quote(str(below / share.name)) for below in (notes.untouched, notes.directory))
    last = f"{{ [ ! -e {mark} ] || {{ echo {NOTE_LINE} && /usr/bin/cat {note}; }}; }}"
    told = (
        f"{{ {size} && /usr/bin/date --utc --iso-8601=ns && {{ /usr/bin/cat {ended} 2>/dev/null || :; }} && {last}; }}"
    )
    yield f"pre-xfer exec = umask 077; {told} >{fresh} && /usr/bin/mv {fresh} {kept}"
    yield from _access_lines(share, secrets_file, lock_file)


def render(
    replicas: Iterable[ReplicaShare],
    *,
    log_file: Path,
    secrets_directory: Path,
    lock_directory: Path,
    notes: NotePlaces,
    agent_io_timeout_s: int,
) -> str:
    """Write the configuration of an agent with exactly these replica shares, in the order of their names.

    The values must have passed `naming.check_share`. No secret is in it.
    """
    lines = list(_global_lines(log_file, agent_io_timeout_s))
    shares = sorted(replicas, key=lambda share: share.name)
    for share in shares:
        # A restore is let in by a share of its own, into a directory that may be a replica, or above or below one.
        touched = [other.name for other in shares if _overlap(share.path, other.path)]
        # One lock for whatever password: two sources that delete in one tree would destroy each other's copy.
        lock_file, note_lock = lock_directory / share.name, lock_directory / naming.note_module(share.name)
        fact_lock = lock_directory / naming.facts_module(share.name)
        for module in modules(share):
            secrets_file = secrets_directory / module
            lines += ["", *_module_lines(module, share, touched, secrets_file, lock_file, notes)]
            lines += ["", *_note_lines(module, share, secrets_file, note_lock, notes)]
            lines += ["", *_fact_lines(module, share, secrets_file, fact_lock, notes)]
    return "\n".join(lines) + "\n"


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def modules(share: ReplicaShare) -> dict[str, bytes]:
    """The modules of one replica share, one for each password that is valid: name to what its secrets file holds.

    That file is for mode 0600.
    """
    passwords = {share.name: share.password, naming.former_module(share.name): share.former_password}
    return {
        module: f"{share.user}:{password.reveal()}\n".encode()
        for module, password in passwords.items()
        if password is not None
    }
