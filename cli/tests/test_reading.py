from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.tests.fake_node import TOKEN, FakeNode, Reply, Run, make_certificate

VOLUMES = {"items": [{"name": "v1", "pool": "p", "kind": "nas", "size_bytes": 2**30}], "next_page_token": None}


def test_a_list_is_a_table(holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.on("GET", "/v1/volumes", Reply(VOLUMES))

    assert holdfast("volume", "list") == 0

    out, err = capsys.readouterr()
    assert out.splitlines() == ["NAME  POOL  KIND  SIZE", "v1    p     nas   1 GiB"]
    assert err == ""


def test_all_pages_of_a_list_are_read(holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    first = {"items": [{"name": "v1"}], "next_page_token": "17"}
    second = {"items": [{"name": "v2"}], "next_page_token": None}
    node.on("GET", "/v1/volumes", Reply(first), Reply(second))

    assert holdfast("--json", "volume", "list") == 0

    assert [asked.query for asked in node.asked] == [{}, {"page_token": "17"}]
    assert json.loads(capsys.readouterr().out) == {"items": [{"name": "v1"}, {"name": "v2"}], "next_page_token": None}


def test_reading_goes_on_when_the_daemon_closed_a_connection_that_rested(holdfast: Run, node: FakeNode) -> None:
    first = {"items": [{"name": "v1"}], "next_page_token": "17"}
    second = {"items": [{"name": "v2"}], "next_page_token": None}
    node.on("GET", "/v1/volumes", Reply(first), Reply(breaks=True), Reply(second))

    assert holdfast("volume", "list") == 0


def test_a_daemon_that_always_hangs_up_is_unreachable(holdfast: Run, node: FakeNode) -> None:
    node.on("GET", "/v1/node", Reply(breaks=True))

    assert holdfast("node", "show") == 20


@pytest.mark.parametrize("arguments", [("--json", "volume", "show", "v1"), ("volume", "show", "v1", "--json")])
def test_json_prints_what_the_api_answered(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    node.on("GET", "/v1/volumes/v1", Reply({"name": "v1", "label": "データ", "size_bytes": 5}))

    assert holdfast(*arguments) == 0

    assert json.loads(capsys.readouterr().out) == {"name": "v1", "label": "データ", "size_bytes": 5}


def test_an_empty_list_says_so_beside_the_data(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.on("GET", "/v1/jobs", Reply({"items": [], "next_page_token": None}))

    assert holdfast("job", "list") == 0

    assert capsys.readouterr() == ("", "none\n")


def test_a_name_cannot_leave_its_place_in_the_path(holdfast: Run, node: FakeNode) -> None:
    assert holdfast("volume", "show", "../jobs?x=1") == 3

    assert node.asked[0].path == "/v1/volumes/..%2Fjobs%3Fx%3D1"


def test_an_unmet_preflight_is_shown_and_ends_as_a_conflict(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    unmet = {"node": "b", "code": "address", "text": "the address is absent", "remedy": "add it"}
    node.on("GET", "/v1/groups/g1/preflight", Reply({"is_ready": False, "unmet": [unmet]}))

    assert holdfast("group", "preflight", "g1") == 4

    out, err = capsys.readouterr()
    assert "the address is absent" in out
    assert "add it" in out
    assert "group g1 cannot start yet" in err


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, 2),
        (401, 5),
        (403, 5),
        (404, 3),
        (409, 4),
        (412, 4),
        (422, 2),
        (428, 4),
        (500, 1),
        (501, 1),
        (503, 1),
        (504, 21),
        (507, 4),
    ],
)
def test_each_refusal_has_its_exit_code_and_says_why(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str], status: int, code: int
) -> None:
    problem = {
        "title": "no",
        "detail": "volume v1 is used",
        "code": "busy",
        "reasons": [{"code": "mirror", "text": "mirror m1 uses it", "remedy": "delete m1", "field": None}],
    }
    node.on("GET", "/v1/volumes/v1", Reply(problem, status))

    assert holdfast("volume", "show", "v1") == code

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "holdfast: volume v1 is used (busy)",
        "  - mirror m1 uses it",
        "    remedy: delete m1",
    ]


def test_an_answer_that_is_not_json_is_a_failure(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.on("GET", "/v1/node", Reply(raw=b"<html>"))

    assert holdfast("node", "show") == 1

    assert "is not JSON" in capsys.readouterr().err


def test_where_nothing_answers_the_node_is_unreachable(holdfast: Run, capsys: pytest.CaptureFixture[str]) -> None:
    # Port 1 is below those a program of a test could have opened.
    assert holdfast("--url", "https://127.0.0.1:1", "node", "show") == 20

    assert "nothing answers at https://127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8443", "127.0.0.1:8443", "https://a:99999", "https://a/b", "https://[::1"]
)
def test_what_is_no_address_of_an_api_is_refused(holdfast: Run, url: str) -> None:
    assert holdfast("--url", url, "node", "show") == 2


def test_the_token_is_not_sent_to_who_holds_another_certificate(
    holdfast: Run, node: FakeNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, _ = make_certificate(tmp_path)

    assert holdfast("--certificate", str(other), "node", "show") == 20

    assert node.asked == []
    assert "another certificate than the expected one" in capsys.readouterr().err


def test_a_token_that_is_not_known_is_denied(holdfast: Run, node: FakeNode) -> None:
    node.token_file.write_text("hf_wrong")

    assert holdfast("node", "show") == 5


@pytest.mark.parametrize("text", ["", "two words", "a\nb: c", "schlüssel"])
def test_a_file_that_holds_no_token_is_told(
    holdfast: Run, node: FakeNode, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node.token_file.write_text(text)

    assert holdfast("node", "show") == 5

    assert "holds no API token" in capsys.readouterr().err
    assert node.asked == []


def test_without_a_token_file_the_remedy_is_named(holdfast: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert holdfast("--token-file", "/nonexistent", "node", "show") == 5

    assert "--token-file" in capsys.readouterr().err


def test_the_token_is_in_no_output(holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.on("GET", "/v1/node", Reply({"name": "a"}))

    holdfast("node", "show")
    holdfast("volume", "list")

    assert TOKEN not in "".join(capsys.readouterr())


def test_a_profile_is_printed_as_a_script(holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    setting = {"name": "node.x", "value": "0", "why": "at once"}
    command = ["iscsiadm", "-m", "node", "-T", "iqn.2026-01.com.example:one two", "-n", "node.x", "-v", "0"]
    profile = {"iqn": command[4], "settings": [setting], "commands": [command]}
    node.on("GET", "/v1/targets/t1/initiator-profile", Reply(profile), Reply(profile))
    assert holdfast("target", "initiator-profile", "t1") == 0
    script = "# node.x = 0: at once\niscsiadm -m node -T 'iqn.2026-01.com.example:one two' -n node.x -v 0\n"
    assert capsys.readouterr().out == script
    assert holdfast("--json", "target", "initiator-profile", "t1") == 0
    assert json.loads(capsys.readouterr().out) == profile


OUTAGE = {
    "by": ["b"],
    "fault": "active-power-cut",
    "text": "the power of a is cut",
    "deciders": ["b"],
    "serves": None,
    "holds_writes": True,
    "held_at_least_ms": None,
    "person": "bring a back",
    "sentence": "b is alone with g1",
    "decisions": ["b is alone with g1"],
    "blockers": [{"code": "not-in-sync", "text": "b is stale", "remedy": "wait for the resync", "field": None}],
}
WELL = {**OUTAGE, "by": ["a", "b"], "text": "the link is cut", "serves": "a", "held_at_least_ms": 350, "blockers": []}


def test_a_forecast_is_a_table_with_what_is_to_be_mended_below(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = {**WELL, "text": "it is moved", "held_at_least_ms": 0, "person": ""}
    rests = {**WELL, "text": "nothing happens", "holds_writes": False, "person": ""}
    away = {"node": "a", "why": "the partner is away"}
    document = {"items": [OUTAGE, WELL, moved, rests], "not_asked": [away]}
    node.on("GET", "/v1/groups/g1/forecast", Reply(document), Reply(document), Reply(document))

    assert holdfast("group", "forecast", "g1") == 0

    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "IF                     SERVES  WRITES                    A PERSON      SAYS",
        "the power of a is cut  NOBODY  held until a person acts  bring a back  b",
        "the link is cut        a       held 0.35 s or longer     bring a back  a,b",
        "it is moved            a       held for a moment         nothing       a,b",
        "nothing happens        a       go on                     nothing       a,b",
        "",
        "To be mended before it ends better:",
        "  - b is stale",
        "    remedy: wait for the resync",
    ]
    assert err == "a could not be asked, and what only it knows is missing: the partner is away\n"
    assert holdfast("group", "forecast", "g1", "--why") == 0
    assert "If the power of a is cut: b is alone with g1" in capsys.readouterr().out.splitlines()
    assert holdfast("--json", "group", "forecast", "g1") == 0
    assert json.loads(capsys.readouterr().out) == document


def test_decisions_of_both_nodes_are_read_page_by_page_and_told_with_facts_and_times(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {"number": 7, "at": "2026-01-01T00:00:00Z", "node": "b", "group": "g1", "sentence": "b takes over"}
    one |= {"facts": {"state": "suspect", "epoch": "5"}, "timeline_ms": {}}
    two = {**one, "number": 8, "sentence": "b serves", "timeline_ms": {"peer left": 4, "address up": 20}}
    away = {"node": "a", "why": "away"}
    first = {"items": [one], "next_page_token": "7", "not_asked": [away]}
    second = {"items": [two], "next_page_token": None, "not_asked": [away]}
    node.on("GET", "/v1/groups/g1/decisions", Reply(first), Reply(second))

    assert holdfast("group", "decisions", "g1") == 0

    assert [asked.query for asked in node.asked] == [{}, {"page_token": "7"}]
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "2026-01-01T00:00:00Z  b  b takes over",
        "    state suspect; epoch 5",
        "2026-01-01T00:00:00Z  b  b serves",
        "    state suspect; epoch 5",
        "    peer left after 4 ms, address up after 20 ms",
    ]
    assert err == "a could not be asked, and what only it knows is missing: away\n"


CSV = 'id,reason\r\n1,"full\x1b[2J; ä"\r\n'.encode()


def test_a_download_is_printed_line_by_line_without_what_steers_a_terminal(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.on("GET", "/v1/replication-runs", Reply(raw=CSV))

    assert holdfast("replication-run", "download", "--format", "csv", "--result", "failed") == 0

    assert node.asked[0].query == {"format": "csv", "result": "failed"}
    assert capsys.readouterr().out == 'id,reason\n1,"full\N{REPLACEMENT CHARACTER}[2J; ä"\n'


def test_a_download_that_is_refused_says_why(holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.on("GET", "/v1/replication-runs", Reply({"title": "bad", "code": "invalid", "detail": "no such day"}, 400))

    assert holdfast("replication-run", "download", "--since", "x") != 0

    out, err = capsys.readouterr()
    assert out == ""
    assert "no such day" in err


def test_an_objective_is_given_or_ended_and_not_both(holdfast: Run, node: FakeNode) -> None:
    assert holdfast("replication-task", "change", "t1") == 2
    assert holdfast("replication-task", "change", "t1", "--objective", "60", "--no-objective") == 2
    assert node.asked == []
