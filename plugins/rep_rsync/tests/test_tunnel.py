"""stunnel's configuration, and its log read. The messages were seen with stunnel 5.68."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import DeniedError, InvalidError, UnavailableError
from holdfast.hooks.copying import Tls
from holdfast.hooks.replication import AgentSpec
from holdfast_rep_rsync import tunnel

TLS = Tls("/var/lib/x/certificate.pem", "/var/lib/x/key.pem", ("PEM",))
FILES = tunnel.TunnelFiles(Path("/run/x/trusted.pem"), Path("/run/x/tunnel.log"))
NOW = "2026-03-01T12:00:00+00:00"


def agent_lines(address: str = "10.1.0.2") -> list[str]:
    return tunnel.render_agent(
        AgentSpec(address, 8873, TLS),
        TLS,
        FILES,
        program="/usr/bin/rsync",
        config_file=Path("/run/x/rsyncd.conf"),
        handshake_s=10,
        dead_peer_s=60,
    ).splitlines()


def client_lines() -> list[str]:
    agent = AgentSpec("10.1.0.2", 8873, TLS)
    return tunnel.render_client(agent, TLS, FILES, connect_s=10, dead_peer_s=60).splitlines()


@pytest.mark.parametrize(
    "line",
    [
        "accept = 10.1.0.2:8873",
        "exec = /usr/bin/rsync",
        "execArgs = rsync --server --daemon --config=/run/x/rsyncd.conf .",
        "pid =",
        "TIMEOUTbusy = 10",
    ],
)
def test_the_agents_end_says(line: str) -> None:
    assert line in agent_lines()
    assert line.split(" ")[0] == "TIMEOUTbusy" or line not in client_lines()


@pytest.mark.parametrize(
    "line",
    [
        "cert = /var/lib/x/certificate.pem",
        "key = /var/lib/x/key.pem",
        "CAfile = /run/x/trusted.pem",
        "verifyPeer = yes",
        "sslVersionMin = TLSv1.3",
        "sessionResume = no",
        "TIMEOUTclose = 0",
        "socket = r:TCP_KEEPIDLE=30",
        "socket = r:TCP_KEEPINTVL=10",
        "socket = l:TCP_KEEPIDLE=30",
    ],
)
def test_both_ends_say(line: str) -> None:
    assert line in agent_lines()
    assert line in client_lines()


def test_the_copys_end_connects_and_an_address_of_the_sixth_version_is_written_as_stunnel_reads_it() -> None:
    assert {"client = yes", "connect = 10.1.0.2:8873", "TIMEOUTconnect = 10"} <= set(client_lines())
    assert "accept = fd00::2:8873" in agent_lines("fd00::2")


def test_an_agent_that_runs_is_read_back_from_its_files() -> None:
    assert tunnel.read_identity("\n".join(agent_lines()), "PEM") == TLS


@pytest.mark.parametrize("path", ["relative.pem", "/with space", "/with\nline", "/a;b", ""])
def test_a_path_that_stunnel_would_misread_is_refused(path: str) -> None:
    with pytest.raises(InvalidError):
        tunnel.check(Tls(path, "/key", ()))
    with pytest.raises(InvalidError):
        tunnel.check(Tls("/certificate", path, ()))


DATE = "2026.11.28 00:59:45 "
REJECTED = f"{DATE}LOG4[0]: Rejected by CERT at depth=0: CN=b\n"
VERIFY = f"{DATE}LOG3[0]: SSL_connect: statem_clnt.c:1889: error:0A000086:SSL routines::certificate verify failed\n"
LOGS = {
    "alert unknown ca": (
        f"{DATE}LOG3[0]: SSL_read: rec_layer_s3.c:1601: error:0A000418:SSL routines::tlsv1 alert unknown ca",
        DeniedError,
        "does not trust the certificate of this node",
    ),
    "alert expired": (
        f"{DATE}LOG3[0]: SSL_read: rec_layer_s3.c:1601: error:0A000415:SSL routines::sslv3 alert certificate expired",
        DeniedError,
        "this node not valid at this time",
    ),
    "alert heard apart": (tunnel.alert_line("tlsv1 alert unknown ca"), DeniedError, "does not trust"),
    "alert heard apart, expired": (tunnel.alert_line("sslv3 alert certificate expired"), DeniedError, "not valid"),
    "another agent": (
        f"{DATE}LOG4[0]: CERT: Pre-verification error: self-signed certificate\n{REJECTED}{VERIFY}",
        DeniedError,
        "not the agent whose certificate is trusted",
    ),
    "an expired agent": (
        f"{DATE}LOG4[0]: CERT: Pre-verification error: certificate has expired\n{REJECTED}{VERIFY}",
        DeniedError,
        "of the agent is not valid at this time",
    ),
    "no TLS": (
        f"{DATE}LOG3[0]: SSL_connect: ssl3_record.c:350: error:0A00010B:SSL routines::wrong version number",
        UnavailableError,
        "does not speak TLS",
    ),
    "refused": (
        f"{DATE}LOG3[0]: s_connect: connect 127.0.0.1:9974: Connection refused (111)\n"
        f"{DATE}LOG3[0]: No more addresses to connect",
        UnavailableError,
        "Connection refused",
    ),
}


@pytest.mark.parametrize("what", LOGS)
def test_what_kept_a_tunnel_from_standing_is_told(what: str) -> None:
    log, kind, words = LOGS[what]
    reason = tunnel.translate(log, NOW)
    assert type(reason) is kind
    assert words in reason.message
    assert all(each.remedy for each in reason.reasons)
    if "valid" in words:
        assert NOW in reason.reasons[0].remedy


@pytest.mark.parametrize(
    "log", ["", f"{DATE}LOG5[0]: Connection closed: 0 byte(s) sent to TLS, 9 byte(s) sent to socket"]
)
def test_of_a_tunnel_that_stood_there_is_nothing_to_tell(log: str) -> None:
    assert tunnel.translate(log, NOW) is None
    assert not tunnel.is_ended_unheard(log)


def test_an_agent_that_ended_a_connection_without_a_word_is_asked_again() -> None:
    accepted = f"{DATE}LOG5[0]: Certificate accepted at depth=0: CN=b\n"
    ended = f"{DATE}LOG5[0]: Connection reset/closed: 40 byte(s) sent to TLS, 0 byte(s) sent to socket\n"
    assert tunnel.is_ended_unheard(accepted + ended)
    assert not tunnel.is_ended_unheard(ended)


def test_the_reason_of_a_tunnel_that_does_not_start_is_taken_from_what_it_printed() -> None:
    printed = (
        "[ ] Initializing inetd mode configuration\n[.] Configuration successful\n"
        "[.] Binding service [agent] to 127.0.0.1:9973: Address already in use (98)\n"
        "[!] Binding service [agent] failed\n"
    )
    assert tunnel.start_reasons(printed).startswith("Binding service [agent] to 127.0.0.1:9973: Address al")
    assert tunnel.start_reasons("") == "it gave no reason"
