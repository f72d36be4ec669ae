"""A mirror whose volume has file I/O: its file system is mounted as long as the mirror is Primary, and no longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import BusyError, ConflictError, HoldfastError
from holdfast.hooks.replication import Role
from holdfast.hooks.volume import IoType, VolumeKind, VolumeSpec
from holdfast.loading.judging import Loaded
from holdfast.monitor.resources import Mirror, MirrorPart
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import FileSystem
from holdfast.testing.memory_mirror_bed import MemoryMirrorBed
from holdfast.testing.memory_volume import MemoryVolumes

MIB = 1 << 20
DEVICE = "/dev/memory0"


class Volumes(MemoryVolumes):
    """Notes the role that the mirror has at each mount and unmount."""

    def __init__(self, content: Path, bed: MemoryMirrorBed) -> None:
        super().__init__(content)
        self._bed = bed
        self.roles: list[Role] = []

    async def _note(self) -> None:
        self.roles.append((await self._bed.driver("a").status("m0")).role)

    async def mount(self, device: str, directory: str, *, read_only: bool = False) -> None:
        await self._note()
        await super().mount(device, directory, read_only=read_only)

    async def unmount(self, directory: str) -> None:
        await self._note()
        await super().unmount(directory)


class Files:
    """A mirror over a volume with file I/O, and where it is mounted."""

    def __init__(self, tmp_path: Path) -> None:
        self.bed = MemoryMirrorBed()
        self.volumes = Volumes(tmp_path / "content", self.bed)
        self.directory = str(tmp_path / "mounts" / "v0")
        drivers = Drivers(Loaded((), {"volume": self.volumes}))
        part = MirrorPart(self.bed.specs["a"], (FileSystem("m0", DEVICE, self.directory),))
        self.mirror = Mirror("m0", lambda name: part, self.bed.driver("a"), drivers)

    async def bring_up(self) -> None:
        """Both sides are equal, and nobody uses them."""
        await self.volumes.create_pool("pool", ("/dev/memory-1",), overwrite={})
        volume = await self.volumes.create_volume(VolumeSpec("pool", "v0", 16 * MIB, VolumeKind.ISCSI, IoType.FILE))
        self.volumes.above[DEVICE] = volume.device
        for node in ("a", "b"):
            driver, spec = self.bed.driver(node), self.bed.specs[node]
            await driver.create_metadata(spec)
            await driver.attach(spec)
            await driver.connect(spec)
        await self.bed.driver("a").skip_first_sync("m0")

    async def role(self) -> Role:
        """Of the mirror on this node."""
        return (await self.bed.driver("a").status("m0")).role


@pytest.fixture
async def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    await made.bring_up()
    return made


async def test_it_is_mounted_behind_the_promotion_and_unmounted_before_the_demotion(files: Files) -> None:
    await files.mirror.activate()
    assert files.volumes.mounts[files.directory].device == DEVICE
    await files.mirror.activate()  # it may be repeated
    await files.mirror.deactivate()
    assert (files.volumes.mounts, await files.role()) == ({}, Role.SECONDARY)
    assert files.volumes.roles == [Role.PRIMARY] * 3


async def test_one_that_cannot_be_mounted_is_no_activation_and_can_be_undone(files: Files) -> None:
    del files.volumes.above[DEVICE]
    with pytest.raises(HoldfastError):
        await files.mirror.activate()
    await files.mirror.deactivate()
    assert await files.role() is Role.SECONDARY


async def test_one_in_use_is_not_let_go(files: Files) -> None:
    await files.mirror.activate()
    files.volumes.held.add(files.directory)
    with pytest.raises(BusyError):
        await files.mirror.deactivate()
    assert await files.role() is Role.PRIMARY
    assert files.directory in files.volumes.mounts


async def test_another_file_system_in_its_place_is_not_taken_for_it(files: Files) -> None:
    await files.volumes.create_volume(VolumeSpec("pool", "w", 16 * MIB, VolumeKind.NAS))
    await files.volumes.mount("/dev/pool/w", files.directory)
    with pytest.raises(ConflictError):
        await files.mirror.activate()
