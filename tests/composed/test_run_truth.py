"""What makes a run believable, on two whole daemons: counts, every file compared, capacities and clocks."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.hooks.replication import CopyResult
from tests.composed.appliance import Appliance, Refused, World, pair, running_model
from tests.composed.copies import TASK, home, make_copy, run, tree
from tests.composed.mirrors import events_of
from tests.composed.test_jobs_killed import MortalNode

VERIFICATION = f"{TASK}/verification"


@pytest.fixture
async def pair_of(nodes: tuple[Appliance, Appliance]) -> tuple[Appliance, Appliance]:
    """A source and the node with its copy."""
    await make_copy(*nodes)
    return nodes


def spoil(path: Path) -> None:
    """Change a file's content, and neither its size nor its time: as a failing disk does."""
    status = path.stat()
    path.write_text("x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


async def codes(a: Appliance) -> list[str]:
    return [alert["code"] for alert in (await a.get(TASK))["alerts"]]


async def test_a_copier_that_counts_otherwise_than_the_source_is_made_no_success(
    pair_of: tuple[Appliance, Appliance], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _ = pair_of
    copy = a.mechanisms.copies.copy

    async def short(*given: Any) -> CopyResult:
        result = await copy(*given)
        return replace(result, files_considered=result.files_considered - 1)

    monkeypatch.setattr(a.mechanisms.copies, "copy", short)
    with pytest.raises(Refused, match="considered 4 names, and the source has 5"):
        await run(a)
    (failed, _) = await a.items("/v1/replication-runs")
    assert failed["result"] == "failed"


async def test_a_file_that_is_spoilt_on_the_destination_is_found_by_a_full_verification_and_mended_by_the_next_run(
    pair_of: tuple[Appliance, Appliance], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair_of
    monkeypatch.setattr("holdfast.services.copies.listings.SAMPLED_FILES", 0)
    spoil(home(b) / "letters/two")
    assert (await run(a))["result"]["files_verified"] == 0
    assert (await a.get(VERIFICATION))["last"] is None
    with pytest.raises(Refused, match="letters/two differs in content"):
        await a.change("POST", f"{TASK}/verify")
    last = (await a.get(VERIFICATION))["last"]
    assert (last["is_ok"], last["differences"], last["files"]) == (False, 1, 3)
    assert "letters/two differs in content" in last["shown"][0]
    assert await codes(a) == ["copy-differs"]
    assert tree(b)["letters/two"] != "dear editor"
    job = await run(a)
    assert "1 files were mended" in str(job["log"])
    assert job["result"]["files_verified"] == 3
    assert tree(b) == tree(a)
    assert (await a.get(VERIFICATION))["last"]["is_ok"]
    assert await codes(a) == []
    told = [
        kind for kind in await events_of(a) if kind in ("replication-task.copy-differs", "replication-task.verified")
    ]
    assert told == ["replication-task.copy-differs", "replication-task.verified"]
    assert (await run(a))["result"]["files_verified"] == 0, "and then a sample does again"


async def test_a_destination_that_is_smaller_is_told_by_how_much_before_each_run(
    pair_of: tuple[Appliance, Appliance], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _ = pair_of
    ends = (await a.get(VERIFICATION))["ends"]
    assert ends["destination_bytes"] > 0
    assert abs(ends["clock_difference_s"]) < 1
    tell = a.mechanisms.copies.replica_facts

    async def smaller(*given: Any) -> Any:
        facts = await tell(*given)
        return replace(facts, capacity_bytes=ends["source_bytes"] - 12345, now=facts.now + timedelta(hours=1))

    monkeypatch.setattr(a.mechanisms.copies, "replica_facts", smaller)
    job = await run(a)
    assert "12345 bytes smaller" in str(job["log"])
    assert await codes(a) == ["destination-smaller", "clocks"]
    alert = (await a.get(TASK))["alerts"][1]
    assert "+3600" in alert["text"] or "+3599.9" in alert["text"]
    monkeypatch.undo()
    await run(a)
    assert await codes(a) == []


@pytest.fixture
async def aging(directory: Path) -> AsyncIterator[tuple[Appliance, MortalNode]]:
    """A source whose clock is set."""
    world = World()
    node = MortalNode(world, directory / "a")
    async with running_model(world, "b", directory / "b") as b, node.running() as a:
        await pair(a, b)
        for each in (a, b):
            await each.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
        await make_copy(a, b)
        yield a, node


async def test_every_so_many_days_a_run_compares_every_file(
    aging: tuple[Appliance, MortalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, node = aging
    monkeypatch.setattr("holdfast.services.copies.listings.SAMPLED_FILES", 1)
    for body in ({"every_days": 0}, {"every_days": 367}, {"every_days": "7"}, {}):
        with pytest.raises(Refused, match="every_days"):
            await a.change("PUT", VERIFICATION, body)
    await a.change("PUT", VERIFICATION, {"every_days": 7})
    assert (await run(a))["result"]["files_verified"] == 3, "it never was"
    for days, verified in ((6, 1), (1.01, 3), (1, 1)):
        node.clock.ahead += timedelta(days=days)
        assert (await run(a))["result"]["files_verified"] == verified
    await a.change("PUT", VERIFICATION, {"every_days": None})
    node.clock.ahead += timedelta(days=100)
    assert (await run(a))["result"]["files_verified"] == 1
