"""smb.conf and the sections of the registry: written from an exposure, and read back into one.

A share of ours is told by the parametric option `holdfast:share`, which Samba keeps and does not interpret
(smb.conf(5), "parametric options"). Everything else that is in the registry is somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from holdfast.errors import InvalidError, Reason
from holdfast.hooks.share import SmbExposure
from holdfast_share_smb.settings import Settings

MARK = "holdfast:share"
SNAPSHOT_MODULE = "shadow_copy2"
# Of a share that nobody may write to for now: who may, once that is over.
_HELD_BACK = "holdfast:write list"
_SNAPSHOTS = "shadow:snapdir"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
# Sections that mean something else to Samba (smb.conf(5), SPECIAL SECTIONS).
_SPECIAL = ("global", "homes", "printers")
_UNSAFE_IN_PATH = re.compile(r"[\x00-\x1f\x7f%\\\"]")

Section = Mapping[str, str]


def render_global(settings: Settings, *, state_dir: Path, run_dir: Path) -> str:
    """The file that smbd and its tools are started with.

    Shares and what smbd knows of clients are gone after a reboot, on purpose: until the daemon has seen that a volume
    is mounted, nothing of it is served. Accounts, and the number that names this server, stay.
    """
    values = {
        "server role": "standalone server",
        "workgroup": settings.workgroup,
        "state directory": run_dir / "state",
        "lock directory": run_dir / "lock",
        "cache directory": run_dir / "cache",
        "ncalrpc dir": run_dir / "ncalrpc",
        "pid directory": run_dir,
        "private dir": state_dir / "private",
        "passdb backend": "tdbsam",
        "log file": run_dir / "log",
        "max log size": 1000,
        # Dialects before 2 and what belongs to them: no port 139, no names by broadcast, no guests.
        "server min protocol": settings.least_dialect,
        "server smb encrypt": settings.encryption,
        "smb ports": 445,
        "disable netbios": "yes",
        "map to guest": "never",
        "restrict anonymous": 2,
        "load printers": "no",
        "printcap name": "/dev/null",
        "disable spoolss": "yes",
        "usershare max shares": 0,
        "include": "registry",
    }
    return "".join(["[global]\n", *(f"\t{key} = {value}\n" for key, value in values.items())])


def render_share(exposure: SmbExposure, settings: Settings) -> dict[str, str]:
    """The section of a share. Raises InvalidError for what Samba would take for something else."""
    if not _NAME.match(exposure.share) or exposure.share in _SPECIAL:
        raise _refuse("share", f"{exposure.share!r} means something else to SMB", "give the share another name")
    if _UNSAFE_IN_PATH.search(exposure.path) or not exposure.path.startswith("/"):
        raise _refuse("path", f"{exposure.path!r} cannot be offered by SMB", "use an absolute path of plain characters")
    writers = [*sorted(exposure.write_users), *(f"+{name}" for name in sorted(exposure.write_groups))]
    readers = [*sorted(exposure.read_users), *(f"+{name}" for name in sorted(exposure.read_groups))]
    for name in (*writers, *readers):
        if not _NAME.match(name.removeprefix("+")):
            raise _refuse("users", f"{name!r} cannot name a user or group", "name one that was made here")
    section = {
        "path": exposure.path,
        MARK: exposure.share,
        # An empty list would let everybody in: this is a name that nobody has.
        "valid users": ", ".join(dict.fromkeys((*writers, *readers))) or "+-",
        "read only": "yes",
        "browseable": "no" if exposure.is_hidden else "yes",
        # What one user makes the others of the share may use: who may what is decided by the lists above.
        "force group": settings.group,
        "create mask": "0775",
        "force create mode": "0660",
        "map archive": "no",  # it would say so by making files executable
        "directory mask": "2775",
        "force directory mode": "2770",
        _HELD_BACK if exposure.is_read_only else "write list": ", ".join(writers),
    }
    if exposure.snapshots is not None:
        # The share is the whole of each, as bound there: none of what lies beside it in its volume is in reach.
        section["vfs objects"] = SNAPSHOT_MODULE
        section[_SNAPSHOTS] = str(settings.snapshots_of(exposure.share))
        section["shadow:basedir"] = exposure.path
        section["shadow:sort"] = "desc"
    if readers:
        section["holdfast:read list"] = ", ".join(readers)
    return section


def render_import(share: str, section: Section) -> str:
    """A file for `net conf import`."""
    return "".join([f"[{share}]\n", *(f"\t{key} = {value}\n" for key, value in section.items())])


def read_sections(listing: str) -> dict[str, dict[str, str]]:
    """What `net conf list` prints, by name of section."""
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in listing.splitlines():
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1], {})
        elif (parted := line.strip().partition("="))[1]:
            current[parted[0].strip()] = parted[2].strip()
    return sections


def is_ours(section: Section) -> bool:
    """Whether it was exposed by this driver."""
    return MARK in section


def read_share(share: str, section: Section) -> SmbExposure:
    """What a section of ours offers, told from what Samba acts by.

    Of snapshots only whether some are shown: which they are is told by what is bound where.
    """
    is_read_only = _HELD_BACK in section and not _names(section.get("write list", ""))
    writers = _names(section.get(_HELD_BACK if is_read_only else "write list", ""))
    # Whoever is let in and cannot write reads, whatever our own note of it says.
    listed = _names(section.get("holdfast:read list", ""))
    let_in = _names(section.get("valid users", ""))
    readers = [name for name in let_in if name in listed or name not in writers]
    return SmbExposure(
        share,
        section.get("path", ""),
        read_users=_plain(readers),
        read_groups=_groups(readers),
        write_users=_plain([name for name in writers if name in let_in]),
        write_groups=_groups([name for name in writers if name in let_in]),
        is_read_only=is_read_only,
        is_hidden=section.get("browseable", "yes") == "no",
        snapshots=() if _SNAPSHOTS in section else None,
    )


def _names(text: str) -> list[str]:
    return [name for name in re.split(r"[,\s]+", text) if name and name != "+-"]


def _plain(names: list[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if not name.startswith("+")))


def _groups(names: list[str]) -> tuple[str, ...]:
    return tuple(sorted(name[1:] for name in names if name.startswith("+")))


def _refuse(field: str, text: str, remedy: str) -> InvalidError:
    return InvalidError(f"{field}: {text}", reasons=[Reason("bad-value", text, remedy, field)])
