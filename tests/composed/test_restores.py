"""Restoring from a copy, on two whole daemons: browsed, previewed, done, refused, and killed at every mark."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.composed.appliance import Appliance, Refused, World, pair, running_model
from tests.composed.copies import (
    LOGIN,
    PORTS,
    REPLICA,
    TASK,
    assert_nothing_is_left,
    home,
    make_copy,
    make_volume,
    run,
    tree,
)
from tests.composed.test_jobs_killed import MortalNode, kill_at_every_mark

TO_SOURCE = {"share": "docs", "is_on_partner": True}


@pytest.fixture
async def pair_of(nodes: tuple[Appliance, Appliance]) -> tuple[Appliance, Appliance]:
    """A source and the node with its copy."""
    await make_copy(*nodes)
    return nodes


async def restore(b: Appliance, verb: str = "restore", /, query: str = "", **body: Any) -> Any:
    """What a restore or its preview ended with."""
    return (await b.change("POST", f"{REPLICA}/{verb}{query}", body))["result"]


async def test_a_copy_is_browsed_by_pages_as_it_is_and_as_a_snapshot_has_it(
    pair_of: tuple[Appliance, Appliance],
) -> None:
    a, b = pair_of
    await b.change("POST", "/v1/snapshots", {"volume": "docs", "name": "monday"})
    (home(a) / "later").write_text("x")
    (home(a) / os.fsdecode(b"no text \xff\n")).write_text("x")
    await run(a)
    page = await b.get(f"{REPLICA}/files?page_size=2")
    names = [item["name"] for item in page["items"]]
    assert (names, page["items"][1]["kind"]) == (["later", "letters"], "folder")
    page = await b.get(f"{REPLICA}/files?page_size=2&page_token={page['next_page_token']}")
    assert [item["name"] for item in page["items"]] == ["no text \udcff\n", "plan"]
    assert page["next_page_token"] is None
    assert page["items"][1]["size_bytes"] == len("the plan")
    assert [i["name"] for i in await b.items(f"{REPLICA}/files?snapshot=monday")] == ["letters", "plan"]
    assert [i["name"] for i in await b.items(f"{REPLICA}/files?path=letters")] == ["one", "two"]
    (home(b) / "out").symlink_to("/etc")
    for path, status in (("../..", 400), ("/etc", 400), ("out", 400), ("letters/one", 400), ("none", 404)):
        with pytest.raises(Refused) as refused:
            await b.get(f"{REPLICA}/files?path={path}")
        assert (refused.value.status, refused.value.problem["reasons"][0]["field"]) == (status, "path"), path
    for query in ("snapshot=none", "page_token=x"):
        with pytest.raises(Refused) as refused:
            await b.get(f"{REPLICA}/files?{query}")
        assert refused.value.status == 400
    await assert_nothing_is_left(a, b)


async def test_files_that_are_lost_come_back_to_the_source_and_nothing_else_changes(
    pair_of: tuple[Appliance, Appliance],
) -> None:
    a, b = pair_of
    (home(a) / "letters/one").unlink()
    (home(a) / "letters/new").write_text("of today")
    (home(a) / "plan").write_text("another plan")
    told = await restore(b, "preview-restore", paths=["letters"], to=TO_SOURCE)
    assert [(c["path"], c["effect"]) for c in told["changes"] if c["path"] != "letters"] == [("letters/one", "written")]
    assert (told["removed"], told["content_bytes"]) == (0, len("dear reader"))
    assert not (home(a) / "letters/one").exists()
    result = await restore(b, paths=["letters"], to=TO_SOURCE)
    assert (result["counts"]["files_sent"], result["files_verified"]) == (1, 2)
    assert result["verified_copy_of"] is not None
    assert tree(a) == {
        "letters/new": "of today",
        "letters/one": "dear reader",
        "letters/two": "dear editor",
        "plan": "another plan",
    }
    await assert_nothing_is_left(a, b)
    await run(a)
    assert tree(a) == tree(b)


async def test_what_is_not_in_the_copy_goes_only_if_that_is_asked_for_and_confirmed(
    pair_of: tuple[Appliance, Appliance],
) -> None:
    a, b = pair_of
    (home(a) / "new").write_text("of today")
    told = await restore(b, "preview-restore", is_all=True, deletes=True, to=TO_SOURCE)
    assert [c["path"] for c in told["changes"] if c["effect"] == "removed"] == ["new"]
    with pytest.raises(Refused, match="confirm"):
        await restore(b, is_all=True, deletes=True, to=TO_SOURCE)
    assert (home(a) / "new").exists()
    await restore(b, query="?confirm=docs", is_all=True, deletes=True, to=TO_SOURCE)
    assert tree(a) == tree(b)
    await assert_nothing_is_left(a, b)


async def test_an_older_state_comes_back_from_a_snapshot_into_a_folder_of_another_share(
    pair_of: tuple[Appliance, Appliance],
) -> None:
    a, b = pair_of
    await make_volume(b, "bench")
    await b.change("POST", "/v1/snapshots", {"volume": "docs", "name": "monday"})
    (home(a) / "plan").write_text("worse")
    await run(a)
    to = {"share": "bench"}
    result = await restore(b, paths=["plan", "letters/two"], snapshot="monday", into="back", to=to)
    assert tree(b, "bench") == {"back/plan": "the plan", "back/letters/two": "dear editor"}
    assert result["verified_copy_of"] is None
    assert tree(b)["plan"] == "worse"
    await assert_nothing_is_left(a, b)


async def test_it_is_restored_to_what_another_system_offers(pair_of: tuple[Appliance, Appliance]) -> None:
    a, b = pair_of
    await make_volume(a, "fresh")
    replica = {"name": "fresh", "share": "fresh", "allowed_sources": ["127.0.0.1"], **LOGIN}
    await a.change("POST", "/v1/replica-shares", replica)
    agent = {"address": "127.0.0.1", "port": PORTS["a"], "replica_share": "fresh", **LOGIN}
    job = await b.change("POST", f"{REPLICA}/restore", {"is_all": True, "to": {"agent": agent}})
    assert tree(a, "fresh") == tree(b)
    assert LOGIN["password"] not in str(job)
    wrong = {"agent": {**agent, "password": "wrong"}}
    with pytest.raises(Refused, match="ID and password"):
        await restore(b, is_all=True, to=wrong)
    await assert_nothing_is_left(a, b)
    rows = await b.system.ground.secrets._database.rows("SELECT count(*) AS n FROM secrets")
    assert rows[0]["n"] == 1, "only the replica share's own is left"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"to": TO_SOURCE}, "paths"),
        ({"is_all": True, "paths": ["plan"], "to": TO_SOURCE}, "paths"),
        ({"paths": ["../x"], "to": TO_SOURCE}, "paths"),
        ({"paths": ["none"], "to": TO_SOURCE}, "paths"),
        ({"is_all": True, "snapshot": "none", "to": TO_SOURCE}, "snapshot"),
        ({"is_all": True, "into": "../x", "to": TO_SOURCE}, "into"),
        ({"is_all": True, "to": {"share": "none"}}, "share"),
        ({"is_all": True, "to": {"share": "none", "is_on_partner": True}}, "share"),
        ({"is_all": True, "to": {"share": "docs"}}, "share"),
        ({"is_all": True, "to": {}}, "to"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_field_and_leaves_nothing(
    pair_of: tuple[Appliance, Appliance], body: dict[str, Any], field: str
) -> None:
    a, b = pair_of
    before = tree(a), tree(b)
    with pytest.raises(Refused) as refused:
        await restore(b, **body)
    assert field in {str(reason["field"]).partition(".")[0] for reason in refused.value.problem["reasons"]}
    assert (tree(a), tree(b)) == before
    await assert_nothing_is_left(a, b)


async def test_a_snapshot_that_overflew_is_never_restored_from(pair_of: tuple[Appliance, Appliance]) -> None:
    a, b = pair_of
    await b.change("POST", "/v1/snapshots", {"volume": "docs", "name": "monday", "reserve_bytes": 4 << 20})
    (home(b) / "large").write_bytes(b"x" * (8 << 20))
    with pytest.raises(Refused, match="void"):
        await restore(b, is_all=True, snapshot="monday", to=TO_SOURCE)
    with pytest.raises(Refused, match="void"):
        await b.get(f"{REPLICA}/files?snapshot=monday")
    await assert_nothing_is_left(a, b)


async def test_a_share_that_is_restored_to_is_not_copied_from_and_not_deleted_meanwhile(
    pair_of: tuple[Appliance, Appliance],
) -> None:
    a, b = pair_of
    openings = a.system.services.openings
    await openings.open("docs", "restore-left-over", source="127.0.0.1", node="b")
    with pytest.raises(Refused, match="being restored to, by b") as refused:
        await run(a)
    assert "DELETE /v1/restore-openings/restore-left-over" in str(refused.value)
    await make_volume(a, "bench")
    await openings.open("bench", "restore-other", source="127.0.0.1", node="b")
    with pytest.raises(Refused, match="restore-opening restore-other"):
        await a.change("DELETE", "/v1/shares/bench")
    await openings.close("restore-other")
    await a.change("DELETE", "/v1/shares/bench")
    with pytest.raises(Refused, match="confirm"):
        await a.change("DELETE", "/v1/restore-openings/restore-left-over")
    await a.change("DELETE", "/v1/restore-openings/restore-left-over?confirm=restore-left-over")
    await run(a)
    await assert_nothing_is_left(a, b)


async def test_a_copy_that_comes_in_is_waited_for(pair_of: tuple[Appliance, Appliance]) -> None:
    a, b = pair_of
    async with b.mechanisms.copies.hold("replica"):
        with pytest.raises(Refused, match="copy is coming in"):
            await restore(b, is_all=True, to=TO_SOURCE)
    (home(a) / "plan").write_text("x")
    with pytest.MonkeyPatch.context() as patched:

        async def differs(*args: object, **keywords: object) -> tuple[str, ...]:
            return ("plan differs in mood",)

        patched.setattr(a.mechanisms.copies, "verify", differs)
        with pytest.raises(Refused, match="mood"):
            await run(a)
    told = await restore(b, "preview-restore", is_all=True, to=TO_SOURCE)
    assert told["verified_copy_of"] is None, "a run that failed leaves a copy that is not known to be verified"


async def test_a_partner_that_is_away_is_told_before_anything_is_made(pair_of: tuple[Appliance, Appliance]) -> None:
    a, b = pair_of
    await a.system.partner.server.stop()
    with pytest.raises(Refused) as refused:
        await restore(b, is_all=True, to=TO_SOURCE)
    assert refused.value.status in (502, 503, 504)
    await assert_nothing_is_left(b)


async def test_a_restore_goes_on_wherever_it_was_killed(directory: Path) -> None:
    world = World()
    node = MortalNode(world, directory / "b", "b")
    async with running_model(world, "a", directory / "a") as a:
        async with node.running() as b:
            await pair(b, a)
            for each in (a, b):
                await each.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
            await make_copy(a, b)
        (home(a) / "plan").unlink()
        body = {"paths": ["plan"], "to": TO_SOURCE}
        assert await kill_at_every_mark(node, "replica-share.restore", f"{REPLICA}/restore", body) == 2 * 10
        async with node.running() as b:
            assert tree(a) == tree(b)
            await assert_nothing_is_left(a, b)
            assert (await a.get(TASK))["name"] == "task"
