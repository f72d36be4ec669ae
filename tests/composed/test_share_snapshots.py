"""Snapshots that clients of shares see, on a whole daemon: mounted, shown and given up by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.planning.snapshot_retention import RetentionRules
from tests.composed.appliance import Appliance, Refused, World
from tests.composed.tasks import settled
from tests.composed.test_jobs_killed import MortalNode

MIB = 1 << 20
SMB, NFS = "/v1/shares/docs/smb", "/v1/shares/docs/nfs"
HOSTS = {"clients": [{"network": "10.0.0.0/24"}]}
HOST = "10.0.0.7"
PASSWORD = "a password of anna's"


@pytest.fixture
def node(directory: Path) -> MortalNode:
    return MortalNode(World(), directory / "a")


@pytest.fixture
async def a(node: MortalNode) -> AsyncIterator[Appliance]:
    """A node with a share that shows its snapshots by both protocols; `s` was taken of it."""
    async with node.running() as appliance:
        await appliance.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
        volume = {"pool": "main", "name": "docs", "size_bytes": 400 * MIB, "kind": "nas"}
        await appliance.change("POST", "/v1/volumes", volume)
        await appliance.change("POST", "/v1/shares", {"name": "docs", "volume": "docs", "path": "x"})
        await appliance.change("POST", "/v1/share-users", {"name": "anna", "password": PASSWORD})
        await appliance.change("PUT", SMB, {"write_users": ["anna"], "shows_snapshots": True})
        await appliance.change("PUT", NFS, {**HOSTS, "shows_snapshots": True})
        await take(appliance, node, "s")
        await look(appliance)
        yield appliance


async def take(a: Appliance, node: MortalNode, name: str) -> None:
    node.clock.let_pass(timedelta(seconds=2))
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": name})


async def look(a: Appliance) -> None:
    await a.system.services.reconciler.once()


def place(a: Appliance, name: str = "s") -> str:
    return str(a.config.mount_dir / "main" / "docs.snapshots" / name)


def is_mounted(a: Appliance, name: str = "s") -> bool:
    return place(a, name) in a.mechanisms.volumes.mounts


async def told(a: Appliance, path: str = SMB) -> dict[str, str | None]:
    return {each["name"]: each["reason"] for each in (await a.get(path))["snapshots"]}


def visible(a: Appliance) -> list[list[str]]:
    return [[each.name for each in driver.shown("docs")] for driver in (a.mechanisms.smb, a.mechanisms.nfs)]


async def test_a_snapshot_is_mounted_and_seen_by_clients_of_both_protocols(a: Appliance) -> None:
    assert visible(a) == [["s"], ["s"]]
    [shown] = a.mechanisms.smb.shown("docs")
    assert shown.path == f"{place(a)}/x"  # the folder of the share, and not the volume
    taken_at = (await a.get("/v1/snapshots/docs/s"))["taken_at"]
    assert shown.taken_at.isoformat()[:19] == taken_at[:19]
    for path in (SMB, NFS):
        found = await a.get(path)
        assert (found["shows_snapshots"], found["drift"]) == (True, [])
        [one] = found["snapshots"]
        assert (one["name"], one["is_visible"], one["reason"]) == ("s", True, None)
    assert (await a.get("/v1/snapshots/docs/s"))["mounted_at"] == place(a)
    assert (await a.get("/v1/snapshots/docs/s"))["used_by"] == []


async def test_nothing_is_shown_or_mounted_unless_it_is_asked_for(a: Appliance) -> None:
    await a.change("PUT", NFS, HOSTS)
    assert visible(a) == [["s"], []]
    assert is_mounted(a)
    await a.change("PUT", SMB, {"write_users": ["anna"]})
    assert visible(a) == [[], []]
    assert not is_mounted(a)
    assert not Path(place(a)).parent.exists()
    assert (await a.get(SMB))["snapshots"] is None
    await a.change("PUT", SMB, {"write_users": ["anna"], "shows_snapshots": True})
    assert visible(a) == [["s"], []]
    await a.change("DELETE", SMB)
    assert not is_mounted(a)


async def test_one_that_clients_read_is_removed_by_a_person_all_the_same(a: Appliance) -> None:
    assert a.mechanisms.smb.open_snapshot("docs", "127.0.0.1", "anna", "s")
    assert a.mechanisms.nfs.open_snapshot("docs", HOST, None, "s")
    await a.change("DELETE", "/v1/snapshots/docs/s?confirm=s")
    assert visible(a) == [[], []]
    assert a.mechanisms.smb.open_in == a.mechanisms.nfs.open_in == []
    assert not is_mounted(a)
    assert (await a.get(SMB))["snapshots"] == []


async def test_one_that_a_person_mounted_is_seen_and_does_not_yield(a: Appliance) -> None:
    await a.change("POST", "/v1/snapshots/docs/s/mount")
    with pytest.raises(Refused) as refused:
        await a.change("DELETE", "/v1/snapshots/docs/s?confirm=s")
    assert [reason["code"] for reason in refused.value.problem["reasons"]] == ["mounted"]
    assert visible(a) == [["s"], ["s"]]
    await a.change("PUT", NFS, HOSTS)
    await a.change("PUT", SMB, {"write_users": ["anna"]})
    assert is_mounted(a)
    await a.change("PUT", SMB, {"write_users": ["anna"], "shows_snapshots": True})
    await a.change("POST", "/v1/snapshots/docs/s/unmount")
    await look(a)
    assert is_mounted(a)  # for the clients
    await a.change("DELETE", "/v1/snapshots/docs/s?confirm=s")


async def test_a_schedule_thins_out_what_clients_see(a: Appliance, node: MortalNode) -> None:
    starts_at = (node.clock.now() + timedelta(hours=1)).isoformat()
    rules = {"every_hours": 1, "starts_at": starts_at, "retention": {"last": 1}}
    await a.change("PUT", "/v1/volumes/docs/snapshot-schedules/often", rules)
    names = []
    for _ in range(2):
        node.clock.let_pass(timedelta(hours=1))
        await a.system.services.snapshot_side.schedules.look()
        await settled(a)
        await look(a)
        names.append(sorted(visible(a)[0]))
        assert a.mechanisms.smb.open_snapshot("docs", "127.0.0.1", "anna", names[-1][0])
    assert [len(each) for each in names] == [2, 2]  # `s`, and the one that is kept
    assert names[0] != names[1]
    judged = await a.system.services.snapshot_side.taking.judge("docs", "often", RetentionRules(last=1))
    assert [verdict.reasons for verdict in judged] == [("last: number 1 of the newest 1",)]


async def test_one_that_is_held_open_by_somebody_else_stays_and_is_shown_again(a: Appliance) -> None:
    a.mechanisms.volumes.held.add(place(a))
    with pytest.raises(Refused):
        await a.change("DELETE", "/v1/snapshots/docs/s?confirm=s")
    await look(a)
    assert visible(a) == [["s"], ["s"]]
    assert (await a.get(SMB))["drift"] == []


async def test_a_rollback_needs_nobody_to_unmount_what_was_mounted_by_itself(a: Appliance, node: MortalNode) -> None:
    await take(a, node, "t")
    await look(a)
    node.clock.let_pass(timedelta(seconds=2))
    await a.change("POST", "/v1/snapshots/docs/s/roll-back?confirm=docs")
    await look(a)
    assert [len(names) for names in visible(a)] == [3, 3]  # with what the rollback kept
    assert await told(a) == await told(a, NFS)
    assert set((await told(a)).values()) == {None}


async def test_what_a_reboot_or_somebody_took_away_is_mended_by_the_watch(a: Appliance, node: MortalNode) -> None:
    for take_away in (node.mechanisms.volumes.reboot, lambda: node.mechanisms.volumes._take_away(place(a))):
        take_away()
        a.mechanisms.nfs.served.exposures.clear()
        await look(a)
        assert a.system.services.reconciler.drift == ()
        assert is_mounted(a)
        assert visible(a) == [["s"], ["s"]]


async def test_a_killed_daemon_leaves_a_mount_that_the_next_one_takes_away(a: Appliance) -> None:
    # As it is after a kill between the record of an offer and its unmounting.
    kept = a.system.ground.documents
    await kept.smb_offers.remove("docs")
    await kept.nfs_offers.remove("docs")
    assert is_mounted(a)
    await look(a)
    assert not is_mounted(a)


async def test_what_clients_do_not_see_says_why(a: Appliance, node: MortalNode) -> None:
    await a.change("POST", "/v1/shares", {"name": "later", "volume": "docs", "path": "later"})
    await a.change("PUT", "/v1/shares/later/smb", {"write_users": ["anna"], "shows_snapshots": True})
    assert await told(a, "/v1/shares/later/smb") == {"s": "the folder of the share was not there when it was taken"}
    assert a.mechanisms.smb.shown("later") == ()
    await take(a, node, "t")
    assert (await told(a))["t"] == "it is not mounted yet"
    await look(a)
    assert (await told(a, "/v1/shares/later/smb"))["t"] is None
    snapshots = node.mechanisms.volumes.snapshots
    snapshots["main", "docs", "t"] = replace(snapshots["main", "docs", "t"], is_overflown=True)
    await look(a)
    assert (await told(a))["t"] == "it overflowed and holds nothing any more"
    assert visible(a) == [["s"], ["s"]]
    assert not is_mounted(a, "t")


async def test_a_copy_leaves_out_the_folder_that_is_there_for_snapshots(a: Appliance) -> None:
    out = a.system.services.share_snapshots.left_out
    assert [(rule.pattern, rule.is_included) for rule in await out("docs")] == [("/.snapshots/", False)]
    await a.change("PUT", NFS, HOSTS)
    assert await out("docs") == ()


async def test_a_destination_of_replication_has_no_folder_made_in_it(a: Appliance) -> None:
    await a.change("PUT", "/v1/agent", {"is_enabled": True, "address": "127.0.0.1", "port": 8873})
    replica: dict[str, Any] = {"name": "r", "share": "docs", "user": "u", "allowed_sources": ["127.0.0.1"]}
    await a.change("POST", "/v1/replica-shares", {**replica, "password": PASSWORD})
    assert visible(a) == [["s"], []]
    assert "destination of replication" in str((await told(a, NFS))["s"])
    assert (await a.get(NFS))["drift"] == []
    await a.change("DELETE", "/v1/replica-shares/r")
    assert visible(a) == [["s"], ["s"]]
