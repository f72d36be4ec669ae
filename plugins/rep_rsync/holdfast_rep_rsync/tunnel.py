"""TLS around rsync, by stunnel: its configuration as text, and what its log says when a connection fails. Pure.

Both sides show a certificate, and each is compared whole with those that the other one trusts (stunnel(8),
`verifyPeer`): no authority vouches for any. Seen with stunnel 5.68.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import DeniedError, HoldfastError, InvalidError, Reason, UnavailableError
from holdfast.hooks.copying import Tls
from holdfast.hooks.replication import AgentSpec

_UNSAFE_IN_PATH = re.compile(r"[\x00-\x20\x7f\"'\\;]")


@dataclass(frozen=True)
class TunnelFiles:
    """Files of one end: the certificates that it trusts, and its log."""

    trusted: Path
    log: Path


def check(tls: Tls) -> None:
    """Raises InvalidError for what stunnel would read otherwise than meant."""
    for field, path in (("certificate_file", tls.certificate_file), ("key_file", tls.key_file)):
        if not path.startswith("/") or _UNSAFE_IN_PATH.search(path):
            text = f"{field}: {path!r} is no absolute path without spaces, quotes and control characters"
            raise InvalidError(text, reasons=[Reason("bad-value", text, "keep the certificate elsewhere", field)])


def _global_lines(log_file: Path) -> Iterable[str]:
    yield "syslog = no"
    yield f"output = {log_file}"
    yield "debug = notice"


def _both_ends(tls: Tls, files: TunnelFiles, dead_peer_s: int) -> Iterable[str]:
    yield f"cert = {tls.certificate_file}"
    yield f"key = {tls.key_file}"
    yield f"CAfile = {files.trusted}"
    yield "verifyPeer = yes"
    yield "sslVersionMin = TLSv1.3"
    yield "libwrap = no"
    # Each connection shows its certificate: one that is trusted no more is not let in by a session of before.
    yield "sessionResume = no"
    # rsync says itself when it is done, and closes: waiting for the other's closing would take a minute.
    yield "TIMEOUTclose = 0"
    # rsync has a time limit of its own.
    yield "TIMEOUTidle = 604800"
    for side in ("l", "r"):
        yield f"socket = {side}:TCP_NODELAY=1"
        yield f"socket = {side}:SO_KEEPALIVE=1"
        # Of a line that was cut nothing is heard. Whoever is behind it is to free the replica share.
        yield f"socket = {side}:TCP_KEEPIDLE={max(dead_peer_s // 2, 1)}"
        yield f"socket = {side}:TCP_KEEPINTVL={max(dead_peer_s // 6, 1)}"
        yield f"socket = {side}:TCP_KEEPCNT=3"


def render_agent(
    spec: AgentSpec,
    tls: Tls,
    files: TunnelFiles,
    *,
    program: str,
    config_file: Path,
    handshake_s: int,
    dead_peer_s: int,
) -> str:
    """Write the configuration of the agent's end: for each connection it starts an rsync of that connection's own.

    `program` is an absolute path. rsync learns by the environment (REMOTE_HOST) from where the connection came.
    """
    lines = (
        *_global_lines(files.log),
        "pid =",
        "[agent]",
        f"accept = {spec.address}:{spec.port}",
        *_both_ends(tls, files, dead_peer_s),
        f"TIMEOUTbusy = {handshake_s}",
        f"exec = {program}",
        f"execArgs = rsync --server --daemon --config={config_file} .",
    )
    return "\n".join(lines) + "\n"


def render_client(agent: AgentSpec, tls: Tls, files: TunnelFiles, *, connect_s: int, dead_peer_s: int) -> str:
    """Write the configuration of a copy's end, which talks to rsync on its standard streams."""
    lines = (
        *_global_lines(files.log),
        "foreground = quiet",
        "client = yes",
        f"connect = {agent.address}:{agent.port}",
        *_both_ends(tls, files, dead_peer_s),
        f"TIMEOUTconnect = {connect_s}",
        f"TIMEOUTbusy = {connect_s}",
    )
    return "\n".join(lines) + "\n"


def read_identity(config: str, trusted: str) -> Tls:
    """What an agent that runs was told, out of its files."""
    values = dict(line.split(" = ", 1) for line in config.splitlines() if " = " in line)
    return Tls(values["cert"], values["key"], (trusted,))


_LINE = re.compile(r"^\S+ \S+ LOG([0-4])\[[^]]*\]: ", re.MULTILINE)
_NO_CONNECTION = re.compile(r"s_connect: (?:connect \S+: |s_poll_wait )?(.*)")


def start_reasons(stderr: str) -> str:
    """Pick from what stunnel printed, `[LEVEL] MESSAGE` a line, why it did not start."""
    told = [line[4:] for line in stderr.splitlines() if line.startswith(("[!] ", "[.] Binding service"))]
    return "; ".join(told[:3]) or "it gave no reason"


def messages(log: str) -> list[str]:
    """What is a warning or worse in a log, without dates."""
    return [line[match.end() :] for line in log.splitlines() if (match := _LINE.match(line))]


def is_ended_unheard(log: str) -> bool:
    """Whether the agent ended the connection after the handshake, and without a word of its rsync's."""
    return "Certificate accepted at depth=0" in log and " 0 byte(s) sent to socket" in log


def alert_line(alert: str) -> str:
    """What an agent said, told as the log would have it."""
    return f"\n- - LOG3[0]: SSL_read: alert {alert.removeprefix('tlsv1 alert ').removeprefix('sslv3 alert ')}"


def translate(log: str, now: str) -> HoldfastError | None:
    """Say what kept a copy's end from connecting; None if nothing did. `now` is this node's time, to be shown."""
    told = messages(log)
    text = "\n".join(told)
    if "certificate has expired" in text or "certificate is not yet valid" in text:
        what = "the certificate of the agent is not valid at this time"
        remedy = f"check the clocks: it is {now} here; or give the agent a new certificate, and pin that"
        return DeniedError(what, reasons=[Reason("certificate-expired", what, remedy)])
    if "alert certificate expired" in text:
        what = "the agent finds the certificate of this node not valid at this time"
        remedy = f"check the clocks: it is {now} here; or give this node a new certificate"
        return DeniedError(what, reasons=[Reason("certificate-expired", what, remedy)])
    if "Rejected by CERT" in text or "certificate verify failed" in text:
        what = "what answers there is not the agent whose certificate is trusted"
        remedy = "pin the certificate that the destination shows as its own (holdfast node show), or pair with it"
        return DeniedError(what, reasons=[Reason("agent-not-trusted", what, remedy)])
    if re.search(r"alert (unknown ca|bad certificate|certificate (unknown|required)|access denied)", text):
        what = "the agent does not trust the certificate of this node"
        remedy = "give this node's certificate (holdfast node show) to the replica share on the destination"
        return DeniedError(what, reasons=[Reason("source-not-trusted", what, remedy)])
    if "wrong version number" in text or "SSL_connect" in text:
        what = "what answers there does not speak TLS"
        remedy = "say transport tls on both sides, or plain on both"
        return UnavailableError(what, reasons=[Reason("not-encrypted", what, remedy)])
    if match := _NO_CONNECTION.search(text):
        return UnavailableError(f"the agent cannot be reached: {match[1]}")
    return None
