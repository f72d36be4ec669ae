"""What this plugin needs of the machine."""

from __future__ import annotations

import json
import re

from holdfast.errors import SystemCommandError, UnavailableError
from holdfast.hooks.base import Host, Missing
from holdfast_rep_rsync.settings import Settings

# 3.5.0 closed 33 holes, among them several by which a peer leaves its module; and `auth digest` came with it.
LEAST_VERSION = (3, 5, 0)
LEAST_TUNNEL_VERSION = (5, 60)
_FEATURES = {
    "ACLs": "ACLs",
    "xattrs": "extended attributes",
    "hardlinks": "hard links",
    "hardlink_specials": "hard links of special files",
    "hardlink_symlinks": "hard links of symbolic links",
}


def judge(version_report: str) -> tuple[Missing, ...]:
    """Say what the program lacks, from the JSON that `rsync -VV` prints."""
    remedy = "install rsync 3.5.0 or later with ACL, xattr and OpenSSL support (Debian 12: the security archive has it)"
    try:
        report = json.loads(version_report)
        version = tuple(int(part) for part in report["version"].split("."))
        capabilities, digests = dict(report["capabilities"]), list(report["daemon_auth_list"])
    except (ValueError, KeyError, TypeError, AttributeError):
        # Before 3.2.7 -VV printed no JSON; pre-releases have words in their version.
        return (Missing("rsync of a known version", remedy),)
    missing = []
    if version < LEAST_VERSION:
        missing.append(Missing(f"rsync 3.5.0 or later (this is {report['version']})", remedy))
    missing += [
        Missing(f"rsync with support for {word}", remedy)
        for key, word in _FEATURES.items()
        if capabilities.get(key) is not True
    ]
    if "sha256" not in digests:
        missing.append(Missing("rsync with the sha256 digest", remedy))
    return tuple(missing)


async def probe(settings: Settings, host: Host) -> tuple[Missing, ...]:
    """See Offer.probe."""
    try:
        done = await host.commands.run([settings.program, "-VV"], timeout_s=10)
    except UnavailableError:
        return (Missing(f"the program {settings.program}", "install the package rsync, 3.5.0 or later"),)
    except SystemCommandError as reason:
        return (Missing(f"a working {settings.program} ({reason})", "install the package rsync, 3.5.0 or later"),)
    return (*judge(done.stdout), *await _probe_tunnel(settings, host))


async def _probe_tunnel(settings: Settings, host: Host) -> tuple[Missing, ...]:
    missing = Missing(f"the program {settings.tls_program}", "install the package stunnel4, 5.60 or later")
    try:
        done = await host.commands.run([settings.tls_program, "-version"], timeout_s=10)
    except (UnavailableError, SystemCommandError):
        return (missing,)
    return () if judge_tunnel(done.stderr) else (missing,)


def judge_tunnel(version_report: str) -> bool:
    """Whether stunnel is of a version with TLS 1.3 and `sslVersionMin`, from what `stunnel -version` prints."""
    match = re.search(r"stunnel (\d+)\.(\d+) on ", version_report)
    return match is not None and (int(match[1]), int(match[2])) >= LEAST_TUNNEL_VERSION
