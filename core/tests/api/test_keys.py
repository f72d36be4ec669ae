"""`Idempotency-Key` over HTTP: of requests under one key the first acts, and the others hear what came of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from marshmallow import Schema, fields

from holdfast.api.app import build
from holdfast.api.routes import Call, ChangeQuery, Route, Started
from holdfast.errors import NoSpaceError
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.requests import Claims
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store import keys
from holdfast.store.database import Database
from holdfast.store.events import EventLog
from holdfast.store.intent import Revisions
from holdfast.store.jobs import JobStore
from holdfast.store.keys import Keys
from holdfast.testing.fakes import ManualClock

KEY = {"Idempotency-Key": "k-1"}


class WorkSchema(Schema):
    name = fields.String(required=True)
    size = fields.Integer(load_default=1)


@dataclass
class Daemon:
    """A daemon with one kind of job, and what its handlers have seen."""

    client: TestClient[web.Request, web.Application]
    jobs: Jobs
    database: Database
    clock: ManualClock
    begun: asyncio.Event
    go: asyncio.Event
    calls: list[str] = field(default_factory=list)
    is_full: bool = False

    async def post(self, path: str, body: Any, *, who: str = "admin", **headers: str) -> ClientResponse:
        sent = {"Authorization": f"Bearer {who}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return await self.client.post(path, json=body, headers=sent)

    async def job_ids(self) -> list[str]:
        return [record.id for record in await self.jobs.newest(before=None, most=100)]


@contextlib.asynccontextmanager
async def daemon(path: Path, clock: ManualClock) -> AsyncIterator[Daemon]:
    """One life of a daemon over a file; its jobs last until told to go on."""
    database = await Database.open(path / "holdfast.sqlite")
    jobs = Jobs(JobStore(database, clock), clock, Events(EventLog(database, clock)), node="a")
    begun, go, seen = asyncio.Event(), asyncio.Event(), []

    async def wait(job: JobContext) -> None:
        begun.set()
        await go.wait()

    async def start(call: Call) -> Started:
        seen.append(call.body["name"])
        if call.validate_only:
            return Started(None)
        if made.is_full:
            raise NoSpaceError("there is no room")
        return Started(await jobs.start("work", f"work:{call.body['name']}", call.body))

    async def note(call: Call) -> Any:
        seen.append(call.body["name"])
        if call.body["size"] == 3:
            begun.set()
            await go.wait()
        return {"noted": len(seen)}

    async def who_is(token: str) -> str | None:
        return token or None

    jobs.define(JobDefinition("work", (Step("wait", wait),)))
    routes = (
        Route("POST", "/v1/work", "Work.", start, body=WorkSchema, query=ChangeQuery, changes=True),
        Route("POST", "/v1/notes", "Note.", note, body=WorkSchema, status=201),
        Route("POST", "/v1/codes", "Tell.", note, body=WorkSchema, shows_secret=True),
    )
    app = build(routes, who_is=who_is, jobs=jobs, claims=Claims(Keys(database, clock)), revisions=Revisions(database))
    async with TestClient(TestServer(app)) as client:
        made = Daemon(client, jobs, database, clock, begun, go, seen)
        yield made
        await jobs.stop()
    await database.close()


@pytest.fixture
async def running(quick_path: Path) -> AsyncIterator[Daemon]:
    async with daemon(quick_path, ManualClock()) as made:
        yield made


async def test_a_repeated_request_gets_the_first_ones_job_and_makes_no_second(running: Daemon) -> None:
    first = await running.post("/v1/work", {"name": "x", "size": 2}, **KEY)
    again = await running.post("/v1/work", {"size": 2, "name": "x"}, **KEY)
    assert (first.status, again.status) == (202, 202)
    assert first.headers["Location"] == again.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(await running.job_ids()) == 1

    running.go.set()
    ended = await running.post("/v1/work", {"name": "x", "size": 2}, Prefer="wait=5", **KEY)
    assert (ended.status, (await ended.json())["state"]) == (200, "done")
    assert running.calls == ["x"]


async def test_without_a_key_each_request_is_one_of_its_own(running: Daemon) -> None:
    running.go.set()
    for _ in range(2):
        await running.post("/v1/work", {"name": "x"}, Prefer="wait=5")
    assert len(await running.job_ids()) == 2


@pytest.mark.parametrize("body", [{"name": "y"}, {"name": "x", "size": 2}])
async def test_the_same_key_for_another_request_is_refused_and_does_nothing(running: Daemon, body: Any) -> None:
    await running.post("/v1/work", {"name": "x"}, **KEY)
    other = await running.post("/v1/work", body, **KEY)
    problem = await other.json()
    assert (other.status, problem["code"]) == (422, "idempotency-key-reused")
    assert problem["reasons"][0]["remedy"]
    assert len(await running.job_ids()) == 1


async def test_a_key_is_its_owners_and_its_paths(running: Daemon) -> None:
    await running.post("/v1/work", {"name": "x"}, **KEY)
    assert (await running.post("/v1/work", {"name": "y"}, who="other", **KEY)).status == 202
    assert (await running.post("/v1/notes", {"name": "z"}, **KEY)).status == 201
    assert running.calls == ["x", "y", "z"]


async def test_an_answer_without_a_job_is_kept_as_it_was(running: Daemon) -> None:
    answers = [await running.post("/v1/notes", {"name": "x"}, **KEY) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201]
    assert [await answer.json() for answer in answers] == [{"noted": 1}] * 2
    assert (await (await running.post("/v1/notes", {"name": "x"}, Idempotency_Key="k-2")).json()) == {"noted": 2}


async def test_while_the_first_is_under_way_the_second_is_told_so(running: Daemon) -> None:
    first = asyncio.create_task(running.post("/v1/notes", {"name": "x", "size": 3}, **KEY))
    await running.begun.wait()
    busy = await running.post("/v1/notes", {"name": "x", "size": 3}, **KEY)
    other = await running.post("/v1/notes", {"name": "y"}, **KEY)
    assert [(a.status, (await a.json())["reasons"][0]["code"]) for a in (busy, other)] == [
        (409, "key-in-flight"),
        (422, "key-reused"),
    ]
    running.go.set()
    assert (await first).status == 201
    assert (await running.post("/v1/notes", {"name": "x", "size": 3}, **KEY)).status == 201
    assert running.calls == ["x"]


async def test_while_the_first_waits_for_its_job_the_second_gets_that_job(running: Daemon) -> None:
    first = asyncio.create_task(running.post("/v1/work", {"name": "x"}, Prefer="wait=30", **KEY))
    await running.begun.wait()
    again = await running.post("/v1/work", {"name": "x"}, **KEY)
    assert again.status == 202
    running.go.set()
    assert (await (await first).json())["id"] == (await again.json())["id"]


async def test_a_refusal_is_not_kept_once_its_cause_is_gone_the_same_request_works(running: Daemon) -> None:
    running.is_full = True
    assert (await running.post("/v1/work", {"name": "x"}, **KEY)).status == 507
    running.is_full = False
    assert (await running.post("/v1/work", {"name": "x"}, **KEY)).status == 202


async def test_a_check_uses_no_key_up(running: Daemon) -> None:
    assert await (await running.post("/v1/work?validate_only=true", {"name": "x"}, **KEY)).json() == {"valid": True}
    assert (await running.post("/v1/work", {"name": "x"}, **KEY)).status == 202


@pytest.mark.parametrize("key", ["", "two words", "k" * 256])
async def test_a_bad_key_is_refused(running: Daemon, key: str) -> None:
    refused = await running.post("/v1/work", {"name": "x"}, Idempotency_Key=key)
    assert (refused.status, (await refused.json())["reasons"][0]["field"]) == (400, "Idempotency-Key")
    assert running.calls == []


async def test_an_answer_that_is_shown_once_is_never_kept(running: Daemon) -> None:
    assert (await running.post("/v1/codes", {"name": "x"}, **KEY)).status == 400
    assert (await running.post("/v1/codes", {"name": "x"})).status == 200


async def test_a_key_is_kept_for_a_day(running: Daemon) -> None:
    running.go.set()
    for hours, jobs in ((0, 1), (23, 1), (2, 2)):
        await running.clock.advance(hours * 3600.0)
        await running.post("/v1/work", {"name": "x"}, Prefer="wait=5", **KEY)
        assert len(await running.job_ids()) == jobs


async def test_of_each_principal_the_newest_keys_are_kept(running: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "KEPT_OF_EACH", 3)
    await running.post("/v1/notes", {"name": "x"}, who="other", Idempotency_Key="theirs")
    for number in range(5):
        await running.post("/v1/notes", {"name": "x"}, Idempotency_Key=f"k{number}")
    rows = await running.database.rows("SELECT key FROM idempotency_keys ORDER BY number")
    assert [row["key"] for row in rows] == ["theirs", "k2", "k3", "k4"]


async def test_a_daemon_killed_before_it_answered_knows_the_job_at_its_next_start(quick_path: Path) -> None:
    clock = ManualClock()
    async with daemon(quick_path, clock) as first:
        asked = asyncio.create_task(first.post("/v1/work", {"name": "x"}, Prefer="wait=30", **KEY))
        await first.begun.wait()
        made = await first.job_ids()
        asked.cancel()
    async with daemon(quick_path, clock) as second:
        await second.jobs.recover()
        again = await second.post("/v1/work", {"name": "x"}, **KEY)
        assert [(await again.json())["id"]] == made == await second.job_ids()
        assert second.calls == []


async def test_a_daemon_killed_before_the_job_was_durable_kept_nothing_of_either(quick_path: Path) -> None:
    """The job and its key are one commit: what stops the key, stops the job."""
    async with daemon(quick_path, ManualClock()) as running:
        async with running.database.change() as change:
            await change.execute(
                "CREATE TRIGGER dies BEFORE INSERT ON idempotency_keys BEGIN SELECT RAISE(ABORT, 'gone'); END"
            )
        assert (await running.post("/v1/work", {"name": "x"}, **KEY)).status == 500
        assert await running.job_ids() == []
        async with running.database.change() as change:
            await change.execute("DROP TRIGGER dies")
        assert (await running.post("/v1/work", {"name": "x"}, **KEY)).status == 202
        assert len(await running.job_ids()) == 1
