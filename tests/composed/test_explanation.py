"""What would happen, and what happened: asked of one node, told by both."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.hooks.failover import GroupState
from tests.composed.appliance import Appliance, Refused
from tests.composed.test_the_main_job import make_group

Nodes = tuple[Appliance, Appliance]


async def served(nodes: Nodes) -> Nodes:
    a, _ = nodes
    await make_group(a)
    await a.change("POST", "/v1/groups/g/start")
    return nodes


async def forecast(node: Appliance) -> dict[str, dict[str, Any]]:
    items = await node.items("/v1/groups/g/forecast")
    return {item["fault"]: item for item in items}


async def test_either_node_tells_what_would_happen_by_whom_it_is_decided(nodes: Nodes) -> None:
    for node in await served(nodes):
        told = await forecast(node)
        power, link = told["active-power-cut"], told["replication-link-cut"]
        assert (power["serves"], power["by"]) == ("b", ["b"])
        assert (link["serves"], link["by"]) == ("a", ["a", "b"])
        assert (await node.get("/v1/groups/g/forecast"))["not_asked"] == []


async def test_a_partner_that_is_away_is_said_and_this_node_tells_what_it_knows(nodes: Nodes) -> None:
    a, b = await served(nodes)
    before = await a.items("/v1/groups/g/decisions")
    await a.change("POST", "/v1/groups/g/switchover", {"to": "b"})
    await b.system.partner.server.stop()
    found = await a.get("/v1/groups/g/forecast")
    assert [away["node"] for away in found["not_asked"]] == ["b"]
    assert {item["fault"]: item["serves"] for item in found["items"]}["active-power-cut"] == "a"
    decided = await a.get("/v1/groups/g/decisions")
    assert [away["node"] for away in decided["not_asked"]] == ["b"]
    assert [item["node"] for item in decided["items"]] == ["a"] * (len(before) + 1)


async def test_where_no_monitor_can_be_asked_it_is_refused(nodes: Nodes) -> None:
    a, b = await served(nodes)
    a.mechanisms.failover.pair.dead_monitors |= {"a", "b"}
    with pytest.raises(Refused) as refused:
        await a.get("/v1/groups/g/forecast")
    assert refused.value.status == 503
    a.mechanisms.failover.pair.dead_monitors = {"a"}
    found = await a.get("/v1/groups/g/forecast")
    assert [away["node"] for away in found["not_asked"]] == ["a"]
    assert found["items"]
    with pytest.raises(Refused) as refused:
        await b.get("/v1/groups/another/forecast")
    assert refused.value.status == 404


async def test_decisions_of_both_nodes_are_one_list_in_pages(nodes: Nodes) -> None:
    a, b = await served(nodes)
    for to in ("b", "a"):
        await a.change("POST", "/v1/groups/g/switchover", {"to": to})
    pair = a.mechanisms.failover.pair
    pair.tell("b", "another", "not of this group")
    whole = await a.items("/v1/groups/g/decisions")
    assert [item["node"] for item in whole] == ["a", "a", "a", "b", "b"]
    assert whole == await b.items("/v1/groups/g/decisions")
    read, token = [], ""
    while True:
        page = await b.get(f"/v1/groups/g/decisions?page_size=1{token}")
        read += page["items"]
        if page["next_page_token"] is None:
            break
        token = f"&page_token={page['next_page_token']}"
    assert read == whole


async def test_what_nobody_serves_is_forecast_as_it_is(nodes: Nodes) -> None:
    a, _ = await served(nodes)
    a.mechanisms.failover.pair.groups["g"].active = None
    a.mechanisms.failover.pair.groups["g"].states = dict.fromkeys(("a", "b"), GroupState.MANUAL)
    told = await forecast(a)
    assert {fault: item["serves"] for fault, item in told.items()} == {"none": None}
