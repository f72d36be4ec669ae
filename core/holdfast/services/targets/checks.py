"""What a target may not be, of what only this node's records tell. Each refusal names the field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.errors import ConflictError, InvalidError, Reason
from holdfast.hooks.target import Fabric, fabric_of
from holdfast.hooks.volume import VolumeKind
from holdfast.services.dependents import refuse_destination
from holdfast.services.documents import MirrorDocument, TargetDocument, VolumeDocument
from holdfast.services.volumes.file_io import refuse_unit


def _bad(code: str, text: str, remedy: str, field: str) -> InvalidError:
    return InvalidError(text, reasons=[Reason(code, text, remedy, field)])


def refuse_twice(target: TargetDocument) -> None:
    """Nothing is named twice."""
    for what, field, values in (
        ("LUN", "units", [unit.lun for unit in target.units]),
        ("volume", "units", [unit.volume for unit in target.units]),
        ("initiator", "access", [access.initiator for access in target.access]),
        ("portal", "portals", list(target.portals)),
        ("initiator group", "initiator_groups", list(target.initiator_groups)),
    ):
        if len(set(values)) != len(values):
            raise _bad("twice", f"a {what} occurs twice", "name each once", field)


def refuse_foreign_volumes(
    target: TargetDocument, mirror: MirrorDocument | None, volumes: Mapping[str, VolumeDocument], mirrored: set[str]
) -> None:
    """Over a mirror only its volumes are exported; else only volumes of this node that no mirror has."""
    for index, unit in enumerate(target.units):
        field = f"units.{index}.volume"
        if mirror is not None:
            known = {member.volume: member for member in mirror.members}
            if unit.volume not in known:
                text = f"the volume {unit.volume} is not in the mirror {mirror.name}"
                raise _bad("not-mirrored", text, f"name one of {', '.join(sorted(known))}", field)
            refuse_unit(unit, index, known[unit.volume].io_type, is_mirrored=True)
            if known[unit.volume].kind is VolumeKind.NAS:
                text = f"the volume {unit.volume} has a file system on it, which is mounted on {mirror.source}"
                raise _bad("nas-volume", text, "name a volume of kind iscsi or fc", field)
            continue
        volume = volumes.get(unit.volume)
        if volume is None:
            known_here = ", ".join(sorted(volumes)) or "none yet"
            raise _bad("unknown-volume", f"there is no volume {unit.volume!r}", f"name one of: {known_here}", field)
        if volume.kind is VolumeKind.NAS:
            text = f"the volume {unit.volume} has a file system of this node's on it"
            raise _bad("nas-volume", text, "name a volume of kind iscsi or fc", field)
        refuse_destination(volume)
        refuse_unit(unit, index, volume.io_type, is_mirrored=False)
        if volume.is_torn:
            text = f"the volume {unit.volume} is a copy that never was complete"
            raise _bad("torn", text, "name another, or set it to destination and mirror it once more", field)
        if unit.volume in mirrored:
            text = f"the volume {unit.volume} is in a mirror: writes past the mirror would not reach the other node"
            raise _bad("mirrored", text, "make the target over the mirror", field)


def refuse_taken(target: TargetDocument, others: Iterable[TargetDocument]) -> None:
    """No IQN and no volume is in two targets."""
    for other in others:
        if other.iqn == target.iqn:
            text = f"the target {other.name} has the IQN {target.iqn}"
            raise ConflictError(text, reasons=[Reason("iqn-taken", text, "choose another IQN", "iqn")])
        theirs = {unit.volume for unit in other.units}
        for index, unit in enumerate(target.units):
            if unit.volume in theirs:
                text = f"the volume {unit.volume} is a LUN of the target {other.name}"
                reason = Reason("exported", text, "take it out of that target first", f"units.{index}.volume")
                raise ConflictError(text, reasons=[reason])
        serials = {unit.serial for unit in other.units}
        for index, unit in enumerate(target.units):
            if unit.serial and unit.serial in serials:
                text = f"the serial {unit.serial} is of a LUN of the target {other.name}"
                remedy = "two disks with one serial look like two ways to one disk: choose another"
                raise ConflictError(text, reasons=[Reason("serial-taken", text, remedy, f"units.{index}.serial")])


def refuse_without_portal(target: TargetDocument) -> None:
    """A target of this node alone has no group that would give it an address."""
    if target.mirror is None and not target.portals and fabric_of(target.iqn) is Fabric.ISCSI:
        text = "a target without a mirror has no virtual address to listen on"
        raise _bad("no-portal", text, "name an address of this node", "portals")
    if target.mirror is not None and fabric_of(target.iqn) is Fabric.LOOPBACK:
        raise _bad("loopback", "a loopback target does not move between nodes", "leave the mirror out", "mirror")


def notes(target: TargetDocument) -> tuple[str, ...]:
    """What is allowed and still worth knowing (S42)."""
    found = []
    if any(unit.lun == 0 for unit in target.units):
        found.append("LUN 0 is in use: some hypervisors want the LUNs of a failover pair to begin at 1")
    if target.is_open:
        found.append("anybody who reaches a portal may log in and write, without a password")
    if not target.is_open and not target.access and not target.initiator_groups:
        found.append("nobody may log in: no initiator is named")
    for unit in target.units:
        if unit.has_write_cache:
            found.append(f"LUN {unit.lun} has a write cache: what its initiators did not flush is lost with this node")
    if any(access.chap_user for access in target.access):
        found.append("some hypervisors do not support CHAP")
    return tuple(found)
