from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema, fields, post_load

from holdfast.config import Config, PluginSettings
from holdfast.errors import HoldfastError, UnavailableError
from holdfast.hooks.base import CONTRACT, ContractVersion, Host, Missing, Offer, hookimpl
from holdfast.hooks.volume import VolumeChange, VolumeDriver
from holdfast.loading.discovery import Found, PluginHooks
from holdfast.loading.judging import Loaded, PluginReport, PluginState, judge_version, load_plugins
from holdfast.testing.fakes import ScriptedCommands, make_host
from holdfast.testing.memory_volume import MemoryVolumes
from holdfast.values import Secret


@dataclass(frozen=True)
class Settings:
    speed: int
    password: Secret | None


class SettingsSchema(Schema):
    speed = fields.Integer(load_default=3, strict=True)
    password = fields.String(load_default=None)

    @post_load
    def _make(self, data: dict[str, Any], **keywords: Any) -> Settings:
        return Settings(data["speed"], None if data["password"] is None else Secret(data["password"]))


class Volumes(MemoryVolumes):
    closed = False

    async def close(self) -> None:
        self.closed = True


@dataclass
class Planted:
    """A plugin for the volume role, with whatever is wrong with it."""

    word: str = "memory"
    api: ContractVersion = CONTRACT
    missing: tuple[Missing, ...] = ()
    fault: Exception | None = None
    probe_fault: Exception | None = None
    opened: list[Settings] = field(default_factory=list)
    probed: list[str] = field(default_factory=list)
    driver: Any = None

    async def _probe(self, settings: Settings, host: Host) -> tuple[Missing, ...]:
        self.probed.append(host.node)
        if self.probe_fault:
            raise self.probe_fault
        return self.missing

    async def _open(self, settings: Settings, host: Host) -> Any:
        if self.fault:
            raise self.fault
        self.opened.append(settings)
        self.driver = self.driver or Volumes(host.state_dir)
        return self.driver

    @hookimpl
    def volume_driver(self) -> Offer[VolumeDriver]:
        return Offer(self.word, self.api, SettingsSchema, self._probe, self._open)


def found(name: str, plugin: object | None, reason: str | None = None) -> Found:
    return Found(name, f"package-of-{name}", "2.5", plugin, reason)


Load = Callable[..., Awaitable[Loaded]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    async def load(*items: Found, roles: dict[str, str] | None = None, **plugins: PluginSettings) -> Loaded:
        def host(name: str) -> Host:
            return make_host(tmp_path / name, commands=ScriptedCommands(lambda argv, secret: None))

        config = Config("a", roles=roles or {}, plugins=plugins)
        return await load_plugins(config, items, PluginHooks(), host)

    return load


def only(loaded: Loaded) -> PluginReport:
    (report,) = loaded.reports
    return report


@pytest.mark.parametrize(
    ("offered", "ours", "fits", "remedy"),
    [
        ((1, 0), (1, 0), True, ""),
        ((1, 0), (1, 4), True, ""),
        ((1, 4), (1, 4), True, ""),
        ((1, 5), (1, 4), False, "newer Holdfast"),
        ((2, 0), (1, 4), False, "newer Holdfast"),
        ((1, 4), (2, 0), False, "newer version of the plugin"),
        ((0, 9), (1, 0), False, "newer version of the plugin"),
    ],
)
def test_a_contract_fits_within_its_major_up_to_our_minor(
    offered: tuple[int, int], ours: tuple[int, int], fits: bool, remedy: str
) -> None:
    reason = judge_version(ContractVersion(*offered), ContractVersion(*ours))
    assert (reason is None) is fits
    if reason is not None:
        assert remedy in reason.remedy
        assert str(ContractVersion(*offered)) in reason.text


async def test_a_plugin_that_is_all_right_is_ready_with_its_settings(load: Load) -> None:
    plugin = Planted()
    loaded = await load(found("p", plugin), p=PluginSettings(settings={"speed": 7, "password": "tiger"}))
    report = only(loaded)
    assert (report.name, report.role, report.offer, report.state) == ("p", "volume", "memory", PluginState.READY)
    assert (report.distribution, report.version, report.reasons) == ("package-of-p", "2.5", ())
    assert isinstance(loaded.drivers["volume"], MemoryVolumes)
    assert plugin.opened == [Settings(7, Secret("tiger"))]
    assert report.settings == {"speed": 7, "password": "***"}


class Misspelt:
    @hookimpl
    def volume_drivers(self) -> None: ...


class WrongArgument:
    @hookimpl
    async def volume_changed(self, chnage: VolumeChange) -> None: ...


class Raising:
    @hookimpl
    def volume_driver(self) -> Offer[VolumeDriver]:
        raise KeyError("x")


class NoOffer:
    @hookimpl
    def volume_driver(self) -> Any:
        return {"name": "memory"}


@pytest.mark.parametrize(
    ("item", "state", "text"),
    [
        (found("p", None, "ImportError: no module"), PluginState.BROKEN, "ImportError: no module"),
        (found("p", Misspelt()), PluginState.BROKEN, "volume_drivers"),
        (found("p", WrongArgument()), PluginState.BROKEN, "chnage"),
        (found("p", Raising()), PluginState.BROKEN, "volume_driver: KeyError"),
        (found("p", NoOffer()), PluginState.BROKEN, "returned dict where an Offer is needed"),
        (found("p", Planted(api=ContractVersion(99, 0))), PluginState.INCOMPATIBLE, "contract 99.0"),
        (found("p", Planted(missing=(Missing("no lvm", "install it"),))), PluginState.UNAVAILABLE, "no lvm"),
        (found("p", Planted(fault=HoldfastError("no disk"))), PluginState.UNAVAILABLE, "no disk"),
        (found("p", Planted(fault=ZeroDivisionError("oh"))), PluginState.BROKEN, "ZeroDivisionError: oh"),
        (found("p", Planted(probe_fault=ZeroDivisionError("oh"))), PluginState.BROKEN, "ZeroDivisionError: oh"),
        (found("p", Planted(probe_fault=HoldfastError("no"))), PluginState.UNAVAILABLE, "no"),
        (found("p", Planted(driver=object())), PluginState.BROKEN, "open returned object"),
    ],
)
async def test_a_plugin_that_is_not_all_right_says_why_and_what_to_do_and_harms_no_other(
    load: Load, item: Found, state: PluginState, text: str
) -> None:
    loaded = await load(item, found("q", Planted()))
    bad, good = sorted(loaded.reports, key=lambda report: report.name)
    assert (bad.name, bad.state) == ("p", state)
    assert text in bad.reasons[0].text
    assert bad.reasons[0].remedy
    assert (good.name, good.state) == ("q", PluginState.READY)
    assert list(loaded.drivers) == ["volume"]


@pytest.mark.parametrize(
    ("settings", "field_name"),
    [({"speed": "fast"}, "speed"), ({"speed": True}, "speed"), ({"sped": 3}, "sped"), ({"password": 3}, "password")],
)
async def test_bad_settings_name_their_field_and_nothing_is_probed(
    load: Load, settings: dict[str, Any], field_name: str
) -> None:
    plugin = Planted()
    report = only(await load(found("p", plugin), p=PluginSettings(settings=settings)))
    assert (report.state, report.reasons[0].field) == (PluginState.MISCONFIGURED, field_name)
    assert f"[plugins.p] {field_name}" in report.reasons[0].remedy
    assert plugin.probed == []


async def test_a_disabled_plugin_is_left_alone(load: Load) -> None:
    plugin = Planted()
    report = only(await load(found("p", plugin), p=PluginSettings(enabled=False, settings={"sped": 1})))
    assert (report.state, plugin.probed, plugin.opened) == (PluginState.DISABLED, [], [])


async def test_a_configured_plugin_that_is_not_installed_is_named(load: Load) -> None:
    loaded = await load(p=PluginSettings(), gone=PluginSettings(enabled=False))
    report = only(loaded)
    assert (report.name, report.state) == ("p", PluginState.UNAVAILABLE)
    assert "not installed" in report.reasons[0].text


async def test_a_required_plugin_that_is_not_ready_stops_the_start_with_its_reasons(load: Load) -> None:
    required = PluginSettings(required=True)
    with pytest.raises(UnavailableError, match="p is unavailable: no lvm") as raised:
        await load(found("p", Planted(missing=(Missing("no lvm", "install it"),))), p=required)
    assert raised.value.reasons[0].remedy == "install it"
    with pytest.raises(UnavailableError, match="not installed"):
        await load(p=required)
    with pytest.raises(UnavailableError, match="p is disabled"):
        await load(found("p", Planted()), p=PluginSettings(required=True, enabled=False))
    assert only(await load(found("p", Planted()), p=required)).state is PluginState.READY


async def test_two_offers_for_one_role_are_both_refused_until_one_is_chosen(load: Load) -> None:
    one, two = Planted("one"), Planted("two")
    loaded = await load(found("p", one), found("q", two))
    assert loaded.drivers == {}
    assert {r.state for r in loaded.reports} == {PluginState.MISCONFIGURED}
    assert [r.reasons[0].remedy for r in loaded.reports] == [
        'choose with volume = "one" in [roles]',
        'choose with volume = "two" in [roles]',
    ]
    assert one.driver.closed
    assert two.driver.closed


async def test_the_chosen_offer_plays_the_role(load: Load) -> None:
    one, two = Planted("one"), Planted("two")
    loaded = await load(found("p", one), found("q", two), roles={"volume": "two"})
    assert loaded.drivers == {"volume": two.driver}
    assert [r.state for r in loaded.reports] == [PluginState.MISCONFIGURED, PluginState.READY]
    assert (one.driver.closed, two.driver.closed) == (True, False)


async def test_a_choice_that_nobody_offers_leaves_the_role_empty(load: Load) -> None:
    loaded = await load(found("p", Planted("one")), roles={"volume": "other"})
    assert loaded.drivers == {}
    assert only(loaded).state is PluginState.MISCONFIGURED


CHANGE = VolumeChange("tank", "v0", "created")


class Watching:
    def __init__(self, fault: Exception | None = None) -> None:
        self.seen: list[VolumeChange] = []
        self.fault = fault

    @hookimpl
    async def volume_changed(self, change: VolumeChange) -> None:
        self.seen.append(change)
        if self.fault:
            raise self.fault


class NotAsync:
    @hookimpl
    def volume_changed(self) -> None:
        """An observer that forgot `async`."""


async def test_observers_are_told_and_one_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    hooks, watchers = PluginHooks(), [Watching(), Watching(ValueError("oh")), Watching()]
    for number, watcher in enumerate(watchers):
        assert hooks.register(f"w{number}", watcher) is None
    assert hooks.register("wrong", NotAsync()) is None
    await hooks.tell("volume_changed", change=CHANGE)
    assert [watcher.seen for watcher in watchers] == [[CHANGE]] * 3
    assert {record.getMessage() for record in caplog.records} == {
        "plugin w1 failed in volume_changed",
        "plugin wrong failed in volume_changed",
    }


async def test_a_plugin_whose_hook_is_misspelt_is_taken_out_again() -> None:
    hooks = PluginHooks()
    assert "volume_drivers" in (hooks.register("p", Misspelt()) or "")
    assert hooks.register("q", Watching()) is None
    assert hooks.register("p", Watching()) is None


async def test_a_plugin_that_only_observes_is_ready_without_a_role(load: Load) -> None:
    report = only(await load(found("p", Watching())))
    assert (report.role, report.state) == (None, PluginState.READY)
