"""What this package offers."""

from __future__ import annotations

from holdfast.hooks.base import ContractVersion, Offer, hookimpl
from holdfast.hooks.replication import CopyDriver
from holdfast_rep_rsync.driver import open_driver
from holdfast_rep_rsync.probe import probe
from holdfast_rep_rsync.settings import SettingsSchema


class Plugin:
    """See ReplicationHooks."""

    @hookimpl
    def copy_driver(self) -> Offer[CopyDriver]:
        """Offer `rsync`."""
        return Offer(name="rsync", api=ContractVersion(1, 0), settings=SettingsSchema, probe=probe, open=open_driver)
