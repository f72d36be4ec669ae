"""The plugin as core finds it."""

from __future__ import annotations

from holdfast.hooks.base import ContractVersion, Offer, hookimpl
from holdfast.hooks.target import TargetDriver
from holdfast_iscsi_lio.opening import open_driver
from holdfast_iscsi_lio.probe import probe
from holdfast_iscsi_lio.settings import SettingsSchema


class Plugin:
    """Offers the target role."""

    @hookimpl
    def target_driver(self) -> Offer[TargetDriver]:
        """See TargetHooks."""
        return Offer(name="lio", api=ContractVersion(1, 0), settings=SettingsSchema, probe=probe, open=open_driver)
