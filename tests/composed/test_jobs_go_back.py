"""A step that fails, at its beginning or when all it does is done: the job ends, and nothing of it stays.

Each job is tried with a failure at every mark on the same two nodes, one after the other, and then done.
"""

from __future__ import annotations

import pytest

from tests.composed.appliance import Refused
from tests.composed.conftest import Failing
from tests.composed.mirrors import eventually, make_mirror, make_spare_pool
from tests.composed.test_the_main_job import MIB, Nodes, make_group


async def test_a_group_that_cannot_be_started_is_stopped_again(nodes: Nodes, failing: Failing) -> None:
    a = nodes[0]
    await make_group(a)
    for mark in range(1, 5):
        failing.begin("group.start", mark)
        with pytest.raises(Refused, match=f"made to fail at mark {mark}'"):
            await a.change("POST", "/v1/groups/g/start")
        for node in nodes:
            group = await node.get("/v1/groups/g")
            found = (group["this_node"]["state"], group["document"]["is_started"])
            assert found == ("stopped", False), mark
    await a.change("POST", "/v1/groups/g/start")


async def test_a_disk_that_cannot_be_replaced_leaves_the_mirror_as_it_was(nodes: Nodes, failing: Failing) -> None:
    a = nodes[0]
    await make_mirror(a)
    a.mechanisms.mirrors.lose_disk("m")
    await make_spare_pool(a)
    before = [await node.get("/v1/volumes/v") for node in nodes]
    body = {"volume": "v", "pool": "spare"}
    for mark in range(2, 2 * 6 + 1, 2):
        failing.begin("mirror.replace-disk", mark)
        with pytest.raises(Refused, match=f"made to fail at mark {mark}'"):
            await a.change("POST", "/v1/mirrors/m/replace-disk", body)
        assert [await node.get("/v1/volumes/v") for node in nodes] == before, mark
        found = {(v.pool, v.name) for v in await a.mechanisms.volumes.list_volumes()}
        assert found == {("main", "v")}, mark
        for node in nodes:
            document = await node.system.ground.documents.mirrors.get("m")
            assert document.members[0].pools == {"a": "main", "b": "main"}, mark
        status = (await a.get("/v1/mirrors/m"))["this_node"]["status"]
        assert status["volumes"][0]["disk"] == "Diskless", mark
    await a.change("POST", "/v1/mirrors/m/replace-disk", body)
    for node in nodes:
        await eventually(node, "/v1/mirrors/m", "is_in_sync", True)


async def test_a_mirror_that_cannot_be_made_leaves_nothing(nodes: Nodes, failing: Failing) -> None:
    a, b = nodes
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "disk", "size_bytes": 4 * MIB, "kind": "iscsi"})
    wanted = {"name": "m", "volumes": ["disk"], "first_sync": "zero"}
    for mark in range(1, 2 * 11 + 1):
        failing.begin("mirror.create", mark)
        with pytest.raises(Refused, match=f"made to fail at mark {mark}'"):
            await a.change("POST", "/v1/mirrors", wanted)
        assert [await node.items("/v1/mirrors") for node in nodes] == [[], []], mark
        assert await b.items("/v1/volumes") == [], mark
        assert [v["name"] for v in await a.items("/v1/volumes")] == ["disk"], mark
    # In full: once it was on record, the volume may have been written to.
    await a.change("POST", "/v1/mirrors", {**wanted, "first_sync": "full"})
