"""The contract with the kernel's own server and client: pytest is given this file inside a lab node."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.errors import SystemCommandError
from holdfast.hooks.base import Host
from holdfast.hooks.share import SNAPSHOTS_FOLDER, NfsDriver, ShownSnapshot
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.share import Bench, Held, NfsContract
from holdfast_share_nfs.driver import KnfsdDriver, open_driver
from holdfast_share_nfs.settings import Settings

HOME = Path("/run/share-nfs-test")
SHARES = Path("/run/share-nfs-shares")
MOUNT = Path("/mnt/share-nfs-test")
THEIRS = "10.98.0.0/16"


async def run(*argv: str) -> None:
    await SystemCommands().run(argv, timeout_s=20)


async def goes_well(*argv: str) -> bool:
    try:
        await run(*argv)
    except SystemCommandError:
        return False
    return True


class HeldByTheKernel(Held):
    """A descriptor of an open file on a mount."""

    def __init__(self, descriptor: int, place: Path) -> None:
        self._descriptor = descriptor
        self._place = place

    async def write(self) -> bool:
        """See Held. Until it is on the server's disk it was not written."""
        return await asyncio.to_thread(self._write)

    def _write(self) -> bool:
        try:
            os.write(self._descriptor, b"more")
            os.fsync(self._descriptor)
        except OSError:
            return False
        return True

    async def close(self) -> None:
        """See Held."""
        with contextlib.suppress(OSError):
            await asyncio.to_thread(os.close, self._descriptor)
        await goes_well("umount", "--force", "--lazy", str(self._place))


class KnfsdBench(Bench[NfsDriver]):
    """The kernel's client on this machine's loopback; each visit is a mount of its own."""

    def __init__(self, driver: NfsDriver, directory: Path) -> None:
        super().__init__(driver, directory)
        self._count = 0

    def path_of(self, share: str) -> str:
        """See Bench."""
        path = super().path_of(share)
        Path(path).chmod(0o777)
        return path

    @contextlib.asynccontextmanager
    async def _mounted(self, share: str) -> AsyncIterator[Path | None]:
        self._count += 1
        place = MOUNT / str(self._count)
        place.mkdir(parents=True, exist_ok=True)
        # Soft, and soon: a request that is not answered fails, for the server may just have been stopped.
        options = "vers=4.2,soft,timeo=20,retrans=1,lookupcache=none,noac,nosharecache"
        is_there = await goes_well("mount", "-t", "nfs4", "-o", options, f"127.0.0.1:/{share}", str(place))
        try:
            yield place if is_there else None
        finally:
            if is_there:
                await goes_well("umount", "--force", "--lazy", str(place))

    async def may_read(self, share: str) -> bool:
        """See Bench."""
        async with self._mounted(share) as place:
            return place is not None and await goes_well("ls", str(place))

    async def may_write(self, share: str) -> bool:
        """See Bench."""
        async with self._mounted(share) as place:
            return place is not None and await goes_well("dd", "if=/etc/hostname", f"of={place}/written", "conv=fsync")

    async def make_snapshot(self, name: str) -> ShownSnapshot:
        """See Bench. A mount, so that what keeps it from being unmounted can be seen."""
        await run("mount", "-t", "tmpfs", "-o", "mode=755", "snapshot", self.path_of(name))
        return await super().make_snapshot(name)

    async def may_read_snapshot(self, share: str, snapshot: ShownSnapshot) -> bool:
        """See Bench."""
        async with self._mounted(share) as place:
            return place is not None and await goes_well("cat", f"{place}/{SNAPSHOTS_FOLDER}/{snapshot.name}/told")

    async def may_write_snapshot(self, share: str, snapshot: ShownSnapshot) -> bool:
        """See Bench. By any of the ways to change something, in the snapshot and beside it."""
        async with self._mounted(share) as place:
            if place is None:
                return False
            folder = place / SNAPSHOTS_FOLDER
            told = str(folder / snapshot.name / "told")
            ways = (
                ("touch", told),
                ("rm", told),
                ("mkdir", str(folder / snapshot.name / "more")),
                ("mkdir", str(folder / "x")),
            )
            return any([await goes_well(*argv) for argv in ways])

    async def hold_snapshot(self, share: str, snapshot: ShownSnapshot) -> Held:
        """See Bench."""
        context = self._mounted(share)
        place = await context.__aenter__()
        assert place is not None
        told = place / SNAPSHOTS_FOLDER / snapshot.name / "told"
        return HeldByTheKernel(await asyncio.to_thread(os.open, told, os.O_RDONLY), place)

    async def is_in_use(self, snapshot: ShownSnapshot) -> bool:
        """See Bench."""
        is_free = await goes_well("umount", snapshot.path)
        return not is_free or f"/{SNAPSHOTS_FOLDER}/{snapshot.name} " in KernelFs().read("/proc/self/mountinfo")

    async def hold(self, share: str) -> Held:
        """See Bench."""
        context = self._mounted(share)
        place = await context.__aenter__()
        assert place is not None
        descriptor = await asyncio.to_thread(os.open, place / "held", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return HeldByTheKernel(descriptor, place)

    async def offer_elsewhere(self, share: str) -> None:
        """See Bench."""
        await run("exportfs", "-i", "-o", "ro,fsid=77,no_subtree_check", f"{THEIRS}:{self.path_of(share)}")

    async def is_offered_elsewhere(self, share: str) -> bool:
        """See Bench."""
        done = await SystemCommands().run(["exportfs", "-v"], timeout_s=10)
        return str(self.directory / share) in done.stdout and THEIRS in done.stdout


def make_host() -> Host:
    for directory in (SHARES, HOME / "state", HOME / "run"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Host("a", SystemCommands(), KernelFs(), SystemClock(), HOME / "state", HOME / "run")


async def make_driver() -> KnfsdDriver:
    host = make_host()
    if not await goes_well("mountpoint", "-q", str(SHARES)):
        await run("mount", "-t", "tmpfs", "shares", str(SHARES))
    return await open_driver(Settings(lease_s=10, grace_s=10), host)


class TestKnfsd(NfsContract):
    """The contract."""

    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench[NfsDriver]]:
        driver = await make_driver()
        yield KnfsdBench(driver, SHARES)
        await goes_well("exportfs", "-u", f"{THEIRS}:{SHARES}/theirs")
        for shown in await driver.list_exposures():
            await driver.withdraw(shown.share)
        await driver.close()
        await goes_well("umount", str(SHARES / "monday"))
        (SHARES / "linked").unlink(missing_ok=True)
