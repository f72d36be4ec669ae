"""What the kernel's server knows of its clients, read from `/proc/fs/nfsd/clients` (seen with Linux 6.1)."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass

from holdfast.hooks.share import OpenFile
from holdfast.system.kernelfs import KernelFs

CLIENTS = "/proc/fs/nfsd/clients"
_STATE = re.compile(
    r"type: (?P<type>\w+), (?:access: (?P<access>[rw-]+), )?.*"
    r'superblock: "(?P<device>[0-9a-f]+:[0-9a-f]+):(?P<inode>\d+)"(?:, filename: "(?P<name>[^"]*)")?'
)


@dataclass(frozen=True)
class Client:
    """A client, and what it holds by file system: the kernel tells the device, not the export."""

    number: str
    """Its directory's name."""
    address: str
    files: dict[tuple[int, int], tuple[OpenFile, ...]]
    """By major and minor number of the device."""
    devices: frozenset[tuple[int, int]]
    """Where it holds anything at all, what was only lent to it included: the kernel has that open, too."""


def read_clients(kernel: KernelFs) -> tuple[Client, ...]:
    """Every client with a lease, by address."""
    found = []
    for number in kernel.names(CLIENTS):
        with contextlib.suppress(OSError):  # it may just have left
            address = read_address(kernel.read(f"{CLIENTS}/{number}/info"))
            if address is not None:
                states = kernel.read(f"{CLIENTS}/{number}/states")
                found.append(Client(number, address, read_files(states), read_devices(states)))
    return tuple(sorted(found, key=lambda client: (client.address, client.number)))


def read_address(info: str) -> str | None:
    """The address in a client's `info`, without its port."""
    told = re.search(r'^address: "(.*)"$', info, re.MULTILINE)
    return told[1].rpartition(":")[0].strip("[]") if told else None


def read_devices(text: str) -> frozenset[tuple[int, int]]:
    """Where a client holds an open file, a lock or a delegation, as its `states` say."""
    return frozenset(_device(told["device"]) for line in text.splitlines() if (told := _STATE.search(line)))


def _device(text: str) -> tuple[int, int]:
    major, minor = (int(part, 16) for part in text.split(":"))
    return major, minor


def read_files(text: str) -> dict[tuple[int, int], tuple[OpenFile, ...]]:
    """What a client's `states` say: opens and locks of one file are one."""
    files: dict[tuple[tuple[int, int], str], OpenFile] = {}
    for line in text.splitlines():
        if (told := _STATE.search(line)) is None or told["type"] not in ("open", "lock"):
            continue
        key = _device(told["device"]), told["inode"]
        known = files.get(key, OpenFile(told["name"] or f"inode {told['inode']}"))
        is_open = told["type"] == "open"
        files[key] = OpenFile(
            known.path,
            known.is_writing or (is_open and "w" in (told["access"] or "")),
            known.is_locked or not is_open,
        )
    by_device: dict[tuple[int, int], tuple[OpenFile, ...]] = {}
    for (device, _), file in files.items():
        by_device[device] = (*by_device.get(device, ()), file)
    return by_device


def expire(kernel: KernelFs, client: Client) -> None:
    """Take away all that a client holds; one that is still there opens again what it may (Linux: nfs4state.c)."""
    with contextlib.suppress(OSError):
        kernel.write(f"{CLIENTS}/{client.number}/ctl", "expire\n")
