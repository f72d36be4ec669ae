"""ETags and `If-Match` on a whole daemon: a change that rests on what is no longer so is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.api import etags
from holdfast.compose.documents import Documents
from holdfast.store.database import Database
from holdfast.store.intent import Intents
from holdfast.testing.fakes import ManualClock
from tests.composed.appliance import Appliance, Refused
from tests.composed.test_the_main_job import Nodes, make_group

SHARE = {"name": "docs", "volume": "files", "path": "docs"}


async def tag_of(node: Appliance, path: str) -> str | None:
    async with node.http.get(path) as answer:
        assert answer.status == 200
        return answer.headers.get("ETag")


async def change(node: Appliance, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    sent = {"Prefer": "wait=20", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with node.http.request(method, path, json=body, headers=sent) as answer:
        return answer.status, await answer.json(content_type=None)


@pytest.fixture
async def a(nodes: Nodes) -> Appliance:
    node = nodes[0]
    await node.change("POST", "/v1/volumes", {"pool": "main", "name": "files", "size_bytes": 64 << 20, "kind": "nas"})
    await node.change("POST", "/v1/shares", SHARE)
    return node


async def test_every_kind_of_document_has_a_path_that_tells_its_tag(directory: Path) -> None:
    database = await Database.open(directory / "x.sqlite")
    kinds = {kept.kind for kept in vars(Documents(database, ManualClock())).values() if isinstance(kept, Intents)}
    await database.close()
    assert kinds == {*etags.NAMED.values(), *(kind for kind, _ in etags.SINGLE.values())}


async def test_each_document_shows_a_strong_tag_that_stays_while_it_stays(nodes: Nodes, a: Appliance) -> None:
    await make_group(a)
    await a.change("PUT", "/v1/agent", {"is_enabled": True, "address": "127.0.0.1", "port": 8873})
    paths = [f"/v1/{x}" for x in ("pools/main", "volumes/files", "shares/docs", "mirrors/m", "targets/t", "groups/g")]
    first = [await tag_of(a, path) for path in [*paths, "/v1/agent", "/v1/failover"]]
    assert len({*first}) == 8
    assert all(tag is not None and tag.startswith('"') and tag.endswith('"') for tag in first)
    assert [await tag_of(a, path) for path in [*paths, "/v1/agent", "/v1/failover"]] == first


async def test_what_is_no_document_has_no_tag(a: Appliance) -> None:
    assert [await tag_of(a, path) for path in ("/v1/shares", "/v1/node", "/v1/jobs")] == [None] * 3


async def test_a_stale_tag_is_refused_and_the_right_one_is_not(a: Appliance) -> None:
    on = {"is_enabled": True, "address": "127.0.0.1", "port": 8873}
    assert (await change(a, "PUT", "/v1/agent", on))[0] == 200
    seen = await tag_of(a, "/v1/agent")
    assert seen
    status, job = await change(a, "PUT", "/v1/agent", {**on, "port": 8874}, If_Match=seen)
    assert (status, job["state"]) == (200, "done")
    assert await tag_of(a, "/v1/agent") != seen
    status, problem = await change(a, "PUT", "/v1/agent", {**on, "port": 8875}, If_Match=seen)
    assert (status, problem["code"], problem["reasons"][0]["field"]) == (412, "precondition-failed", "If-Match")
    assert (await a.get("/v1/agent"))["port"] == 8874


@pytest.mark.parametrize(
    ("header", "status"),
    [('"other"', 412), ("W/{tag}", 412), ("{tag}", 200), ('"other", {tag}', 200), ("*", 200), ("nothing quoted", 412)],
)
async def test_a_deletion_honours_the_tags_that_are_named(a: Appliance, header: str, status: int) -> None:
    tag = await tag_of(a, "/v1/shares/docs")
    assert (await change(a, "DELETE", "/v1/shares/docs", If_Match=header.format(tag=tag)))[0] == status
    assert ([share["name"] for share in await a.items("/v1/shares")] == []) is (status == 200)


async def test_the_tag_of_one_that_was_made_anew_is_another(a: Appliance) -> None:
    before = await tag_of(a, "/v1/shares/docs")
    await a.change("DELETE", "/v1/shares/docs")
    await a.change("POST", "/v1/shares", SHARE)
    assert await tag_of(a, "/v1/shares/docs") != before


async def test_a_check_honours_it_too(a: Appliance) -> None:
    status, _ = await change(a, "DELETE", "/v1/shares/docs?validate_only=true", If_Match='"other"')
    assert status == 412


async def test_what_is_not_there_is_not_found_whatever_the_tag(a: Appliance) -> None:
    assert (await change(a, "DELETE", "/v1/shares/other", If_Match='"x"'))[0] == 404


async def test_where_nothing_is_on_record_yet_no_tag_matches(a: Appliance) -> None:
    on = {"is_enabled": True, "address": "127.0.0.1", "port": 8873}
    assert (await change(a, "PUT", "/v1/agent", on, If_Match="*"))[0] == 412
    assert (await change(a, "PUT", "/v1/agent", on))[0] == 200


async def test_where_there_is_no_tag_the_header_is_refused_and_not_ignored(a: Appliance) -> None:
    status, problem = await change(a, "POST", "/v1/shares", {**SHARE, "name": "more"}, If_Match='"x"')
    assert (status, problem["reasons"][0]["code"]) == (400, "no-etag")
    with pytest.raises(Refused):
        await a.get("/v1/shares/more")


async def test_a_repeated_request_hears_of_its_own_change_and_not_that_the_tag_is_stale(a: Appliance) -> None:
    tag = await tag_of(a, "/v1/shares/docs")
    assert tag
    answers = [await change(a, "DELETE", "/v1/shares/docs", If_Match=tag, Idempotency_Key="one") for _ in range(2)]
    assert [status for status, _ in answers] == [200, 200]
    assert answers[0][1]["id"] == answers[1][1]["id"]
