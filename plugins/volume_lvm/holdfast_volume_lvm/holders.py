"""Who uses a device or a mounted file system, as far as it is cheaply known. Only looks, never waits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from holdfast.system.kernelfs import KernelFs

_ENOUGH = 5


def of_device(kernel: KernelFs, number: str, mounted_at: Iterable[str]) -> tuple[str, ...]:
    """Users of the device with this number (`254:0`): mount points, devices on it, programs."""
    found = [f"the file system mounted at {directory}" for directory in mounted_at]
    block = f"/sys/dev/block/{number}"
    for name in kernel.names(f"{block}/holders"):
        label = kernel.read(f"/sys/block/{name}/dm/name") if kernel.exists(f"/sys/block/{name}/dm/name") else name
        found.append(f"the device {label}")
    names = {f"/dev/{line.removeprefix('DEVNAME=')}" for line in _lines(kernel, f"{block}/uevent", "DEVNAME=")}
    if kernel.exists(f"{block}/dm/name"):
        names.add(f"/dev/mapper/{kernel.read(f'{block}/dm/name')}")
    found += _programs(kernel, lambda target: target in names)
    return tuple(found[:_ENOUGH])


def of_directory(kernel: KernelFs, directory: str) -> tuple[str, ...]:
    """Programs with an open file, a working directory or a root in or below `directory`."""
    below = directory.rstrip("/") + "/"
    return tuple(_programs(kernel, lambda target: target == directory or target.startswith(below)))[:_ENOUGH]


def _lines(kernel: KernelFs, path: str, prefix: str) -> Iterator[str]:
    if kernel.exists(path):
        yield from (line for line in kernel.read(path).splitlines() if line.startswith(prefix))


def _programs(kernel: KernelFs, is_it: Callable[[str], bool]) -> Iterator[str]:
    for pid in kernel.names("/proc"):
        if pid.isdecimal() and any(is_it(target) for target in _opened(kernel, pid)):
            yield f"the program {_name(kernel, pid)} (process {pid})"


def _opened(kernel: KernelFs, pid: str) -> Iterator[str]:
    """What a process has open. Links are read and never followed: that could wait for a dead device."""
    for link in ("cwd", "root", "exe", *(f"fd/{name}" for name in _descriptors(kernel, pid))):
        try:
            yield os.readlink(kernel.path(f"/proc/{pid}/{link}"))
        except OSError:
            continue  # it ended or closed it meanwhile, or it is one of the kernel's own


def _descriptors(kernel: KernelFs, pid: str) -> tuple[str, ...]:
    try:
        return kernel.names(f"/proc/{pid}/fd")
    except OSError:
        return ()


def _name(kernel: KernelFs, pid: str) -> str:
    try:
        return kernel.read(f"/proc/{pid}/comm")
    except OSError:
        return "unknown"
