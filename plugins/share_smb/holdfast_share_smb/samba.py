"""Samba's tools, each by one method; each is told our own smb.conf, so that no other Samba is met."""

from __future__ import annotations

import asyncio
from pathlib import Path

from holdfast.errors import Reason, SystemCommandError, UnavailableError
from holdfast.hooks.base import Host
from holdfast.system.files import write_atomically
from holdfast.values import Secret
from holdfast_share_smb.configuration import Section, read_sections, render_global, render_import
from holdfast_share_smb.settings import Settings
from holdfast_share_smb.status import Connection, read_status

_TIMEOUT_S = 20.0


class Samba:
    """The tools and the files that they share with smbd."""

    def __init__(self, settings: Settings, host: Host) -> None:
        self._settings = settings
        self._host = host
        self.directory = host.run_dir / "samba"
        self.config_file = self.directory / "smb.conf"
        self._modules: set[str] = set()
        """Those that were seen to be there."""

    async def prepare(self) -> None:
        """Have the configuration file, and the directories that it names."""
        await asyncio.to_thread(self._prepare)

    def _prepare(self) -> None:
        below = [self.directory / name for name in ("state", "lock", "cache", "ncalrpc")]
        for directory in (self.directory, *below, self._host.state_dir / "private"):
            directory.mkdir(mode=0o700, exist_ok=True)
        # smbd's processes look into it as the users they serve; what is secret in there has a mode of its own.
        for directory in (self.directory, self.directory / "lock", self.directory / "ncalrpc"):
            directory.chmod(0o755)
        text = render_global(self._settings, state_dir=self._host.state_dir, run_dir=self.directory).encode()
        if not self.config_file.exists() or self.config_file.read_bytes() != text:
            write_atomically(self.config_file, text, mode=0o644)

    async def need_module(self, name: str) -> None:
        """Raise UnavailableError unless smbd has a module: without it nobody could connect to a share that names it."""
        if name in self._modules:
            return
        report = await self._run(["smbd", "--build-options"])
        directory = next((line.partition(":")[2].strip() for line in report.splitlines() if "MODULESDIR:" in line), "")
        if not await asyncio.to_thread((Path(directory) / "vfs" / f"{name}.so").exists):
            text = f"Samba has no module {name}, by which snapshots are shown"
            remedy = "install the package samba-vfs-modules, or offer the share without snapshots"
            raise UnavailableError(text, reasons=[Reason("no-module", text, remedy, "shows_snapshots")])
        self._modules.add(name)

    async def sections(self) -> dict[str, dict[str, str]]:
        """What the registry holds, ours or not."""
        if not self.config_file.exists():
            return {}
        done = await self._run(["net", f"--configfile={self.config_file}", "conf", "list"])
        return read_sections(done)

    async def put_section(self, share: str, section: Section) -> None:
        """Make or replace one section, as a whole or not at all."""
        file = self.directory / "import.conf"
        await asyncio.to_thread(write_atomically, file, render_import(share, section).encode())
        await self._run(["net", f"--configfile={self.config_file}", "conf", "import", str(file), share])

    async def remove_section(self, share: str) -> None:
        """Remove one section that is there."""
        await self._run(["net", f"--configfile={self.config_file}", "conf", "delshare", share])

    async def is_answering(self) -> bool:
        """Whether the smbd that listens has worked off what it was told before."""
        try:
            await self.tell("smbd", "ping")
        except (SystemCommandError, UnavailableError):
            return False
        return True

    async def tell(self, whom: str, *message: str) -> None:
        """Send a message to `smbd` or to one of its processes by number (smbcontrol(1))."""
        await self._run(["smbcontrol", f"--configfile={self.config_file}", "--timeout=5", whom, *message])

    async def connections(self, paths: dict[str, str]) -> tuple[Connection, ...]:
        """Who uses the shares in `paths`, name to directory."""
        report = await self._run(["smbstatus", f"--configfile={self.config_file}", "--json", "--byterange"])
        return read_status(report, paths)

    async def all_users(self) -> frozenset[str]:
        """Users that have a password."""
        listing = await self._run(["pdbedit", f"--configfile={self.config_file}", "--list"])
        return frozenset(line.partition(":")[0] for line in listing.splitlines() if ":" in line)

    async def set_password(self, user: str, password: Secret) -> None:
        """Give a user of the system a password here."""
        text = password.reveal().encode()
        await self._run(
            ["smbpasswd", "-c", str(self.config_file), "-s", "-a", user], secret_input=text + b"\n" + text + b"\n"
        )

    async def remove_user(self, user: str) -> None:
        """Take a user's password away."""
        await self._run(["smbpasswd", "-c", str(self.config_file), "-x", user])

    async def _run(self, argv: list[str], secret_input: bytes | None = None) -> str:
        done = await self._host.commands.run(argv, timeout_s=_TIMEOUT_S, secret_input=secret_input)
        return done.stdout


def process_log(directory: Path, most_bytes: int = 4096) -> str:
    """The end of what smbd wrote to its log."""
    try:
        with (directory / "log").open("rb") as stream:
            stream.seek(max(0, (directory / "log").stat().st_size - most_bytes))
            return stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
