"""Find and register plugins; each that cannot be is named with its reason."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pluggy
import stevedore

from holdfast.hooks.base import ENTRY_POINT_GROUP, PROJECT, Offer
from holdfast.hooks.failover import FailoverHooks
from holdfast.hooks.replication import ReplicationHooks
from holdfast.hooks.share import ShareHooks
from holdfast.hooks.target import TargetHooks
from holdfast.hooks.volume import VolumeHooks

log = logging.getLogger(__name__)

SPECIFICATIONS = (VolumeHooks, ShareHooks, ReplicationHooks, TargetHooks, FailoverHooks)
PROVIDERS = {
    "volume": "volume_driver",
    "smb": "smb_driver",
    "nfs": "nfs_driver",
    "copy": "copy_driver",
    "mirror": "mirror_driver",
    "target": "target_driver",
    "failover": "failover_driver",
}
"""Role to the hook that offers a driver for it."""


@dataclass(frozen=True)
class Found:
    """An entry point: a plugin object, or why there is none."""

    name: str
    distribution: str | None
    version: str | None
    plugin: object | None
    reason: str | None


@dataclass(frozen=True)
class RoleOffer:
    """What a plugin offers for one role."""

    role: str
    plugin: str
    offer: Offer[object]  # type: ignore[type-var]


def find_plugins() -> tuple[Found, ...]:
    """Everything installed in the entry-point group, imported; broken imports included."""
    failures: dict[str, str] = {}

    def note(manager: object, entry_point: importlib.metadata.EntryPoint, reason: BaseException) -> None:
        failures[entry_point.name] = f"{type(reason).__name__}: {reason}"

    manager: Any = _Finder(ENTRY_POINT_GROUP, invoke_on_load=False, on_load_failure_callback=note)
    packages = _packages()
    found = []
    names = [extension.name for extension in manager]
    for extension in manager:
        package, version, _ = packages.get(extension.entry_point.value, (None, None, ""))
        if names.count(extension.name) > 1:
            reason = "two installed packages claim this name: uninstall one of them"
            found.append(Found(extension.name, package, version, None, reason))
            continue
        try:
            plugin = extension.plugin()
        except Exception as raised:  # foreign code: anything may come out of it, and nothing of it may stop the daemon
            found.append(Found(extension.name, package, version, None, f"{type(raised).__name__}: {raised}"))
        else:
            found.append(Found(extension.name, package, version, plugin, None))
    for name, reason in failures.items():
        package, version = next((p[:2] for p in packages.values() if p[2] == name), (None, None))
        found.append(Found(name, package, version, None, reason))
    return tuple(sorted(found, key=lambda item: item.name))


class _Finder(stevedore.ExtensionManager):  # type: ignore[type-arg]
    def _load_one_plugin(self, *arguments: Any, **keywords: Any) -> Any:
        # stevedore lets an AssertionError through, and nobody catches SystemExit: neither may stop the daemon.
        try:
            return super()._load_one_plugin(*arguments, **keywords)
        except (AssertionError, SystemExit) as reason:
            raise ImportError(f"{type(reason).__name__}: {reason}") from reason


def _packages() -> Mapping[str, tuple[str | None, str | None, str]]:
    # stevedore's cached entry points have lost their distribution: ask importlib for it.
    points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return {
        point.value: (point.dist.name if point.dist else None, point.dist.version if point.dist else None, point.name)
        for point in points
    }


class PluginHooks:
    """The registered plugins' hooks."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        for specification in SPECIFICATIONS:
            self._manager.add_hookspecs(specification)

    def register(self, name: str, plugin: object) -> str | None:
        """Take a plugin in; return why not, or None. A misspelt hook is a reason."""
        try:
            self._manager.register(plugin, name=name)
            self._manager.check_pending()
        except Exception as reason:  # pluggy validates after it registered, so a refused one must be taken out
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            return f"{type(reason).__name__}: {reason}"
        return None

    def offers(self, name: str) -> tuple[tuple[RoleOffer, ...], str | None]:
        """What one plugin offers, and why it could not be asked, or None."""
        plugin = self._manager.get_plugin(name)
        offers = []
        for role, hook in PROVIDERS.items():
            provide: Callable[[], Offer[object]] | None = getattr(plugin, hook, None)  # type: ignore[type-var]
            if provide is None:
                continue
            try:
                offer = provide()
            except Exception as reason:  # foreign code
                return (), f"{hook}: {type(reason).__name__}: {reason}"
            if not isinstance(offer, Offer):
                return (), f"{hook} returned {type(offer).__name__} where an Offer is needed"
            offers.append(RoleOffer(role, name, offer))
        return tuple(offers), None

    async def tell(self, event: str, **arguments: object) -> None:
        """Tell every observer of an event, one by one. One that fails is logged and harms nobody."""
        implementations: Iterable[pluggy.HookImpl] = getattr(self._manager.hook, event).get_hookimpls()
        for implementation in implementations:
            wanted = {name: arguments[name] for name in implementation.argnames}
            observe = cast(Callable[..., Awaitable[None]], implementation.function)
            try:
                await observe(**wanted)
            except Exception:  # foreign code
                log.exception("plugin %s failed in %s", implementation.plugin_name, event)
