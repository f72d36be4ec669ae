"""What is refused of volumes that are write once, by every way that leads to them. On the models nothing is watched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.composed.appliance import Appliance, Refused
from tests.composed.copies import LOGIN, REPLICA, assert_nothing_is_left, home, make_copy, run, tree

MIB = 1 << 20
DAY_S = 86400
VOLUME = "/v1/volumes/docs"
TO_SOURCE = {"is_all": True, "to": {"share": "docs", "is_on_partner": True}}


@pytest.fixture
async def pair_of(nodes: tuple[Appliance, Appliance]) -> tuple[Appliance, Appliance]:
    """A source and the node with its copy."""
    await make_copy(*nodes)
    return nodes


async def mark(node: Appliance, retention_s: int | None, volume: str = "docs") -> None:
    """Have a volume on record as write once, or not."""
    kept = node.system.ground.documents.volumes
    await kept.put(volume, replace(await kept.get(volume), worm_retention_s=retention_s))


async def refusal(node: Appliance, method: str, path: str, body: Any = None) -> list[tuple[str, str | None]]:
    """How a change is refused: each reason's code and field."""
    with pytest.raises(Refused) as refused:
        await node.change(method, path, body)
    return [(reason["code"], reason.get("field")) for reason in refused.value.problem["reasons"]]


async def test_only_files_are_write_once_and_what_cannot_be_watched_is_not_made(
    nodes: tuple[Appliance, Appliance],
) -> None:
    a, _ = nodes
    wanted = {"pool": "main", "name": "v1", "size_bytes": 64 * MIB, "worm_retention_s": DAY_S}
    refused = await refusal(a, "POST", "/v1/volumes", {**wanted, "kind": "iscsi"})
    assert refused == [("no-files", "worm_retention_s")]
    for bad in (0, -1, 1.5, "1", 200 * 366 * DAY_S):
        body = {**wanted, "kind": "nas", "worm_retention_s": bad}
        assert [field for _, field in await refusal(a, "POST", "/v1/volumes", body)] == ["worm_retention_s"]
    # A directory of this machine's own file system must never be watched.
    assert await refusal(a, "POST", "/v1/volumes", {**wanted, "kind": "nas"}) == [("not-mounted", None)]
    assert await a.items("/v1/volumes") == []
    assert await a.mechanisms.volumes.list_volumes() == ()


async def test_an_ordinary_volume_has_no_retention(pair_of: tuple[Appliance, Appliance]) -> None:
    a, _ = pair_of
    for method, path in (("PUT", f"{VOLUME}/worm"), ("POST", f"{VOLUME}/worm/walk")):
        body = {"retention_s": DAY_S} if method == "PUT" else None
        assert await refusal(a, method, path, body) == [("not-write-once", "volume")]
    with pytest.raises(Refused, match="not write once"):
        await a.get(f"{VOLUME}/worm")


async def test_what_cannot_be_looked_at_is_taken_for_retained(pair_of: tuple[Appliance, Appliance]) -> None:
    a, _ = pair_of
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "v1", "size_bytes": 64 * MIB, "kind": "nas"})
    await mark(a, DAY_S, "v1")
    assert (await a.get("/v1/volumes/v1"))["worm_retention_s"] == DAY_S
    assert (await a.get("/v1/volumes/v1/worm"))["drift"] != []
    for method, path, body in (
        ("DELETE", "/v1/volumes/v1?confirm=v1", None),
        ("PUT", "/v1/volumes/v1/worm", {"retention_s": None}),
        ("PUT", "/v1/volumes/v1/worm", {"retention_s": DAY_S - 1}),
    ):
        assert await refusal(a, method, path, body) == [("not-mounted", None)]
    await mark(a, None, "v1")
    await a.change("DELETE", "/v1/volumes/v1?confirm=v1")


async def test_nothing_of_ours_writes_into_it(pair_of: tuple[Appliance, Appliance]) -> None:
    a, b = pair_of
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": "s"})
    await mark(a, DAY_S)
    (home(a) / "plan").write_text("changed")
    before = tree(a)
    restore = {"share": "docs", "path": "", "may_replace": True}
    assert await refusal(a, "POST", "/v1/snapshots/docs/s/restore", restore) == [("write-once", "share")]
    replica = {"name": "mine", "share": "docs", "allowed_sources": ["127.0.0.1"], **LOGIN}
    assert await refusal(a, "POST", "/v1/replica-shares", replica) == [("write-once", "share")]
    mode = {"mode": "destination"}
    assert await refusal(a, "PUT", f"{VOLUME}/replication?confirm=docs", mode) == [("write-once", "mode")]
    mirror = {"name": "m", "volumes": ["docs"], "first_sync": "full"}
    assert await refusal(a, "POST", "/v1/mirrors", mirror) == [("write-once", "volumes")]
    # From the partner, which has the copy.
    assert "write-once" in {code for code, _ in await refusal(b, "POST", f"{REPLICA}/restore", TO_SOURCE)}
    await run(a)  # copying from it goes on
    await b.change("POST", f"{REPLICA}/take-over")
    back = f"{REPLICA}/fail-back?confirm=docs"
    assert "write-once" in {code for code, _ in await refusal(b, "POST", back, {})}
    assert tree(a) == before
    await assert_nothing_is_left(a, b)
    # A control: the same goes well with an ordinary volume.
    await mark(a, None)
    await a.change("POST", "/v1/snapshots/docs/s/restore", restore)
    assert tree(a) != before
    await b.change("POST", back, {})
