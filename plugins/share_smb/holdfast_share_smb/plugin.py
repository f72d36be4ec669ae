"""What this package offers."""

from __future__ import annotations

from holdfast.hooks.base import ContractVersion, Offer, hookimpl
from holdfast.hooks.share import SmbDriver
from holdfast_share_smb.driver import open_driver
from holdfast_share_smb.probe import probe
from holdfast_share_smb.settings import SettingsSchema


class Plugin:
    """See ShareHooks."""

    @hookimpl
    def smb_driver(self) -> Offer[SmbDriver]:
        """Offer `samba`."""
        return Offer(name="samba", api=ContractVersion(1, 0), settings=SettingsSchema, probe=probe, open=open_driver)
