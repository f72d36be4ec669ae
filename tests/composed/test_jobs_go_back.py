"""A step that fails, at its beginning or when all it does is done: the job ends, and nothing of it stays."""

from __future__ import annotations

import pytest

from tests.composed.appliance import Refused
from tests.composed.conftest import Failing
from tests.composed.test_mirrors import eventually, make_mirror, make_spare_pool
from tests.composed.test_the_main_job import MIB, Nodes, make_group


@pytest.mark.parametrize("mark", range(1, 5))
async def test_a_group_that_cannot_be_started_is_stopped_again(nodes: Nodes, failing: Failing, mark: int) -> None:
    a = nodes[0]
    await make_group(a)
    failing.kind, failing.mark = "group.start", mark
    with pytest.raises(Refused, match=f"made to fail at mark {mark}"):
        await a.change("POST", "/v1/groups/g/start")
    for node in nodes:
        group = await node.get("/v1/groups/g")
        assert (group["this_node"]["state"], group["document"]["is_started"]) == ("stopped", False)
    await a.change("POST", "/v1/groups/g/start")


@pytest.mark.parametrize("mark", range(2, 2 * 6 + 1, 2))
async def test_a_disk_that_cannot_be_replaced_leaves_the_mirror_as_it_was(
    nodes: Nodes, failing: Failing, mark: int
) -> None:
    a = nodes[0]
    await make_mirror(a)
    a.mechanisms.mirrors.lose_disk("m")
    await make_spare_pool(a)
    before = [await node.get("/v1/volumes/v") for node in nodes]
    failing.kind, failing.mark = "mirror.replace-disk", mark
    body = {"volume": "v", "pool": "spare"}
    with pytest.raises(Refused, match=f"made to fail at mark {mark}"):
        await a.change("POST", "/v1/mirrors/m/replace-disk", body)
    assert [await node.get("/v1/volumes/v") for node in nodes] == before
    assert {(v.pool, v.name) for v in await a.mechanisms.volumes.list_volumes()} == {("main", "v")}
    for node in nodes:
        document = await node.system.ground.documents.mirrors.get("m")
        assert document.members[0].pools == {"a": "main", "b": "main"}
    assert (await a.get("/v1/mirrors/m"))["this_node"]["status"]["volumes"][0]["disk"] == "Diskless"
    await a.change("POST", "/v1/mirrors/m/replace-disk", body)
    for node in nodes:
        await eventually(node, "/v1/mirrors/m", "is_in_sync", True)


@pytest.mark.parametrize("mark", range(1, 2 * 8 + 1))
async def test_a_mirror_that_cannot_be_made_leaves_nothing(nodes: Nodes, failing: Failing, mark: int) -> None:
    a, b = nodes
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "disk", "size_bytes": 4 * MIB, "kind": "iscsi"})
    failing.kind, failing.mark = "mirror.create", mark
    wanted = {"name": "m", "volumes": ["disk"], "first_sync": "zero"}
    with pytest.raises(Refused, match=f"made to fail at mark {mark}"):
        await a.change("POST", "/v1/mirrors", wanted)
    assert [await node.items("/v1/mirrors") for node in nodes] == [[], []]
    assert await b.items("/v1/volumes") == []
    assert [v["name"] for v in await a.items("/v1/volumes")] == ["disk"]
    # In full: once it was on record, the volume may have been written to.
    await a.change("POST", "/v1/mirrors", {**wanted, "first_sync": "full"})
