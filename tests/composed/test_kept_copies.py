"""Copies that are kept on the destination: after each good run, thinned, told of, restored from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.composed.appliance import Appliance, Refused, World, pair, running_model
from tests.composed.copies import REPLICA, assert_nothing_is_left, home, make_copy, run, tree
from tests.composed.mirrors import events_of
from tests.composed.tasks import settled
from tests.composed.test_jobs_killed import MortalNode

RETENTION = f"{REPLICA}/retention"


@pytest.fixture
async def pair_of(nodes: tuple[Appliance, Appliance]) -> tuple[Appliance, Appliance]:
    """A source and the node with its copy."""
    await make_copy(*nodes)
    return nodes


async def look(b: Appliance) -> list[dict[str, Any]]:
    """Keep what is to be kept; what is kept then."""
    await b.system.services.kept_copies.look()
    await settled(b)
    return await b.items(f"{REPLICA}/copies")


async def change_and_run(a: Appliance, b: Appliance, text: str) -> list[dict[str, Any]]:
    (home(a) / "plan").write_text(text)
    await run(a)
    return await look(b)


async def test_after_each_good_run_a_copy_is_kept_and_an_old_state_is_restored_from_it(
    pair_of: tuple[Appliance, Appliance],
) -> None:
    a, b = pair_of
    assert await look(b) == []
    await b.change("PUT", RETENTION, {"last": 2})
    assert (await b.get(RETENTION))["last"] == 2
    (first,) = await look(b)
    assert (first["task"], first["source"], first["is_void"]) == ("task", "a", False)
    assert first["frozen_at"] == (await b.get(REPLICA))["newest_copy_at"]
    assert await look(b) == [first], "once"
    (second, again) = await change_and_run(a, b, "spoilt")
    assert again["frozen_at"] == first["frozen_at"]
    for name, text in ((first["snapshot"], "the plan"), (second["snapshot"], "spoilt")):
        body = {"paths": ["plan"], "snapshot": name, "to": {"share": "docs", "is_on_partner": True}}
        await b.change("POST", f"{REPLICA}/restore", body)
        assert tree(a)["plan"] == text
    kept = await change_and_run(a, b, "third")
    assert [copy["snapshot"] for copy in kept][1:] == [second["snapshot"]]
    assert len(await b.items("/v1/snapshots")) == 2
    await b.change("PUT", RETENTION, {})
    names = [copy["snapshot"] for copy in kept]
    assert [c["snapshot"] for c in await change_and_run(a, b, "fourth")] == names, "nothing is kept, nothing removed"
    await assert_nothing_is_left(a, b)


async def test_a_run_that_fails_or_goes_on_makes_no_kept_copy(
    pair_of: tuple[Appliance, Appliance], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair_of
    await b.change("PUT", RETENTION, {"last": 5})
    await look(b)

    async def differs(*given: object, **more: object) -> tuple[str, ...]:
        return ("plan differs in mood",)

    with monkeypatch.context() as patched:
        patched.setattr(a.mechanisms.copies, "verify", differs)
        with pytest.raises(Refused, match="mood"):
            await run(a)
    assert len(await look(b)) == 1
    await run(a)
    # The next run has begun before the last one was kept: what lies there is neither the one nor the other.
    with monkeypatch.context() as patched:
        patched.setattr(a.mechanisms.copies, "verify", differs)
        with pytest.raises(Refused, match="mood"):
            await run(a)
    assert len(await look(b)) == 1
    jobs = [job for job in await b.items("/v1/jobs") if job["kind"] == "replica-share.keep-copy"]
    assert "there was no time" in str(jobs[0]["log"])
    await look(b)
    assert len([j for j in await b.items("/v1/jobs") if j["kind"] == "replica-share.keep-copy"]) == len(jobs), "once"
    await run(a)
    assert len(await look(b)) == 2


async def test_a_reserve_that_is_too_small_is_told_before_and_after(pair_of: tuple[Appliance, Appliance]) -> None:
    a, b = pair_of
    await b.change("PUT", RETENTION, {"last": 3, "reserve_percent": 7})
    (copy,) = await look(b)
    assert copy["reserve_bytes"] >= (64 << 20) * 7 // 100
    fill = home(b) / "fill"
    fill.write_bytes(b"x" * (copy["reserve_bytes"] * 9 // 10))
    (alert,) = (await b.get(REPLICA))["alerts"]
    assert alert["code"] == "reserve-nearly-full"
    fill.write_bytes(b"x" * (copy["reserve_bytes"] * 2))
    (alert,) = (await b.get(REPLICA))["alerts"]
    assert (alert["code"], str(copy["reserve_bytes"]) in alert["text"]) == ("kept-copy-void", True)
    assert (await b.items(f"{REPLICA}/copies"))[0]["is_void"]
    (fresh,) = await change_and_run(a, b, "x")
    assert fresh["snapshot"] != copy["snapshot"], "the void one is gone"
    assert "replica-share.kept-copy-void" in await events_of(b)
    assert (await b.get(REPLICA))["alerts"] == []


async def test_a_pool_without_room_is_told_and_it_is_tried_again(
    pair_of: tuple[Appliance, Appliance], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair_of
    checked = await b.call("PUT", f"{RETENTION}?validate_only=true", {"last": 366, "reserve_percent": 110})
    assert "too few" in checked["warnings"][0]["text"]
    await b.change("PUT", RETENTION, {"last": 366, "reserve_percent": 110})
    kept, number = 0, 0
    while len(await change_and_run(a, b, f"{number}")) > kept:
        kept, number = kept + 1, number + 1
    assert kept > 0
    (alert,) = (await b.get(REPLICA))["alerts"]
    assert alert["code"] == "copy-not-kept"
    assert "replica-share.copy-not-kept" in await events_of(b)
    assert len(await b.items(f"{REPLICA}/copies")) == kept
    await b.change("PUT", RETENTION, {"last": 1, "reserve_percent": 110})
    monkeypatch.setattr("holdfast.services.copies.kept.TRY_AGAIN_S", 0)
    assert len(await look(b)) == 1
    assert (await b.get(REPLICA))["alerts"] == []


@pytest.mark.parametrize("marks", range(1, 5))
async def test_keeping_a_copy_goes_on_wherever_it_was_killed(directory: Path, marks: int) -> None:
    world = World()
    node = MortalNode(world, directory / "b", "b")
    async with running_model(world, "a", directory / "a") as a:
        async with node.running() as b:
            await pair(b, a)
            for each in (a, b):
                await each.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
            await make_copy(a, b)
            await b.change("PUT", RETENTION, {"last": 1})
            await look(b)
            (home(a) / "plan").write_text("x")
            await run(a)
            node.killer.kind, node.killer.left = "replica-share.keep-copy", marks
            await b.system.services.kept_copies.look()
            await node.killer.killed.wait()
        async with node.running() as b:
            (copy,) = await look(b)
            assert copy["frozen_at"] == (await a.get("/v1/replication-tasks/task"))["newest_copy_at"]
            assert len(await b.items("/v1/snapshots")) == 1
            await assert_nothing_is_left(a, b)
