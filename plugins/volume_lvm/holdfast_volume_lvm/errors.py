"""What the tools say, in the terms of the error tree. The only place that reads their sentences."""

from __future__ import annotations

from holdfast.errors import (
    BusyError,
    ConflictError,
    HoldfastError,
    NoSpaceError,
    NotFoundError,
    Reason,
    SystemCommandError,
    UnavailableError,
)

# The first match counts. All were seen from lvm 2.03.16, util-linux 2.38, xfsprogs 6.1 (captured in the tests).
_SENTENCES: tuple[tuple[str, type[HoldfastError], str, str], ...] = (
    ("insufficient free space", NoSpaceError, "there is not enough room in the pool", "make room in the pool"),
    ("of locked volumes", BusyError, "it is being moved to another disk", "wait until that is over, or cancel it"),
    ("locked logical volume", BusyError, "it is being moved to another disk", "wait until that is over, or cancel it"),
    ("contains a filesystem in use", BusyError, "it is mounted", "unmount it first"),
    ("contains a mounted filesystem", BusyError, "it is mounted", "unmount it first"),
    ("already mounted", BusyError, "it or its directory is in use", "end what uses it"),
    ("target is busy", BusyError, "it is in use", "end what uses it"),
    ("exclusively", BusyError, "another program holds it", "end what uses it"),
    ("Device or resource busy", BusyError, "another program holds it", "end what uses it"),
    (" in use", BusyError, "it is held open", "end what uses it"),
    ("existing signature left on the device", ConflictError, "it carries data", "name what it carries to overwrite it"),
    ("appears to contain an existing filesystem", ConflictError, "it carries a file system", "delete it first"),
    ("already exists in filesystem", ConflictError, "the name is a file in /dev", "choose another name"),
    ("already exists", ConflictError, "the name is taken", "choose another name"),
    ("special device", NotFoundError, "there is no such device", "activate the pool, or look for the volume"),
    ("No device found", NotFoundError, "there is no such device", "look at the list of disks"),
    (
        "No such file or directory",
        NotFoundError,
        "there is no such device",
        "activate the pool, or look for the volume",
    ),
    ("Failed to find", NotFoundError, "it does not exist", "look at the list"),
    ("not found", NotFoundError, "it does not exist", "look at the list"),
    ("wrong fs type", ConflictError, "it carries no file system that can be mounted", "look at what it carries"),
    ("Structure needs cleaning", ConflictError, "its file system is damaged", "repair it with xfs_repair"),
    ("can't read superblock", UnavailableError, "it cannot be read", "look at its disk or at its snapshot's reserve"),
    ("Input/output error", UnavailableError, "it cannot be read or written", "look at its disk"),
    ("while PVs are missing", UnavailableError, "a disk of the pool is missing", "bring the disk back"),
    ("Couldn't find device with uuid", UnavailableError, "a disk of the pool is missing", "bring the disk back"),
    ("device-mapper driver", UnavailableError, "the kernel has no device-mapper", "load the module dm_mod"),
)


def translate(error: SystemCommandError, subject: str) -> HoldfastError:
    """The same failure of `subject` for the caller; `error` itself where nothing is known about it.

    A command that timed out has an unknown effect, and stays what it is.
    """
    if error.returncode is None:
        return error
    for sentence, kind, meaning, remedy in _SENTENCES:
        if sentence in error.stderr_tail:
            text = f"{subject}: {meaning}"
            code = f"{kind.code}-at-command"
            return kind(f"{text} ({_last_line(error)})", reasons=[Reason(code, text, remedy)])
    return error


def _last_line(error: SystemCommandError) -> str:
    lines = [line.strip() for line in error.stderr_tail.splitlines() if line.strip() and "dmesg(1)" not in line]
    return f"{error.argv[0]}: {lines[-1] if lines else 'no message'}"
