"""Taking over and failing back, on two whole daemons: by the differences only, and never the wrong way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.planning.copy_direction import Direction
from tests.composed.appliance import Appliance, Refused, World, pair, running_model
from tests.composed.copies import REPLICA, TASK, assert_nothing_is_left, home, make_copy, run, tree
from tests.composed.mirrors import events_of
from tests.composed.test_jobs_killed import MortalNode, kill_at_every_mark

FAIL_BACK = f"{REPLICA}/fail-back?confirm=docs"


@pytest.fixture
async def pair_of(nodes: tuple[Appliance, Appliance]) -> tuple[Appliance, Appliance]:
    """A source and the node with its copy."""
    await make_copy(*nodes)
    return nodes


async def direction(b: Appliance) -> tuple[int, bool]:
    """As the destination has it."""
    shown = await b.get(f"{REPLICA}/direction")
    return shown["generation"], shown["is_reversed"]


async def test_data_is_taken_over_used_and_failed_back_with_only_the_differences(
    pair_of: tuple[Appliance, Appliance],
) -> None:
    a, b = pair_of
    assert await direction(b) == (0, False)
    await b.change("POST", f"{REPLICA}/take-over")
    assert await direction(b) == (1, True)
    assert await b.system.services.directions.of_replica("replica") == Direction(1, True)
    assert await a.system.services.directions.of_task("task") == Direction(1, True)
    (home(b) / "plan").write_text("a plan of b")
    (home(b) / "letters/three").write_text("from b")
    (home(b) / "letters/one").unlink()
    with pytest.raises(Refused, match="reversed") as refused:
        await run(a)
    assert "fail-back" in str(refused.value)
    before = tree(b)
    # Repeated: the users of b go on meanwhile.
    first = (await b.change("POST", FAIL_BACK, {}))["result"]
    assert (first["counts"]["files_sent"], first["counts"]["files_deleted"]) == (2, 1)
    assert tree(a) == tree(b) == before
    assert (first["generation"], first["is_reversed"]) == (1, True)
    (home(b) / "plan").write_text("the last plan of b")
    last = (await b.change("POST", FAIL_BACK, {"returns": True}))["result"]
    assert (last["counts"]["files_sent"], last["counts"]["files_deleted"]) == (1, 0)
    assert (last["generation"], last["is_reversed"]) == (2, False)
    assert await a.system.services.directions.of_task("task") == Direction(2, False)
    (home(a) / "plan").write_text("a plan of a")
    counts = (await run(a))["result"]
    assert counts["files_sent"] == 1
    assert tree(a) == tree(b)
    await assert_nothing_is_left(a, b)
    assert "replica-share.took-over" in await events_of(b)
    assert "replication-task.turned" in await events_of(a)


async def test_clients_write_on_the_destination_only_as_long_as_it_has_taken_over(
    pair_of: tuple[Appliance, Appliance],
) -> None:
    _, b = pair_of
    smb = f"/v1/shares/{(await b.get(REPLICA))['share']}/smb"
    password = "a password of anna's"
    await b.change("POST", "/v1/share-users", {"name": "anna", "password": password})
    await b.change("PUT", smb, {"write_users": ["anna"]})

    async def can_write() -> bool:
        session = b.mechanisms.smb.log_in(smb.split("/")[3], "anna", password)
        assert session is not None
        assert (await b.get(smb))["drift"] == []
        return session.write()

    assert not await can_write()
    await b.change("POST", f"{REPLICA}/take-over")
    assert await can_write()
    await b.change("POST", FAIL_BACK, {})
    assert await can_write()
    await b.change("POST", FAIL_BACK, {"returns": True})
    assert not await can_write()


async def test_the_wrong_way_is_refused_at_both_ends(pair_of: tuple[Appliance, Appliance]) -> None:
    a, b = pair_of
    with pytest.raises(Refused, match="not reversed"):
        await b.change("POST", FAIL_BACK, {})
    await b.change("POST", f"{REPLICA}/take-over")
    (home(b) / "plan").write_text("newer")
    # A source that does not know of it, as one that was set back to an older state of its own.
    directions = a.system.services.directions
    await directions._keep("replication-task", directions._tasks, "task", Direction())
    with pytest.raises(Refused, match="no such replica share"):
        await run(a)
    assert (home(b) / "plan").read_text() == "newer"
    # A destination that is behind its source.
    await directions._keep("replication-task", directions._tasks, "task", Direction(4, False))
    with pytest.raises(Refused, match="has generation 4"):
        await b.change("POST", FAIL_BACK, {})
    assert (home(a) / "plan").read_text() == "the plan"
    await assert_nothing_is_left(a, b)


async def test_a_fail_back_is_confirmed_by_the_name_of_what_it_overwrites(
    pair_of: tuple[Appliance, Appliance],
) -> None:
    a, b = pair_of
    await b.change("POST", f"{REPLICA}/take-over")
    (home(a) / "late").write_text("written on a after its last run")
    for query in ("", "?confirm=replica"):
        with pytest.raises(Refused, match="confirm=docs"):
            await b.change("POST", f"{REPLICA}/fail-back{query}", {})
    body = {"is_all": True, "deletes": True, "to": {"share": "docs", "is_on_partner": True}}
    told = (await b.change("POST", f"{REPLICA}/preview-restore", body))["result"]
    assert [c["path"] for c in told["changes"] if c["effect"] == "removed"] == ["late"]
    assert (home(a) / "late").exists()


async def test_b_takes_over_alone_when_a_is_lost_and_a_learns_of_it_at_the_fail_back(
    pair_of: tuple[Appliance, Appliance],
) -> None:
    a, b = pair_of
    await a.system.partner.server.stop()
    job = await b.change("POST", f"{REPLICA}/take-over")
    assert "the source was not told" in str(job["log"])
    assert await direction(b) == (1, True)
    found = a.system.partner.partners.load()
    assert found is not None
    await a.system.partner.server.start(found)
    with pytest.raises(Refused, match="no such replica share"):
        await run(a)
    (home(b) / "plan").write_text("newer")
    await b.change("POST", FAIL_BACK, {"returns": True})
    assert tree(a) == tree(b)
    await run(a)


async def test_what_is_written_on_b_during_the_last_copy_keeps_it_the_source(
    pair_of: tuple[Appliance, Appliance], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair_of
    await b.change("POST", f"{REPLICA}/take-over")
    restore = b.mechanisms.copies.restore

    async def and_write(*given: Any, **more: Any) -> Any:
        result = await restore(*given, **more)
        (home(b) / "late").write_text("x")
        return result

    monkeypatch.setattr(b.mechanisms.copies, "restore", and_write)
    with pytest.raises(Refused, match="late") as refused:
        await b.change("POST", FAIL_BACK, {"returns": True})
    assert "once more" in str(refused.value)
    assert await direction(b) == (1, True)
    monkeypatch.undo()
    await b.change("POST", FAIL_BACK, {"returns": True})
    assert tree(a)["late"] == "x"
    await assert_nothing_is_left(a, b)


async def test_a_replica_share_of_the_same_name_begins_anew(pair_of: tuple[Appliance, Appliance]) -> None:
    a, b = pair_of
    await b.change("POST", f"{REPLICA}/take-over")
    await b.change("DELETE", REPLICA)
    login = {"user": "copier", "password": "secret enough"}
    replica = {"name": "replica", "share": "docs", "allowed_sources": ["127.0.0.1"], **login}
    await b.change("POST", "/v1/replica-shares", replica)
    assert await direction(b) == (0, False)
    with pytest.raises(Refused, match="reversed"):
        await run(a)


async def test_a_fail_back_goes_on_wherever_it_was_killed(directory: Path) -> None:
    world = World()
    node = MortalNode(world, directory / "b", "b")
    async with running_model(world, "a", directory / "a") as a:
        async with node.running() as b:
            await pair(b, a)
            for each in (a, b):
                await each.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
            await make_copy(a, b)
        assert await kill_at_every_mark(node, "replica-share.take-over", f"{REPLICA}/take-over", {}) == 2 * 2
        async with node.running() as b:
            assert await direction(b) == (1, True)
            (home(b) / "plan").write_text("newer")
        assert await kill_at_every_mark(node, "replica-share.fail-back", FAIL_BACK, {"returns": True}) == 2 * 12
        async with node.running() as b:
            assert tree(a) == tree(b)
            assert await direction(b) == (2, False)
            await run(a)
            await assert_nothing_is_left(a, b)
            assert (await a.get(TASK))["name"] == "task"
