"""The contract with a real smbd and smbclient: pytest is given this file inside a lab node."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.hooks.base import Host
from holdfast.hooks.share import ShownSnapshot, SmbDriver
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.share import PASSWORD, USER, Bench, Held, SmbContract, accounts
from holdfast.values import Secret
from holdfast_share_smb.driver import SambaDriver, open_driver
from holdfast_share_smb.former_versions import label
from holdfast_share_smb.settings import Settings

HOME = Path("/run/share-smb-test")
SHARES = Path("/srv/share-smb-test")
WITHIN_S = 10.0


def login(user: str = USER, password: Secret = PASSWORD) -> list[str]:
    """What smbclient is told of who comes: a file, as the line of a command is for all to read."""
    file = HOME / "login"
    file.write_text(f"username = {user}\npassword = {password.reveal()}\n")
    file.chmod(0o600)
    return ["smbclient", "--authentication-file", str(file)]


class HeldBySmbclient(Held):
    """An smbclient that is told more and more."""

    def __init__(self, share: str) -> None:
        # Without buffers of its own: it waits for more input although it has read more than a line.
        argv = ["stdbuf", "-i0", "-o0", *login(), f"//127.0.0.1/{share}"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, bufsize=0)
        self._count = 0

    async def tell(self, line: str) -> bool:
        """Give a command; whether it went well."""
        return await asyncio.wait_for(asyncio.to_thread(self._tell, line), WITHIN_S)

    def _tell(self, line: str) -> bool:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._count += 1
        # Its own command, which it carries out whatever has become of the connection, tells where the answer ends.
        end = f"end-{self._count}".encode()
        with contextlib.suppress(OSError):
            self._process.stdin.write(line.encode() + b"\n!echo " + end + b"\n")
        said = b""
        while end + b"\n" not in said and (more := self._process.stdout.read(4096)):
            said += more
        return end + b"\n" in said and b"NT_STATUS" not in said

    async def write(self) -> bool:
        """See Held. Into another file by the same connection, since smbclient cannot write to the open one."""
        return await self.tell(f"put /etc/hostname beside-{self._count}")

    async def close(self) -> None:
        """See Held."""
        self._process.kill()
        await asyncio.to_thread(self._process.communicate)


class SambaBench(Bench[SmbDriver]):
    """Smbclient on this machine's loopback."""

    async def _goes_well(self, share: str, command: str) -> bool:
        argv = [*login(), f"//127.0.0.1/{share}", "-c", command]
        done = await SystemCommands().run(argv, timeout_s=WITHIN_S, ok_codes=(0, 1))
        return done.returncode == 0 and "NT_STATUS" not in done.stdout + done.stderr

    async def may_read(self, share: str) -> bool:
        """See Bench."""
        return await self._goes_well(share, "ls")

    async def may_write(self, share: str) -> bool:
        """See Bench."""
        return await self._goes_well(share, "put /etc/hostname written")

    async def make_snapshot(self, name: str) -> ShownSnapshot:
        """See Bench. A mount, so that what keeps it from being unmounted can be seen."""
        path = self.path_of(name)
        await SystemCommands().run(["mount", "-t", "tmpfs", "-o", "mode=755", "snapshot", path], timeout_s=10)
        return await super().make_snapshot(name)

    async def may_read_snapshot(self, share: str, snapshot: ShownSnapshot) -> bool:
        """See Bench."""
        return await self._goes_well(share, f"get {label(snapshot.taken_at)}/told /dev/null")

    async def may_write_snapshot(self, share: str, snapshot: ShownSnapshot) -> bool:
        """See Bench. By any of the ways to change something."""
        at = label(snapshot.taken_at)
        words = (f"put /etc/hostname {at}/told", f"rm {at}/told", f"mkdir {at}/more", f"rename {at}/told {at}/other")
        return any([await self._goes_well(share, command) for command in words])

    async def hold_snapshot(self, share: str, snapshot: ShownSnapshot) -> Held:
        """See Bench."""
        held = HeldBySmbclient(share)
        assert await held.tell(f"open {label(snapshot.taken_at)}/told")
        return held

    async def is_in_use(self, snapshot: ShownSnapshot) -> bool:
        """See Bench."""
        done = await SystemCommands().run(["umount", snapshot.path], timeout_s=10, ok_codes=(0, 32))
        bound = KernelFs().read("/proc/self/mountinfo").count(" /run/holdfast-snapshots/")
        return done.returncode != 0 or bound > 0

    async def hold(self, share: str) -> Held:
        """See Bench."""
        held = HeldBySmbclient(share)
        assert await held.tell("put /etc/hostname held")
        assert await held.tell("open held")
        return held

    def _net(self) -> list[str]:
        return ["net", f"--configfile={HOME}/run/samba/smb.conf", "conf"]

    async def offer_elsewhere(self, share: str) -> None:
        """See Bench."""
        await SystemCommands().run([*self._net(), "addshare", share, self.path_of(share)], timeout_s=10)

    async def is_offered_elsewhere(self, share: str) -> bool:
        """See Bench."""
        done = await SystemCommands().run([*self._net(), "showshare", share], timeout_s=10, ok_codes=(0, 255))
        return f"path = {self.directory / share}" in done.stdout


def make_host() -> Host:
    os.umask(0o022)
    SHARES.mkdir(parents=True, exist_ok=True)
    for name in ("state", "run"):
        (HOME / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return Host("a", SystemCommands(), KernelFs(), SystemClock(), HOME / "state", HOME / "run")


async def make_driver() -> SambaDriver:
    return await open_driver(Settings(), make_host())


class TestSamba(SmbContract):
    """The contract."""

    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench[SmbDriver]]:
        driver = await make_driver()
        await driver.set_accounts(*accounts())
        bench = SambaBench(driver, SHARES)
        yield bench
        with contextlib.suppress(Exception):
            await SystemCommands().run([*bench._net(), "delshare", "theirs"], timeout_s=10)
        for shown in await driver.list_exposures():
            await driver.withdraw(shown.share)
        await driver.withdraw("docs")
        await driver.set_accounts((), ())
        await driver.close()
        await SystemCommands().run(["umount", str(SHARES / "monday")], timeout_s=10, ok_codes=(0, 1, 32))
        (SHARES / "linked").unlink(missing_ok=True)


async def test_a_server_that_dies_is_started_again_and_one_that_lives_is_adopted() -> None:
    driver = await make_driver()
    await driver.set_accounts(*accounts())
    bench = SambaBench(driver, SHARES)
    exposure = SmbContract().exposure(bench)
    await driver.expose(exposure)
    held = await bench.hold("docs")
    await driver.close()
    driver = bench.driver = await make_driver()
    await driver.expose(exposure)
    assert await held.write()  # it was adopted, not started anew
    await held.close()
    await SystemCommands().run(["pkill", "-KILL", "-x", "smbd"], timeout_s=10)
    for _ in range(50):
        await asyncio.sleep(0.1)
        if is_back := await bench.may_write("docs"):
            break
    assert is_back
    await driver.withdraw("docs")
    found = await SystemCommands().run(["pgrep", "-x", "smbd", "-a"], timeout_s=10, ok_codes=(0, 1))
    assert "smbd" not in found.stdout.replace("[smbd]", "")
    await driver.set_accounts((), ())
    await driver.close()
