"""Mounted file systems: mounting, unmounting, and telling who is in the way."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import BusyError, ConflictError, NotFoundError, Reason
from holdfast.hooks.base import Host
from holdfast.hooks.volume import UNIT_FILE, FileSystem, FileSystemUse
from holdfast_volume_lvm import file_systems, holders, unit_files
from holdfast_volume_lvm.report import LogicalVolume
from holdfast_volume_lvm.settings import Settings
from holdfast_volume_lvm.tools import Tools

log = logging.getLogger(__name__)

_MOUNTS = "/proc/self/mountinfo"
# File systems may be stacked on one directory, by us never.
_DEEPEST = 8
# One second and a bit: whoever asked for a deletion can ask again.
_LOOKS = 5
_LOOK_AGAIN_S = 0.25
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mounted:
    """One line of mountinfo (proc(5))."""

    number: str
    """The device number, `254:0`."""
    directory: str
    is_read_only: bool
    kind: str
    """The word of its file system, `xfs`."""
    device: str
    became_read_only: bool
    """It was mounted writable, and the file system itself is so no more: what ext4 does after an error."""


def parse_mounts(text: str) -> tuple[Mounted, ...]:
    """Read mountinfo; what was mounted last on a directory comes last."""
    return tuple(_mounted(line.split(" ")) for line in text.splitlines())


def _mounted(fields: list[str]) -> Mounted:
    directory = _ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4])
    is_read_only = "ro" in fields[5].split(",")
    # After any number of optional fields comes a hyphen.
    kind, device, options = fields[fields.index("-", 6) + 1 :][:3]
    became_read_only = not is_read_only and "ro" in options.split(",")
    return Mounted(fields[2], directory, is_read_only, kind, device, became_read_only)


class Mounts:
    """Mounts by mount(8), looks in mountinfo. See VolumeDriver."""

    def __init__(self, host: Host, tools: Tools, settings: Settings) -> None:
        self._host = host
        self._tools = tools
        self._options = settings.mount_options
        self._places: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def mount(self, device: str, directory: str, *, read_only: bool) -> None:
        """See VolumeDriver."""
        place = _resolve(directory)
        async with self._places[place]:  # two at once would both find it free, and stack
            await self._mount(device, place, read_only=read_only)

    async def _mount(self, device: str, place: str, *, read_only: bool) -> None:
        number = self._number(device)
        if found := self._at(place):
            if (found.number, found.is_read_only) == (number, read_only):
                return
            how = "read-only" if found.is_read_only else "writable"
            text = f"device {found.number} is mounted {how} at {place} already"
            raise ConflictError(text, reasons=[Reason("mounted-otherwise", text, "unmount it first")])
        self._make_directory(place)
        kind = await asyncio.to_thread(file_systems.on_device, self._host.kernel.path(device))
        options = ("ro" if read_only else "rw", *file_systems.mount_options(kind), *self._options)
        argv = ["mount", "-t", kind, "-o", ",".join(options), device, place]
        await self._tools.work(argv, f"mounting {device} at {place}")
        log.info("mounted %s at %s", device, place)

    async def unmount(self, directory: str) -> None:
        """See VolumeDriver."""
        place = _resolve(directory)
        async with self._places[place]:
            await self._unmount(place)

    async def _unmount(self, place: str) -> None:
        for _ in range(_DEEPEST):
            found = self._at(place)
            if found is None:
                return
            try:
                await self._tools.work(["umount", place], f"unmounting {place}")
            except BusyError as reason:
                if await self._is_dead(found):
                    # Whoever still has a file open there gets errors from it and nothing else.
                    log.warning("taking %s away while it is in use: its device is gone or void", place)
                    await self._tools.work(["umount", "--lazy", place], f"unmounting {place}")
                    continue
                users = await asyncio.to_thread(holders.of_directory, self._host.kernel, place)
                raise _busy(f"{place} is in use", users) from reason
            log.info("unmounted %s", place)
        raise BusyError(f"{place} is still mounted after it was unmounted {_DEEPEST} times")

    async def make_unit_file(self, directory: str, size_bytes: int) -> str:
        """See VolumeDriver."""
        place = self._mounted(directory)
        await asyncio.to_thread(unit_files.make, self._host.kernel.path(place), size_bytes)
        return f"{place}/{UNIT_FILE}"

    async def grow_unit_file(self, directory: str, size_bytes: int) -> None:
        """See VolumeDriver."""
        await asyncio.to_thread(unit_files.grow, self._host.kernel.path(self._mounted(directory)), size_bytes)

    def _mounted(self, directory: str) -> str:
        place = _resolve(directory)
        if self._at(place) is None:
            text = f"nothing is mounted at {place}"
            raise NotFoundError(text, reasons=[Reason("not-mounted", text, "mount its volume first")])
        return place

    def is_mounted(self, device: str, directory: str) -> bool:
        """See VolumeDriver."""
        found = self._at(_resolve(directory))
        try:
            return found is not None and found.number == self._number(device)
        except NotFoundError:
            return False

    async def is_shut_down(self, directory: str) -> bool:
        """See VolumeDriver."""
        place = _resolve(directory)
        found = self._at(place)
        if found is None:
            return False
        if found.kind == FileSystem.EXT4:
            return found.became_read_only
        return await asyncio.to_thread(_gives_errors, self._host.kernel.path(place))

    async def grow(self, directory: str) -> None:
        """See VolumeDriver.grow_file_system."""
        place = self._mounted(directory)
        found = self._at(place)
        assert found is not None
        await file_systems.grow(self._tools, FileSystem(found.kind), found.device, place)

    async def use_of(self, directory: str) -> FileSystemUse:
        """See VolumeDriver."""
        place = self._host.kernel.path(self._mounted(directory))
        found = await asyncio.to_thread(os.statvfs, place)
        size_bytes, free_bytes = found.f_blocks * found.f_frsize, found.f_bfree * found.f_frsize
        return FileSystemUse(size_bytes, size_bytes - free_bytes, free_bytes)

    async def refuse_open(self, volume: LogicalVolume) -> None:
        """Raise BusyError, naming who is known to use it, when a device is held open.

        After each change of a device udev opens it for a moment to look at it: where nobody is known to use
        it, look again for a while.
        """
        looks = 1
        while volume.is_open and volume.number is not None:
            places = self.places_of(volume.number)
            users = await asyncio.to_thread(holders.of_device, self._host.kernel, volume.number, places)
            if users or looks == _LOOKS:
                raise _busy(f"{volume.group}/{volume.name} is in use", users)
            await self._host.clock.sleep(_LOOK_AGAIN_S)
            looks += 1
            found = [v for group in (await self._tools.report()).groups for v in group.volumes if v.uuid == volume.uuid]
            if not found:
                return
            volume = found[0]

    def places_of(self, number: str) -> tuple[str, ...]:
        """Where the device with this number is mounted."""
        return tuple(mounted.directory for mounted in self._all() if mounted.number == number)

    def _all(self) -> tuple[Mounted, ...]:
        return parse_mounts(self._host.kernel.read(_MOUNTS))

    def _at(self, place: str) -> Mounted | None:
        found = [mounted for mounted in self._all() if mounted.directory == place]
        return found[-1] if found else None

    def _number(self, device: str) -> str:
        try:
            number = self._host.kernel.path(device).stat().st_rdev
        except OSError as reason:
            text = f"there is no device {device}"
            remedy = "look whether its volume exists and its pool is active"
            raise NotFoundError(text, reasons=[Reason("no-such-device", text, remedy)]) from reason
        return f"{os.major(number)}:{os.minor(number)}"

    def _make_directory(self, place: str) -> None:
        try:
            self._host.kernel.path(place).mkdir(parents=True, exist_ok=True)
        except OSError as reason:
            text = f"the directory {place} cannot be made: {reason.strerror}"
            raise ConflictError(text, reasons=[Reason("no-directory", text, "choose another directory")]) from reason

    async def _is_dead(self, mounted: Mounted) -> bool:
        """Whether the device under a mount is gone, or is a snapshot that can never be read again."""
        if not self._host.kernel.exists(f"/sys/dev/block/{mounted.number}"):
            return True
        report = await self._tools.report()
        return any(v.is_void for group in report.groups for v in group.volumes if v.number == mounted.number)


def _gives_errors(place: Path) -> bool:
    # xfs_iops.c, xfs_vn_getattr: from memory and without waiting for any disk.
    try:
        place.stat()
    except OSError as reason:
        return reason.errno == errno.EIO
    return False


def _busy(text: str, users: tuple[str, ...]) -> BusyError:
    # Mirrors and targets hold a device inside the kernel, where no list shows it.
    known = users or ("something in the kernel, such as a mirror or a target",)
    reasons = [Reason("in-use", f"{text} by {user}", "end what uses it") for user in known]
    return BusyError(f"{text} by {', '.join(known)}", reasons=reasons)


def _resolve(directory: str) -> str:
    """The directory as mountinfo shows it. Its last part is not looked at: a dead file system may be there."""
    path = Path(directory)
    if not path.is_absolute() or path.name in ("", ".."):
        text = f"{directory!r} is no directory to mount at"
        raise ConflictError(text, reasons=[Reason("bad-directory", text, "give an absolute path")])
    return str(Path(os.path.realpath(path.parent)) / path.name)
