"""What disks tell of themselves on a whole daemon: shown, asked seldom, told when worse, and never in the way."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.services.pools import disk_health
from tests.composed.appliance import Appliance, World
from tests.composed.test_jobs_killed import MortalNode
from tests.composed.test_snapshot_schedules import events_of

ONE, TWO, THREE = (f"/dev/memory-{number}" for number in (1, 2, 3))
EVERY = timedelta(seconds=disk_health.ASK_EVERY_S)


@pytest.fixture
def node(directory: Path) -> MortalNode:
    return MortalNode(World(), directory / "a")


@pytest.fixture
async def a(node: MortalNode) -> AsyncIterator[Appliance]:
    async with node.running() as appliance:
        await appliance.change("POST", "/v1/pools", {"name": "main", "disks": [ONE]})
        yield appliance
        await appliance.system.services.disk_healths.end()


def answer(*, media_errors: int = 0, used: int = 5, warning: int = 0) -> str:
    log = {"critical_warning": warning, "percentage_used": used, "media_errors": media_errors, "temperature": 35}
    status = {"passed": not warning}
    told = {"serial_number": "N1", "smart_status": status, "nvme_smart_health_information_log": log}
    return json.dumps({"smartctl": {"exit_status": 0}, **told})


async def health(a: Appliance) -> Any:
    """Of the pool's disk."""
    return (await a.get("/v1/pools/main"))["members"][0]["health"]


async def later(a: Appliance, node: MortalNode, told: str) -> Any:
    """After it was asked again."""
    node.mechanisms.volumes.told[ONE] = told
    node.clock.let_pass(EVERY)
    await a.system.services.disk_healths.look()
    await a.system.services.disk_healths.idle()
    return await health(a)


async def test_every_disk_is_shown_with_what_it_tells_or_why_it_does_not(a: Appliance, node: MortalNode) -> None:
    node.mechanisms.volumes.told[ONE] = answer()
    told = {disk["path"]: disk["health"] for disk in await a.items("/v1/disks")}
    assert (told[ONE]["verdict"], told[ONE]["temperature_celsius"], told[ONE]["wear_percent"]) == ("good", 35, 5)
    assert told[ONE]["asked_at"] is not None
    assert (told[TWO]["verdict"], told[TWO]["asked_at"]) == ("unknown", None)
    assert "memory has no SMART" in told[TWO]["why"]
    assert await health(a) == told[ONE]


async def test_nobody_makes_it_be_asked_oftener_than_now_and_again(a: Appliance, node: MortalNode) -> None:
    node.mechanisms.volumes.told[ONE] = answer()
    for _ in range(3):
        assert (await health(a))["verdict"] == "good"
        await a.system.services.disk_healths.look()
    assert node.mechanisms.volumes.asked == [ONE]
    await later(a, node, answer())
    assert node.mechanisms.volumes.asked == [ONE, ONE]


async def test_one_that_fails_or_gets_worse_is_told_once(a: Appliance, node: MortalNode) -> None:
    node.mechanisms.volumes.told[ONE] = answer(media_errors=2)
    first = await health(a)
    assert (first["verdict"], first["media_errors"], first["alerts"]) == ("good", 2, [])
    worse = await later(a, node, answer(media_errors=3))
    assert (worse["verdict"], [alert["code"] for alert in worse["alerts"]]) == ("good", ["disk-worse"])
    again = await later(a, node, answer(media_errors=3, used=95))
    assert (again["verdict"], sorted(alert["code"] for alert in again["alerts"])) == (
        "warning",
        ["disk-worn", "disk-worse"],
    )
    failing = await later(a, node, answer(media_errors=3, used=95, warning=4))
    assert failing["verdict"] == "failing"
    await later(a, node, answer(media_errors=3, used=95, warning=4))
    for kind, number in (("disk.worse", 1), ("disk.warning", 1), ("disk.failing", 1), ("disk.good", 0)):
        told = await events_of(a, kind)
        assert ([event["subject"] for event in told], kind) == ([f"disk:{ONE}"] * number, kind)
    node.clock.let_pass(disk_health.WORSE_FOR)
    assert "disk-worse" not in [alert["code"] for alert in (await later(a, node, answer(media_errors=3)))["alerts"]]
    assert len(await events_of(a, "disk.good")) == 1


async def test_what_was_told_is_known_after_a_restart_and_by_the_disk_not_its_path(node: MortalNode) -> None:
    async with node.running() as a:
        node.mechanisms.volumes.told[TWO] = answer(media_errors=2)
        await a.items("/v1/disks")
    async with node.running() as a:
        node.mechanisms.volumes.told = {THREE: answer(media_errors=7)}
        (shown,) = [disk["health"] for disk in await a.items("/v1/disks") if disk["path"] == THREE]
        assert [alert["code"] for alert in shown["alerts"]] == ["disk-worse"]
        assert "7 where there were 2" in shown["alerts"][0]["text"]


async def test_one_that_sleeps_is_left_asleep_and_shown_as_it_was(a: Appliance, node: MortalNode) -> None:
    node.mechanisms.volumes.told[ONE] = answer(media_errors=2)
    awake = await health(a)
    asleep = await later(a, node, '{"smartctl": {"exit_status": 3}}')
    assert asleep == {**awake, "is_asleep": True}
    assert (await later(a, node, answer(media_errors=2)))["is_asleep"] is False


async def test_one_that_hangs_keeps_nobody_waiting(a: Appliance, node: MortalNode) -> None:
    node.mechanisms.volumes.told[ONE] = answer()
    node.mechanisms.volumes.hung.add(TWO)
    began_s = time.monotonic()
    told = {disk["path"]: disk["health"] for disk in await a.items("/v1/disks")}
    assert time.monotonic() - began_s < 2 * disk_health.SHOWN_WITHIN_S
    assert (told[ONE]["verdict"], told[TWO]["verdict"], told[TWO]["why"]) == (
        "good",
        "unknown",
        disk_health.NOT_YET.why,
    )
    # It is not asked again while it is silent, and the others are.
    node.clock.let_pass(EVERY)
    await a.system.services.disk_healths.look()
    await a.change("POST", "/v1/volumes", {"pool": "main", "name": "v1", "size_bytes": 64 << 20, "kind": "iscsi"})
    assert node.mechanisms.volumes.asked.count(TWO) == 1
    assert node.mechanisms.volumes.asked.count(ONE) == 2
