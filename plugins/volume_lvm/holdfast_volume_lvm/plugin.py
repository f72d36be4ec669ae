"""What this package offers to Holdfast."""

from __future__ import annotations

from holdfast.hooks.base import CONTRACT, Offer, hookimpl
from holdfast.hooks.volume import VolumeDriver
from holdfast_volume_lvm.driver import open_driver
from holdfast_volume_lvm.probe import probe
from holdfast_volume_lvm.settings import SettingsSchema


class Plugin:
    """Offers `lvm` for the volume role."""

    @hookimpl
    def volume_driver(self) -> Offer[VolumeDriver]:
        """See VolumeHooks."""
        return Offer(name="lvm", api=CONTRACT, settings=SettingsSchema, probe=probe, open=open_driver)
