"""The agent's configuration as text: one module a replica share (rsyncd.conf(5))."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from holdfast.hooks.replication import ReplicaShare

COMMENT = "Holdfast replica share"

# All that our copier and our verification ask for, and nothing else; found by printing RSYNC_ARG* in a `pre-xfer exec`.
# `delete*` unlocks `--remove-source-files` too, which is nothing to a receiver.
_ACCEPTED_OPTIONS = (
    *("recursive", "links", "perms", "times", "group", "owner", "devices", "specials", "D"),
    *("hard-links", "acls", "xattrs", "sparse", "numeric-ids", "delete*", "modify-window"),
    *("checksum", "checksum-choice", "relative", "dirs", "no-r", "timeout", "no-inc-recursive", "info"),
)


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
    # A run is verified over a connection of its own: what it finds equal is on the disk by then, not in memory only.
    yield 'pre-xfer exec = /usr/bin/sync -f "$RSYNC_MODULE_PATH"'


def _module_lines(share: ReplicaShare, secrets_file: Path, lock_file: Path) -> Iterable[str]:
    yield f"[{share.name}]"
    yield f"path = {share.path}"
    yield f"comment = {COMMENT}"
    yield f"auth users = {share.user}"
    yield f"secrets file = {secrets_file}"
    yield f"lock file = {lock_file}"
    # Without `hosts deny` an empty `hosts allow` would let everybody in.
    if share.allowed_sources:
        yield f"hosts allow = {' '.join(share.allowed_sources)}"
    yield "hosts deny = *"


def render(
    replicas: Iterable[ReplicaShare],
    *,
    log_file: Path,
    secrets_directory: Path,
    lock_directory: Path,
    agent_io_timeout_s: int,
) -> str:
    """Write the configuration of an agent with exactly these replica shares, in the order of their names.

    The values must have passed `naming.check_share`. No secret is in it.
    """
    lines = list(_global_lines(log_file, agent_io_timeout_s))
    for share in sorted(replicas, key=lambda share: share.name):
        lines += ["", *_module_lines(share, secrets_directory / share.name, lock_directory / share.name)]
    return "\n".join(lines) + "\n"


def render_secrets(share: ReplicaShare) -> bytes:
    """Write the secrets file of one replica share; for a file of mode 0600."""
    return f"{share.user}:{share.password.reveal()}\n".encode()
