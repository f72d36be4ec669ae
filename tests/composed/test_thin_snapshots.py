"""Snapshots of thin volumes on a whole daemon: without a reserve, with room from the thin pool, and when that fills."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.hooks.pools import ThinPool
from tests.composed.appliance import Appliance, Refused, World
from tests.composed.tasks import TASK, make_task, settled
from tests.composed.test_jobs_killed import MortalNode, kill_at_every_mark
from tests.composed.test_snapshot_schedules import events_of

MIB = 1 << 20
SIZE = 400 * MIB
HOUR = timedelta(hours=1)
ONE, POLICY, THIN = "/v1/snapshots/docs/s", "/v1/volumes/docs/snapshot-policy", "/v1/pools/main/thin"


@pytest.fixture
def node(directory: Path) -> MortalNode:
    return MortalNode(World(), directory / "a")


@pytest.fixture
async def a(node: MortalNode) -> AsyncIterator[Appliance]:
    async with node.running() as appliance:
        await prepare(appliance)
        yield appliance


async def prepare(a: Appliance) -> None:
    """A share on a thin volume, with 8 MiB and a snapshot, changed since; half as much again may be promised."""
    await a.change("POST", "/v1/pools", {"name": "main", "disks": ["/dev/memory-1"]})
    await a.change("PUT", THIN, {"size_bytes": SIZE, "most_promised_percent": 150})
    volume = {"pool": "main", "name": "docs", "size_bytes": SIZE, "kind": "nas", "is_thin": True}
    await a.change("POST", "/v1/volumes", volume)
    await a.change("POST", "/v1/shares", {"name": "docs", "volume": "docs", "path": "x"})
    (home(a) / "file").write_text("then")
    (home(a) / "large").write_bytes(bytes(8 * MIB))
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": "s"})
    (home(a) / "file").write_text("now")


def home(a: Appliance) -> Path:
    return a.config.mount_dir / "main" / "docs" / "x"


async def refusal(a: Appliance, method: str, path: str, body: Any = None) -> list[tuple[str, str | None]]:
    """The code and the field of each reason."""
    with pytest.raises(Refused) as refused:
        await a.change(method, path, body)
    assert all(reason["remedy"] for reason in refused.value.problem["reasons"])
    return [(reason["code"], reason.get("field")) for reason in refused.value.problem["reasons"]]


async def names(a: Appliance) -> list[str]:
    return [snapshot["name"] for snapshot in await a.items("/v1/snapshots")]


async def test_it_has_no_reserve_and_who_asks_for_one_is_told_what_else_to_do(a: Appliance) -> None:
    shown = await a.get(ONE)
    assert (shown["is_thin"], shown["reserve_bytes"], shown["used_percent"], shown["alerts"]) == (True, 0, None, [])
    assert shown["used_bytes"] == 8 * MIB + len("then")
    no_reserve = [("no-reserve", "reserve_bytes")]
    asked = {"volume": "docs", "name": "t", "reserve_bytes": 64 * MIB}
    assert await refusal(a, "POST", "/v1/snapshots", asked) == no_reserve
    assert await refusal(a, "POST", f"{ONE}/extend", {"reserve_bytes": 64 * MIB}) == no_reserve
    daily = {"every_hours": 1, "retention": {"last": 1}, "reserve_bytes": 64 * MIB}
    assert await refusal(a, "PUT", "/v1/volumes/docs/snapshot-schedules/daily", daily) == no_reserve
    no_policy = [("no-reserve", "policy")]
    asked = {"volume": "docs", "name": "t", "policy": {"action": "extend"}}
    assert await refusal(a, "POST", "/v1/snapshots", asked) == no_policy
    assert await refusal(a, "PUT", f"{ONE}/policy", {"policy": {"action": "extend"}}) == no_policy
    assert await names(a) == ["s"]


async def test_a_policy_is_kept_and_says_what_it_does_not_do(a: Appliance) -> None:
    told = (await a.change("PUT", POLICY, {"action": "extend"}))["result"]
    assert (told["action"], "does nothing for them" in told["notice"]) == ("extend", True)
    await a.change("PUT", POLICY, {"action": "drop_oldest", "alert_percent": 70})
    assert "used to 70 %" in (await a.get(POLICY))["notice"]
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "thick", "size_bytes": SIZE, "kind": "nas"})
    assert (await a.get("/v1/volumes/thick/snapshot-policy"))["notice"] is None


async def test_the_thin_pool_promises_what_it_holds_and_no_more_than_it_may(a: Appliance, node: MortalNode) -> None:
    promised = (await a.get("/v1/pools/main"))["thin"]["promised_bytes"]
    assert promised == SIZE + (await a.get(ONE))["used_bytes"]
    (home(a) / "much").write_bytes(bytes(100 * MIB))
    await a.change("POST", "/v1/snapshots", {"volume": "docs", "name": "t"})
    assert await refusal(a, "POST", "/v1/snapshots", {"volume": "docs", "name": "u"}) == [("promised", None)]
    assert await refusal(a, "POST", f"{ONE}/roll-back?confirm=docs") == [("no-space", None)]
    assert await refusal(a, "POST", f"{ONE}/clone", {"name": "clone"}) == [("promised", None)]
    await a.change("DELETE", "/v1/snapshots/docs/t?confirm=t")
    # What is nearly full takes no more, whatever was promised.
    thin = node.mechanisms.volumes.thin["main"]
    node.mechanisms.volumes.thin["main"] = replace(thin, metadata_used_percent=95.0)
    asked = {"volume": "docs", "name": "u"}
    assert await refusal(a, "POST", "/v1/snapshots", asked) == [("thin-pool-full", None)]
    assert await names(a) == ["s"]
    with pytest.raises(Refused, match=r"docs\.snap|docs, s"):
        await a.change("DELETE", THIN)


async def test_it_is_mounted_locked_and_files_come_back_from_it(a: Appliance, node: MortalNode) -> None:
    await a.change("POST", f"{ONE}/mount")
    place = Path((await a.get(ONE))["mounted_at"])
    assert (place / "x" / "file").read_text() == "then"
    await a.change("POST", f"{ONE}/unmount")
    await a.change("POST", f"{ONE}/restore", {"share": "docs", "path": "file", "may_replace": True})
    assert (home(a) / "file").read_text() == "then"
    until = node.clock.now() + timedelta(days=1)
    await a.change("PUT", f"{ONE}/lock", {"locked_until": until.isoformat()})
    assert await refusal(a, "DELETE", f"{ONE}?confirm=s") == [("locked", None)]


async def test_a_clone_is_thin_too_and_stays_when_the_snapshot_goes(a: Appliance) -> None:
    await a.change("PUT", THIN, {"most_promised_percent": 300})
    made = (await a.change("POST", f"{ONE}/clone", {"name": "clone", "label": "to look"}))["result"]
    assert (made["is_thin"], made["label"], made["drift"]) == (True, "to look", [])
    await a.change("DELETE", f"{ONE}?confirm=s")
    copy = Path(made["mounted_at"]) / "x" / "file"
    assert copy.read_text() == "then"
    copy.write_text("mine")
    assert (home(a) / "file").read_text() == "now"


async def test_a_rollback_is_finished_wherever_its_daemon_was_killed(directory: Path) -> None:
    node = MortalNode(World(), directory)
    async with node.running() as a:
        await prepare(a)
        await a.change("PUT", THIN, {"most_promised_percent": 1000})
    await kill_at_every_mark(node, "volume.roll-back", f"{ONE}/roll-back?confirm=docs", {})
    async with node.running() as a:
        assert (home(a) / "file").read_text() == "then"
        assert (await a.get("/v1/volumes/docs"))["drift"] == []
        assert all(snapshot["is_thin"] for snapshot in await a.items("/v1/snapshots"))
        assert "s" in await names(a)


# --- when the thin pool fills ---


async def scheduled(a: Appliance, node: MortalNode, number: int) -> None:
    """Snapshots that a schedule took, the oldest first."""
    starts_at = (node.clock.now() + HOUR).isoformat()
    body = {"every_hours": 1, "starts_at": starts_at, "retention": {"last": 10}}
    await a.change("PUT", "/v1/volumes/docs/snapshot-schedules/h", body)
    for _ in range(number):
        node.clock.let_pass(HOUR)
        await a.system.services.snapshot_side.schedules.look()
        await settled(a)


def fill(node: MortalNode, percent: float) -> None:
    thin: ThinPool = node.mechanisms.volumes.thin["main"]
    node.mechanisms.volumes.thin["main"] = replace(thin, used_percent=percent)


@pytest.mark.parametrize(
    ("policy", "grows", "percent", "gone"),
    [
        ({"action": "drop_oldest"}, False, 85.0, 1),
        ({"action": "drop_oldest"}, False, 79.0, 0),
        ({"action": "drop_oldest", "alert_percent": 90}, False, 85.0, 0),
        ({"action": "drop_oldest"}, True, 85.0, 0),
        ({"action": "extend"}, False, 99.0, 0),
        ({}, False, 99.0, 0),
    ],
)
async def test_only_where_a_policy_says_so_the_oldest_that_nothing_needs_goes_for_a_full_thin_pool(
    a: Appliance, node: MortalNode, policy: dict[str, Any], grows: bool, percent: float, gone: int
) -> None:
    await a.change("PUT", THIN, {"most_promised_percent": 1000, "grows_itself": grows})
    await scheduled(a, node, 2)
    before = [snapshot for snapshot in await a.items("/v1/snapshots") if snapshot["schedule"]]
    assert len(before) == 2
    await a.change("PUT", POLICY, policy)
    fill(node, percent)
    is_close = await a.system.services.snapshot_side.watch.look()
    after = await names(a)
    assert is_close is (policy.get("action") == "drop_oldest" and percent >= policy.get("alert_percent", 80))
    assert after == [*(snapshot["name"] for snapshot in before[gone:]), "s"]
    # Of what a person took none ever goes.
    for _ in range(3):
        await a.system.services.snapshot_side.watch.look()
    assert ("s" in await names(a), len(await names(a))) == (True, 1 if gone else 3)
    assert len(await events_of(a, "snapshot.dropped")) == 2 * gone


# --- replication ---


async def test_a_run_copies_from_a_thin_snapshot_and_the_copy_that_is_kept_is_one(node: MortalNode) -> None:
    async with node.running() as a:
        await make_task(a, is_thin=True)
        await a.change("PUT", "/v1/replica-shares/replica/retention", {"last": 2})
        run = await a.change("POST", f"{TASK}/run")
        assert any("in the snapshot run-" in line and "thin" in line for line in run["log"])
        await a.system.services.kept_copies.look()
        await settled(a)
        (kept,) = await a.items("/v1/replica-shares/replica/copies")
        assert (kept["reserve_bytes"], kept["is_void"]) == (0, False)
        # That of the run is gone with it.
        assert [(one["volume"], one["is_thin"]) for one in await a.items("/v1/snapshots")] == [("copy", True)]
