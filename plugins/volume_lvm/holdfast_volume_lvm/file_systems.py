"""The file systems that a volume may have: how each is made, known again, mounted and made larger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import ConflictError, HoldfastError, Reason, SystemCommandError
from holdfast.hooks.volume import FileSystem, IoType, VolumeSpec
from holdfast_volume_lvm import unit_files
from holdfast_volume_lvm.tools import Tools

# The superblock of ext4 begins at 1024, its magic number 56 bytes further on (fs/ext4/ext4.h).
_EXT4_MAGIC_AT = 1024 + 56
_EXT4_MAGIC = b"\x53\xef"

# Nothing is kept back for root, who is nobody's user here. Project quotas can be had later, as XFS always can.
_EXT4_OPTIONS = ("-m", "0", "-O", "quota,project", "-E", "quotatype=prjquota")


def on_device(path: Path) -> FileSystem:
    """What a device carries. What cannot be read or is unknown is taken for XFS, and mounting says what is wrong."""
    try:
        with path.open("rb") as device:
            head = device.read(_EXT4_MAGIC_AT + len(_EXT4_MAGIC))
    except OSError:
        return FileSystem.XFS
    return FileSystem.EXT4 if head[_EXT4_MAGIC_AT:] == _EXT4_MAGIC else FileSystem.XFS


def mount_options(kind: FileSystem) -> Sequence[str]:
    """What its mounts need.

    A snapshot has the identifier of its volume, and XFS mounts no two of one: nouuid. Never norecovery: a snapshot is
    consistent only after its log was replayed, which a read-only mount does too. ext4 would go on after an error.
    """
    return ("nouuid",) if kind is FileSystem.XFS else ("errors=remount-ro",)


async def make(tools: Tools, spec: VolumeSpec, device: str) -> None:
    """Make the file system of a fresh volume, or finish one whose making was interrupted."""
    carried = await tools.signatures(device)
    if carried == ():
        # Without force: mkfs itself refuses what appeared since we looked.
        await tools.work(_argv(spec, device), device)
    elif carried != (spec.file_system,):
        raise unfinished(device, carried)
    elif spec.file_system is FileSystem.EXT4:
        await _refuse_damaged(tools, device, carried)
    elif await _is_half_made(tools, device):
        await tools.work([*_argv(spec, device), "-f"], device)


def _argv(spec: VolumeSpec, device: str) -> list[str]:
    if spec.file_system is FileSystem.EXT4:
        return ["mkfs.ext4", "-q", *_EXT4_OPTIONS, device]
    options = unit_files.MKFS_OPTIONS if spec.io_type is IoType.FILE else ()
    return ["mkfs.xfs", "-q", *options, device]


async def _is_half_made(tools: Tools, device: str) -> bool:
    # mkfs.xfs sets sb_inprogress first and clears it last; the kernel mounts no file system that has it.
    argv = ["xfs_db", "-r", "-c", "sb 0", "-c", "print inprogress", device]
    done = await tools.look(argv, device)
    return done.stdout.split() != ["inprogress", "=", "0"]


async def _refuse_damaged(tools: Tools, device: str, carried: tuple[str, ...]) -> None:
    # mkfs.ext4 writes its superblock last, and so leaves nothing that looks whole and is not.
    try:
        await tools.work(["e2fsck", "-f", "-n", device], device)
    except SystemCommandError as reason:
        raise unfinished(device, carried) from reason


async def grow(tools: Tools, kind: FileSystem, device: str, directory: str) -> None:
    """Let a mounted file system take up all that its device has; nothing to take is success."""
    argv = ["xfs_growfs", "-d", directory] if kind is FileSystem.XFS else ["resize2fs", device]
    await tools.work(argv, f"growing the file system at {directory}")


def unfinished(device: str, carried: tuple[str, ...]) -> HoldfastError:
    """A volume that nobody was ever told of carries something: it is not touched."""
    text = f"the making of {device} was interrupted, and it carries {', '.join(carried)}"
    remedy = "look at what it holds, then delete the volume and make it again"
    return ConflictError(text, reasons=[Reason("unfinished", text, remedy)])
