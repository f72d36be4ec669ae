"""What this plugin needs of the machine."""

from __future__ import annotations

import re

from holdfast.errors import SystemCommandError, UnavailableError
from holdfast.hooks.base import Host, Missing
from holdfast_share_smb.settings import Settings

# `smbstatus --json` came with it.
LEAST_VERSION = (4, 17)
_REMEDY = "install the package samba, 4.17 or later"
_PROGRAMS = {
    "samba": ("smbd", "net", "smbpasswd", "pdbedit", "smbstatus", "smbcontrol"),
    "passwd": ("useradd", "userdel", "groupadd", "groupdel", "gpasswd"),
}


def judge(version_report: str) -> tuple[Missing, ...]:
    """Say what smbd lacks, from the line that `smbd --version` prints."""
    found = re.match(r"Version (\d+)\.(\d+)", version_report)
    if found is None:
        return (Missing("Samba of a known version", _REMEDY),)
    if tuple(int(part) for part in found.groups()) < LEAST_VERSION:
        return (Missing(f"Samba 4.17 or later (this is {version_report.strip()})", _REMEDY),)
    return ()


async def probe(settings: Settings, host: Host) -> tuple[Missing, ...]:
    """See Offer.probe."""
    lacking = tuple(
        Missing(f"the program {program}", _REMEDY if package == "samba" else f"install the package {package}")
        for package, programs in _PROGRAMS.items()
        for program in programs
        if not host.commands.finds(program)
    )
    if lacking:
        return lacking
    try:
        done = await host.commands.run(["smbd", "--version"], timeout_s=10)
    except (SystemCommandError, UnavailableError) as reason:
        return (Missing(f"a working smbd ({reason})", _REMEDY),)
    return judge(done.stdout)
