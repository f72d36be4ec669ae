"""What may be written into rsync's configuration and command lines, and what is refused.

rsyncd.conf has no quoting: a newline starts a new parameter, `%NAME%` is expanded, a final
backslash joins lines, `/./` in a path splits it (rsyncd.conf(5), "path"). Nothing is escaped
here; what could mean something else is refused.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re

from holdfast.errors import InvalidError, Reason
from holdfast.hooks.replication import AgentSpec, CopyRun, ReplicaShare
from holdfast.values import Secret

_REPLICA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
# rsync reads `@group`, `user:ro`, `user:deny` and wildcards in "auth users"; none of these signs is allowed.
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\Z")
_UNSAFE_IN_PATH = re.compile(r"[\x00-\x1f\x7f%\\]")
_PASSWORD_LIMIT_BYTES = 255


def _refuse(field: str, text: str, remedy: str) -> InvalidError:
    return InvalidError(f"{field}: {text}", reasons=[Reason("bad-value", text, remedy, field)])


def check_replica_name(name: str) -> None:
    """Raises InvalidError unless `name` can name a module; `global` is a section of its own to rsync."""
    if not _REPLICA.match(name) or name.lower() == "global":
        raise _refuse(
            "replica",
            f"{name!r} cannot name a replica share",
            "use up to 63 letters, digits, dots, hyphens and underscores, first a letter or digit; not `global`",
        )


def note_module(replica: str) -> str:
    """The module that takes the notes of a replica share: no replica share has such a name."""
    return f"{replica}+note"


def facts_module(replica: str) -> str:
    """The module that tells how a replica share is: no replica share has such a name."""
    return f"{replica}+facts"


_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*\Z")


def check_folder(into: str) -> None:
    """Raises InvalidError unless the agent takes `into` as it stands: it expands wildcards."""
    if into and (not _FOLDER.match(into) or len(into) > 255):
        remedy = "use letters, digits, dots, hyphens and underscores, each name beginning with a letter or digit"
        raise _refuse("into", f"{into!r} cannot be the folder of a restore", remedy)


def former_module(replica: str) -> str:
    """The module that a replica share's former password opens: no replica share has such a name."""
    return f"{replica}+former"


def check_user(user: str) -> None:
    """Raises InvalidError unless `user` means itself in `auth users`."""
    if not _USER.match(user):
        raise _refuse(
            "user",
            f"{user!r} cannot be the ID of a replica share",
            "use up to 63 letters, digits, dots, hyphens and underscores, first a letter or digit",
        )


def check_password(password: Secret) -> None:
    """Raises InvalidError unless both sides read back the same text from a line of a file."""
    text = password.reveal()
    if not text or len(text.encode()) > _PASSWORD_LIMIT_BYTES or re.search(r"[\x00\r\n]", text):
        raise _refuse(
            "password",
            "the password is empty, too long or has a line break",
            f"use one line of 1 to {_PASSWORD_LIMIT_BYTES} bytes",
        )


def check_path(path: str) -> None:
    """Raises InvalidError unless rsyncd.conf takes `path` as it stands."""
    if not path.startswith("/") or _UNSAFE_IN_PATH.search(path) or path != path.strip():
        raise _refuse(
            "path",
            f"{path!r} cannot be the directory of a replica share",
            "give an absolute path without percent signs, backslashes, control characters and outer spaces",
        )
    if posixpath.normpath(path) != path or path == "/":
        raise _refuse("path", f"{path!r} is not in its shortest form", "give it without `.`, `..`, `//` and a last `/`")


def check_source(pattern: str) -> None:
    """Raises InvalidError unless `pattern` is an address or a network: names would be looked up."""
    try:
        ipaddress.ip_network(pattern, strict=False)
    except ValueError as reason:
        raise _refuse(
            "allowed_sources", f"{pattern!r} is no address", "give IPv4 or IPv6 addresses, or networks as 10.0.0.0/24"
        ) from reason


def check_share(share: ReplicaShare) -> None:
    """Raises InvalidError naming the first field that rsync would read otherwise than meant."""
    check_replica_name(share.name)
    check_path(share.path)
    check_user(share.user)
    check_password(share.password)
    if share.former_password is not None:
        check_password(share.former_password)
    for source in share.allowed_sources:
        check_source(source)


def check_agent(spec: AgentSpec, *, is_local: bool) -> None:
    """Raises InvalidError unless the agent can be reached so; one of our own (`is_local`) listens on an address."""
    if not 1 <= spec.port <= 65535:
        raise _refuse("port", f"{spec.port} is no port", "give a number from 1 to 65535")
    try:
        ipaddress.ip_address(spec.address)
    except ValueError as reason:
        if is_local or not _HOST.match(spec.address):
            raise _refuse("address", f"{spec.address!r} is no address", "give an IPv4 or IPv6 address") from reason


def check_run(run: CopyRun) -> None:
    """Raises InvalidError for a run that rsync would read otherwise than meant."""
    check_agent(run.agent, is_local=False)
    check_replica_name(run.replica)
    check_user(run.user)
    check_password(run.password)
    if not run.source.startswith("/") or "\0" in run.source:
        raise _refuse("source", f"{run.source!r} is no absolute path", "give the mounted snapshot's absolute path")


def url(agent: AgentSpec, *, user: str | None = None, replica: str | None = None) -> str:
    """Write an agent, or a replica share of it, as rsync wants it."""
    host = f"[{agent.address}]" if ":" in agent.address else agent.address
    where = f"{user}@{host}" if user else host
    return f"rsync://{where}:{agent.port}/" + (f"{replica}/" if replica else "")
