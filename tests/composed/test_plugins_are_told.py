"""A plugin that cannot be used never stops the daemon: `GET /v1/plugins` says which, how it stands with it, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema, fields

from holdfast.config import PluginSettings
from holdfast.hooks.base import CONTRACT, ContractVersion, Driver, Host, Missing, Offer, hookimpl
from holdfast.hooks.volume import VolumeDriver
from holdfast.loading.discovery import Found
from holdfast.testing.memory_volume import MemoryVolumes
from tests.composed.appliance import NoSettings, nothing_missing, offer_of, running


class Strict(Schema):
    depth = fields.Integer(required=True)


class Plugin:
    """Offers the volume role as a test says."""

    def __init__(self, offer: Offer[Any]) -> None:
        self._offer = offer

    @hookimpl
    def volume_driver(self) -> Offer[VolumeDriver]:
        return self._offer


async def without_its_tool(settings: Any, host: Host) -> tuple[Missing, ...]:
    return (Missing("the command lvm is not installed", "install the package lvm2"),)


async def never_opened(settings: Any, host: Host) -> Driver:
    raise AssertionError("it is opened though its offer was refused")


def broken_on_import() -> Found:
    return Found("p", "holdfast-p", "1.0", None, "ImportError: no module named tiger")


def of_another_contract() -> Found:
    other = ContractVersion(CONTRACT.major + 1, 0)
    return Found("p", None, None, Plugin(Offer("p", other, NoSettings, nothing_missing, never_opened)), None)


def with_bad_settings() -> Found:
    return Found("p", None, None, Plugin(Offer("p", CONTRACT, Strict, nothing_missing, never_opened)), None)


def lacking_its_tool() -> Found:
    return Found("p", None, None, Plugin(Offer("p", CONTRACT, NoSettings, without_its_tool, never_opened)), None)


CASES: dict[str, tuple[Found | None, str, str]] = {
    "missing": (None, "unavailable", "not installed"),
    "broken on import": (broken_on_import(), "broken", "no module named tiger"),
    "for another contract": (of_another_contract(), "incompatible", f"contract {CONTRACT.major + 1}.0"),
    "with bad settings": (with_bad_settings(), "misconfigured", "[plugins.p] deep"),
    "without its tool": (lacking_its_tool(), "unavailable", "the command lvm is not installed"),
}


@pytest.mark.parametrize("what", CASES)
async def test_the_daemon_runs_and_says_which_and_why(directory: Path, what: str) -> None:
    plugin, state, words = CASES[what]
    plugins = () if plugin is None else (plugin,)
    settings = {"p": PluginSettings(settings={"deep": 1} if what == "with bad settings" else {})}
    async with running("a", directory, plugins, settings=settings) as node:
        told = await node.items("/v1/plugins")
        assert (await node.get("/v1/node"))["node"] == "a"
    assert [(item["name"], item["state"]) for item in told] == [("p", state)]
    reasons = told[0]["reasons"]
    assert any(words in reason["text"] for reason in reasons), reasons
    assert all(reason["remedy"] for reason in reasons)


async def test_a_plugin_that_can_be_used_is_ready(directory: Path) -> None:
    plugin = Found("p", None, None, Plugin(offer_of("p", MemoryVolumes(directory / "content"))), None)
    async with running("a", directory, (plugin,)) as node:
        told = await node.items("/v1/plugins")
    assert [(item["name"], item["state"], item["reasons"]) for item in told] == [("p", "ready", [])]
