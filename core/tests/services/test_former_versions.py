"""What a former version wrote is read: plans, records and calls with one ping node, or none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import InvalidError
from holdfast.hooks.copying import CopyOptions
from holdfast.hooks.failover import GroupPlan, MonitorPlan
from holdfast.hooks.links import Link
from holdfast.services.copies.replica_documents import AgentDocument, ReplicaShareDocument, Transport
from holdfast.services.copies.task_documents import TaskDocument
from holdfast.services.documents import FailoverDocument, MirrorDocument
from holdfast.services.groups.plans import PLAN_VERSION, PlanFile, plan_path, read_plan
from holdfast.store.database import Database
from holdfast.store.intent import Intents
from holdfast.testing.fakes import ManualClock
from holdfast.values import Secret, from_plain, to_plain

LINK = Link("one", "eth0", "192.0.2.1", "192.0.2.2")
GROUP = GroupPlan("g", 1, "m", ("t",), (), "a", is_started=True)
PLAN = MonitorPlan(PLAN_VERSION, "a", "b", Secret("0b" * 32), (LINK,), ("192.0.2.9",), (GROUP,), ())


def former(plain: dict[str, Any], ping_node: str | None) -> dict[str, Any]:
    """The same as version 1 wrote it."""
    kept = {name: value for name, value in plain.items() if name != "ping_nodes"}
    return {**kept, "ping_node": ping_node, **({"version": 1} if "version" in kept else {})}


def write(state_dir: Path, plan: dict[str, Any]) -> None:
    whole = {"plan": plan, "mirrors": [], "targets": [], "file_systems": []}
    plan_path(state_dir).write_text(json.dumps(whole))


@pytest.mark.parametrize(("ping_node", "expected"), [("192.0.2.9", ("192.0.2.9",)), (None, ())])
def test_a_plan_of_the_former_version_is_read(tmp_path: Path, ping_node: str | None, expected: tuple[str, ...]) -> None:
    write(tmp_path, former(to_plain(PLAN, reveal=True), ping_node))
    found = read_plan(tmp_path)
    assert found is not None
    assert (found.plan.version, found.plan.ping_nodes) == (PLAN_VERSION, expected)
    assert found.plan.groups == (GROUP,)


def test_a_plan_of_this_version_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path, to_plain(PLAN, reveal=True))
    assert read_plan(tmp_path) == PlanFile(PLAN, (), ())


@pytest.mark.parametrize(
    "plan",
    [
        {**to_plain(PLAN, reveal=True), "version": PLAN_VERSION + 1},
        {**to_plain(PLAN, reveal=True), "version": 0},
        # One that says it is of this version has no field of the former.
        {**former(to_plain(PLAN, reveal=True), None), "version": PLAN_VERSION},
    ],
)
def test_a_plan_of_an_unknown_version_is_refused(tmp_path: Path, plan: dict[str, Any]) -> None:
    write(tmp_path, plan)
    with pytest.raises(InvalidError):
        read_plan(tmp_path)


@pytest.mark.parametrize(("ping_node", "expected"), [("192.0.2.9", ("192.0.2.9",)), (None, ())])
def test_what_a_partner_of_the_former_version_sends_is_understood(
    ping_node: str | None, expected: tuple[str, ...]
) -> None:
    document = FailoverDocument((LINK,), expected)
    assert from_plain(FailoverDocument, former(to_plain(document), ping_node)) == document
    assert from_plain(FailoverDocument, to_plain(document)) == document


async def test_a_record_of_the_former_version_is_read(database: Database, clock: ManualClock) -> None:
    kept = Intents(database, clock, "failover", FailoverDocument)
    await kept.put("links", FailoverDocument((LINK,)))
    text = json.dumps(former(to_plain(FailoverDocument((LINK,))), "192.0.2.9"))
    async with database.change() as change:
        await change.execute("UPDATE intent SET document=? WHERE kind='failover'", (text,))
    assert await kept.get("links") == FailoverDocument((LINK,), ("192.0.2.9",))


def test_data_replication_of_a_former_version_goes_on_in_clear_and_with_a_guard() -> None:
    agent = from_plain(AgentDocument, {"address": "10.0.0.2", "port": 8873})
    assert agent.transport is Transport.PLAIN
    replica = {"name": "r", "share": "s", "user": "u", "password": "secret:1", "allowed_sources": ["10.0.0.1"]}
    assert from_plain(ReplicaShareDocument, replica).source_certificates == ()
    where = {"agent_address": "10.0.0.2", "agent_port": 8873, "replica_share": "r"}
    task = from_plain(TaskDocument, {"name": "t", "share": "s", "user": "u", "password": "secret:2", **where})
    assert (task.transport, task.is_enabled, task.windows) == (Transport.PLAIN, True, ())
    assert (task.options, task.most_deleted_percent) == (CopyOptions(), 50)


def test_volumes_of_a_mirror_had_the_numbers_of_their_order() -> None:
    places: dict[str, Any] = {"pools": {}, "devices": {}, "metadata_devices": {}}
    members = [{"volume": name, "minor": minor, "size_bytes": 1, **places} for name, minor in (("v", 4), ("w", 0))]
    plain = {"name": "m", "source": "a", "destination": "b", "port": 7790, "addresses": {}, "is_started": True}
    found = from_plain(MirrorDocument, {**plain, "members": members})
    assert [member.number for member in found.members] == [0, 1]
    kept = to_plain(replace(found, members=(found.members[1],)))
    assert [member.number for member in from_plain(MirrorDocument, kept).members] == [1]
