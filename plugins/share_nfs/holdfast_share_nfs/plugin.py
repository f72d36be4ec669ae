"""What this package offers."""

from __future__ import annotations

from holdfast.hooks.base import ContractVersion, Offer, hookimpl
from holdfast.hooks.share import NfsDriver
from holdfast_share_nfs.driver import open_driver
from holdfast_share_nfs.probe import probe
from holdfast_share_nfs.settings import SettingsSchema


class Plugin:
    """See ShareHooks."""

    @hookimpl
    def nfs_driver(self) -> Offer[NfsDriver]:
        """Offer `knfsd`."""
        return Offer(name="knfsd", api=ContractVersion(1, 0), settings=SettingsSchema, probe=probe, open=open_driver)
