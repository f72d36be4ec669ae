"""Links, ping nodes and virtual addresses by the API: what both nodes then have, and what is refused by which field."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from holdfast.hooks.links import WitnessHost
from holdfast.peer.identity import load_or_create_identity
from holdfast.services.documents import FailoverDocument
from tests.composed.appliance import Appliance, Refused
from tests.composed.test_the_main_job import ADDRESS, LINKS, Nodes, make_group

PING_NODES = ["192.0.2.50", "192.0.2.51", "192.0.2.52"]
GIVEN = {"links": LINKS, "ping_nodes": PING_NODES}
ONE = LINKS[0]


async def refused(node: Appliance, method: str, path: str, body: Any) -> list[str]:
    """The fields that a refusal names, each with a remedy."""
    with pytest.raises(Refused) as refusal:
        await node.change(method, path, body)
    reasons = refusal.value.problem["reasons"]
    assert all(reason["text"] and reason["remedy"] for reason in reasons), reasons
    return [reason["field"] for reason in reasons]


async def test_several_ping_nodes_are_set_on_both_nodes_and_shown(nodes: Nodes) -> None:
    await nodes[0].change("PUT", "/v1/failover", GIVEN)
    for node in nodes:
        shown = await node.get("/v1/failover")
        assert shown["ping_nodes"] == PING_NODES
        assert [each["address"] for each in shown["monitor"]["ping_nodes"]] == PING_NODES
        assert all(each["answers"] and each["since_ms"] is not None for each in shown["monitor"]["ping_nodes"])
        assert all(link["refused"] == 0 for link in shown["monitor"]["links"])


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"ping_nodes": PING_NODES[:2]}, ["ping_nodes"]),
        ({"ping_nodes": [*PING_NODES[:2], PING_NODES[0]]}, ["ping_nodes.2"]),
        ({"ping_nodes": ["192.0.2.1"]}, ["ping_nodes.0"]),
        ({"ping_nodes": ["192.0.2.12"]}, ["ping_nodes.0"]),
        ({"ping_nodes": ["2001:db8::5"]}, ["ping_nodes.0"]),
        ({"ping_nodes": [f"192.0.2.{n}" for n in range(50, 59)]}, ["ping_nodes"]),
        ({"ping_nodes": ["gateway"]}, ["ping_nodes.0"]),
        ({"ping_nodes": None}, ["ping_nodes"]),
        ({"ping_node": "192.0.2.50"}, ["ping_node"]),
        ({"links": [{**ONE, "peer_address": ONE["local_address"]}]}, ["links.0.peer_address"]),
        ({"links": [ONE, {**LINKS[1], "name": ONE["name"]}]}, ["links.1.name"]),
        ({"links": [{**ONE, "local_address": "2001:db8::1"}]}, ["links.0.local_address"]),
    ],
)
async def test_what_proves_nothing_is_refused_by_field_and_changes_neither_node(
    nodes: Nodes, change: dict[str, Any], fields: list[str]
) -> None:
    await nodes[0].change("PUT", "/v1/failover", GIVEN)
    before = [await node.get("/v1/failover") for node in nodes]
    assert await refused(nodes[0], "PUT", "/v1/failover", {**GIVEN, **change}) == fields
    assert [await node.get("/v1/failover") for node in nodes] == before


async def test_a_virtual_address_is_neither_a_link_nor_a_ping_node_whichever_was_first(nodes: Nodes) -> None:
    a, _ = nodes
    await make_group(a)
    address = ADDRESS["address"]
    assert await refused(a, "PUT", "/v1/failover", {"links": LINKS, "ping_nodes": [address]}) == ["ping_nodes.0"]
    moved = {**ONE, "local_address": address}
    assert await refused(a, "PUT", "/v1/failover", {**GIVEN, "links": [moved]}) == ["links.0.local_address"]
    group = {"mirror": "m", "targets": ["t"]}
    for taken in ("192.0.2.1", "192.0.2.12", "192.0.2.50"):
        wanted = {**group, "addresses": [ADDRESS, {**ADDRESS, "address": taken}]}
        assert await refused(a, "PUT", "/v1/groups/g", wanted) == ["addresses.1.address"]
    assert (await a.get("/v1/groups/g"))["document"]["revision"] == 1


@pytest.mark.parametrize(
    "address",
    [
        {"address": "192.0.2.0"},
        {"address": "192.0.2.255"},
        {"address": "224.0.0.9"},
        {"address": "127.0.0.5"},
        {"address": "fe80::9", "prefix_length": 64},
        {"address": "2001:db8::", "prefix_length": 64},
        {"address": "ff02::1", "prefix_length": 128},
    ],
)
async def test_a_virtual_address_that_no_host_can_have_is_refused(nodes: Nodes, address: dict[str, Any]) -> None:
    a, _ = nodes
    await make_group(a)
    wanted = {"mirror": "m", "targets": ["t"], "addresses": [{**ADDRESS, **address}]}
    assert await refused(a, "PUT", "/v1/groups/g", wanted) == ["addresses.0.address"]


async def test_one_address_is_in_one_group_once(nodes: Nodes) -> None:
    a, _ = nodes
    await make_group(a)
    twice = {"mirror": "m", "targets": ["t"], "addresses": [ADDRESS, ADDRESS]}
    assert await refused(a, "PUT", "/v1/groups/g", twice) == ["addresses.1.address"]
    volume = {"pool": "main", "name": "disk2", "size_bytes": 4 << 20, "kind": "iscsi"}
    await a.change("POST", "/v1/volumes", volume)
    await a.change("POST", "/v1/mirrors", {"name": "m2", "volumes": ["disk2"], "first_sync": "zero"})
    other = {"name": "g2", "mirror": "m2", "targets": [], "addresses": [ADDRESS]}
    assert await refused(a, "POST", "/v1/groups", other) == ["addresses"]


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    """That of a witness."""
    return load_or_create_identity(tmp_path / "witness", "witness", datetime.now(UTC)).certificate_pem


async def test_a_witness_is_set_on_both_nodes_shown_and_taken_away_again(nodes: Nodes, certificate: str) -> None:
    witness = {"address": "192.0.2.70", "port": 9000, "certificate": certificate}
    await nodes[0].change("PUT", "/v1/failover", {**GIVEN, "witness": witness})
    for node in nodes:
        shown = await node.get("/v1/failover")
        assert shown["witness"] == witness
        assert shown["monitor"]["witness"] == {"address": "192.0.2.70", "answers": True}
    await nodes[0].change("PUT", "/v1/failover", GIVEN)
    for node in nodes:
        shown = await node.get("/v1/failover")
        assert shown["witness"] is shown["monitor"]["witness"] is None


async def test_what_is_no_witness_is_refused_by_field_and_changes_neither_node(nodes: Nodes, certificate: str) -> None:
    await nodes[0].change("PUT", "/v1/failover", GIVEN)
    before = [await node.get("/v1/failover") for node in nodes]
    good = {"address": "192.0.2.70", "certificate": certificate}
    for change, field in (
        ({"address": "192.0.2.1"}, "witness.address"),
        ({"address": "192.0.2.12"}, "witness.address"),
        ({"address": "127.0.0.1"}, "witness.address"),
        ({"address": "witness.example.org"}, "witness.address"),
        ({"port": 0}, "witness.port"),
        ({"certificate": "-----BEGIN"}, "witness.certificate"),
    ):
        wanted = {**GIVEN, "witness": {**good, **change}}
        assert await refused(nodes[0], "PUT", "/v1/failover", wanted) == [field]
    assert [await node.get("/v1/failover") for node in nodes] == before


async def test_nodes_with_different_witnesses_start_no_group(nodes: Nodes, certificate: str) -> None:
    a, b = nodes
    await make_group(a)
    kept = b.system.services.links
    document, _ = await kept.get()
    await kept.adopt(replace(document, witness=WitnessHost("192.0.2.70", 8446, certificate)))
    unmet = (await a.get("/v1/groups/g/preflight"))["unmet"]
    assert [(item["node"], item["code"]) for item in unmet] == [("b", "links-differ")]


async def test_nodes_with_different_ping_nodes_start_no_group(nodes: Nodes) -> None:
    """As after a change that reached one node only: their majorities need have no ping node in common."""
    a, b = nodes
    await make_group(a)
    assert (await a.get("/v1/groups/g/preflight"))["unmet"] == []
    kept = b.system.services.links
    document, _ = await kept.get()
    await kept.adopt(FailoverDocument(document.links, ("192.0.2.77",)))
    unmet = (await a.get("/v1/groups/g/preflight"))["unmet"]
    assert [(item["node"], item["code"]) for item in unmet] == [("b", "links-differ")]
    await a.change("PUT", "/v1/failover", GIVEN)
    assert (await a.get("/v1/groups/g/preflight"))["unmet"] == []
