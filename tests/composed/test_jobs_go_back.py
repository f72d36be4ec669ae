"""A step that fails, at its beginning or when all it does is done: the job ends, and nothing of it stays."""

from __future__ import annotations

import pytest

from tests.composed.appliance import Refused
from tests.composed.conftest import Failing
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
