"""Only what rsync reads as it is meant gets into its configuration and command lines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import InvalidError
from holdfast.hooks.replication import AgentSpec, CopyRun, ReplicaShare
from holdfast.values import Secret
from holdfast_rep_rsync import naming

SHARE = ReplicaShare("docs", "/srv/my volume/docs", "copier-1", Secret("pass: # word "), ("10.0.0.1", "fd00::/8"))
RUN = CopyRun("/run/snapshot", AgentSpec("10.0.0.1", 873), "docs", "copier", Secret("p"))
LONG = "x" * 300


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", name) for name in ("", "global", "GLOBAL", "a b", "-a", "a]", "a/b", "a\n[b", "a\n", "é", LONG)),
        *(("user", user) for user in ("", "@group", "a:rw", "a b", "*", "a,b", "a\n", "-a", "#a", LONG)),
        *(("password", Secret(text)) for text in ("", "a\nb", "a\rb", "a\0b", "a\n", LONG)),
        *(("path", path) for path in ("", "relative", "/", "/a/./b", "/a/../b", "/a//b", "/a/", "/a\nuid = 1", "/a ")),
        *(("path", path) for path in ("/a%RSYNC_USER_NAME%", "/a\\", "/a\x7f")),
        *(("allowed_sources", (host,)) for host in ("", "*", "host.example", "10.0.0.1 *", "10.0.0.1\n", "@net", "-")),
    ],
)
def test_a_replica_share_that_rsync_would_misread_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidError) as caught:
        naming.check_share(replace(SHARE, **{field: value}))
    assert caught.value.reasons[0].field == {"name": "replica"}.get(field, field)


def test_a_plain_replica_share_is_accepted() -> None:
    naming.check_share(SHARE)


@pytest.mark.parametrize(
    "spec",
    [
        AgentSpec("10.0.0.1", 0),
        AgentSpec("10.0.0.1", 65536),
        AgentSpec("-e sh", 1),
        AgentSpec("a b", 1),
        AgentSpec("", 1),
        AgentSpec("a@b", 1),
        AgentSpec("a/b", 1),
        AgentSpec("host\n", 1),
        AgentSpec("a:b", 1),
    ],
)
def test_an_address_that_rsync_would_misread_is_refused(spec: AgentSpec) -> None:
    with pytest.raises(InvalidError):
        naming.check_run(replace(RUN, agent=spec))


def test_an_agent_of_our_own_listens_on_an_address_only() -> None:
    naming.check_agent(AgentSpec("host.example", 873), is_local=False)
    with pytest.raises(InvalidError):
        naming.check_agent(AgentSpec("host.example", 873), is_local=True)


@pytest.mark.parametrize("source", ["", "relative", "host:/x", "rsync://x/y", "/a\0b", "-rf"])
def test_a_source_that_is_no_absolute_path_is_refused(source: str) -> None:
    with pytest.raises(InvalidError):
        naming.check_run(replace(RUN, source=source))


@pytest.mark.parametrize(
    ("agent", "user", "replica", "wanted"),
    [
        (AgentSpec("10.0.0.1", 873), None, None, "rsync://10.0.0.1:873/"),
        (AgentSpec("10.0.0.1", 873), "u", "docs", "rsync://u@10.0.0.1:873/docs/"),
        (AgentSpec("fd00::1", 8730), "u", "docs", "rsync://u@[fd00::1]:8730/docs/"),
    ],
)
def test_an_agent_is_written_as_rsync_wants_it(
    agent: AgentSpec, user: str | None, replica: str | None, wanted: str
) -> None:
    assert naming.url(agent, user=user, replica=replica) == wanted
