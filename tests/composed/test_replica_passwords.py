"""A replica share's limits and passwords change without a run that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.composed.appliance import Appliance, Refused, World
from tests.composed.tasks import TASK, Holding, make_task, told
from tests.composed.test_jobs_killed import MortalNode

RUN = f"{TASK}/run"
REPLICA = "/v1/replica-shares/replica"
NEW = "another secret"


@pytest.fixture
def node(directory: Path) -> MortalNode:
    """A node that is its own destination."""
    return MortalNode(World(), directory / "a")


@pytest.fixture
async def a(node: MortalNode) -> AsyncIterator[Appliance]:
    async with node.running() as appliance:
        yield appliance


async def test_a_new_password_reaches_the_tasks_that_had_the_old_one_during_a_run(
    a: Appliance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await make_task(a)
    holding = Holding(a, monkeypatch)
    running = asyncio.create_task(a.change("POST", RUN))
    await holding.begun.wait()
    result = (await a.change("POST", f"{REPLICA}/rotate", {"password": NEW}))["result"]
    assert result["tasks_told"] == 1
    holding.may_go_on.set()
    await running
    await a.change("POST", RUN)
    assert await told(a) == [("ok", None), ("ok", None)]
    shown = await a.get(REPLICA)
    assert "former_password" not in shown
    assert shown["former_until"] == result["former_until"]


async def test_a_source_that_was_not_told_goes_on_with_the_old_one_until_its_grace_is_over(
    a: Appliance,
    node: MortalNode,
) -> None:
    await make_task(a, retries=0)
    # A source of which this node knows nothing has the old one as well.
    other = {**await _login(a), "name": "other"}
    await a.change("POST", f"{REPLICA}/rotate", {"password": NEW, "grace_s": 3600})
    await a.change("POST", "/v1/replication-tasks", other)
    await a.change("POST", "/v1/replication-tasks/other/run")
    node.clock.ahead += timedelta(hours=2)
    await a.system.services.replicas.apply()
    with pytest.raises(Refused, match="ID and password"):
        await a.change("POST", "/v1/replication-tasks/other/run")
    await a.change("POST", RUN)
    await a.change("PATCH", "/v1/replication-tasks/other", {"password": NEW})
    await a.change("POST", "/v1/replication-tasks/other/run")


async def _login(a: Appliance) -> dict[str, object]:
    task = await a.get(TASK)
    names = ("share", "agent_address", "agent_port", "replica_share", "user", "retries")
    return {**{name: task[name] for name in names}, "password": "secret enough"}


async def test_the_same_password_is_no_new_one(a: Appliance) -> None:
    await make_task(a)
    with pytest.raises(Refused, match="this password already"):
        await a.change("POST", f"{REPLICA}/rotate", {"password": "secret enough"})
    assert (await a.get(REPLICA))["former_until"] is None


async def test_no_password_is_in_a_job_or_an_event(a: Appliance) -> None:
    await make_task(a)
    await a.change("POST", f"{REPLICA}/rotate", {"password": NEW})
    await a.change("PATCH", TASK, {"password": "a third secret"})
    seen = str([await a.items("/v1/jobs"), await a.get(REPLICA), await a.get(TASK)])
    for password in (NEW, "secret enough", "a third secret"):
        assert password not in seen


async def test_the_limits_of_a_replica_share_are_changed_and_told_to_who_browses(a: Appliance) -> None:
    await make_task(a)
    await a.change("PATCH", REPLICA, {"bandwidth_bytes_s": 1_000_000})
    agent = await a.get("/v1/agent")
    found = await a.call("POST", "/v1/agent/browse", {"address": agent["address"], "port": agent["port"]})
    assert [(item["name"], item["bandwidth_bytes_s"]) for item in found["items"]] == [("replica", 1_000_000)]
    await a.change("PATCH", REPLICA, {"allowed_sources": ["192.0.2.1"], "bandwidth_bytes_s": None})
    await a.change("PATCH", TASK, {"retries": 0})
    with pytest.raises(Refused, match="from this address"):
        await a.change("POST", RUN)


async def test_a_task_to_nobody_that_could_be_believed_is_refused_before_it_is_made(a: Appliance) -> None:
    await make_task(a)
    elsewhere = {**await _login(a), "name": "far", "agent_address": "192.0.2.9"}
    with pytest.raises(Refused, match="no certificate of the destination"):
        await a.change("POST", "/v1/replication-tasks", elsewhere)
    certificate = (await a.get("/v1/agent/certificate"))["certificate"]
    await a.change("POST", "/v1/replication-tasks", {**elsewhere, "certificate": certificate})
    await a.change("POST", "/v1/replication-tasks", {**elsewhere, "name": "clear", "transport": "plain"})
