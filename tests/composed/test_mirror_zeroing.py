"""Both sides of a new mirror are zeroed at once: what is told meanwhile, and what comes of it when a node fails."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import ConflictError
from tests.composed.appliance import Appliance, Mechanisms, Refused, World
from tests.composed.test_jobs_killed import MortalNode, make_pair

MIB = 1024 * 1024
SIZE = 8 * MIB
TURN_S = 0.15
WITHIN_S = 20.0
MIRROR = {"name": "m", "volumes": ["v"], "first_sync": "zero"}
IN_THE_BACKGROUND = {"Prefer": "respond-async"}

Nodes = tuple[Appliance, Appliance]


class Watched:
    """Stands before the drivers of both nodes: notes what each is asked, makes it last, and lets one fail."""

    def __init__(self, a: Mechanisms, b: Mechanisms, monkeypatch: pytest.MonkeyPatch, fails_on: str = "") -> None:
        self.asked: dict[str, list[dict[str, Any]]] = {"a": [], "b": []}
        self.cancelled: list[str] = []
        self._fails_on = fails_on
        for name, mechanisms in (("a", a), ("b", b)):
            monkeypatch.setattr(mechanisms.mirrors, "zero", self._before(name, mechanisms.mirrors.zero))

    def _before(self, name: str, zero: Callable[..., Any]) -> Callable[..., Any]:
        async def act(device: str, **how: Any) -> int:
            self.asked[name].append(how)
            try:
                await asyncio.sleep(TURN_S)
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise
            if name == self._fails_on and len(self.asked[name]) == 2:
                raise ConflictError(f"the disk of {name} fails")
            return int(await zero(device, **how))

        return act

    def starts(self, name: str) -> list[int]:
        """From where on each turn of a node went."""
        return [how["done_bytes"] for how in self.asked[name]]


async def make_volume(a: Appliance) -> None:
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "v", "size_bytes": SIZE, "kind": "iscsi"})


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    deadline_s = asyncio.get_running_loop().time() + WITHIN_S
    while not await holds():
        assert asyncio.get_running_loop().time() < deadline_s
        await asyncio.sleep(0.02)


async def until_both_began(watched: Watched) -> None:
    async def both_began() -> bool:
        return min(max(watched.starts(name), default=0) for name in "ab") >= 2 * MIB

    await until(both_began)


async def ended(a: Appliance, job_id: str) -> dict[str, Any]:
    await a.system.ground.jobs.wait(job_id, WITHIN_S)
    return dict(await a.get(f"/v1/jobs/{job_id}"))


async def zeroed(a: Appliance, job_id: str) -> dict[str, dict[str, int]]:
    """What is on record of how far each node is."""
    facts = (await a.system.ground.jobs.get(job_id)).facts
    return {node: dict(volumes) for node, volumes in facts["zeroed_bytes"].items()}


async def test_they_are_zeroed_at_once_and_how_far_and_how_fast_both_are_is_told(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = nodes
    await make_volume(a)
    watched = Watched(a.mechanisms, b.mechanisms, monkeypatch)
    job = await a.change("POST", "/v1/mirrors", {**MIRROR, "zero_limit_bytes_s": 200 * MIB})
    assert job["result"]["is_in_sync"]
    for name in "ab":
        assert watched.starts(name) == list(range(0, SIZE, MIB))
        assert {how["limit_bytes_s"] for how in watched.asked[name]} == {200 * MIB}
    side = rf"(\d+) of {SIZE} bytes are zeroed, \d+ bytes/s"
    told = re.fullmatch(rf"a: {side}; b: {side}", job["progress"]["text"])
    assert told is not None, job["progress"]
    assert min(int(done) for done in told.groups()) >= MIB


@pytest.mark.parametrize("fails_on", ["a", "b"])
async def test_one_that_fails_ends_the_other_and_nothing_is_left(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, fails_on: str
) -> None:
    a, b = nodes
    await make_volume(a)
    watched = Watched(a.mechanisms, b.mechanisms, monkeypatch, fails_on)
    with pytest.raises(Refused, match=f"the disk of {fails_on} fails"):
        await a.change("POST", "/v1/mirrors", MIRROR)
    assert max(len(asked) for asked in watched.asked.values()) <= 3
    assert await a.items("/v1/mirrors") == []
    assert await b.items("/v1/volumes") == []


async def test_a_cancelled_one_is_undone_soon_and_the_volume_is_free(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = nodes
    await make_volume(a)
    watched = Watched(a.mechanisms, b.mechanisms, monkeypatch)
    job = await a.call("POST", "/v1/mirrors", MIRROR, headers=IN_THE_BACKGROUND)
    await until_both_began(watched)
    await a.call("POST", f"/v1/jobs/{job['id']}/cancel")
    job = await ended(a, job["id"])
    assert (job["state"], job["error"]["code"]) == ("cancelled", "cancelled")
    assert watched.cancelled == ["a"], "what the partner had begun it ended"
    assert max(max(watched.starts(name)) for name in "ab") < SIZE - MIB
    assert [await node.items("/v1/mirrors") for node in nodes] == [[], []]
    assert await b.items("/v1/volumes") == []
    # Zeroed in part and used by nobody: it is as blank as it was.
    await a.change("POST", "/v1/mirrors", MIRROR)


async def test_a_killed_daemon_goes_on_where_both_nodes_were(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    mortal, other = MortalNode(world, directory / "a"), MortalNode(world, directory / "b", "b")
    watched = Watched(mortal.mechanisms, other.mechanisms, monkeypatch)
    async with other.running() as b:
        async with mortal.running() as a:
            await make_pair(a, b)
            await make_volume(a)
            job = await a.call("POST", "/v1/mirrors", MIRROR, headers=IN_THE_BACKGROUND)
            await until_both_began(watched)
        before = {name: len(watched.asked[name]) for name in "ab"}
        async with mortal.running() as a:
            record = await ended(a, job["id"])
            assert record["state"] == "done", record
            assert any("zeroing goes on where it was: a: " in line for line in record["log"])
            for name in "ab":
                starts = watched.starts(name)
                first, last = starts[before[name]], starts[before[name] - 1]
                # At most the turn that was under way is done again.
                assert 2 * MIB <= last <= first <= last + MIB
                assert starts[before[name] :] == list(range(first, SIZE, MIB))


async def test_what_an_earlier_daemon_finished_is_looked_at_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    mortal, other = MortalNode(world, directory / "a"), MortalNode(world, directory / "b", "b")
    async with other.running() as b:
        async with mortal.running() as a:
            await make_pair(a, b)
            await make_volume(a)
            mortal.killer.kind, mortal.killer.left = "mirror.create", 2 * 5
            job = await a.call("POST", "/v1/mirrors", MIRROR, headers=IN_THE_BACKGROUND)
            await asyncio.wait_for(mortal.killer.killed.wait(), WITHIN_S)
            assert await zeroed(a, job["id"]) == {"a": {"v": SIZE}, "b": {"v": SIZE}}
        # As if it had been killed a moment earlier, when all was zeroed and the step's end not yet on disk.
        with sqlite3.connect(directory / "a/state/holdfast.sqlite") as database:
            database.execute("UPDATE job_steps SET state='running' WHERE job_id=? AND position=4", (job["id"],))
        database.close()
        watched = Watched(mortal.mechanisms, other.mechanisms, monkeypatch)
        async with mortal.running() as a:
            assert (await ended(a, job["id"]))["state"] == "done"
            assert watched.starts("a") == watched.starts("b") == [SIZE]


async def test_it_waits_for_a_partner_that_is_away_and_goes_on_where_that_was(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    here, mortal = MortalNode(world, directory / "a"), MortalNode(world, directory / "b", "b")
    watched = Watched(here.mechanisms, mortal.mechanisms, monkeypatch)
    async with here.running() as a:
        async with mortal.running() as b:
            await make_pair(a, b)
            await make_volume(a)
            job = await a.call("POST", "/v1/mirrors", MIRROR, headers=IN_THE_BACKGROUND)
            await until_both_began(watched)

        async def this_node_is_done() -> bool:
            return (await zeroed(a, job["id"]))["a"] == {"v": SIZE}

        await until(this_node_is_done)
        before, known = len(watched.asked["b"]), (await zeroed(a, job["id"]))["b"]["v"]
        assert 0 < known < SIZE
        assert (await a.get(f"/v1/jobs/{job['id']}"))["state"] == "running"
        async with mortal.running():
            record = await ended(a, job["id"])
            assert record["state"] == "done", record
            assert any("zeroing waits for b" in line for line in record["log"])
            assert watched.starts("b")[before] == known


BAD_LIMITS: list[tuple[str, Any]] = [("full", 200 * MIB), ("zero", 1), ("zero", 0), ("zero", "fast"), ("zero", True)]


async def test_a_limit_that_means_nothing_is_refused_by_its_name(nodes: Nodes) -> None:
    a = nodes[0]
    await make_volume(a)
    for first_sync, limit_bytes_s in BAD_LIMITS:
        wanted = {**MIRROR, "first_sync": first_sync, "zero_limit_bytes_s": limit_bytes_s}
        with pytest.raises(Refused) as refusal:
            await a.change("POST", "/v1/mirrors", wanted)
        assert refusal.value.status == 400, wanted
        assert "zero_limit_bytes_s" in str(refusal.value.problem)
        assert await a.items("/v1/mirrors") == [], wanted
