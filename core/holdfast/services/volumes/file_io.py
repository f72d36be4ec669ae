"""File I/O (S15): which volumes may have it, and what is refused of one that has. Each refusal names the field."""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import InvalidError, Reason, RefusedError
from holdfast.hooks.base import Can
from holdfast.hooks.volume import UNIT_FILE, FileSystem, IoType, VolumeDriver, VolumeKind, VolumeSpec
from holdfast.services.documents import UnitDocument, VolumeDocument


def directory_of(mount_dir: Path, volume: VolumeDocument) -> Path:
    """Where the file system of a volume is mounted."""
    return mount_dir / (volume.directory_pool or volume.pool) / volume.name


def unit_path(directory: Path) -> str:
    """The file of a volume whose file system is mounted at `directory`."""
    return str(directory / UNIT_FILE)


def refuse_io_type(spec: VolumeSpec, driver: VolumeDriver) -> None:
    """Raise InvalidError for file I/O on what is not exported, or for what the driver has not."""
    if spec.file_system is not FileSystem.XFS:
        if spec.kind is not VolumeKind.NAS:
            text = "only NAS volumes have a choice of file systems"
            raise _bad("bad-file-system", text, "leave file_system out", "file_system")
        if Can.VOLUME_EXT4 not in driver.can:
            raise _bad("no-ext4", "the configured volume driver makes no ext4", "ask for xfs", "file_system")
    if spec.io_type is not IoType.FILE:
        return
    if spec.kind is VolumeKind.NAS:
        text = "a NAS volume is no logical unit: its files are shared, not exported"
        raise _bad("nas-volume", text, "leave io_type out, or make a volume of kind iscsi or fc", "io_type")
    if Can.VOLUME_FILE not in driver.can:
        text = "the configured volume driver makes no files for logical units"
        raise _bad("no-file-io", text, "ask for block I/O", "io_type")


def refuse_destination_mode(volume: VolumeDocument) -> None:
    """Raise RefusedError for a volume with file I/O: no other's content is put below its file."""
    if volume.io_type is IoType.FILE:
        text = f"the volume {volume.name} has file I/O: its file system and its file are made with it, not copied to it"
        remedy = "set a volume with block I/O to destination, or let the mirror make the destination's volume"
        raise RefusedError(text, reasons=[Reason("file-io", text, remedy, "mode")])


def refuse_chosen(volume: VolumeDocument) -> None:
    """Raise RefusedError where a volume with file I/O is to be mirrored to one that was chosen on the partner."""
    if volume.io_type is IoType.FILE:
        text = f"the volume {volume.name} has file I/O, and its copy is a volume that the mirror makes for it"
        remedy = "leave it out of destination_volumes"
        raise RefusedError(text, reasons=[Reason("file-io", text, remedy, "destination_volumes")])


def refuse_unit(unit: UnitDocument, index: int, io_type: IoType, *, is_mirrored: bool) -> None:
    """Raise InvalidError for what a unit on a volume with `io_type` cannot be."""
    field = f"units.{index}"
    is_file = io_type is IoType.FILE
    if unit.has_write_cache and (is_mirrored or not is_file):
        text = f"the unit {unit.lun} cannot have a write cache of its own: "
        text += "a takeover would lose what is in it" if is_mirrored else "with block I/O its device says whether"
        remedy = "leave has_write_cache out, or use a volume with file I/O that is in no mirror"
        raise _bad("write-cache", text, remedy, f"{field}.has_write_cache")
    if is_file and unit.is_read_only:
        # target_core_file.c, fd_configure_device opens O_RDWR always: only the ACL of an initiator could protect it.
        text = f"the unit {unit.lun} is a file, which the kernel opens for writing in any case"
        remedy = "leave is_read_only out, or use a volume with block I/O"
        raise _bad("file-io", text, remedy, f"{field}.is_read_only")
    if is_file and unit.may_unmap:
        text = f"the unit {unit.lun} is a file whose room is allocated for good: unmap would give it up"
        raise _bad("file-io", text, "leave may_unmap out, or use a volume with block I/O", f"{field}.may_unmap")


def _bad(code: str, text: str, remedy: str, field: str) -> InvalidError:
    return InvalidError(text, reasons=[Reason(code, text, remedy, field)])
