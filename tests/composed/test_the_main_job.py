"""The main job on the model: the way of every request through all of core, on two nodes that talk over mutual TLS."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.hooks.replication import Role
from tests.composed.appliance import Appliance, Refused

MIB = 1 << 20
Nodes = tuple[Appliance, Appliance]

LINKS = [
    {"name": net, "interface": net, "local_address": f"192.0.2.{n}", "peer_address": f"192.0.2.{n + 10}"}
    for n, net in enumerate(("client", "replication"), start=1)
]
ADDRESS = {"address": "192.0.2.100", "prefix_length": 24, "interface": "client"}
GROUP = {"name": "g", "mirror": "m", "targets": ["t"]}
INITIATOR = "iqn.2026-01.com.example:c"


async def make_mirror(a: Appliance) -> None:
    volume = {"pool": "main", "name": "disk", "size_bytes": 4 * MIB, "kind": "iscsi"}
    await a.change("POST", "/v1/volumes", volume)
    await a.change("POST", "/v1/mirrors", {"name": "m", "volumes": ["disk"], "first_sync": "zero"})


async def make_group(a: Appliance) -> None:
    await make_mirror(a)
    await a.change("PUT", "/v1/failover", {"links": LINKS, "ping_nodes": ["192.0.2.50"]})
    target = {"name": "t", "mirror": "m", "units": [{"lun": 1, "volume": "disk"}]}
    await a.change("POST", "/v1/targets", {**target, "access": [{"initiator": INITIATOR}]})
    await a.change("POST", "/v1/groups", {**GROUP, "addresses": [ADDRESS]})


async def both_say(nodes: Nodes, path: str) -> tuple[Any, Any]:
    a, b = nodes
    return await a.get(path), await b.get(path)


async def test_a_share_is_copied_and_the_second_run_moves_only_the_change(nodes: Nodes) -> None:
    a, b = nodes
    for node in nodes:
        volume = {"pool": "main", "name": "files", "size_bytes": 64 * MIB, "kind": "nas"}
        await node.change("POST", "/v1/volumes", volume)
        await node.change("POST", "/v1/shares", {"name": "docs", "volume": "files", "path": "docs"})
    home = a.config.mount_dir / "main" / "files" / "docs"
    for name in ("one", "two"):
        (home / name).write_text(name)
    await b.change("PUT", "/v1/agent", {"is_enabled": True, "address": "127.0.0.1", "port": 8873})
    replica = {"name": "copy", "share": "docs", "user": "copier", "password": "secret enough"}
    await b.change("POST", "/v1/replica-shares", {**replica, "allowed_sources": ["127.0.0.1"]})
    task = {"name": "task", "share": "docs", "agent_address": "127.0.0.1", "agent_port": 8873}
    login = {"replica_share": "copy", "user": "copier", "password": "secret enough"}
    await a.change("POST", "/v1/replication-tasks", {**task, **login})

    first = (await a.change("POST", "/v1/replication-tasks/task/run"))["result"]
    (home / "two").write_text("changed")
    second = (await a.change("POST", "/v1/replication-tasks/task/run"))["result"]

    assert (b.config.mount_dir / "main" / "files" / "docs" / "two").read_text() == "changed"
    assert (first["files_sent"], second["files_sent"]) == (2, 1)
    assert await a.items("/v1/snapshots") == []
    assert "secret enough" not in str(await a.items("/v1/jobs"))


async def test_a_mirror_is_made_on_both_nodes_by_one_call(nodes: Nodes) -> None:
    a, b = nodes
    await make_mirror(a)
    here, there = await both_say(nodes, "/v1/mirrors/m")
    assert here["is_in_sync"]
    assert there["is_in_sync"]
    assert [volume["name"] for volume in await b.items("/v1/volumes")] == ["disk"]


async def test_a_group_is_refused_with_every_reason_and_then_starts_and_moves(nodes: Nodes) -> None:
    a, b = nodes
    await make_group(a)
    await a.change("PUT", "/v1/groups/g", {"mirror": "m", "targets": ["t"], "addresses": []})
    unmet = (await a.get("/v1/groups/g/preflight"))["unmet"]
    assert {item["code"] for item in unmet} == {"no-virtual-address"}
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/groups/g/start")
    assert all(reason["remedy"] for reason in refused.value.problem["reasons"])

    await a.change("PUT", "/v1/groups/g", {"mirror": "m", "targets": ["t"], "addresses": [ADDRESS]})
    await a.change("POST", "/v1/groups/g/start")
    assert [group["active_node"] for group in await both_say(nodes, "/v1/groups/g")] == ["a", "a"]
    await a.change("POST", "/v1/groups/g/switchover", {"to": "b"})
    assert [group["active_node"] for group in await both_say(nodes, "/v1/groups/g")] == ["b", "b"]
    assert [decision["node"] for decision in await b.items("/v1/decisions")] == ["b"]


def reboot(node: Appliance) -> None:
    """Off and on again: its mirrors are down."""
    node.mechanisms.mirrors.pair.power_off(node.config.node)
    node.mechanisms.mirrors.pair.power_on(node.config.node)


async def test_the_mirror_of_a_stopped_group_is_whole_again_after_a_reboot(nodes: Nodes) -> None:
    a, b = nodes
    await make_group(a)
    await a.change("POST", "/v1/groups/g/start")
    reboot(b)
    await b.system.services.reconciler.once()
    assert "m" not in b.mechanisms.mirrors.node.sides, "the mirror of a group that runs is its monitor's"
    await b.system.services.sides.bring_back("m")

    await a.change("POST", "/v1/groups/g/stop")
    for node in nodes:
        reboot(node)
    for node in nodes:
        await node.system.services.reconciler.once()
    for shown in await both_say(nodes, "/v1/mirrors/m"):
        assert (shown["is_in_sync"], shown["alerts"]) == (True, [])
    assert {node.mechanisms.mirrors.node.sides["m"].role for node in nodes} == {Role.SECONDARY}
    await a.change("POST", "/v1/groups/g/start")


USED: list[tuple[str, str]] = [
    ("/v1/volumes/disk?confirm=disk", "mirror m"),
    ("/v1/mirrors/m?confirm=m", "target t"),
    ("/v1/targets/t?confirm=t", "group g"),
    ("/v1/pools/main?confirm=main", "volume disk"),
]


async def test_what_is_used_is_not_destroyed_and_its_user_is_named(nodes: Nodes) -> None:
    a, _ = nodes
    await make_group(a)
    for path, user in USED:
        with pytest.raises(Refused) as refused:
            await a.change("DELETE", path)
        assert refused.value.status == 409, path
        assert user in str(refused.value.problem)


async def test_a_mirror_without_the_partner_is_refused_and_leaves_nothing(nodes: Nodes) -> None:
    a, b = nodes
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "disk", "size_bytes": 4 * MIB, "kind": "iscsi"})
    await b.system.partner.server.stop()
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/mirrors", {"name": "m", "volumes": ["disk"], "first_sync": "zero"})
    assert "b" in str(refused.value.problem)
    assert await a.items("/v1/mirrors") == []
    assert a.mechanisms.volumes.metadata == {}
    assert a.mechanisms.mirrors.node.sides == {}


async def test_a_file_system_unmounted_from_outside_is_told_and_mounted_again(nodes: Nodes) -> None:
    a, _ = nodes
    volume = {"pool": "main", "name": "files", "size_bytes": 64 * MIB, "kind": "nas"}
    await a.change("POST", "/v1/volumes", volume)
    mounted = await a.get("/v1/volumes/files")
    assert (mounted["mounted_at"], mounted["drift"]) == (str(a.config.mount_dir / "main" / "files"), [])

    await a.mechanisms.volumes.unmount(mounted["mounted_at"])
    shown = await a.get("/v1/volumes/files")
    assert shown["mounted_at"] is None
    assert any("not mounted" in text for text in shown["drift"])
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/shares", {"name": "docs", "volume": "files", "path": "docs"})
    assert "not mounted" in str(refused.value.problem)

    await a.system.services.reconciler.once()
    assert await a.get("/v1/volumes/files") == mounted


async def test_a_mirror_that_was_taken_apart_is_not_brought_back(nodes: Nodes) -> None:
    """The reconciler may have read its record before, and come to it only afterwards."""
    a, b = nodes
    await make_mirror(a)
    await a.change("DELETE", "/v1/mirrors/m?confirm=m")
    for node in nodes:
        await node.system.services.sides.bring_back("m")
    assert [node.mechanisms.mirrors.node.sides for node in nodes] == [{}, {}]
    assert [await node.items("/v1/mirrors") for node in (a, b)] == [[], []]
