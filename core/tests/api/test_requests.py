"""What a request meets before a handler sees it, and how an answer looks, over HTTP."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from marshmallow import Schema, fields, validate
from pytest_aiohttp.plugin import AiohttpClient
from yarl import URL

from holdfast.api.app import LARGEST_BODY_BYTES, build
from holdfast.api.errors import STATUS, status_of
from holdfast.api.fields import Address, Bytes, Iqn, Name, Port, SecretText, User
from holdfast.api.jobs import next_token, page_of
from holdfast.api.jobs import routes as job_routes
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, PageQuery, Route, Started, wanted_wait_s
from holdfast.errors import BusyError, ConflictError, HoldfastError, NoSpaceError, NotFoundError, Reason, RefusedError
from holdfast.services.jobs import Jobs
from holdfast.services.requests import Claims
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.database import Database
from holdfast.store.intent import Revisions
from holdfast.store.keys import Keys
from holdfast.testing.fakes import ManualClock
from holdfast.values import Secret

TOKEN = "hf_known"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
Client = TestClient[web.Request, web.Application]


class ThingSchema(Schema):
    name = Name(required=True)
    size_bytes = Bytes(load_default=1)
    port = Port(load_default=1)
    address = Address(load_default="::1")
    iqn = Iqn(load_default="iqn.2026-01.com.example:a")
    user = User(load_default="u")
    password = SecretText(load_default=Secret("x"), shortest=3)
    label = fields.String(load_default="", validate=validate.Length(max=200))


@pytest.fixture
async def client(aiohttp_client: AiohttpClient, jobs: Jobs, database: Database) -> Client:
    go = asyncio.Event()

    async def echo(call: Call) -> Any:
        return {**call.body, "path": dict(call.path)}

    async def start(call: Call) -> Started:
        if call.validate_only:
            return Started(None)
        return Started(await jobs.start(call.body["name"], "thing:x", {}))

    async def destroy(call: Call) -> Any:
        call.confirm(call.path["thing"])
        return {}

    async def fail(call: Call) -> Any:
        kind = {kind.__name__: kind for kind in (NotFoundError, BusyError, NoSpaceError, RefusedError)}
        raise kind[call.query["kind"]]("no", reasons=[Reason("code", "text", "remedy", "field")])

    async def break_down(call: Call) -> Any:
        raise ValueError("tiger")

    async def page(call: Call) -> Page:
        return Page(page_of(call))

    async def quick(job: JobContext) -> None:
        job.result = {"done": True}

    async def slow(job: JobContext) -> None:
        await go.wait()

    jobs.define(JobDefinition("quick", (Step("only", quick),)))
    jobs.define(JobDefinition("slow", (Step("only", slow),)))

    class Kind(Schema):
        kind = fields.String()

    routes = (
        Route("POST", "/v1/things", "Echo.", echo, body=ThingSchema, status=201),
        Route("GET", "/v1/things", "List.", page, query=PageQuery),
        Route("DELETE", "/v1/things/{thing}", "Destroy.", destroy, query=DestroyQuery),
        Route("POST", "/v1/work", "Start.", start, body=ThingSchema, query=ChangeQuery, changes=True),
        Route("GET", "/v1/fail", "Fail.", fail, query=Kind),
        Route("GET", "/v1/break", "Break.", break_down),
        *job_routes(jobs),
    )

    async def who_is(token: str) -> str | None:
        return "admin" if token == TOKEN else None

    claims, revisions = Claims(Keys(database, ManualClock())), Revisions(database)
    app = build(routes, who_is=who_is, jobs=jobs, claims=claims, revisions=revisions)
    return await aiohttp_client(app, headers=HEADERS)


async def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status == status, await response.text()
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = json.loads(await response.text())
    assert body["status"] == status
    assert body["type"] == f"urn:holdfast:problem:{body['code']}"
    assert body["detail"]
    return body


@pytest.mark.parametrize("path", ["/v1/things", "/v1/nothing", "/v1/openapi.json", "/", "/v1/jobs/x"])
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"]
)
async def test_nothing_is_told_without_a_known_token(
    aiohttp_client: AiohttpClient, client: Client, path: str, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    bare: TestClient[web.Request, None] = await aiohttp_client(client.server)
    response = await bare.get(path, headers=headers)
    body = await problem(response, 401)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert (body["code"], body["reasons"][0]["field"]) == ("denied", "Authorization")
    assert body["reasons"][0]["remedy"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_known_token_opens(client: Client, scheme: str) -> None:
    response = await client.get("/v1/things", headers={"Authorization": f"{scheme} {TOKEN}"})
    assert response.status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"{",
        b"[]",
        b"3",
        b"null",
        b'"text"',
        b'{"name": "a", "size_bytes": NaN}',
        b'{"name": "a", "size_bytes": Infinity}',
        b'{"name": "a"} trailing',
        b'\xff\xfe{"name": "a"}',
        b"[" * 100_000,
        b'{"name": "a", "size_bytes": ' + b"9" * 5000 + b"}",
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(client: Client, body: bytes) -> None:
    found = await problem(await client.post("/v1/things", data=body), 400)
    assert (found["code"], found["reasons"][0]["field"]) == ("invalid", "(body)")


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "a b", " a", "a ", "-rf", "-", "a" * 32, "a" * 300, "a\n", "\na", "a\x00", "ä", "ａ", "a/b", "..", "A",
        "1a", "a_b", "a.b", "$(id)", "a;b", 3, True, None, [], {}, 1.5,
    ],
)  # fmt: skip
async def test_a_name_that_is_none_is_refused_by_field(client: Client, name: object) -> None:
    found = await problem(await client.post("/v1/things", json={"name": name}), 400)
    assert [reason["field"] for reason in found["reasons"]] == ["name"]


@pytest.mark.parametrize("name", ["a", "a" * 31, "a-", "a-1", "a--b", "z9"])
async def test_a_name_that_is_one_is_taken(client: Client, name: str) -> None:
    response = await client.post("/v1/things", json={"name": name})
    assert (response.status, (await response.json())["name"]) == (201, name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("size_bytes", value) for value in (0, -1, True, False, "5", 5.0, 1.5, None, 2**60 + 1, 1e400, [1], "1e3")],
        *[("port", value) for value in (0, 65536, -1, True, "80", 80.0, None)],
        *[("address", value) for value in ("", "1.2.3", "1.2.3.4/24", "a.example", "1.2.3.4\n", "01.2.3.4", 3, None)],
        *[("iqn", value) for value in ("", "iqn.2026-1.com.a", "eui.1", "iqn.2026-01.com.a:\n", "iqn.2026-01.A", 3)],
        *[("user", value) for value in ("", "-u", "a b", "u" * 64, "u\n", "ü", None)],
        *[("password", value) for value in ("", "ab", "x" * 257, "a\nbc", "äöü", 3, None)],
        *[("label", value) for value in ("x" * 201, 3, None)],
        ("sise_bytes", 5),
        ("", 5),
    ],
)
async def test_a_field_that_is_wrong_is_refused_by_name(client: Client, field: str, value: object) -> None:
    # Written by hand: 1e400 is JSON and infinite to Python, which would not write it so.
    text = "1e400" if value == float("inf") else json.dumps(value)
    response = await client.post("/v1/things", data=f'{{"name": "a", {json.dumps(field)}: {text}}}')
    found = await problem(response, 400)
    assert [reason["field"] for reason in found["reasons"]] == [field or "(body)"]
    assert all(reason["remedy"] for reason in found["reasons"])


async def test_all_wrong_fields_are_named_at_once(client: Client) -> None:
    found = await problem(await client.post("/v1/things", json={"size_bytes": 0, "more": 1}), 400)
    assert sorted(reason["field"] for reason in found["reasons"]) == ["more", "name", "size_bytes"]


async def test_an_address_becomes_canonical_and_a_password_is_not_shown(client: Client) -> None:
    response = await client.post("/v1/things", json={"name": "a", "address": "FE80:0::1", "password": "tiger"})
    assert (await response.json())["address"] == "fe80::1"
    assert "tiger" not in await response.text()


@pytest.mark.parametrize("query", ["page_size=0", "page_size=x", "page_token=-1", "page_token=1%0A", "sise=3"])
async def test_a_query_that_is_wrong_is_refused_by_name(client: Client, query: str) -> None:
    found = await problem(await client.get(f"/v1/things?{query}"), 400)
    assert found["reasons"][0]["field"] == query.partition("=")[0]


@pytest.mark.parametrize("name", ["-rf", "A", "a%0A", "%2e%2e", "a%2Fb", "x" * 40, "%00"])
async def test_a_name_in_the_path_is_judged_as_one_in_the_body(client: Client, name: str) -> None:
    response = await client.delete(URL(f"/v1/things/{name}", encoded=True))
    found = await problem(response, 400)
    assert found["reasons"][0]["field"] == "thing"


async def test_an_unknown_path_is_not_found(client: Client) -> None:
    assert (await problem(await client.get("/v1/nothing"), 404))["code"] == "not-found"


async def test_a_method_that_is_not_possible_is_refused_with_those_that_are(client: Client) -> None:
    response = await client.put("/v1/things")
    await problem(response, 405)
    assert response.headers["Allow"] == "GET, POST"


async def test_a_body_beyond_the_limit_is_refused(client: Client) -> None:
    response = await client.post("/v1/things", data=io.BytesIO(b'{"name": "' + b"a" * LARGEST_BODY_BYTES + b'"}'))
    await problem(response, 413)


@pytest.mark.parametrize("query", ["", "?confirm=", "?confirm=other", "?confirm=v0%20"])
async def test_destroying_without_the_name_needs_confirmation_and_says_how(client: Client, query: str) -> None:
    found = await problem(await client.delete(f"/v1/things/v0{query}"), 428)
    assert "?confirm=v0" in found["reasons"][0]["remedy"]


async def test_destroying_with_the_name_is_done(client: Client) -> None:
    assert (await client.delete("/v1/things/v0?confirm=v0")).status == 200


@pytest.mark.parametrize(
    ("kind", "status"), [("NotFoundError", 404), ("BusyError", 409), ("RefusedError", 409), ("NoSpaceError", 507)]
)
async def test_a_refusal_has_its_status_and_every_reason(client: Client, kind: str, status: int) -> None:
    found = await problem(await client.get(f"/v1/fail?kind={kind}"), status)
    assert found["reasons"] == [{"code": "code", "text": "text", "remedy": "remedy", "field": "field"}]


async def test_an_unexpected_fault_shows_nothing_of_itself(client: Client) -> None:
    response = await client.get("/v1/break")
    await problem(response, 500)
    assert "tiger" not in await response.text()


def every_error(kind: type[HoldfastError]) -> list[type[HoldfastError]]:
    return [kind, *(deeper for below in kind.__subclasses__() for deeper in every_error(below))]


def test_every_error_has_a_status_by_its_nearest_class() -> None:
    assert set(STATUS) <= set(every_error(HoldfastError))
    assert status_of(BusyError("x")) == status_of(ConflictError("x")) == 409


async def test_a_started_job_is_accepted_and_found_where_the_answer_says(client: Client) -> None:
    response = await client.post("/v1/work", json={"name": "slow"})
    body = await response.json()
    assert (response.status, body["state"], response.headers["Location"]) == (202, "running", f"/v1/jobs/{body['id']}")
    assert (await (await client.get(response.headers["Location"])).json())["target"] == "thing:x"
    busy = await problem(await client.post("/v1/work", json={"name": "slow"}), 409)
    assert "slow of thing:x" in busy["reasons"][0]["text"]
    assert (await client.post(f"/v1/jobs/{body['id']}/cancel")).status == 202


async def test_a_job_waited_for_is_shown_at_its_end(client: Client) -> None:
    response = await client.post("/v1/work", json={"name": "quick"}, headers={"Prefer": "wait=5"})
    body = await response.json()
    assert (response.status, body["state"], body["result"]) == (200, "done", {"done": True})
    assert body["progress"]["percent"] == 100


async def test_validate_only_changes_nothing(client: Client) -> None:
    response = await client.post("/v1/work?validate_only=true", json={"name": "quick"})
    assert (response.status, await response.json()) == (200, {"valid": True})
    assert (await (await client.get("/v1/jobs")).json())["items"] == []


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        (None, 0), ("", 0), ("wait=5", 5), ("wait=0", 0), ("respond-async, wait=7", 7), ("wait=7;x=1", 7),
        ("wait=999999", 300), ("wait=-1", 0), ("wait=1.5", 0), ("wait=x", 0), ("await=5", 0), ("wait=9999999", 0),
    ],
)  # fmt: skip
def test_the_wait_that_prefer_asks_for(prefer: str | None, wait_s: float) -> None:
    assert wanted_wait_s(prefer) == wait_s


@pytest.mark.parametrize(("numbers", "most", "token"), [([3, 2], 2, "2"), ([3], 2, None), ([], 2, None)])
def test_a_full_page_says_where_the_next_one_begins(numbers: list[int], most: int, token: str | None) -> None:
    assert next_token(numbers, most) == token
