from __future__ import annotations

import json

import pytest

from cli.tests.fake_node import FakeNode, Reply, Run
from holdfast_cli.nouns.events import Event, parse_events

EVENT = {"id": 7, "at": "now", "kind": "job.ended", "subject": "job:j1", "body": {"state": "done"}}
STREAM = f": hello\n\nid: 7\nevent: job.ended\ndata: {json.dumps(EVENT)}\n\nid: 8\ndata: half".encode()


@pytest.mark.parametrize(
    ("lines", "events"),
    [
        (["id: 1", "event: job", "data: x", ""], [Event("1", "job", "x")]),
        (["data:x", "data: y", ""], [Event("0", "message", "x\ny")]),
        (["id: 1", "data: x", "", "data: y", ""], [Event("1", "message", "x"), Event("1", "message", "y")]),
        ([": comment", "", "event: job", ""], []),
        (["id: 1", "data: cut"], []),
    ],
)
def test_a_stream_is_parsed_as_the_standard_says(lines: list[str], events: list[Event]) -> None:
    assert list(parse_events(lines, "0")) == events


@pytest.fixture
def one_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pause passes at once, the second is interrupted."""
    pauses = iter([None])

    def pause(_: float) -> None:
        try:
            next(pauses)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("time.sleep", pause)


@pytest.mark.usefixtures("one_pause")
def test_events_are_taken_up_where_the_connection_broke(
    holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.on("GET", "/v1/events", Reply(raw=STREAM))

    assert holdfast("events", "--after", "5") == 130

    assert [asked.headers["last-event-id"] for asked in node.asked] == ["5", "7"]
    out, err = capsys.readouterr()
    assert out == "7  now  job.ended  job:j1  state=done\n" * 2
    assert "trying again" in err


@pytest.mark.usefixtures("one_pause")
def test_each_event_is_one_line_of_json(holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.on("GET", "/v1/events", Reply(raw=STREAM))

    holdfast("events", "--json")

    first = capsys.readouterr().out.splitlines()[0]
    assert json.loads(first) == {"id": "7", "event": "job.ended", "data": EVENT}


def test_a_stream_that_is_refused_says_why(holdfast: Run, node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.on("GET", "/v1/events", Reply({"detail": "not you", "code": "denied"}, 403))

    assert holdfast("events") == 5

    assert "not you (denied)" in capsys.readouterr().err
