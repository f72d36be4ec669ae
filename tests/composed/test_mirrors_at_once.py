"""Several mirrors that are made at the same time: each gets numbers of its own, on both nodes."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tests.composed.appliance import Appliance, Refused
from tests.composed.mirrors import MIB, Nodes

COUNT = 4


async def make(node: Appliance, names: list[str]) -> None:
    for name in names:
        body = {"pool": "main", "name": name, "size_bytes": 4 * MIB, "kind": "iscsi"}
        await node.change("POST", "/v1/volumes", body)
    bodies = [{"name": name, "volumes": [name], "first_sync": "zero"} for name in names]
    await asyncio.gather(*(node.change("POST", "/v1/mirrors", body) for body in bodies))


async def numbers(node: Appliance) -> tuple[list[int], list[int]]:
    mirrors = (await node.system.ground.documents.mirrors.all()).values()
    return [member.minor for mirror in mirrors for member in mirror.members], [mirror.port for mirror in mirrors]


async def test_mirrors_that_are_made_at_the_same_time_share_no_number(nodes: Nodes) -> None:
    a, b = nodes
    await make(a, [f"m{number}" for number in range(COUNT)])
    for node in nodes:
        minors, ports = await numbers(node)
        assert sorted(minors) == list(range(COUNT))
        assert all(after - before == 1 for before, after in pairwise(sorted(ports)))
    assert await numbers(a) == await numbers(b)


async def test_numbers_of_a_mirror_that_could_not_be_made_are_free_again(nodes: Nodes) -> None:
    a, b = nodes
    body = {"pool": "main", "name": "m0", "size_bytes": 4 * MIB, "kind": "iscsi"}
    for node in nodes:
        await node.change("POST", "/v1/volumes", body)  # so that the partner has no place for the mirror's
    with pytest.raises(Refused):
        await a.change("POST", "/v1/mirrors", {"name": "m0", "volumes": ["m0"], "first_sync": "zero"})
    await b.change("DELETE", "/v1/volumes/m0?confirm=m0")
    await make(a, ["m1"])
    assert (await numbers(b))[0] == [0]
