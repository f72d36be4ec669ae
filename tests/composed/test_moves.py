"""The operator's side of groups: maintenance, drills, failing back, on two whole daemons over the reference drivers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from holdfast.hooks.failover import GroupState
from holdfast.planning.failback import Failback
from holdfast.services.documents import GroupDocument
from holdfast.services.groups import drill_schedules, failback
from holdfast.services.groups.failback import LOOK_EVERY_S, AutomaticFailback
from holdfast.services.groups.plans import read_plan
from holdfast.testing.fakes import ManualClock
from holdfast.testing.memory_failover import FailoverPair
from holdfast.values import from_plain, to_plain
from tests.composed.appliance import Appliance, Refused
from tests.composed.test_the_main_job import ADDRESS, GROUP, Nodes, both_say, make_group

AFTER_S = 60


@pytest.fixture
async def served(nodes: Nodes) -> Nodes:
    """The group is served by a, and b stands by."""
    await make_group(nodes[0])
    await nodes[0].change("POST", "/v1/groups/g/start")
    return nodes


def pair_of(node: Appliance) -> FailoverPair:
    return node.mechanisms.failover.pair


async def active(nodes: Nodes) -> set[str | None]:
    """Who serves the group, by the word of each node."""
    return {shown["active_node"] for shown in await both_say(nodes, "/v1/groups/g")}


async def events_of(node: Appliance, kind: str) -> list[Any]:
    log = await node.system.ground.events._kept.after(0)
    return [event for event in log if event.kind == kind]


async def marked(node: Appliance) -> list[str]:
    """The nodes in maintenance, by the word of one."""
    return [mark["node"] for mark in (await node.get("/v1/node"))["in_maintenance"]]


async def codes(refused: pytest.ExceptionInfo[Refused]) -> list[str]:
    return [reason["code"] for reason in refused.value.problem["reasons"]]


# --- maintenance ---


async def test_a_node_in_maintenance_is_drained_marked_and_shown_on_both_nodes(served: Nodes) -> None:
    a, b = served
    job = await a.change("POST", "/v1/node/maintenance", {"reason": "new fans"})
    assert job["result"] == {"moved": ["g"], "kept": []}
    assert await active(served) == {"b"}
    for node in served:
        [mark] = (await node.get("/v1/node"))["in_maintenance"]
        assert (mark["node"], mark["reason"]) == ("a", "new fans")
        assert (await node.get("/v1/groups/g"))["in_maintenance"] == ["a"]
        unmet = (await node.get("/v1/groups/g/preflight"))["unmet"]
        assert [(item["node"], item["code"]) for item in unmet] == [("a", "in-maintenance")]
        plan = read_plan(node.config.state_dir)
        assert plan is not None
        assert plan.plan.in_maintenance == ("a",)

    with pytest.raises(Refused) as refused:
        await b.change("POST", "/v1/groups/g/switchover", {"to": "a"})
    assert (refused.value.status, await codes(refused)) == (409, ["in-maintenance"])

    await a.change("POST", "/v1/node/maintenance/end")
    for node in served:
        assert (await node.get("/v1/node"))["in_maintenance"] == []
        assert (await node.get("/v1/groups/g/preflight"))["is_ready"]
    assert await active(served) == {"b"}, "ending it moves nothing"
    kinds = [event.kind for event in await a.system.ground.events._kept.after(0)]
    assert [kind for kind in kinds if "maintenance" in kind] == ["node.maintenance-began", "node.maintenance-ended"]


async def test_a_group_that_cannot_move_is_served_on_and_the_job_says_why(served: Nodes) -> None:
    a, _ = served
    pair_of(a).groups["g"].states.update(a=GroupState.ACTIVE_ALONE, b=GroupState.STANDBY_NOT)
    job = await a.change("POST", "/v1/node/maintenance")
    [kept] = job["result"]["kept"]
    assert (job["result"]["moved"], kept["group"]) == ([], "g")
    assert "not in sync" in kept["reason"]
    assert any("goes on serving g" in line for line in job["log"])
    assert pair_of(a).groups["g"].active == "a"
    assert await marked(a) == ["a"]


async def test_the_mark_keeps_the_node_from_taking_over_until_a_person_says_so(served: Nodes) -> None:
    a, b = served
    await b.change("POST", "/v1/node/maintenance")
    assert await active(served) == {"a"}
    pair_of(a).lose("a")
    status = (await b.get("/v1/groups/g"))["this_node"]
    assert status["state"] == "suspect"
    assert any("maintenance" in reason for reason in status["reasons"])
    await b.call("POST", "/v1/groups/g/promote", {"confirm": "g"})
    assert (await b.get("/v1/groups/g"))["this_node"]["state"] == "active-alone"


async def test_maintenance_is_begun_once_on_one_node_and_ended_where_it_is(nodes: Nodes) -> None:
    a, b = nodes
    await a.change("POST", "/v1/node/maintenance")
    for node in nodes:
        with pytest.raises(Refused) as refused:
            await node.change("POST", "/v1/node/maintenance")
        assert (refused.value.status, await codes(refused)) == (409, ["in-maintenance"])
    with pytest.raises(Refused) as refused:
        await b.change("POST", "/v1/node/maintenance/end")
    assert (refused.value.status, await codes(refused)) == (409, ["not-in-maintenance"])
    assert await a.call("POST", "/v1/node/maintenance/end?validate_only=true", {}) == {"valid": True}
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/node/maintenance", {"reason": "x" * 201})
    assert refused.value.problem["reasons"][0]["field"] == "reason"
    assert await marked(b) == ["a"]


async def test_a_partner_that_was_away_asks_and_learns_of_it(nodes: Nodes) -> None:
    a, b = nodes
    partner = b.system.partner
    paired = await asyncio.to_thread(partner.partners.load)
    assert paired is not None
    await partner.server.stop()
    job = await a.change("POST", "/v1/node/maintenance")
    assert any("asks for it when it is back" in line for line in job["log"])
    assert await marked(b) == []
    await partner.serve(paired)
    await b.system.services.reconciler.once()
    assert await marked(b) == ["a"]
    plan = read_plan(b.config.state_dir)
    assert plan is not None
    assert plan.plan.in_maintenance == ("a",)


async def test_a_drained_node_is_not_marked(served: Nodes) -> None:
    a, _ = served
    job = await a.change("POST", "/v1/node/drain", {"within_s": 30})
    assert job["result"] == {"moved": ["g"], "kept": []}
    assert await active(served) == {"b"}
    assert await marked(a) == []
    again = await a.change("POST", "/v1/node/drain")
    assert again["result"] == {"moved": [], "kept": []}


async def test_a_drain_goes_on_when_the_partners_daemon_is_away(served: Nodes) -> None:
    a, b = served
    await b.system.partner.server.stop()
    assert (await a.change("POST", "/v1/node/drain"))["result"]["moved"] == ["g"]
    assert pair_of(a).groups["g"].active == "b"


# --- drills ---


async def test_a_drill_goes_there_and_back_and_its_report_is_kept_on_both_nodes(served: Nodes) -> None:
    a, _ = served
    before = pair_of(a).groups["g"].epoch
    job = await a.change("POST", "/v1/groups/g/drill")
    assert await active(served) == {"a"}
    assert pair_of(a).groups["g"].epoch == before + 2
    for found in await both_say(served, "/v1/groups/g/drills"):
        [report] = found["items"]
        assert report == job["result"]
    assert (report["is_ok"], report["started_by"], report["reason"]) == (True, "person", None)
    assert (report["job"], report["was_interrupted"]) == (job["id"], False)
    there, back = report["moves"]
    assert (there["source"], there["destination"], there["gap_ms"]) == ("a", "b", 120)
    assert (back["source"], back["destination"], back["gap_ms"]) == ("b", "a", 120)
    for move in report["moves"]:
        assert [decision["node"] for decision in move["decisions"]] == [move["source"], move["destination"]]
        assert all(decision["sentence"] and decision["timeline_ms"] for decision in move["decisions"])
    assert len(await events_of(a, "group.drilled")) == 1


async def test_a_drill_may_end_on_the_other_node(served: Nodes) -> None:
    a, b = served
    report = (await b.change("POST", "/v1/groups/g/drill", {"and_back": False}))["result"]
    assert await active(served) == {"b"}
    assert [move["destination"] for move in report["moves"]] == ["b"]
    assert (report["and_back"], report["is_ok"]) == (False, True)
    assert (await a.items("/v1/groups/g/drills")) == [report]


async def test_a_drill_is_refused_with_every_reason_and_moves_nothing(served: Nodes) -> None:
    a, _ = served
    await a.change("PUT", "/v1/failover", {"links": [(await a.get("/v1/failover"))["links"][0]], "ping_nodes": []})
    pair_of(a).groups["g"].states.update(a=GroupState.ACTIVE_ALONE, b=GroupState.STANDBY_NOT)
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/groups/g/drill")
    assert {"no-ping-node", "links", "not-in-sync"} <= set(await codes(refused))
    assert pair_of(a).groups["g"].active == "a"
    assert await a.items("/v1/groups/g/drills") == []
    await a.change("POST", "/v1/groups/g/stop")
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/groups/g/drill")
    assert await codes(refused) == ["not-active"]


async def test_a_drill_that_fails_is_kept_with_its_reason(served: Nodes) -> None:
    a, _ = served
    pair_of(a).stuck.add("g")
    with pytest.raises(Refused):
        await a.change("POST", "/v1/groups/g/drill")
    for found in await both_say(served, "/v1/groups/g/drills"):
        [report] = found["items"]
        assert not report["is_ok"]
        assert "could not let go of g" in report["reason"]
        assert [(move["destination"], move["gap_ms"]) for move in report["moves"]] == [("b", None)]
    assert await active(served) == {"a"}
    assert len(await events_of(a, "group.drill-failed")) == 1


async def test_the_last_fifty_drills_are_kept(served: Nodes) -> None:
    a, _ = served
    report = (await a.change("POST", "/v1/groups/g/drill"))["result"]
    histories = a.system.ground.group_histories
    [kept] = (await histories.get("g")).drills
    for number in range(60):
        await histories.add_drill("g", replace(kept, job=f"job-{number}"))
    found = await a.items("/v1/groups/g/drills")
    assert (len(found), found[0]["job"], found[-1]["job"]) == (50, "job-59", "job-10")
    assert report["job"] not in {each["job"] for each in found}
    with pytest.raises(Refused) as refused:
        await a.get("/v1/groups/other/drills")
    assert refused.value.status == 404


async def date_back(nodes: Nodes, **hours: float) -> None:
    """As if the schedule had been given before."""
    at = nodes[0].system.ground.clock.now() - timedelta(**hours)
    for node in nodes:
        groups = node.system.ground.documents.groups
        await groups.put("g", replace(await groups.get("g"), drills_since=at.isoformat()))


async def test_a_drill_is_held_when_its_schedule_says_so_and_once(served: Nodes) -> None:
    a, b = served
    await a.change("PATCH", "/v1/groups/g", {"drill_schedule": {"every_hours": 24}})
    for node in served:
        await node.system.services.drill_schedules.start_due()
        assert await node.items("/v1/groups/g/drills") == []
    await date_back(served, hours=25)
    for node in (b, a, b, a):
        await node.system.services.drill_schedules.start_due()
    reports: list[Any] = []
    async with asyncio.timeout(10):
        while not reports:
            for node in served:  # in the middle of it b serves the group
                await node.system.services.drill_schedules.start_due()
            reports = await b.items("/v1/groups/g/drills")
    [report] = await a.items("/v1/groups/g/drills")
    assert (report["started_by"], report["reason"], report["is_ok"]) == ("schedule", None, True)
    await b.change("PATCH", "/v1/groups/g", {"drill_schedule": None})
    shown = await a.get("/v1/groups/g")
    assert (shown["document"]["drill_schedule"], shown["document"]["drills_since"]) == (None, None)


async def test_a_drill_that_is_due_and_cannot_begin_is_told_and_not_made_up_for(served: Nodes) -> None:
    a, b = served
    await b.change("PATCH", "/v1/groups/g", {"drill_schedule": {"every_hours": 1}})
    await b.change("POST", "/v1/node/maintenance")
    await date_back(served, hours=2)
    for _ in range(2):
        await a.system.services.drill_schedules.start_due()
    for node in served:
        [report] = await node.items("/v1/groups/g/drills")
        assert (report["job"], report["is_ok"], report["moves"]) == (None, False, [])
        assert "b is in maintenance" in report["reason"]


# --- rules ---


async def test_rules_are_changed_while_the_group_is_served_and_its_plan_stays(served: Nodes) -> None:
    a, b = served
    before = [read_plan(node.config.state_dir) for node in served]
    was = (await a.get("/v1/groups/g"))["document"]
    assert (was["failback"], was["failback_after_s"], was["drill_schedule"]) == ("manual", 300, None)
    await b.change("PATCH", "/v1/groups/g", {"failback": "automatic", "failback_after_s": AFTER_S})
    for shown in await both_say(served, "/v1/groups/g"):
        document = shown["document"]
        assert (document["failback"], document["failback_after_s"]) == ("automatic", AFTER_S)
        assert (document["revision"], document["is_started"]) == (was["revision"], True)
    assert [read_plan(node.config.state_dir) for node in served] == before
    # Another change of the group leaves them as they are.
    await a.change("POST", "/v1/groups/g/stop")
    body = {"mirror": "m", "targets": ["t"], "addresses": [{**ADDRESS, "address": "192.0.2.101"}]}
    await a.change("PUT", "/v1/groups/g", body)
    for shown in await both_say(served, "/v1/groups/g"):
        assert (shown["document"]["failback"], shown["document"]["failback_after_s"]) == ("automatic", AFTER_S)


BAD_RULES: list[tuple[dict[str, Any], str]] = [
    ({"failback": "sometimes"}, "failback"),
    ({"failback_after_s": 59}, "failback_after_s"),
    ({"failback_after_s": 86_401}, "failback_after_s"),
    ({"failback_after_s": 60.5}, "failback_after_s"),
    ({"drill_schedule": {"weekdays": [9], "time_of_day": "10:00"}}, "weekdays"),
    ({"drill_schedule": {"every_hours": 1, "weekdays": [1], "time_of_day": "10:00"}}, "every_hours"),
    ({"preferred": "b"}, "preferred"),
]


async def test_rules_that_make_no_sense_change_nothing(served: Nodes) -> None:
    a, b = served
    before = [await node.get("/v1/groups/g") for node in served]
    for body, field in BAD_RULES:
        with pytest.raises(Refused) as refused:
            await a.change("PATCH", "/v1/groups/g", body)
        assert field in str(refused.value.problem["reasons"][0]["field"]), body
    await b.system.partner.server.stop()
    with pytest.raises(Refused):
        await a.change("PATCH", "/v1/groups/g", {"failback": "automatic"})
    assert (await a.get("/v1/groups/g"))["document"] == before[0]["document"]


async def test_a_group_is_made_with_its_rules_and_an_old_record_has_the_defaults(nodes: Nodes) -> None:
    a, _ = nodes
    await make_group(a)
    await a.change("DELETE", "/v1/groups/g")
    await a.change("POST", "/v1/groups", {**GROUP, "failback": "automatic", "failback_after_s": 900})
    for shown in await both_say(nodes, "/v1/groups/g"):
        assert (shown["document"]["failback"], shown["document"]["failback_after_s"]) == ("automatic", 900)
    plain = to_plain(await a.system.ground.documents.groups.get("g"))
    for field in ("failback", "failback_after_s", "drill_schedule", "drills_since"):
        del plain[field]
    old = from_plain(GroupDocument, plain)
    assert (old.failback, old.failback_after_s, old.drill_schedule) == (Failback.MANUAL, 300, None)


# --- failing back by itself ---


class Looker:
    """What looks whether a group of a node is to go back, with a clock in the test's hands."""

    def __init__(self, node: Appliance) -> None:
        self.clock = ManualClock()
        self._node = node
        ground, services = node.system.ground, node.system.services
        self._failback = AutomaticFailback(
            ground.documents.groups,
            services.groups,
            ground.group_histories,
            ground.marks,
            ground.jobs,
            ground.drivers,
            ground.partner,
            ground.events,
            self.clock,
            node=node.config.node,
        )

    async def look_for(self, seconds: float) -> list[Any]:
        """Look as often as the daemon does for so long; the jobs that were started, once they are over."""
        jobs = self._node.system.ground.jobs
        before = {job.id for job in await jobs.newest(before=None, most=100)}
        for _ in range(round(seconds / LOOK_EVERY_S) + 1):
            await self._failback.look()
            started = [job for job in await jobs.newest(before=None, most=100) if job.id not in before]
            for job in started:
                await jobs.wait(job.id, 10)
            await self.clock.advance(LOOK_EVERY_S)
        return [await jobs.get(job.id) for job in await jobs.newest(before=None, most=100) if job.id not in before]


@pytest.fixture
async def away(served: Nodes) -> Nodes:
    """The group asks to fail back by itself, and was taken over by b; a is back, and both are in sync."""
    a, _ = served
    await a.change("PATCH", "/v1/groups/g", {"failback": "automatic", "failback_after_s": AFTER_S})
    pair_of(a).serve("g", "b")
    return served


async def test_a_group_goes_back_by_itself_once_and_says_why(away: Nodes) -> None:
    a, b = away
    looker = Looker(b)
    assert await looker.look_for(AFTER_S - 2 * LOOK_EVERY_S) == []
    assert await active(away) == {"b"}
    [job] = await looker.look_for(AFTER_S)
    assert (job.kind, job.state) == ("group.switch-over", "done")
    assert any("its preferred node" in line for line in job.log)
    assert await active(away) == {"a"}
    [event] = await events_of(b, "group.failback")
    assert (event.subject, event.body["to"]) == ("group:g", "a")
    assert await Looker(a).look_for(3 * AFTER_S) == []
    assert await looker.look_for(3 * AFTER_S) == []


async def test_only_who_serves_it_brings_it_back_and_only_if_asked(away: Nodes) -> None:
    a, b = away
    assert await Looker(a).look_for(2 * AFTER_S) == []
    await a.change("PATCH", "/v1/groups/g", {"failback": "manual"})
    assert await Looker(b).look_for(2 * AFTER_S) == []
    assert await active(away) == {"b"}


async def test_a_group_that_a_person_moved_stays_until_a_takeover(away: Nodes) -> None:
    a, b = away
    await a.change("POST", "/v1/groups/g/failback")
    await a.change("POST", "/v1/groups/g/switchover", {"to": "b"})
    assert await Looker(b).look_for(3 * AFTER_S) == []
    # A takeover, and one back: whatever a person wanted of where it was is over.
    pair_of(a).serve("g", "a")
    pair_of(a).serve("g", "b")
    [job] = await Looker(b).look_for(2 * AFTER_S)
    assert job.state == "done"


async def test_what_a_person_wanted_is_heeded_though_the_partner_alone_was_told(away: Nodes) -> None:
    a, b = away
    await a.change("POST", "/v1/groups/g/failback")
    await a.change("POST", "/v1/groups/g/switchover", {"to": "b"})
    await b.system.ground.group_histories.hold("g", None)
    assert await Looker(b).look_for(2 * AFTER_S) == []
    await a.system.partner.server.stop()
    assert await Looker(b).look_for(2 * AFTER_S) == [], "who cannot be asked may have been told"


async def test_a_drill_of_a_held_group_leaves_it_held(away: Nodes) -> None:
    a, b = away
    await a.change("POST", "/v1/groups/g/failback")
    await a.change("POST", "/v1/groups/g/switchover", {"to": "b"})
    await b.change("POST", "/v1/groups/g/drill")
    assert await active(away) == {"b"}
    assert await Looker(b).look_for(2 * AFTER_S) == []


async def test_a_group_stays_while_a_node_is_in_maintenance_and_is_quiet_anew_afterwards(away: Nodes) -> None:
    a, b = away
    looker = Looker(b)
    await a.change("POST", "/v1/node/maintenance")
    assert await looker.look_for(3 * AFTER_S) == []
    await a.change("POST", "/v1/node/maintenance/end")
    assert await looker.look_for(AFTER_S - 2 * LOOK_EVERY_S) == []
    assert len(await looker.look_for(AFTER_S)) == 1


async def test_after_a_try_that_failed_it_waits_twice_as_long(away: Nodes) -> None:
    a, b = away
    pair_of(a).stuck.add("g")
    looker = Looker(b)
    [job] = await looker.look_for(1.5 * AFTER_S)
    assert job.state == "failed"
    assert await looker.look_for(AFTER_S) == []
    [job] = await looker.look_for(AFTER_S)
    assert job.state == "failed"
    assert (await b.system.ground.group_histories.get("g")).failed_failbacks == 2
    assert await looker.look_for(3 * AFTER_S) == []
    pair_of(a).stuck.clear()
    [job] = await looker.look_for(2 * AFTER_S)
    assert job.state == "done"
    await looker.look_for(0)
    assert (await b.system.ground.group_histories.get("g")).failed_failbacks == 0


async def test_a_change_in_between_begins_the_quiet_time_anew(away: Nodes) -> None:
    a, b = away
    looker = Looker(b)
    assert await looker.look_for(AFTER_S - 3 * LOOK_EVERY_S) == []
    pair_of(a).tell("a", "g", "something happened and is over")
    assert await looker.look_for(AFTER_S - 2 * LOOK_EVERY_S) == []
    assert len(await looker.look_for(3 * LOOK_EVERY_S)) == 1


async def test_the_history_of_a_group_goes_with_it(served: Nodes) -> None:
    a, _ = served
    await a.change("POST", "/v1/groups/g/drill")
    await a.change("POST", "/v1/groups/g/stop")
    await a.change("DELETE", "/v1/groups/g")
    for node in served:
        assert (await node.system.ground.group_histories.get("g")).drills == ()


@pytest.mark.parametrize("module", [failback, drill_schedules])
async def test_a_look_that_fails_is_followed_by_the_next_one(
    nodes: Nodes, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, looks = nodes[0].system.services, asyncio.Queue[None]()

    async def fails() -> None:
        looks.put_nowait(None)
        raise OSError("the disk does not answer")

    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(services.failback, "look", fails)
    monkeypatch.setattr(services.drill_schedules, "start_due", fails)
    goes_on = services.failback.forever if module is failback else services.drill_schedules.follow
    looking = asyncio.ensure_future(goes_on())
    for _ in range(2):
        await asyncio.wait_for(looks.get(), 5)
    assert not looking.done()
    looking.cancel()
