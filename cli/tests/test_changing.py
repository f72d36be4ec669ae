from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pytest

from cli.tests.examples import CHANGES, READS, Example
from cli.tests.fake_node import FakeNode, Reply, Run, job

CREATE = ("volume", "create", "v1", "--pool", "p", "--size", "1GiB", "--kind", "nas")


def test_a_change_is_waited_for_and_its_result_printed(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.on("POST", "/v1/volumes", Reply(job("running"), 202))
    node.on("GET", "/v1/jobs/j1", Reply(job("running")), Reply(job(result={"name": "v1", "size_bytes": 2**30})))

    assert holdfast(*CREATE) == 0

    assert node.changes()[0].body == {"name": "v1", "pool": "p", "size_bytes": 2**30, "kind": "nas"}
    assert capsys.readouterr().out.splitlines() == ["name: v1", "size_bytes: 1 GiB (1073741824 bytes)"]


def test_a_change_without_a_result_says_on_stderr_that_it_is_done(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.on("POST", "/v1/mirrors/m1/start", Reply(job(), 200))

    assert holdfast("mirror", "start", "m1") == 0

    assert capsys.readouterr() == ("", "done: volume.create v1\n")


def test_json_of_a_change_is_the_job(holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.on("POST", "/v1/volumes", Reply(job("running"), 202))
    node.on("GET", "/v1/jobs/j1", Reply(job(result={"name": "v1"})))

    assert holdfast(*CREATE, "--json") == 0

    assert json.loads(capsys.readouterr().out) == job(result={"name": "v1"})


def test_async_prints_the_id_of_the_job_and_does_not_wait(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.on("POST", "/v1/volumes", Reply(job("running"), 202))

    assert holdfast(*CREATE, "--async") == 0

    assert capsys.readouterr().out == "j1\n"
    assert len(node.asked) == 1


@pytest.mark.parametrize("state", ["failed", "undone", "cancelled"])
def test_a_job_that_does_not_end_done_has_an_exit_code_of_its_own(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    error = {"detail": "no room", "code": "no-space", "reasons": []}
    node.on("POST", "/v1/volumes", Reply(job("running"), 202))
    node.on("GET", "/v1/jobs/j1", Reply(job(state, error=error)))

    assert holdfast(*CREATE) == 6

    assert capsys.readouterr().err.splitlines() == [
        f"holdfast: job j1 (volume.create) ended {state}",
        "no room (no-space)",
    ]


def test_when_the_time_is_over_the_job_goes_on(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.on("POST", "/v1/volumes", Reply(job("running"), 202))
    node.on("GET", "/v1/jobs/j1", Reply(job("running")))

    assert holdfast(*CREATE, "--timeout", "0.1") == 21

    assert "job j1 still runs and goes on" in capsys.readouterr().err
    assert [asked.method for asked in node.changes()] == ["POST"]


def test_ctrl_c_detaches_and_says_so(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    node.on("POST", "/v1/volumes", Reply(job("running"), 202))

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)

    assert holdfast(*CREATE) == 130

    err = capsys.readouterr().err
    assert "no longer waiting for job j1: it goes on" in err
    assert "holdfast job wait j1" in err
    assert [asked.method for asked in node.changes()] == ["POST"]


def test_a_dry_run_lets_the_daemon_check(holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.on("POST", "/v1/volumes", Reply(None, 204))

    assert holdfast(*CREATE, "--dry-run") == 0

    assert node.changes()[0].query == {"validate_only": "true"}
    assert capsys.readouterr() == ("", "nothing was changed: every check passed\n")


def test_a_dry_run_shows_what_the_daemon_warns_of(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    warned = {"code": "slow-link", "text": "the link is slow", "remedy": "get a faster one", "field": None}
    node.on("POST", "/v1/mirrors", Reply({"valid": True, "warnings": [warned]}))

    assert holdfast("mirror", "create", "m1", "--volume", "v1", "--first-sync", "full", "--dry-run") == 0

    said = capsys.readouterr().err
    assert said == "nothing was changed: every check passed\nwarning: the link is slow; get a faster one\n"


def test_a_change_is_not_sent_twice_when_the_connection_breaks(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.on("GET", "/v1/agent", Reply({"is_enabled": False}))
    node.on("PUT", "/v1/agent", Reply(breaks=True))

    assert holdfast("agent", "enable") == 20

    assert len(node.changes()) == 1
    assert "a change may have begun all the same" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["10GB", "10", "much"])
def test_an_ambiguous_size_is_a_usage_error_and_nothing_is_sent(
    holdfast: Run, node: FakeNode, size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert holdfast("volume", "create", "v1", "--pool", "p", "--size", size, "--kind", "nas") == 2

    assert "--size" in capsys.readouterr().err
    assert node.asked == []


@pytest.mark.parametrize("noun", ["volume", "pool"])
def test_what_destroys_data_needs_its_name_again_and_never_prompts_off_a_terminal(
    holdfast: Run, node: FakeNode, noun: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert holdfast(noun, "delete", "v1") == 2
    assert "--confirm v1" in capsys.readouterr().err

    assert holdfast(noun, "delete", "v1", "--confirm", "v2") == 2
    assert node.asked == []


def test_a_password_comes_from_standard_input(holdfast: Run, node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("s3cret\n"))
    node.on("POST", "/v1/replication-tasks", Reply(job()))

    code = holdfast(
        *("replication-task", "create", "t1", "--share", "s1", "--agent", "10.0.0.2", "--replica-share", "r1"),
        *("--user", "u", "--password-file", "-"),
    )

    assert code == 0
    assert node.asked[0].body == {
        "name": "t1",
        "share": "s1",
        "agent_address": "10.0.0.2",
        "replica_share": "r1",
        "user": "u",
        "password": "s3cret",
    }


@pytest.mark.parametrize("text", ["", "\n", "two\nlines\n"])
def test_a_file_that_holds_no_password_is_refused(holdfast: Run, node: FakeNode, tmp_path: Path, text: str) -> None:
    file = tmp_path / "password"
    file.write_text(text)

    code = holdfast(
        "replica-share",
        "create",
        "r1",
        "--share",
        "s1",
        "--user",
        "u",
        "--password-file",
        str(file),
        "--allow",
        "10.0.0.1",
    )

    assert code == 2
    assert node.asked == []


def test_no_option_takes_a_password_or_a_token_itself(holdfast: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--password", "--token"):
        code = holdfast("replica-share", "create", "r1", "--share", "s1", "--user", "u", "--allow", "::1", option, "x")

        assert code == 2
        assert f"No such option '{option}'" in capsys.readouterr().err


def test_enabling_the_agent_keeps_what_is_not_named(holdfast: Run, node: FakeNode) -> None:
    node.on("GET", "/v1/agent", Reply({"is_enabled": False, "address": "10.0.0.2", "port": 873, "is_running": False}))
    node.on("PUT", "/v1/agent", Reply(job()))

    assert holdfast("agent", "enable", "--port", "8730") == 0

    assert node.changes()[0].body == {"is_enabled": True, "address": "10.0.0.2", "port": 8730}


@pytest.mark.parametrize("example", [*READS, *CHANGES], ids=lambda example: example.line.split(" -")[0])
def test_what_is_typed_is_what_is_asked(holdfast: Run, node: FakeNode, tmp_path: Path, example: Example) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret-s3cret\n")
    other = tmp_path / "other"
    other.write_text("other-s3cret-s3cret\n")
    no = {"is_ready": True, "is_split_brain": False, "differences": [], "settings": [], "commands": [], "not_asked": []}
    document = {"items": [], "next_page_token": None, **no, **job()}
    node.on(example.method, example.path, Reply(document))

    line = example.line.replace("PASSWORD2", str(other)).replace("PASSWORD", str(file))
    assert holdfast(*shlex.split(line)) == 0

    asked = node.asked[0]
    assert (asked.method, asked.path, asked.query) == (example.method, example.path, example.query)
    # An empty object and no body at all are the same to the API.
    assert (asked.body or None) == example.body


@pytest.mark.parametrize(
    "arguments",
    [
        ("target", "create", "t1", "--mirror", "m1", "--portal", "host.name", "--unit", "1=v1"),
        ("target", "create", "t1", "--mirror", "m1", "--portal", "10.0.0.9", "--unit", "one=v1"),
        ("target", "create", "t1", "--mirror", "m1", "--portal", "10.0.0.9", "--unit", "1"),
        ("target", "create", "t1", "--mirror", "m1", "--unit", "1=v1,sector=4096"),
        ("target", "create", "t1", "--mirror", "m1", "--unit", "1=v1,block-size=4K"),
        ("group", "create", "g1", "--mirror", "m1", "--target", "t1", "--address", "10.0.0.9"),
        ("failover", "set", "--link", "client", "eth0", "10.0.0.1", "10.0.0.2"),
        (
            *("failover", "set", "--link", "client", "eth0", "10.0.0.1", "10.0.0.2"),
            "--no-ping-node",
            "--ping-node",
            "x",
        ),
        ("pool", "create", "p", "--disk", "/dev/b", "--overwrite", "/dev/b"),
        ("mirror", "create", "m1", "--volume", "v1", "--first-sync", "none"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error_and_nothing_is_sent(
    holdfast: Run, node: FakeNode, arguments: tuple[str, ...]
) -> None:
    assert holdfast(*arguments) == 2

    assert node.asked == []


def test_a_job_can_be_waited_for_later(holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.on("GET", "/v1/jobs/j1", Reply(job("running")), Reply(job(result={"name": "v1"})))

    assert holdfast("job", "wait", "j1") == 0

    assert capsys.readouterr().out == "name: v1\n"
