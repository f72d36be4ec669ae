"""What a target may not be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import ConflictError, HoldfastError, InvalidError
from holdfast.hooks.target import Portal
from holdfast.hooks.volume import IoType, VolumeKind
from holdfast.services.documents import (
    AccessDocument,
    MirrorDocument,
    MirrorMember,
    TargetDocument,
    UnitDocument,
    VolumeDocument,
)
from holdfast.services.targets.checks import (
    notes,
    refuse_foreign_volumes,
    refuse_taken,
    refuse_twice,
    refuse_without_portal,
)

ACCESS = AccessDocument("iqn.2026-01.com.example:c")
LONE = TargetDocument(
    "t", "iqn.2026-01.com.example:t", None, (UnitDocument(1, "v", "0" * 16),), (ACCESS,), (Portal("::1"),)
)
VOLUMES = {
    "v": VolumeDocument("v", "p", 1, VolumeKind.ISCSI),
    "files": VolumeDocument("files", "p", 1, VolumeKind.NAS),
    "file": VolumeDocument("file", "p", 1, VolumeKind.ISCSI, io_type=IoType.FILE, file_bytes=1),
}
MIRROR = MirrorDocument("m", "a", "b", (), 7790, {}, is_started=True)

MEMBERS = replace(MIRROR, members=(MirrorMember("v", 1, 1, {}, {}, {}),))


def fields(error: HoldfastError) -> list[str | None]:
    return [reason.field for reason in error.reasons]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"units": (*LONE.units, UnitDocument(1, "w", "1" * 16))}, "units"),
        ({"units": (*LONE.units, UnitDocument(2, "v", "1" * 16))}, "units"),
        ({"access": (ACCESS, ACCESS)}, "access"),
        ({"portals": (Portal("::1"), Portal("::1"))}, "portals"),
        ({"initiator_groups": ("g", "g")}, "initiator_groups"),
    ],
)
def test_nothing_is_named_twice(change: dict[str, object], field: str) -> None:
    refuse_twice(LONE)
    with pytest.raises(InvalidError) as refused:
        refuse_twice(replace(LONE, **change))  # type: ignore[arg-type]
    assert fields(refused.value) == [field]


@pytest.mark.parametrize(
    ("volume", "mirror", "change", "refused_field"),
    [
        ("file", None, {}, None),
        ("file", None, {"has_write_cache": True}, None),
        ("file", None, {"is_read_only": True}, "units.0.is_read_only"),
        ("file", None, {"may_unmap": True}, "units.0.may_unmap"),
        ("v", None, {"is_read_only": True, "may_unmap": True}, None),
        ("v", None, {"has_write_cache": True}, "units.0.has_write_cache"),
        ("v", MEMBERS, {"has_write_cache": True}, "units.0.has_write_cache"),
    ],
)
def test_what_a_file_cannot_be_and_what_only_a_file_can(
    volume: str, mirror: MirrorDocument | None, change: dict[str, Any], refused_field: str | None
) -> None:
    target = replace(LONE, units=(UnitDocument(1, volume, "", **change),))
    if refused_field is None:
        refuse_foreign_volumes(target, mirror, VOLUMES, set())
        return
    with pytest.raises(InvalidError) as refused:
        refuse_foreign_volumes(target, mirror, VOLUMES, set())
    assert fields(refused.value) == [refused_field]
    assert all(reason.remedy for reason in refused.value.reasons)


def test_a_write_cache_is_noted() -> None:
    cached = replace(LONE, units=(replace(LONE.units[0], has_write_cache=True),))
    assert [note for note in notes(cached) if note not in notes(LONE)] == [
        "LUN 1 has a write cache: what its initiators did not flush is lost with this node"
    ]


@pytest.mark.parametrize(
    ("volume", "mirror", "mirrored"),
    [("absent", None, set()), ("files", None, set()), ("v", None, {"v"}), ("v", MIRROR, {"v"})],
)
def test_only_what_may_be_exported_is(volume: str, mirror: MirrorDocument | None, mirrored: set[str]) -> None:
    refuse_foreign_volumes(LONE, None, VOLUMES, set())
    target = replace(LONE, units=(UnitDocument(1, volume, ""),))
    with pytest.raises(InvalidError) as refused:
        refuse_foreign_volumes(target, mirror, VOLUMES, mirrored)
    assert fields(refused.value) == ["units.0.volume"]


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (replace(LONE, units=()), "iqn"),
        (replace(LONE, iqn="iqn.2026-01.com.example:o", units=(UnitDocument(9, "v", "9" * 16),)), "units.0.volume"),
        (replace(LONE, iqn="iqn.2026-01.com.example:o", units=(UnitDocument(9, "w", "0" * 16),)), "units.0.serial"),
    ],
)
def test_what_another_target_has_is_not_given_twice(other: TargetDocument, field: str) -> None:
    refuse_taken(LONE, [])
    with pytest.raises(ConflictError) as refused:
        refuse_taken(LONE, [other])
    assert fields(refused.value) == [field]


def test_a_target_without_a_mirror_needs_an_address_of_its_own() -> None:
    refuse_without_portal(LONE)
    refuse_without_portal(replace(LONE, mirror="m", portals=()))
    refuse_without_portal(replace(LONE, iqn="naa.5001405000000001", portals=()))
    with pytest.raises(InvalidError) as refused:
        refuse_without_portal(replace(LONE, portals=()))
    assert fields(refused.value) == ["portals"]
    with pytest.raises(InvalidError) as refused:
        refuse_without_portal(replace(LONE, mirror="m", iqn="naa.5001405000000001"))
    assert fields(refused.value) == ["mirror"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"units": (UnitDocument(0, "v", ""),)}, "LUN 0"),
        ({"is_open": True}, "anybody"),
        ({"access": ()}, "nobody"),
        ({"access": (AccessDocument("i", "user", "secret"),)}, "CHAP"),
    ],
)
def test_what_is_allowed_and_worth_knowing_is_noted(change: dict[str, object], word: str) -> None:
    assert notes(LONE) == ()
    [note] = notes(replace(LONE, **change))  # type: ignore[arg-type]
    assert word in note
