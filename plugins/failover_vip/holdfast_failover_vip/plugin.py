"""What this package offers to Holdfast."""

from __future__ import annotations

from holdfast.hooks.base import CONTRACT, Offer, hookimpl
from holdfast.hooks.failover import FailoverDriver
from holdfast_failover_vip.driver import open_driver
from holdfast_failover_vip.probe import probe
from holdfast_failover_vip.settings import SettingsSchema


class Plugin:
    """Offers `vip` for the failover role."""

    @hookimpl
    def failover_driver(self) -> Offer[FailoverDriver]:
        """See FailoverHooks."""
        return Offer(name="vip", api=CONTRACT, settings=SettingsSchema, probe=probe, open=open_driver)
