"""Snapshots on a whole daemon: taken, locked, mounted, rolled back to, cloned, and files brought back from them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.composed.appliance import Appliance, Refused, World
from tests.composed.test_jobs_killed import MortalNode, kill_at_every_mark

MIB = 1 << 20
ONE = "/v1/snapshots/docs/s"


@pytest.fixture
def node(directory: Path) -> MortalNode:
    return MortalNode(World(), directory / "a")


@pytest.fixture
async def a(node: MortalNode) -> AsyncIterator[Appliance]:
    async with node.running() as appliance:
        await prepare(appliance)
        yield appliance


async def prepare(a: Appliance) -> None:
    """A share with one file, of which there is a snapshot, and which has changed since."""
    await a.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "docs", "size_bytes": 400 * MIB, "kind": "nas"})
    await a.change("POST", "/v1/shares", {"name": "docs", "volume": "docs", "path": "x"})
    (home(a) / "file").write_text("then")
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": "s"})
    (home(a) / "file").write_text("now")
    (home(a) / "new").write_text("new")


def home(a: Appliance) -> Path:
    return a.config.mount_dir / "main" / "docs" / "x"


async def refusal(a: Appliance, method: str, path: str, body: Any = None) -> tuple[int, list[str]]:
    """How a change is refused: its status, and the code of each reason."""
    with pytest.raises(Refused) as refused:
        await a.change(method, path, body)
    return refused.value.status, [reason["code"] for reason in refused.value.problem["reasons"]]


async def names(a: Appliance) -> list[str]:
    return [snapshot["name"] for snapshot in await a.items("/v1/snapshots")]


# --- taking and keeping ---


async def test_a_snapshot_has_a_tenth_of_its_volume_and_tells_when_it_was_taken(a: Appliance, node: MortalNode) -> None:
    shown = await a.get(ONE)
    assert shown["reserve_bytes"] == 40 * MIB
    assert (shown["cause"], shown["schedule"], shown["locked_until"]) == ("person", None, None)
    assert shown["taken_at"] <= node.clock.now().isoformat()
    assert (shown["policy"]["action"], shown["alerts"], shown["mounted_at"]) == ("stop", [], None)


async def test_a_locked_one_goes_for_nobody_before_its_date(a: Appliance, node: MortalNode) -> None:
    until = node.clock.now() + timedelta(days=30)
    await a.change("PUT", f"{ONE}/lock", {"locked_until": until.isoformat()})
    assert await refusal(a, "DELETE", f"{ONE}?confirm=s") == (409, ["locked"])
    # Set back, the lock lasts longer; it is never made shorter, and has an end that can be reached.
    node.clock.ahead -= timedelta(days=400)
    assert await refusal(a, "DELETE", f"{ONE}?confirm=s") == (409, ["locked"])
    node.clock.ahead += timedelta(days=400)
    for earlier, status in ((until - timedelta(seconds=1), 409), (node.clock.now(), 400)):
        refused = await refusal(a, "PUT", f"{ONE}/lock", {"locked_until": earlier.isoformat()})
        assert refused == (status, ["locked" if status == 409 else "bad-lock"])
    node.clock.ahead += timedelta(days=31)
    await a.change("DELETE", f"{ONE}?confirm=s")
    assert await names(a) == []


async def test_more_room_is_given_and_never_taken(a: Appliance) -> None:
    await a.change("POST", f"{ONE}/extend", {"reserve_bytes": 80 * MIB})
    assert (await a.get(ONE))["reserve_bytes"] == 80 * MIB
    assert await refusal(a, "POST", f"{ONE}/extend", {"reserve_bytes": 80 * MIB}) == (409, ["not-larger"])
    assert await refusal(a, "POST", f"{ONE}/extend", {"reserve_bytes": 8000 * MIB}) == (507, ["no-space"])


# --- beside its volume ---


async def test_a_mounted_one_is_readable_beside_its_volume_and_stays_until_unmounted(
    a: Appliance, node: MortalNode
) -> None:
    for _ in range(2):
        await a.change("POST", f"{ONE}/mount")
    place = Path((await a.get(ONE))["mounted_at"])
    assert place == a.config.mount_dir / "main" / "docs.snapshots" / "s"
    assert (place / "x" / "file").read_text() == "then"
    assert await refusal(a, "DELETE", f"{ONE}?confirm=s") == (409, ["mounted"])
    # A boot forgets mounts, and the daemon brings this one back.
    node.mechanisms.volumes.reboot()
    await a.system.services.reconciler.once()
    assert a.system.services.reconciler.drift == ()
    assert (place / "x" / "file").read_text() == "then"
    await a.change("POST", f"{ONE}/unmount")
    assert ((await a.get(ONE))["mounted_at"], place.parent.exists()) == (None, False)
    await a.change("DELETE", f"{ONE}?confirm=s")


async def test_what_overflowed_is_told_and_not_mounted_and_a_lock_keeps_nothing_of_it(
    a: Appliance, node: MortalNode
) -> None:
    until = node.clock.now() + timedelta(days=30)
    await a.change("PUT", f"{ONE}/lock", {"locked_until": until.isoformat()})
    await a.change("POST", f"{ONE}/mount")
    (home(a) / "much").write_bytes(bytes(50 * MIB))
    await a.system.services.snapshot_side.watch.look()
    await a.system.services.reconciler.once()
    shown = await a.get(ONE)
    assert (shown["is_overflown"], shown["mounted_at"]) == (True, None)
    assert [alert["code"] for alert in shown["alerts"]] == ["snapshot-overflown"]
    assert await refusal(a, "POST", f"{ONE}/mount") == (409, ["overflown"])
    assert await refusal(a, "POST", f"{ONE}/clone", {"name": "c"}) == (409, ["overflown"])
    assert await refusal(a, "POST", f"{ONE}/roll-back?confirm=docs") == (409, ["overflown"])
    await a.change("DELETE", f"{ONE}?confirm=s")
    assert (home(a) / "file").read_text() == "now"


# --- rolling back ---


async def test_a_rollback_keeps_what_it_takes_away(a: Appliance) -> None:
    assert (await refusal(a, "POST", f"{ONE}/roll-back"))[1] == ["confirm"]
    assert (await refusal(a, "POST", f"{ONE}/roll-back?confirm=s"))[1] == ["confirm"]
    job = await a.change("POST", f"{ONE}/roll-back?confirm=docs")
    assert sorted(path.name for path in home(a).iterdir()) == ["file"]
    assert (home(a) / "file").read_text() == "then"
    kept = job["result"]["kept_as"]
    assert sorted(await names(a)) == [kept, "s"]
    assert (await a.get(f"/v1/snapshots/docs/{kept}"))["cause"] == "rollback"
    # And back again.
    await a.change("POST", f"/v1/snapshots/docs/{kept}/roll-back?confirm=docs")
    assert (home(a) / "file").read_text() == "now"


async def test_a_rollback_is_refused_with_every_reason(a: Appliance, node: MortalNode) -> None:
    await a.change("POST", f"{ONE}/mount")
    await a.change("PUT", "/v1/agent", {"is_enabled": True, "address": "127.0.0.1", "port": 8873})
    login = {"user": "copier", "password": "secret enough"}
    await a.change(
        "POST", "/v1/replica-shares", {"name": "r", "share": "docs", "allowed_sources": ["127.0.0.1"], **login}
    )
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": "tiny", "reserve_bytes": 4 * MIB})
    (home(a) / "file").write_bytes(bytes(3 * MIB))
    await a.change("POST", f"{ONE}/extend", {"reserve_bytes": 400 * MIB})
    assert await refusal(a, "POST", f"{ONE}/roll-back?confirm=docs") == (409, ["in-use", "mounted", "would-overflow"])
    assert (home(a) / "new").read_text() == "new"


async def test_a_volume_that_somebody_has_open_is_not_rolled_back_and_stays_served(
    a: Appliance, node: MortalNode
) -> None:
    node.mechanisms.volumes.held.add(str(home(a).parent))
    with pytest.raises(Refused, match="in use"):
        await a.change("POST", f"{ONE}/roll-back?confirm=docs")
    node.mechanisms.volumes.held.clear()
    assert (await a.get("/v1/volumes/docs"))["drift"] == []
    assert ((home(a) / "file").read_text(), await names(a)) == ("now", ["s"])


async def test_clients_are_let_go_of_for_a_rollback_unless_they_hold_a_file(a: Appliance) -> None:
    await a.change("PUT", "/v1/shares/docs/nfs", {"clients": [{"network": "10.0.0.0/24"}]})
    exported = a.mechanisms.nfs
    host = exported.connect("docs", "10.0.0.7")
    assert host is not None
    with pytest.raises(Refused, match="holds open") as refused:
        await a.change("POST", f"{ONE}/roll-back?confirm=docs")
    assert [reason["code"] for reason in refused.value.problem["reasons"]] == ["held"]
    assert (await a.get("/v1/shares/docs/nfs"))["drift"] == []
    exported.served.sessions.clear()
    await a.change("POST", f"{ONE}/roll-back?confirm=docs")
    assert (home(a) / "file").read_text() == "then"
    assert (await a.get("/v1/shares/docs/nfs"))["drift"] == []


async def test_an_exported_volume_is_not_rolled_back(a: Appliance) -> None:
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "disk", "size_bytes": 64 * MIB, "kind": "iscsi"})
    await a.change("POST", "/v1/snapshots", {"volume": "disk", "name": "s"})
    target = {"name": "t", "units": [{"lun": 1, "volume": "disk"}], "is_open": True}
    await a.change("POST", "/v1/targets", {**target, "portals": [{"address": "127.0.0.1", "port": 3260}]})
    assert await refusal(a, "POST", "/v1/snapshots/disk/s/roll-back?confirm=disk") == (409, ["in-use"])
    await a.change("DELETE", "/v1/targets/t?confirm=t")
    await a.change("POST", "/v1/snapshots/disk/s/roll-back?confirm=disk")


async def test_a_rollback_goes_on_wherever_it_was_killed(node: MortalNode) -> None:
    async with node.running() as a:
        await prepare(a)
    died = await kill_at_every_mark(node, "volume.roll-back", f"{ONE}/roll-back?confirm=docs", {})
    assert died == 2 * 5
    async with node.running() as a:
        assert (home(a) / "file").read_text() == "then"
        assert len(await names(a)) == 2
        assert (await a.get("/v1/volumes/docs"))["drift"] == []


# --- clones ---


async def test_a_clone_is_a_volume_of_its_own(a: Appliance) -> None:
    assert await refusal(a, "POST", f"{ONE}/clone", {"name": "docs"}) == (409, ["exists"])
    job = await a.change("POST", f"{ONE}/clone", {"name": "copy", "label": "for a look"})
    assert (job["result"]["label"], job["result"]["drift"]) == ("for a look", [])
    assert (a.config.mount_dir / "main" / "copy" / "x" / "file").read_text() == "then"
    await a.change("DELETE", f"{ONE}?confirm=s")
    await a.change("DELETE", "/v1/volumes/copy?confirm=copy")


async def test_a_clone_goes_on_wherever_it_was_killed(node: MortalNode) -> None:
    async with node.running() as a:
        await prepare(a)
    assert await kill_at_every_mark(node, "snapshot.clone", f"{ONE}/clone", {"name": "copy"}) == 2 * 4
    async with node.running() as a:
        assert (a.config.mount_dir / "main" / "copy" / "x" / "file").read_text() == "then"
        assert (await a.get("/v1/volumes/copy"))["drift"] == []


# --- single files ---


async def test_a_file_comes_back_once_it_was_said_that_it_may_replace_what_is_there(a: Appliance) -> None:
    asked = {"share": "docs", "path": "file"}
    told = (await a.change("POST", f"{ONE}/preview-restore", asked))["result"]
    assert told["entries"] == [{"path": "file", "action": "replace", "size_bytes": 4}]
    assert await refusal(a, "POST", f"{ONE}/restore", asked) == (200, ["would-replace"])
    assert (home(a) / "file").read_text() == "now"
    beside = (await a.change("POST", f"{ONE}/restore", {**asked, "to": "found/file-then"}))["result"]
    assert (beside["counts"]["create"], (home(a) / "found" / "file-then").read_text()) == (1, "then")
    await a.change("POST", f"{ONE}/restore", {**asked, "may_replace": True})
    assert ((home(a) / "file").read_text(), (home(a) / "new").read_text()) == ("then", "new")
    assert list((a.config.run_dir / "restores").iterdir()) == []


@pytest.mark.parametrize("field", ["path", "to"])
@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../b"])
async def test_nothing_outside_of_the_share_is_named(a: Appliance, field: str, path: str) -> None:
    body = {"share": "docs", "path": "file", field: path}
    assert await refusal(a, "POST", f"{ONE}/restore", body) == (400, ["bad-path"])


async def test_a_restore_goes_on_wherever_it_was_killed(node: MortalNode) -> None:
    async with node.running() as a:
        await prepare(a)
    body = {"share": "docs", "may_replace": True}
    assert await kill_at_every_mark(node, "snapshot.restore", f"{ONE}/restore", body) == 2 * 4
    async with node.running() as a:
        assert ((home(a) / "file").read_text(), (home(a) / "new").read_text()) == ("then", "new")
        assert await names(a) == ["s"]
        assert list((a.config.run_dir / "restores").iterdir()) == []
