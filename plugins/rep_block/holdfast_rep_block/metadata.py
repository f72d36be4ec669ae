"""DRBD's metadata on a volume of its own (`flex-external`): made once, never written over, cleared whole."""

from __future__ import annotations

import logging

from holdfast.errors import BusyError, ConflictError, NotFoundError, Reason, SystemCommandError, VerificationError
from holdfast.hooks.replication import MirrorVolume
from holdfast.system.clock import Clock
from holdfast.system.command import Commands
from holdfast.system.kernelfs import KernelFs
from holdfast_rep_block.zeroing import Pace, zero_device

log = logging.getLogger(__name__)

# drbdmeta(8): 4 KiB superblock, 32 KiB activity log, then one bit for each 4 KiB of data.
_SUPERBLOCK_BYTES = 4096
_BITMAP_OFFSET_BYTES = 36864
_DATA_BYTES_PER_BITMAP_BYTE = 8 * 4096
_GRAIN_BYTES = 4 * 1024 * 1024

_COMMAND_S = 60.0

# The mark in the first place of a generation that no data ever had (UUID_JUST_CREATED).
JUST_CREATED = "0000000000000004"


# A mirror grows under its users only while its metadata has room: 0.01 % of the size buys four times the size.
_ROOM_TO_GROW = 4


def largest_bytes(metadata_bytes: int) -> int:
    """The largest volume whose metadata has room in so much."""
    return max(0, metadata_bytes - _BITMAP_OFFSET_BYTES) * _DATA_BYTES_PER_BITMAP_BYTE


def metadata_bytes(size_bytes: int) -> int:
    """Room for the metadata of a volume and its growth, in whole 4 MiB: the usual extent of a volume group."""
    bitmap = -(-size_bytes * _ROOM_TO_GROW // _DATA_BYTES_PER_BITMAP_BYTE)
    return -(-(_BITMAP_OFFSET_BYTES + bitmap) // _GRAIN_BYTES) * _GRAIN_BYTES


class Metadata:
    """Runs drbdmeta. All of it needs the volume detached."""

    def __init__(self, commands: Commands, kernel: KernelFs, clock: Clock, program: str) -> None:
        self._commands = commands
        self._kernel = kernel
        self._pace = Pace(clock)
        self._program = program

    async def exists(self, volume: MirrorVolume) -> bool:
        """Whether there is metadata. Raises BusyError while the kernel uses it, NotFoundError without a device."""
        return (await self._drbdmeta(volume, "get-gi", ok_codes=(0, 1))) == 0

    async def create(self, volume: MirrorVolume) -> None:
        """Write fresh metadata if there is none. Raises ConflictError if anything else is on the device."""
        if await self.exists(volume):
            return
        if signature := await self._signature(volume.metadata_device):
            raise ConflictError(
                f"{volume.metadata_device} is not blank: it carries {signature}",
                reasons=[Reason("not-blank", f"found {signature}", "give a freshly made metadata volume")],
            )
        # Without --force drbdmeta itself refuses a device with data on it: nobody is there to be asked.
        try:
            await self._drbdmeta(volume, "create-md")
        except SystemCommandError as reason:
            if "existing data" not in reason.stderr_tail and "cancel" not in reason.stderr_tail:
                raise
            raise ConflictError(
                f"{volume.metadata_device} is not blank: drbdmeta found data on it",
                reasons=[Reason("not-blank", "found data", "give a freshly made metadata volume")],
            ) from reason
        if not await self.exists(volume):
            raise VerificationError(f"metadata was written to {volume.metadata_device}, and none is found there")
        log.info("wrote metadata of volume %s to %s", volume.volume, volume.metadata_device)

    async def apply_activity_log(self, volume: MirrorVolume) -> None:
        """Mark what was in flight at a crash as out of sync; the kernel attaches nothing before that."""
        await self._drbdmeta(volume, "apply-al")

    async def wipe(self, volume: MirrorVolume) -> None:
        """Zero the metadata, its superblock last: interrupted, it is still found and wiped again."""
        try:
            if not await self.exists(volume):
                return
        except NotFoundError:
            return
        path = self._kernel.path(volume.metadata_device)
        await zero_device(path, self._pace, start_bytes=_SUPERBLOCK_BYTES)
        await zero_device(path, self._pace, end_bytes=_SUPERBLOCK_BYTES)
        if await self.exists(volume):
            raise VerificationError(f"metadata is still found on {volume.metadata_device}")
        log.info("wiped metadata of volume %s from %s", volume.volume, volume.metadata_device)

    async def _drbdmeta(self, volume: MirrorVolume, command: str, ok_codes: tuple[int, ...] = (0,)) -> int:
        argv = [self._program, str(volume.minor), "v08", volume.metadata_device, "flex-external", command]
        try:
            done = await self._commands.run(argv, timeout_s=_COMMAND_S, ok_codes=ok_codes)
        except SystemCommandError as reason:
            if "resource busy" in reason.stderr_tail or "is configured" in reason.stderr_tail:
                raise BusyError(f"{volume.metadata_device} is in use: the mirror is up") from reason
            if "No such file" in reason.stderr_tail:
                raise NotFoundError(f"there is no device {volume.metadata_device}") from reason
            raise
        return done.returncode

    async def _signature(self, device: str) -> str | None:
        """What blkid finds on a device; None for nothing (blkid(8): code 2)."""
        path = str(self._kernel.path(device))
        done = await self._commands.run(
            ["blkid", "--probe", "--output", "export", path], timeout_s=_COMMAND_S, ok_codes=(0, 2)
        )
        found = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        return found.get("TYPE") or found.get("PTTYPE") or (done.stdout.strip() or None)
