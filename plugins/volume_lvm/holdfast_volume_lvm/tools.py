"""The commands that do the work: LVM's, and those that look at or write a device."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from holdfast.errors import HoldfastError, NotFoundError, Reason, SystemCommandError, UnavailableError
from holdfast.hooks.base import Host
from holdfast.system.command import Completed
from holdfast_volume_lvm import report
from holdfast_volume_lvm.disks import ASK_ARGV, ASK_CODES, ASK_TIMEOUT_S, parse_signatures
from holdfast_volume_lvm.errors import translate
from holdfast_volume_lvm.report import Report
from holdfast_volume_lvm.settings import Settings

log = logging.getLogger(__name__)

UNREADABLE = "unreadable"
IGNORE_SKIP = ("--ignoreactivationskip",)
"""LVM marks thin snapshots so that nothing makes them available but who says this (lvmthin(7))."""


def configuration(rejected_devices: Sequence[str]) -> str:
    """What our commands of LVM are told, whatever lvm.conf says.

    The devices file would switch the filter off (lvmdevices(8)). No backup and archive: the metadata on
    each disk has its own history, and a hundred thousand archive files slow every command. No monitoring:
    dmeventd would unmount overflown snapshots behind our back. No lvmpolld: a merge is waited for by who began it.
    ignore_suspended_devices: reading from a
    suspended device waits for ever.
    """
    filters = ", ".join(f'"r|{pattern}|"' for pattern in rejected_devices)
    return (
        f"devices {{ global_filter=[{filters}] use_devicesfile=0 ignore_suspended_devices=1 }} "
        "backup { backup=0 archive=0 } activation { monitoring=0 } global { notify_dbus=0 use_lvmpolld=0 }"
    )


class Tools:
    """Runs commands with the time limits of the settings; failures come translated (errors.py)."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self._host = host
        self.kernel = host.kernel
        self._settings = settings
        self._configuration = configuration(settings.rejected_devices)

    async def report(self) -> Report:
        """Everything LVM knows, now."""
        done = await self.look(self._lvm(report.ARGV), "LVM")
        return report.parse(done.stdout)

    async def change(self, argv: Sequence[str], subject: str) -> None:
        """Run a command of LVM to its end, also when the caller is cancelled meanwhile.

        Killed half-way LVM may leave a volume suspended, with all its input and output waiting. Only
        `change_timeout_s` kills it; `activate_pool` then resumes what it left.
        """
        running = asyncio.ensure_future(self._run(self._lvm(argv), self._settings.change_timeout_s, subject))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})
            if not running.cancelled():
                running.exception()  # nobody is left to be told
            raise

    async def look(self, argv: Sequence[str], subject: str) -> Completed:
        """Run a command that changes nothing."""
        return await self._run(argv, self._settings.look_timeout_s, subject)

    async def work(self, argv: Sequence[str], subject: str) -> Completed:
        """Run a command that makes, mounts or unmounts a file system."""
        return await self._run(argv, self._settings.file_system_timeout_s, subject)

    async def signatures(self, device: str) -> tuple[str, ...]:
        """What a device carries: file systems, partition tables, members of arrays and groups."""
        # wipefs, not blkid: it shows every signature, where blkid stops at the first or at an ambivalence.
        done = await self.look(["wipefs", "--json", "--noheadings", device], device)
        return parse_signatures(done.stdout)

    async def carried(self, disk: str) -> tuple[str, ...]:
        """The same of one disk among many: one that cannot be read hides no other, and is not taken for blank."""
        try:
            return await self.signatures(disk)
        except HoldfastError as reason:
            log.warning("%s cannot be looked at: %s", disk, reason)
            return (UNREADABLE,)

    async def ask_disk(self, disk: str) -> str:
        """See PoolUpkeep.ask_disk."""
        if not self._host.commands.finds(ASK_ARGV[0]):
            remedy = "install the package smartmontools"
            text = f"{ASK_ARGV[0]} is not installed: no disk can be asked of its health; {remedy}"
            raise UnavailableError(text, reasons=[Reason("no-smartctl", text, remedy)])
        if not self.kernel.exists(disk):
            raise NotFoundError(f"there is no disk {disk}")
        try:
            done = await self._host.commands.run([*ASK_ARGV, disk], timeout_s=ASK_TIMEOUT_S, ok_codes=ASK_CODES)
        except SystemCommandError as reason:
            text = f"{disk} did not answer: {reason.message}"
            raise UnavailableError(
                text, reasons=[Reason("silent", text, "look at its cable, or replace it")]
            ) from reason
        return done.stdout

    async def wipe(self, device: str) -> None:
        """Erase every signature of a device that nothing holds."""
        await self._run(["wipefs", "--all", device], self._settings.look_timeout_s, device)

    async def zero(self, device: str, size_bytes: int) -> None:
        """Write zeros over a whole device."""
        timeout_s = self._settings.look_timeout_s + size_bytes / self._settings.zero_bytes_s
        await self._run(["blkdiscard", "--zeroout", device], timeout_s, device)

    async def merge(self, argv: Sequence[str], volume_bytes: int, subject: str) -> None:
        """Run a command of LVM that merges a snapshot and waits for it, at most as long as writing all of it takes.

        What it started the kernel goes on with, whatever becomes of the command.
        """
        timeout_s = self._settings.change_timeout_s + volume_bytes / self._settings.zero_bytes_s
        await self._run(self._lvm(argv), timeout_s, subject)

    async def copy(self, argv: Sequence[str], size_bytes: int, subject: str) -> None:
        """Run a command that reads so much and writes it."""
        timeout_s = self._settings.look_timeout_s + 2 * size_bytes / self._settings.zero_bytes_s
        await self._run(argv, timeout_s, subject)

    def _lvm(self, argv: Sequence[str]) -> list[str]:
        return ["lvm", argv[0], "--config", self._configuration, *argv[1:]]

    async def _run(self, argv: Sequence[str], timeout_s: float, subject: str) -> Completed:
        try:
            return await self._host.commands.run(argv, timeout_s=timeout_s)
        except SystemCommandError as reason:
            known = translate(reason, subject)
            if known is reason:
                raise
            raise known from reason
