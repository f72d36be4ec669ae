"""Names, tags and marks."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from holdfast.errors import InvalidError
from holdfast.hooks.volume import FileSystem, IoType, VolumeKind, VolumeSpec
from holdfast_volume_lvm.naming import (
    Role,
    check_length,
    check_name,
    disk_mark,
    file_system_of,
    io_type_of,
    kind_of,
    metadata_name,
    new_disk_uuid,
    role_of,
    snapshot_name,
    snapshot_parts,
    tags_of,
)


@pytest.mark.parametrize("name", ["a", "v0", "tank-1", "x" * 31, "snap", "pv-move"])
def test_a_good_name_is_accepted(name: str) -> None:
    check_name(name, "name")


@pytest.mark.parametrize("name", ["", "-rf", "--yes", "0a", "A", "a b", "a.b", "a\n", "a_b", "x" * 32, "é"])
def test_a_name_that_lvm_or_a_shell_could_misread_is_refused(name: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_name(name, "pool")
    assert caught.value.reasons[0].field == "pool"


@pytest.mark.parametrize("name", ["snapshot", "snapshot-1", "pvmove0"])
def test_a_name_that_lvm_keeps_for_itself_is_refused(name: str) -> None:
    with pytest.raises(InvalidError, match="LVM keeps"):
        check_name(name, "name")


def test_hyphens_count_twice_towards_the_longest_name() -> None:
    check_length("p" * 31, snapshot_name("v" * 31, "s" * 31))
    with pytest.raises(InvalidError):
        check_length("p" + "-" * 30, snapshot_name("v" + "-" * 30, "s"))


def test_a_snapshot_s_name_comes_apart_as_it_was_put_together() -> None:
    assert snapshot_parts(snapshot_name("v0", "monday")) == ("v0", "monday")
    assert snapshot_parts(metadata_name("v0")) == ("v0.meta", "")


FC = VolumeSpec("tank", "v0", 1, VolumeKind.FC, file_system=FileSystem.EXT4)
UNIT = VolumeSpec("tank", "v0", 1, VolumeKind.ISCSI, IoType.FILE)
FILES = VolumeSpec("tank", "v0", 1, VolumeKind.NAS, file_system=FileSystem.EXT4)


@pytest.mark.parametrize(
    ("spec", "io_type", "file_system"),
    [
        (FC, IoType.BLOCK, None),
        (UNIT, IoType.FILE, FileSystem.XFS),
        (FILES, IoType.BLOCK, FileSystem.EXT4),
        (replace(FILES, file_system=FileSystem.XFS), IoType.BLOCK, FileSystem.XFS),
    ],
)
def test_what_the_tags_say_is_read_back(spec: VolumeSpec, io_type: IoType, file_system: FileSystem | None) -> None:
    tags = frozenset(tags_of(Role.VOLUME, spec))
    assert (role_of(tags), kind_of(tags)) == (Role.VOLUME, spec.kind)
    assert (io_type_of(tags), file_system_of(tags)) == (io_type, file_system)
    assert (role_of(frozenset(tags_of(Role.METADATA))), kind_of(frozenset())) == (Role.METADATA, None)


def test_a_role_without_our_tag_is_nobody_we_know() -> None:
    assert role_of(frozenset({"holdfast.role=volume", "holdfast.kind=nas"})) is None


def test_tags_have_only_letters_that_lvm_allows() -> None:
    # lvm(8): [A-Za-z0-9_+.-] and, since 2.02.78, also /=!:#&
    assert all(
        re.fullmatch(r"[A-Za-z0-9_+.\-/=!:#&]+", tag) for spec in (UNIT, FILES) for tag in tags_of(Role.VOLUME, spec)
    )


def test_a_disk_s_identifier_is_lvm_s_kind_and_tells_the_pool() -> None:
    made = new_disk_uuid("tank")
    assert re.fullmatch(r"[0-9a-zA-Z]{6}(-[0-9a-zA-Z]{4}){5}-[0-9a-zA-Z]{6}", made)
    assert made.startswith(disk_mark("tank"))
    assert made != new_disk_uuid("tank")
    assert disk_mark("tank") != disk_mark("tank2")
