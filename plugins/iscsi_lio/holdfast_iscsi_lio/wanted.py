"""What a target should be in the kernel: the tree of a specification, and of one that is to let go. Pure.

The order, and why, is in `tree`.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.hooks.target import Chap, Fabric, InitiatorAccess, LogicalUnit, TargetSpec, fabric_of
from holdfast.values import Secret
from holdfast_iscsi_lio.tree import (
    ACL_ATTRIBUTES,
    AS_MADE,
    MAX_FILE_IO_BYTES,
    RESERVED,
    TPG_ATTRIBUTES,
    TUNING,
    UNSET,
    WITH_ENABLE,
    Attribute,
    Directory,
    Item,
    Level,
    Link,
    Tree,
    alias_of,
    backstore_name,
    control_of,
    control_of_file,
    flag,
    portal_name,
    store_paths,
    target_of,
    tpg_of,
)


def wanted_tree(
    spec: TargetSpec, homes: Mapping[str, str], level: Level, reserved: Mapping[str, tuple[str, ...]] | None = None
) -> Tree:
    """Everything of a target, in order. `homes` as from `find_homes`.

    `reserved` are the registrations to load into each unit's backstore, by the unit's name; see `reservations`.
    """
    tpg = tpg_of(spec.iqn)
    fabric = fabric_of(spec.iqn)
    stores = store_paths(spec, homes)
    acls = [f"{tpg}/acls/{access.initiator}" for access in spec.access]
    numbers = [unit.lun for unit in spec.units]
    items: list[Item] = []
    for unit in spec.units:
        items += _backstore(spec, unit, homes[unit.name])
    items += [Directory(target_of(spec.iqn)), Directory(tpg)]
    items += _group_attributes(spec, tpg)
    items += [Directory(f"{tpg}/np/{portal_name(portal)}") for portal in spec.portals]
    for acl, access in zip(acls, spec.access, strict=True):
        items.append(Directory(acl))
        if fabric is Fabric.ISCSI:
            items += _credentials(access, acl)
    items += [Directory(f"{tpg}/lun/lun_{lun}") for lun in numbers]
    items += [Directory(f"{acl}/lun_{lun}") for acl in acls for lun in numbers]
    enable = [Attribute(f"{tpg}/enable", flag(level is Level.ACTIVE))] if fabric in WITH_ENABLE else []
    if level is Level.STAGED:
        return (*items, *(Attribute(f"{stores[unit.name]}/enable", "0") for unit in spec.units), *enable)
    items += [Attribute(f"{stores[unit.name]}/enable", "1") for unit in spec.units]
    for unit in spec.units:
        items += _tuning(unit, stores[unit.name])
        items += [Attribute(f"{stores[unit.name]}/{RESERVED}", line) for line in (reserved or {}).get(unit.name, ())]
    items += [Link(f"{tpg}/lun/lun_{unit.lun}/backstore", stores[unit.name]) for unit in spec.units]
    for acl in acls:
        for unit in spec.units:
            items.append(Link(f"{acl}/lun_{unit.lun}/mapped", f"{tpg}/lun/lun_{unit.lun}"))
            # After the link: what is written before is lost (target_core_fabric_configfs.c, no se_dev_entry yet).
            items.append(Attribute(f"{acl}/lun_{unit.lun}/write_protect", flag(unit.is_read_only)))
    return (*items, *enable)


def without_what_comes_by_itself(wanted: Tree, actual: Tree) -> Tree:
    """`wanted` without attributes of backstores yet to be opened, and of units yet to be mapped, that come so anyway.

    A takeover opens hundreds of devices, and each write costs it.
    """
    read = {item.path for item in actual}
    fresh = {"attrib/block_size": "512", "attrib/emulate_tpu": "0", "attrib/emulate_tpws": "0"}
    return tuple(
        item
        for item in wanted
        if not isinstance(item, Attribute)
        or item.path in read
        or (
            not (item.path.endswith("/write_protect") and item.value == "0")
            and fresh.get("/".join(item.path.rsplit("/", 2)[1:])) != item.value
        )
    )


def out_of_service(actual: Tree) -> Tree:
    """What stays of a tree that was read when the target lets go of its devices: all but links and enables."""
    kept: list[Item] = []
    for item in actual:
        if isinstance(item, Link) or item.path.endswith(("/write_protect", f"/{RESERVED}", *TUNING)):
            continue
        if isinstance(item, Attribute) and item.path.endswith("/enable"):
            kept.append(Attribute(item.path, "0"))
        else:
            kept.append(item)
    return tuple(kept)


def _backstore(spec: TargetSpec, unit: LogicalUnit, hba: str) -> list[Item]:
    path = f"{hba}/{backstore_name(spec.name, unit.name)}"
    return [
        Directory(hba),
        Directory(path),
        # First of all: from here on it is known whose it is.
        Attribute(f"{path}/alias", alias_of(spec.iqn, unit.lun)),
        Attribute(f"{path}/control", _control(unit)),
        Attribute(f"{path}/wwn/vpd_unit_serial", unit.serial),
        Attribute(f"{path}/wwn/vendor_id", unit.vendor),
        Attribute(f"{path}/wwn/product_id", unit.product),
        Attribute(f"{path}/wwn/revision", unit.revision),
    ]


def _control(unit: LogicalUnit) -> str:
    if unit.file_bytes is None:
        return control_of(unit.device, is_read_only=unit.is_read_only)
    return control_of_file(unit.device, unit.file_bytes, has_write_cache=unit.has_write_cache)


def _tuning(unit: LogicalUnit, store: str) -> list[Item]:
    optimal = unit.optimal_blocks
    if unit.file_bytes is not None and optimal is None:
        # What it has by itself is counted in blocks of 512 bytes, whatever the block.
        optimal = MAX_FILE_IO_BYTES // unit.block_size_bytes
    values = {
        "attrib/block_size": str(unit.block_size_bytes),
        "attrib/emulate_tpu": flag(unit.may_unmap),
        "attrib/emulate_tpws": flag(unit.may_unmap),
        "attrib/optimal_sectors": AS_MADE if optimal is None else str(optimal),
    }
    return [Attribute(f"{store}/{name}", values[name]) for name in TUNING]


def _group_attributes(spec: TargetSpec, tpg: str) -> list[Item]:
    match fabric_of(spec.iqn):
        case Fabric.LOOPBACK:
            return [Attribute(f"{tpg}/nexus", nexus_of(spec.iqn))]
        case Fabric.ISCSI:
            values = {
                # Of those without an ACL; each ACL says by itself what its initiator needs.
                "attrib/authentication": flag(any(access.chap for access in spec.access) and not spec.is_open),
                # Nobody without an ACL logs in, and nobody without one is told that the target exists.
                "attrib/generate_node_acls": flag(spec.is_open),
                "attrib/demo_mode_write_protect": flag(not spec.is_open),
                "attrib/demo_mode_discovery": flag(spec.is_open),
                # Else what is known of an initiator, its reservations too, goes with its session.
                "attrib/cache_dynamic_acls": flag(spec.is_open),
                # The larger offer of both sides is what an initiator waits before it comes back: ours must be 0.
                "param/DefaultTime2Wait": "0",
                "param/TargetAlias": spec.name,
            }
            return [Attribute(f"{tpg}/{name}", values[name]) for name in TPG_ATTRIBUTES]
        case _:
            return []


def nexus_of(name: str) -> str:
    """The initiator that this machine is to a loopback target: the same name but for its first digit after the NAA."""
    kind, _, digits = name.partition(".")
    return f"{kind}.{digits[0]}{'f' if digits[1] != 'f' else '0'}{digits[2:]}"


def _credentials(access: InitiatorAccess, acl: str) -> list[Item]:
    # Written without a newline: the kernel would keep it as the last character of the password.
    chap = access.chap or Chap(UNSET, Secret(UNSET))
    values = {
        "auth/userid": chap.user,
        "auth/password": Secret(chap.password.reveal()),
        "auth/userid_mutual": chap.mutual_user or UNSET,
        "auth/password_mutual": chap.mutual_password or Secret(UNSET),
        # An initiator without CHAP beside others with it; the portal group's word rules only while this is -1.
        "attrib/authentication": flag(access.chap is not None),
        "cmdsn_depth": str(access.cmdsn_depth),
    }
    return [Attribute(f"{acl}/{name}", values[name]) for name in ACL_ATTRIBUTES]
