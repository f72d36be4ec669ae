"""Targets through all of core, on the model: those of one node, those of a pair, and who may come in."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from holdfast.hooks.target import Chap, Reservations, TargetSession, TargetState
from holdfast.values import Secret
from tests.composed.appliance import Appliance, Refused
from tests.composed.test_the_main_job import ADDRESS, GROUP, LINKS, MIB, Nodes, make_mirror

INITIATOR = "iqn.2026-01.com.example:c"
OTHER = "iqn.2026-01.com.example:d"
PASSWORD = "correct-horse-1"
SECOND = "another-horse-2"
CHAP = {"user": "joe", "password": PASSWORD, "mutual_user": "target", "mutual_password": SECOND}
JOE = Chap("joe", Secret(PASSWORD), "target", Secret(SECOND))
LOCAL: dict[str, Any] = {
    "name": "lone",
    "portals": [{"address": "192.0.2.1"}],
    "units": [{"lun": 0, "volume": "alone"}],
    "access": [{"initiator": INITIATOR, "chap": CHAP}],
}
# What would be done by then if nothing kept it.
WITHOUT_EFFECT_S = 0.5
LOCAL_IQN = "iqn.2026-01.com.example.holdfast:lone"


async def make_volume(node: Appliance, name: str, kind: str = "iscsi") -> None:
    await node.change("POST", "/v1/volumes", {"pool": "main", "name": name, "size_bytes": 4 * MIB, "kind": kind})


async def refused(node: Appliance, method: str, path: str, body: Any = None) -> tuple[int, list[str], str]:
    """Status, the fields that are named, and all that was said."""
    with pytest.raises(Refused) as caught:
        await node.change(method, path, body)
    problem = caught.value.problem
    return caught.value.status, [reason["field"] for reason in problem["reasons"]], json.dumps(problem)


class Held:
    """An operation of a driver that, while this lasts, waits before it does anything."""

    def __init__(self, driver: Any, operation: str) -> None:
        self._driver, self._operation = driver, operation
        self._go = asyncio.Event()
        self.reached = asyncio.Event()

    async def __aenter__(self) -> Held:
        act = getattr(self._driver, self._operation)

        async def wait(*arguments: Any, **named: Any) -> Any:
            self.reached.set()
            await self._go.wait()
            return await act(*arguments, **named)

        setattr(self._driver, self._operation, wait)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._go.set()
        delattr(self._driver, self._operation)


@pytest.fixture
async def a(nodes: Nodes) -> Appliance:
    await make_volume(nodes[0], "alone")
    await make_volume(nodes[0], "other")
    return nodes[0]


# --- one node alone ---


async def test_a_target_of_one_node_is_served_at_once_and_again_after_a_boot(a: Appliance) -> None:
    made = (await a.change("POST", "/v1/targets", LOCAL))["result"]
    assert (made["this_node"], made["other_node"], made["is_equal_on_both"]) == ("active", None, None)
    assert made["portals"] == ["192.0.2.1:3260"]
    assert any("LUN 0" in note for note in made["notes"])

    await a.mechanisms.targets.remove("lone", LOCAL_IQN)  # as a boot leaves it
    assert (await a.get("/v1/targets/lone"))["this_node"] == "absent"
    await a.system.services.reconciler.once()
    assert (await a.get("/v1/targets/lone"))["this_node"] == "active"
    assert a.mechanisms.targets.held_devices == {"/dev/main/alone"}


async def test_a_broken_target_keeps_no_other_from_being_served(a: Appliance) -> None:
    await a.change("POST", "/v1/targets", LOCAL)
    second = {**LOCAL, "name": "second", "units": [{"lun": 1, "volume": "other"}]}
    await a.change("POST", "/v1/targets", second)
    for name in ("lone", "second"):
        await a.mechanisms.targets.remove(name, f"iqn.2026-01.com.example.holdfast:{name}")
    await a.mechanisms.volumes.delete_volume("main", "alone")
    await a.system.services.reconciler.once()
    shown = {target["name"]: target for target in await a.items("/v1/targets")}
    assert [shown[name]["this_node"] for name in ("lone", "second")] == ["absent", "active"]
    assert any("broken" in note for note in shown["lone"]["notes"])
    assert any("lone" in text for text in a.system.services.reconciler.drift)


async def test_a_target_that_is_deleted_while_the_reconciler_serves_it_does_not_come_back(a: Appliance) -> None:
    await a.change("POST", "/v1/targets", LOCAL)
    async with Held(a.mechanisms.targets, "activate") as held:
        passing = asyncio.create_task(a.system.services.reconciler.once())
        await held.reached.wait()
        deleting = asyncio.create_task(a.change("DELETE", "/v1/targets/lone?confirm=lone"))
        await asyncio.wait([deleting], timeout=WITHOUT_EFFECT_S)
    await asyncio.gather(passing, deleting)
    assert a.mechanisms.targets.held_devices == set()


async def test_a_volume_that_is_deleted_while_the_reconciler_mounts_it_goes(a: Appliance) -> None:
    await make_volume(a, "files", "nas")
    async with Held(a.mechanisms.volumes, "mount") as held:
        passing = asyncio.create_task(a.system.services.reconciler.once())
        await held.reached.wait()
        deleting = asyncio.create_task(a.change("DELETE", "/v1/volumes/files?confirm=files"))
        await asyncio.wait([deleting], timeout=WITHOUT_EFFECT_S)
        assert not deleting.done()
    await asyncio.gather(passing, deleting)
    assert a.system.services.reconciler.drift == ()
    assert a.mechanisms.volumes.mounts == {}


async def test_no_secret_is_in_jobs_or_answers(a: Appliance) -> None:
    await a.change("POST", "/v1/targets", LOCAL)
    await a.change("PUT", "/v1/discovery-auth", {"chap": CHAP})
    shown = json.dumps([await a.items(path) for path in ("/v1/jobs", "/v1/targets")])
    assert PASSWORD not in shown
    assert SECOND not in shown
    [access] = a.mechanisms.targets._entries[LOCAL_IQN].spec.access
    assert access.chap == JOE


async def test_a_change_keeps_serials_passwords_and_sessions_that_it_does_not_concern(a: Appliance) -> None:
    made = (await a.change("POST", "/v1/targets", LOCAL))["result"]
    assert a.mechanisms.targets.log_in(LOCAL_IQN, INITIATOR, "192.0.2.9", 1234)
    units = [*LOCAL["units"], {"lun": 7, "volume": "other", "is_read_only": True}]
    access = [{"initiator": INITIATOR, "chap": {"user": "joe", "mutual_user": "target"}}, {"initiator": OTHER}]
    body = {"portals": LOCAL["portals"], "units": units, "access": access}
    changed = (await a.change("PUT", "/v1/targets/lone", body))["result"]
    assert changed["units"][0] == made["units"][0]
    assert changed["this_node"] == "active"
    assert [session["initiator"] for session in changed["sessions"]] == [INITIATOR]
    spec = a.mechanisms.targets._entries[LOCAL_IQN].spec
    assert spec.access[0].chap == JOE
    # The initiator that is left out is out.
    changed = (await a.change("PUT", "/v1/targets/lone", {**body, "access": access[1:]}))["result"]
    assert changed["sessions"] == []


async def test_a_change_that_cannot_be_made_leaves_what_was(a: Appliance) -> None:
    await a.change("POST", "/v1/targets", LOCAL)
    before = await a.get("/v1/targets/lone")
    a.mechanisms.targets._can_open = lambda device: "other" not in device
    body = {**LOCAL, "units": [*LOCAL["units"], {"lun": 7, "volume": "other"}]}
    body.pop("name")
    await refused(a, "PUT", "/v1/targets/lone", body)
    assert await a.get("/v1/targets/lone") == before
    # Nothing is left of the passwords that came with it, and those that were are still there.
    rows = await a.system.ground.secrets._database.rows("SELECT id FROM secrets", ())
    assert len(rows) == 2
    await a.system.services.reconciler.once()
    assert (await a.get("/v1/targets/lone"))["this_node"] == "active"


async def test_a_target_in_use_is_not_removed_and_its_user_is_named(a: Appliance) -> None:
    await a.change("POST", "/v1/targets", LOCAL)
    a.mechanisms.targets.log_in(LOCAL_IQN, INITIATOR, "192.0.2.9", 1234)
    status, _, said = await refused(a, "DELETE", "/v1/targets/lone?confirm=lone")
    assert status == 409
    assert INITIATOR in said
    assert "192.0.2.9" in said
    closed = await a.call("POST", "/v1/targets/lone/close-session", {"initiator": INITIATOR})
    assert closed["sessions"] == []
    await a.change("DELETE", "/v1/targets/lone?confirm=lone")
    assert await a.items("/v1/targets") == []
    assert a.mechanisms.targets.held_devices == set()


async def test_a_session_tells_since_when_and_how_busy_it_is(a: Appliance) -> None:
    await a.change("POST", "/v1/targets", LOCAL)
    entry = a.mechanisms.targets._entries[LOCAL_IQN]
    entry.sessions = [TargetSession(INITIATOR, "192.0.2.9", 1234, "1.1", 10, 1000, 2000)]
    first = (await a.get("/v1/targets/lone"))["sessions"][0]
    assert (first["commands"], first["commands_per_s"]) == (10, None)
    await asyncio.sleep(1.1)
    entry.sessions = [TargetSession(INITIATOR, "192.0.2.9", 1234, "1.1", 1010, 1000, 2000)]
    then = (await a.get("/v1/targets/lone"))["sessions"][0]
    assert then["first_seen_at"] == first["first_seen_at"]
    assert 100 < then["commands_per_s"] < 1000
    assert then["read_bytes_per_s"] == 0
    entry.sessions = [TargetSession(INITIATOR, "192.0.2.9", 1234, "1.2", 1, 0, 0)]
    assert (await a.get("/v1/targets/lone"))["sessions"][0]["first_seen_at"] > first["first_seen_at"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"portals": []}, "portals"),
    ({"units": [{"lun": 1, "volume": "nothing"}]}, "units.0.volume"),
    ({"units": [{"lun": 1, "volume": "files"}]}, "units.0.volume"),
    ({"units": [{"lun": 1, "volume": "alone"}, {"lun": 1, "volume": "other"}]}, "units"),
    ({"units": [{"lun": 256, "volume": "alone"}]}, "units.0.lun"),
    ({"units": [{"lun": 1, "volume": "alone", "serial": "xyz"}]}, "units.0.serial"),
    ({"units": [{"lun": 1, "volume": "alone", "vendor": "nine char"}]}, "units.0.vendor"),
    ({"units": [{"lun": 1, "volume": "alone", "block_size_bytes": 513}]}, "units.0.block_size_bytes"),
    ({"units": [{"lun": 1, "volume": "alone", "is_read_only": "yes"}]}, "units.0.is_read_only"),
    ({"iqn": "iqn.2026.com"}, "iqn"),
    ({"iqn": "iqn.2026-01.com.example:" + "x" * 102}, "iqn"),
    ({"name": "n" * 32}, "name"),
    ({"access": [{"initiator": "joe"}]}, "access.0.initiator"),
    (
        {"access": [{"initiator": INITIATOR, "chap": {"user": "joe", "password": "short"}}]},
        "access.0.chap.password",
    ),
    ({"access": [{"initiator": INITIATOR, "chap": {"user": "joe"}}]}, "access"),
    (
        {"access": [{"initiator": INITIATOR, "chap": {**CHAP, "mutual_password": PASSWORD}}]},
        "access.0.chap.mutual_password",
    ),
    ({"access": [{"initiator": INITIATOR, "cmdsn_depth": 513}]}, "access.0.cmdsn_depth"),
    ({"initiator_groups": ["nobody"]}, "initiator_groups"),
    ({"mirror": "none"}, "mirror"),
]


async def test_bad_input_names_its_field_and_changes_nothing(a: Appliance) -> None:
    await make_volume(a, "files", "nas")
    for change, field in BAD:
        _, fields, said = await refused(a, "POST", "/v1/targets", {**LOCAL, **change})
        assert fields == [field], said
        assert PASSWORD not in said
        assert await a.items("/v1/targets") == [], change
        assert await a.mechanisms.targets.list_iqns() == (), change


async def test_what_another_target_has_is_taken(a: Appliance) -> None:
    serial = "0123456789abcdef"
    await a.change("POST", "/v1/targets", {**LOCAL, "units": [{"lun": 1, "volume": "alone", "serial": serial}]})
    second = {**LOCAL, "name": "second"}
    fresh = [{"lun": 1, "volume": "other"}]
    for body, field in (
        (second, "units.0.volume"),
        ({**second, "units": fresh, "iqn": LOCAL_IQN}, "iqn"),
        ({**second, "units": [{"lun": 1, "volume": "other", "serial": serial}]}, "units.0.serial"),
    ):
        status, fields, _ = await refused(a, "POST", "/v1/targets", body)
        assert (status, fields) == (409, [field])
    status, _, said = await refused(a, "DELETE", "/v1/volumes/alone?confirm=alone")
    assert status == 409
    assert "target lone" in said


async def test_a_foreign_target_is_listed_and_its_name_is_taken(a: Appliance) -> None:
    await a.change("POST", "/v1/targets", LOCAL)
    foreign = a.mechanisms.targets._entries[LOCAL_IQN].spec
    await a.mechanisms.targets.stage(
        type(foreign)("theirs", "iqn.2003-01.org.example:theirs", foreign.portals, (), foreign.access)
    )
    [found] = await a.items("/v1/foreign-targets")
    assert found["iqn"] == "iqn.2003-01.org.example:theirs"
    assert PASSWORD not in json.dumps(found)
    body = {**LOCAL, "name": "mine", "iqn": found["iqn"], "units": [{"lun": 1, "volume": "other"}]}
    status, fields, _ = await refused(a, "POST", "/v1/targets", body)
    assert (status, fields) == (409, ["iqn"])


async def test_an_open_export_is_asked_for_by_name(a: Appliance) -> None:
    await a.change("POST", "/v1/targets", {**LOCAL, "access": []})
    targets = a.mechanisms.targets
    assert not targets.log_in(LOCAL_IQN, OTHER, "192.0.2.9", 1)
    body = {"portals": LOCAL["portals"], "units": LOCAL["units"], "is_open": True}
    changed = (await a.change("PUT", "/v1/targets/lone", body))["result"]
    assert any("anybody" in note for note in changed["notes"])
    assert targets.log_in(LOCAL_IQN, OTHER, "192.0.2.9", 1)


# --- groups of initiators, discovery ---


async def test_a_group_of_initiators_is_let_in_and_put_out_as_one(nodes: Nodes, a: Appliance) -> None:
    b = nodes[1]
    members = [{"initiator": INITIATOR, "chap": CHAP}, {"initiator": OTHER}]
    await a.change("POST", "/v1/initiator-groups", {"name": "hosts", "members": members})
    assert [member["initiator"] for member in (await b.get("/v1/initiator-groups/hosts"))["members"]] == [
        INITIATOR,
        OTHER,
    ]
    await a.change("POST", "/v1/targets", {**LOCAL, "access": [], "initiator_groups": ["hosts"]})
    targets = a.mechanisms.targets
    assert [access.initiator for access in targets._entries[LOCAL_IQN].spec.access] == [INITIATOR, OTHER]
    for initiator in (INITIATOR, OTHER):
        assert targets.log_in(LOCAL_IQN, initiator, "192.0.2.9", 1)
    kept = [{"initiator": INITIATOR, "chap": {"user": "joe", "mutual_user": "target"}}]
    await a.change("PUT", "/v1/initiator-groups/hosts", {"members": kept})
    assert [session.initiator for session in await targets.list_sessions(LOCAL_IQN)] == [INITIATOR]
    assert targets._entries[LOCAL_IQN].spec.access[0].chap == JOE

    status, _, said = await refused(a, "DELETE", "/v1/initiator-groups/hosts")
    assert status == 409
    assert "target lone" in said
    await targets.deactivate("lone", LOCAL_IQN)
    await a.change("DELETE", "/v1/targets/lone?confirm=lone")
    await a.change("DELETE", "/v1/initiator-groups/hosts")
    assert await b.items("/v1/initiator-groups") == []


async def test_discovery_asks_for_the_same_on_both_nodes(nodes: Nodes) -> None:
    a, b = nodes
    await a.change("PUT", "/v1/discovery-auth", {"chap": CHAP})
    wanted = JOE
    assert [node.mechanisms.targets.discovery for node in nodes] == [wanted, wanted]
    assert (await b.get("/v1/discovery-auth")) == {"chap_user": "joe", "mutual_user": "target", "is_in_force": True}
    await b.mechanisms.targets.set_discovery(None)  # as a boot leaves it
    assert not (await b.get("/v1/discovery-auth"))["is_in_force"]
    await b.system.services.reconciler.once()
    assert (await b.get("/v1/discovery-auth"))["is_in_force"]
    await a.change("PUT", "/v1/discovery-auth", {"chap": None})
    assert [node.mechanisms.targets.discovery for node in nodes] == [None, None]


# --- a pair ---

PAIRED_IQN = "iqn.2026-01.com.example.holdfast:t"


async def make_paired(nodes: Nodes) -> dict[str, Any]:
    a, _ = nodes
    await make_mirror(a)
    await a.change("PUT", "/v1/failover", {"links": LINKS, "ping_nodes": ["192.0.2.50"]})
    body = {
        "name": "t",
        "mirror": "m",
        "units": [{"lun": 1, "volume": "disk"}],
        "access": [{"initiator": INITIATOR, "chap": CHAP}],
    }
    await a.change("POST", "/v1/targets", body)
    await a.change("POST", "/v1/groups", {**GROUP, "addresses": [ADDRESS]})
    return body


async def serve_on(node: Appliance) -> None:
    document = await node.system.ground.documents.targets.get("t")
    await node.mechanisms.targets.activate(await node.system.ground.plans.target(document))


async def test_a_change_reaches_both_nodes_and_both_monitors_plans(nodes: Nodes) -> None:
    a, b = nodes
    body = await make_paired(nodes)
    body.pop("name")
    access = [{"initiator": INITIATOR, "chap": {"user": "joe", "mutual_user": "target"}}, {"initiator": OTHER}]
    await a.change("PUT", "/v1/targets/t", {**body, "access": access})
    specs = []
    for node in nodes:
        plan = await node.system.ground.plans.build()
        assert plan is not None
        specs.append(plan.targets[0])
    assert specs[0] == specs[1]
    assert [item.initiator for item in specs[1].access] == [INITIATOR, OTHER]
    assert specs[1].access[0].chap == JOE
    assert (await a.get("/v1/targets/t"))["is_equal_on_both"]

    await b.system.partner.server.stop()
    await refused(a, "PUT", "/v1/targets/t", {**body, "access": []})
    assert len((await a.get("/v1/targets/t"))["initiators"]) == 2


async def test_identity_names_what_differs_on_which_node(nodes: Nodes) -> None:
    a, b = nodes
    await make_paired(nodes)
    for node in nodes:
        await serve_on(node)
    same = await a.get("/v1/targets/t/identity")
    assert (same["is_same"], same["differences"]) == (True, [])

    theirs = b.mechanisms.targets._entries[PAIRED_IQN]
    unit = theirs.spec.units[0]
    changed = type(unit)(**{**vars(unit), "serial": "f" * 32, "lun": 1})
    theirs.spec = type(theirs.spec)(**{**vars(theirs.spec), "units": (changed,)})
    found = await a.get("/v1/targets/t/identity")
    assert not found["is_same"]
    [difference] = found["differences"]
    assert difference == {
        "field": "units[1].serial",
        "wanted": unit.serial,
        "this_node": unit.serial,
        "other_node": "f" * 32,
    }
    assert (await b.get("/v1/targets/t/identity"))["differences"][0]["this_node"] == "f" * 32

    # A password cannot be read, and still is found to differ.
    chap = Chap("joe", Secret(SECOND))
    access = tuple(type(item)(item.initiator, chap) for item in theirs.spec.access)
    theirs.spec = type(theirs.spec)(**{**vars(theirs.spec), "units": (unit,), "access": access})
    found = (await a.get("/v1/targets/t/identity"))["differences"]
    assert [(d["field"], d["this_node"], d["other_node"]) for d in found] == [("passwords", "same", "other")]
    assert SECOND not in json.dumps(found)

    await b.system.partner.server.stop()
    alone = await a.get("/v1/targets/t/identity")
    assert (alone["is_same"], alone["differences"]) == (None, [])
    assert alone["not_asked"]


async def test_reservations_are_carried_to_the_node_that_does_not_serve(nodes: Nodes) -> None:
    a, b = nodes
    await make_paired(nodes)
    await serve_on(a)
    unit = a.mechanisms.targets._entries[PAIRED_IQN].spec.units[0]
    a.mechanisms.targets.reservations[unit.serial] = "held"
    await a.system.services.target_watch.once()
    assert await b.mechanisms.targets.read_reservations([unit.serial]) == (Reservations(unit.serial, "held"),)
    assert await are_on_partner(a, b) == (True, None)
    # The passive node's are never carried: they are older.
    b.mechanisms.targets.reservations[unit.serial] = "stale"
    await b.system.services.target_watch.once()
    assert a.mechanisms.targets.reservations[unit.serial] == "held"

    # After a change of sides the other one's word counts, whatever was sent before.
    await a.mechanisms.targets.deactivate("t", PAIRED_IQN)
    await a.system.services.target_watch.once()
    await serve_on(b)
    b.mechanisms.targets.reservations[unit.serial] = ""
    await b.system.services.target_watch.once()
    assert a.mechanisms.targets.reservations[unit.serial] == ""


async def are_on_partner(*nodes: Appliance) -> tuple[bool | None, ...]:
    return tuple([(await node.get("/v1/targets/t"))["are_reservations_on_partner"] for node in nodes])


async def test_what_the_partner_was_not_told_is_shown_and_logged_once(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = nodes
    await make_paired(nodes)
    await serve_on(a)
    watch = a.system.services.target_watch
    caplog.set_level("INFO")
    await watch.once()
    assert await are_on_partner(a, b) == (True, None)

    await b.system.partner.server.stop()
    unit = a.mechanisms.targets._entries[PAIRED_IQN].spec.units[0]
    a.mechanisms.targets.reservations[unit.serial] = "held"
    for _ in range(2):
        await watch.once()
        assert await are_on_partner(a) == (False,)
    told = "does not know what is reserved"
    assert [record.levelname for record in caplog.records if told in record.message] == ["WARNING"]

    partner = b.system.partner.partners.load()
    assert partner is not None
    await b.system.partner.server.start(partner)
    await watch.once()
    assert await are_on_partner(a) == (True,)
    assert "knows again what is reserved" in caplog.text


async def test_a_session_on_the_other_node_can_be_closed_from_here(nodes: Nodes) -> None:
    a, b = nodes
    await make_paired(nodes)
    await serve_on(b)
    assert b.mechanisms.targets.log_in(PAIRED_IQN, INITIATOR, "192.0.2.9", 1)
    await a.call("POST", "/v1/targets/t/close-session", {"initiator": INITIATOR})
    assert await b.mechanisms.targets.list_sessions(PAIRED_IQN) == ()
    assert (await a.get("/v1/targets/t"))["other_node"] == TargetState.ACTIVE
