"""Judge offers in order, version, settings, probe, open, and stop at the first no."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from marshmallow import ValidationError

from holdfast.config import Config, PluginSettings
from holdfast.errors import HoldfastError, Reason, UnavailableError
from holdfast.hooks.base import CONTRACT, ContractVersion, Driver, Host
from holdfast.loading.discovery import Found, PluginHooks, RoleOffer
from holdfast.values import to_plain

MakeHost = Callable[[str], Host]

log = logging.getLogger(__name__)


class PluginState(StrEnum):
    """How it stands with a plugin; only `ready` has a driver."""

    BROKEN = "broken"
    INCOMPATIBLE = "incompatible"
    MISCONFIGURED = "misconfigured"
    UNAVAILABLE = "unavailable"
    READY = "ready"
    DISABLED = "disabled"


@dataclass(frozen=True)
class PluginReport:
    """What `GET /v1/plugins` says of one plugin and role. `role` is None for one that offers nothing yet."""

    name: str
    role: str | None
    offer: str | None
    distribution: str | None
    version: str | None
    state: PluginState
    reasons: tuple[Reason, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """The outcome: a report for each plugin and role, and at most one driver for each role."""

    reports: tuple[PluginReport, ...]
    drivers: Mapping[str, Driver]


def judge_version(offered: ContractVersion, ours: ContractVersion = CONTRACT) -> Reason | None:
    """None if a plugin written for `offered` works with `ours`."""
    if offered.major == ours.major and offered.minor <= ours.minor:
        return None
    remedy = "install a newer Holdfast" if offered > ours else "install a newer version of the plugin"
    return Reason("contract", f"it was written for contract {offered}, this core has {ours}", remedy)


def judge_names(config: Config, found: tuple[Found, ...]) -> tuple[PluginReport, ...]:
    """A report for each configured plugin that is not installed."""
    installed = {item.name for item in found}
    return tuple(
        PluginReport(name, None, None, None, None, PluginState.UNAVAILABLE, (_not_installed(name),))
        for name, section in config.plugins.items()
        if name not in installed and section.enabled
    )


def _not_installed(name: str) -> Reason:
    return Reason(
        "not-installed",
        f"the settings file names the plugin {name}, which is not installed",
        f"install the package that provides it, or remove [plugins.{name}]",
    )


def _chosen(role: str, ready: list[tuple[RoleOffer, Driver]], config: Config) -> int | None:
    if role in config.roles:
        wanted = config.roles[role]
        return next((i for i, (offer, _) in enumerate(ready) if offer.offer.name == wanted), None)
    return 0 if len(ready) == 1 else None


async def load_plugins(config: Config, found: tuple[Found, ...], hooks: PluginHooks, make_host: MakeHost) -> Loaded:
    """Register every plugin, judge its offers, and open the drivers.

    `make_host(name)` gives the Host of one plugin. Raises UnavailableError, naming the reasons, when a plugin that
    the settings mark `required` is not ready.
    """
    reports = list(judge_names(config, found))
    ready: dict[str, list[tuple[RoleOffer, Driver]]] = {}
    for item in found:
        section = config.plugins.get(item.name, PluginSettings())
        for report, offer, driver in await _judge_plugin(item, section, hooks, make_host):
            reports.append(report)
            if offer is not None and driver is not None:
                ready.setdefault(offer.role, []).append((offer, driver))
    drivers: dict[str, Driver] = {}
    for role, candidates in ready.items():
        index = _chosen(role, candidates, config)
        for position, (offer, driver) in enumerate(candidates):
            if position == index:
                drivers[role] = driver
                continue
            await driver.close()
            reason = Reason(
                "not-chosen",
                f"several plugins offer the role {role}" if index is None else f"another plugin plays the role {role}",
                f'choose with {role} = "{offer.offer.name}" in [roles]',
            )
            reports = [_unchosen(r, offer, reason) for r in reports]
    _stop_if_required(config, reports)
    return Loaded(tuple(sorted(reports, key=lambda r: (r.name, r.role or ""))), drivers)


def _unchosen(report: PluginReport, offer: RoleOffer, reason: Reason) -> PluginReport:
    if (report.name, report.role) != (offer.plugin, offer.role):
        return report
    return PluginReport(
        report.name,
        report.role,
        report.offer,
        report.distribution,
        report.version,
        PluginState.MISCONFIGURED,
        (reason,),
        report.settings,
    )


def _stop_if_required(config: Config, reports: list[PluginReport]) -> None:
    required = {name for name, section in config.plugins.items() if section.required}
    failed = [r for r in reports if r.name in required and r.state is not PluginState.READY]
    if failed:
        names = "; ".join(f"{r.name} is {r.state}: {r.reasons[0].text if r.reasons else ''}" for r in failed)
        raise UnavailableError(
            f"a required plugin is not ready: {names}", reasons=[x for r in failed for x in r.reasons]
        )


_Judged = tuple[PluginReport, RoleOffer | None, Driver | None]


async def _judge_plugin(item: Found, section: PluginSettings, hooks: PluginHooks, make_host: MakeHost) -> list[_Judged]:
    def report(
        state: PluginState, reasons: tuple[Reason, ...], offer: RoleOffer | None = None, settings: Any = None
    ) -> PluginReport:
        role, word = (offer.role, offer.offer.name) if offer else (None, None)
        return PluginReport(
            item.name, role, word, item.distribution, item.version, state, reasons, to_plain(settings or {})
        )

    if not section.enabled:
        reason = Reason("disabled", "it is switched off in the settings file", f"set enabled in [plugins.{item.name}]")
        return [(report(PluginState.DISABLED, (reason,)), None, None)]
    remedy = "reinstall it, or uninstall it"
    if item.plugin is None:
        return [(report(PluginState.BROKEN, (Reason("import", item.reason or "", remedy),)), None, None)]
    if why := hooks.register(item.name, item.plugin):
        return [(report(PluginState.BROKEN, (Reason("hooks", why, remedy),)), None, None)]
    offers, why = hooks.offers(item.name)
    if why:
        return [(report(PluginState.BROKEN, (Reason("offer", why, remedy),)), None, None)]
    judged: list[_Judged] = []
    for offer in offers:
        state, reasons, settings, driver = await _judge_offer(offer, section, make_host)
        judged.append((report(state, reasons, offer, settings), offer, driver))
    # A plugin without a role only observes events, and does so from now on.
    return judged or [(report(PluginState.READY, ()), None, None)]


async def _judge_offer(
    role_offer: RoleOffer, section: PluginSettings, make_host: MakeHost
) -> tuple[PluginState, tuple[Reason, ...], Any, Driver | None]:
    offer = role_offer.offer
    if version := judge_version(offer.api):
        return PluginState.INCOMPATIBLE, (version,), None, None
    try:
        settings = offer.settings().load(dict(section.settings))
    except ValidationError as reason:
        return PluginState.MISCONFIGURED, _setting_reasons(role_offer.plugin, reason.messages), None, None
    host: Host = make_host(role_offer.plugin)
    try:
        missing = await offer.probe(settings, host)
        if missing:
            reasons = tuple(Reason("missing", m.what, m.remedy) for m in missing)
            return PluginState.UNAVAILABLE, reasons, settings, None
        driver = await offer.open(settings, host)
    except HoldfastError as reason:
        reasons = reason.reasons or (Reason(reason.code, reason.message, "mend it and restart holdfastd"),)
        return PluginState.UNAVAILABLE, reasons, settings, None
    except Exception as reason:  # foreign code
        log.exception("plugin %s failed while it was probed or opened", role_offer.plugin)
        text = f"{type(reason).__name__}: {reason}"
        return PluginState.BROKEN, (Reason("open", text, "report this to the plugin's author"),), settings, None
    if not isinstance(driver, Driver):
        text = f"open returned {type(driver).__name__} where a Driver is needed"
        return PluginState.BROKEN, (Reason("open", text, "report this to the plugin's author"),), settings, None
    return PluginState.READY, (), settings, driver


def _setting_reasons(plugin: str, messages: Any, path: str = "") -> tuple[Reason, ...]:
    if isinstance(messages, dict):
        found: tuple[Reason, ...] = ()
        for key, value in messages.items():
            found += _setting_reasons(plugin, value, f"{path}.{key}".lstrip("."))
        return found
    texts = " ".join(str(text) for text in messages) if isinstance(messages, list) else str(messages)
    where = f"[plugins.{plugin}] {path}"
    return (Reason("setting", f"{where}: {texts}", f"correct {where} in the settings file", path),)
