"""What this package offers to Holdfast."""

from __future__ import annotations

from holdfast.hooks.base import CONTRACT, Offer, hookimpl
from holdfast.hooks.replication import MirrorDriver
from holdfast_rep_block.driver import open_driver
from holdfast_rep_block.probe import probe
from holdfast_rep_block.settings import SettingsSchema


class Plugin:
    """Offers `drbd` for the mirrors of the replication role."""

    @hookimpl
    def mirror_driver(self) -> Offer[MirrorDriver]:
        """See ReplicationHooks."""
        return Offer(name="drbd", api=CONTRACT, settings=SettingsSchema, probe=probe, open=open_driver)
