"""The contract and the fake's rules on the kernel that this runs on: pytest is given this file inside a lab node.

It needs root, brd with four devices, and targets nobody else uses.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.hooks.base import Host
from holdfast.hooks.target import TargetDriver, TargetSpec, TargetState
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.target import PASSWORD, TargetContract, make_other_spec, make_spec, with_chap
from holdfast_iscsi_lio.plugin import Plugin
from holdfast_iscsi_lio.reading import Reader
from holdfast_iscsi_lio.settings import Settings
from plugins.iscsi_lio.tests.fake_configfs import play
from plugins.iscsi_lio.tests.foreign import FOREIGN_CHANGES, store_of
from plugins.iscsi_lio.tests.registered import registered


def this_machine(tmp_path: Path) -> Host:
    return Host("here", SystemCommands(), KernelFs(), SystemClock(), tmp_path, tmp_path)


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[TargetDriver]:
    opened = await Plugin().target_driver().open(Settings(deadline_s=5.0), this_machine(tmp_path))
    yield opened
    for spec in (make_spec(("/dev/ram0", "/dev/ram1")), make_other_spec()):
        await opened.remove(spec.name, spec.iqn)


class TestLioOnThisKernel(TargetContract):
    """The contract on real configfs and real block devices."""

    @pytest.fixture
    def driver(self, driver: TargetDriver) -> TargetDriver:
        return driver

    def reservations_text(self, spec: TargetSpec) -> str:
        return registered(spec)


async def test_nothing_is_missing_here(tmp_path: Path) -> None:
    assert await Plugin().target_driver().probe(Settings(5.0), this_machine(tmp_path)) == ()


async def test_the_kernel_keeps_the_rules_of_the_fake(driver: TargetDriver) -> None:
    assert play(KernelFs()) == []


async def test_no_secret_reaches_the_log_on_a_real_kernel(
    driver: TargetDriver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await driver.activate(with_chap(make_spec(("/dev/ram0", "/dev/ram1"))))
    assert "auth/password" in caplog.text
    assert PASSWORD not in caplog.text


# A memory disk takes no unmapping.
@pytest.mark.parametrize("what", sorted(FOREIGN_CHANGES.keys() - {"a unit's attribute"}))
async def test_what_somebody_else_changed_is_seen_and_mended(driver: TargetDriver, what: str) -> None:
    spec = make_spec(("/dev/ram0", "/dev/ram1"))
    await driver.activate(spec)
    FOREIGN_CHANGES[what](KernelFs(), spec)
    assert await driver.state(spec) is TargetState.PARTIAL
    await driver.activate(spec)
    assert await driver.state(spec) is TargetState.ACTIVE


async def test_what_was_made_afresh_is_watched_too(driver: TargetDriver) -> None:
    spec, kernel = make_spec(("/dev/ram0", "/dev/ram1")), KernelFs()
    await driver.activate(spec)
    await driver.deactivate(spec.name, spec.iqn)
    kernel.write(f"{store_of(kernel, spec)}/wwn/vendor_id", "EVE")
    await driver.stage(spec)
    assert await driver.state(spec) is TargetState.STAGED


async def test_what_only_this_driver_changes_is_not_read_again(
    driver: TargetDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(("/dev/ram0", "/dev/ram1"))
    await driver.stage(spec)

    def look(*_: object) -> None:
        raise AssertionError("the target was read")

    with monkeypatch.context() as unread:
        unread.setattr(Reader, "look", look)
        unread.setattr(Reader, "tree", look)
        await driver.activate(spec)
        await driver.activate(spec)
        await driver.activate(replace(spec, units=spec.units[:1]))
        await driver.activate(spec)
        await driver.deactivate(spec.name, spec.iqn)
        await driver.activate(spec)
    assert await driver.state(spec) is TargetState.ACTIVE
