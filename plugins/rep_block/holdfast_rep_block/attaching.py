"""How a mirror comes into the kernel with its disks: only what is missing is done, and nothing twice."""

from __future__ import annotations

from holdfast.errors import ConflictError
from holdfast.hooks.replication import MirrorSpec, MirrorVolume, SyncLimits
from holdfast_rep_block import options
from holdfast_rep_block.configuration import Configuration
from holdfast_rep_block.drbdsetup import UNCLEAN_METADATA, Drbdsetup, KernelRefusedError
from holdfast_rep_block.metadata import Metadata
from holdfast_rep_block.settings import Settings

ATTACH_S = 60.0


class Attacher:
    """Configures resources, volumes and disks."""

    def __init__(self, drbd: Drbdsetup, metadata: Metadata, settings: Settings) -> None:
        self._drbd = drbd
        self._metadata = metadata
        self._settings = settings

    async def _is_up(self, name: str) -> bool:
        return name in (await self._drbd.picture(name)).resources

    async def disks_in_use(self, spec: MirrorSpec) -> set[str]:
        """Metadata devices of the mirror that the kernel has attached."""
        if not await self._is_up(spec.name):
            return set()
        there = await self._drbd.configuration(spec.name)
        return {volume.metadata_device for volume in there.volumes if volume.metadata_device}

    async def attach(self, spec: MirrorSpec) -> Configuration:
        """Configure what is missing, and return what was there before."""
        there = Configuration((), None, None)
        if await self._is_up(spec.name):
            there = await self._drbd.configuration(spec.name)
        else:
            await self._drbd.run("new-resource", spec.name, *options.RESOURCE)
        found = {volume.number: volume for volume in there.volumes}
        for volume in spec.volumes:
            old = found.get(volume.number)
            if old is None:
                await self._drbd.run("new-minor", spec.name, str(volume.minor), str(volume.number))
            if old is None or old.device is None:
                await self._attach_disk(volume, spec.limits)
            elif (old.minor, old.device, old.metadata_device) != (volume.minor, volume.device, volume.metadata_device):
                raise ConflictError(f"mirror {spec.name}: volume {volume.number} is attached to {old.device} already")
        return there

    async def _attach_disk(self, volume: MirrorVolume, limits: SyncLimits) -> None:
        words = ("attach", str(volume.minor), volume.device, volume.metadata_device, "flexible")
        disk = options.disk(self._settings, limits)
        try:
            await self._drbd.run(*words, *disk, timeout_s=ATTACH_S)
        except KernelRefusedError as reason:
            if reason.number != UNCLEAN_METADATA:
                raise
            # It was Primary when it lost its power: what was in flight then is marked as out of sync.
            await self._metadata.apply_activity_log(volume)
            await self._drbd.run(*words, *disk, timeout_s=ATTACH_S)
