from __future__ import annotations

import pytest

from holdfast.hooks.volume import FileSystem, IoType, VolumeKind
from holdfast.planning.volume_sizes import refuse_smaller

BLOCK, FILE, XFS, EXT4 = IoType.BLOCK, IoType.FILE, FileSystem.XFS, FileSystem.EXT4


@pytest.mark.parametrize(
    ("kind", "io_type", "file_system", "word", "remedy"),
    [
        (VolumeKind.NAS, BLOCK, XFS, "XFS is never made smaller", "copy the files"),
        (VolumeKind.NAS, BLOCK, EXT4, "without a journal", "copy the files"),
        (VolumeKind.ISCSI, BLOCK, XFS, "nobody but they can say", "initiators copy"),
        (VolumeKind.FC, BLOCK, XFS, "nobody but they can say", "initiators copy"),
        (VolumeKind.ISCSI, FILE, XFS, "its file", "initiators copy"),
    ],
)
def test_a_volume_is_never_made_smaller_and_it_is_said_why(
    kind: VolumeKind, io_type: IoType, file_system: FileSystem, word: str, remedy: str
) -> None:
    (reason,) = refuse_smaller("v1", kind, io_type, file_system, 100, 99)
    assert word in reason.text
    assert remedy in reason.remedy
    assert reason.field == "size_bytes"
    assert refuse_smaller("v1", kind, io_type, file_system, 100, 100) == ()
