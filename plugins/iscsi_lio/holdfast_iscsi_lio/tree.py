"""What a target consists of in the kernel, as an ordered list of configfs objects. Pure.

A target `t` with the IQN `iqn.…:t`, one logical unit `v` with the number 1 and one initiator:

    /sys/kernel/config/target
    ├── core
    │   └── iblock_1048571                an HBA of its own for each unit: adding one locks no other
    │       └── t.v                       the backstore, named by target and unit
    │           ├── alias                 "holdfast IQN lun_1": whose it is, and its number while no link says so
    │           ├── control               takes "udev_path=/dev/drbd5,readonly=0"; `info` shows it
    │           ├── wwn
    │           │   ├── vpd_unit_serial   the NAA identifier is made of its hexadecimal digits
    │           │   └── vendor_id product_id revision
    │           └── enable                "1" opens the device; nothing but rmdir closes it
    └── iscsi
        └── iqn.…:t
            └── tpgt_1                    what an initiator sees as the target
                ├── attrib param          authentication, DefaultTime2Wait, …
                ├── np
                │   └── 10.0.0.9:3260     listens from mkdir on, even while `enable` is 0
                ├── acls
                │   └── iqn.…:client
                │       ├── auth          userid password userid_mutual password_mutual
                │       ├── attrib        authentication
                │       └── lun_1         the number that this initiator sees
                │           ├── mapped -> ../../../lun/lun_1
                │           └── write_protect
                ├── lun
                │   └── lun_1
                │       └── backstore -> core/iblock_1048571/t.v
                └── enable                "1" accepts logins; "0" ends every session before it returns

The list stands in the order in which the kernel takes it: objects before LUNs, a LUN before what is mapped to it,
the target's `enable` last. Its reverse is the order of removal. Everything up to the links needs no readable
device and is staged on the passive node; a LUN can be linked only to an enabled backstore (ENODEV otherwise,
target_core_fabric_configfs.c, target_fabric_port_link), so links stay in the takeover's path.

The kernel sets a backstore's `attrib` anew when the device is opened, so it is written after `enable`. Persistent
reservations are loaded between that and the link (`reservations`). Targets of other fabrics have the same shape with
less in it: `loopback` has a `nexus` instead of portals, access and `enable`.

Not set: the write cache flag, for iblock reports the device's own (target_core_iblock.c, iblock_get_write_cache). The
relative target port number cannot be set in Linux 6.1, and need not: it is counted for each device from 1
(target_core_device.c, core_alloc_rtpi), so a backstore made afresh and linked once has 1 on both nodes.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address

from holdfast.errors import ConflictError, Reason
from holdfast.hooks.target import Chap, Fabric, InitiatorAccess, LogicalUnit, Portal, TargetSpec, fabric_of
from holdfast.values import Secret

CORE = "/sys/kernel/config/target/core"
ISCSI = "/sys/kernel/config/target/iscsi"
ROOTS = {
    Fabric.ISCSI: ISCSI,
    Fabric.LOOPBACK: "/sys/kernel/config/target/loopback",
    Fabric.FC: "/sys/kernel/config/target/qla2xxx",
    Fabric.FCOE: "/sys/kernel/config/target/fc",
}
"""Where the targets of a fabric are. The last two: the cards of one maker, and Fibre Channel over Ethernet."""
WITH_ENABLE = frozenset({Fabric.ISCSI, Fabric.FC})

TPG_ATTRIBUTES = (
    "attrib/authentication",
    "attrib/generate_node_acls",
    "attrib/demo_mode_write_protect",
    "attrib/demo_mode_discovery",
    "attrib/cache_dynamic_acls",
    "param/DefaultTime2Wait",
    "param/TargetAlias",
)
ACL_ATTRIBUTES = (
    "auth/userid",
    "auth/password",
    "auth/userid_mutual",
    "auth/password_mutual",
    "attrib/authentication",
    "cmdsn_depth",
)
LIVE = ("attrib/emulate_tpu", "attrib/emulate_tpws")
"""Of an open backstore, what may be changed while it is linked."""
TUNING = ("attrib/block_size", "attrib/optimal_sectors", *LIVE)
AS_MADE = ""
"""Stands for the value that a fresh object has by itself: it cannot be written, only come by with a new one."""
RESERVED = "pr/res_aptpl_metadata"
UNSET = "NULL"
"""Clears a credential: an empty write never reaches the kernel (iscsi_target_configfs.c, DEF_NACL_AUTH_STR)."""


@dataclass(frozen=True)
class Directory:
    """A configfs object that mkdir makes."""

    path: str


@dataclass(frozen=True)
class Attribute:
    """A file and what is written to it."""

    path: str
    value: str


@dataclass(frozen=True)
class Link:
    """A symbolic link, which ties two objects together."""

    path: str
    target: str


Item = Directory | Attribute | Link
Tree = tuple[Item, ...]


class Level(StrEnum):
    """How far a target is to be built."""

    STAGED = "staged"
    ACTIVE = "active"


@dataclass(frozen=True)
class Backstore:
    """A backstore found in the kernel, ours or not."""

    hba: str
    name: str
    alias: str
    is_configured: bool

    @property
    def path(self) -> str:
        """Its directory."""
        return f"{self.hba}/{self.name}"


def target_of(iqn: str) -> str:
    """The directory of a target."""
    return f"{ROOTS[fabric_of(iqn)]}/{iqn.removeprefix('fcoe.')}"


def tpg_of(iqn: str) -> str:
    """The directory of the target's only portal group."""
    return f"{target_of(iqn)}/tpgt_1"


def backstore_name(target: str, unit: str) -> str:
    """The kernel's name of a unit. No name holds a dot, so it tells target and unit apart."""
    return f"{target}.{unit}"


def alias_of(iqn: str, lun: int) -> str:
    """The mark of a backstore that is ours."""
    return f"holdfast {iqn} lun_{lun}"


def is_ours(store: Backstore, name: str | None, iqn: str) -> bool:
    """Whether a backstore belongs to the target `name`; None asks for the mark alone.

    Without a mark it is ours only if it bears the target's name and nothing was done to it yet:
    we were interrupted between making it and marking it.
    """
    if store.alias:
        return store.alias.startswith(f"holdfast {iqn} ")
    return name is not None and store.name.startswith(f"{name}.") and not store.is_configured


def find_homes(spec: TargetSpec, stores: Iterable[Backstore]) -> dict[str, str]:
    """For each unit of `spec` the HBA directory that has its backstore, or is to get it.

    `stores` are all iblock backstores of the kernel. Raises ConflictError if somebody else's has the name.
    """
    found = tuple(stores)
    filled = {store.hba for store in found}
    homes: dict[str, str] = {}
    for unit in spec.units:
        name = backstore_name(spec.name, unit.name)
        namesakes = [store for store in found if store.name == name]
        ours = [store for store in namesakes if is_ours(store, spec.name, spec.iqn)]
        if namesakes and not ours:
            raise ConflictError(
                f"the kernel has a backstore {name} that Holdfast did not make for {spec.iqn}",
                reasons=[
                    Reason("foreign-backstore", f"{store.path} exists", "remove it with the tool that made it")
                    for store in namesakes
                ],
            )
        homes[unit.name] = ours[0].hba if ours else _free_hba(name, filled)
        filled.add(homes[unit.name])
    return homes


def _free_hba(name: str, filled: set[str]) -> str:
    # Other tools take the lowest free number; we begin elsewhere and never meet them, nor a change of
    # another target that runs at the same time. One without a backstore was left by an interruption.
    start = 1_000_000 + zlib.crc32(name.encode()) % 1_000_000
    return next(hba for i in itertools.count(start) if (hba := f"{CORE}/iblock_{i}") not in filled)


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
    enable = [Attribute(f"{tpg}/enable", _flag(level is Level.ACTIVE))] if fabric in WITH_ENABLE else []
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
            items.append(Attribute(f"{acl}/lun_{unit.lun}/write_protect", _flag(unit.is_read_only)))
    return (*items, *enable)


def serves(iqn: str, actual: Tree) -> bool:
    """Whether a target that was read accepts logins; one that has no switch for that does while it has a unit."""
    if fabric_of(iqn) in WITH_ENABLE:
        return Attribute(f"{tpg_of(iqn)}/enable", "1") in actual
    return any(isinstance(item, Link) for item in actual)


def store_paths(spec: TargetSpec, homes: Mapping[str, str]) -> dict[str, str]:
    """Each unit's backstore, by the unit's name."""
    return {unit.name: f"{homes[unit.name]}/{backstore_name(spec.name, unit.name)}" for unit in spec.units}


def without_what_comes_by_itself(wanted: Tree, actual: Tree) -> Tree:
    """`wanted` without attributes of backstores yet to be opened that a fresh one has anyway.

    A takeover opens hundreds of devices, and each write costs it.
    """
    read = {item.path for item in actual}
    fresh = {"attrib/block_size": "512", "attrib/emulate_tpu": "0", "attrib/emulate_tpws": "0"}
    return tuple(
        item
        for item in wanted
        if not isinstance(item, Attribute)
        or item.path in read
        or fresh.get("/".join(item.path.rsplit("/", 2)[1:])) != item.value
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


def portal_name(portal: Portal) -> str:
    """The kernel's directory name of a portal; one spelling for each address."""
    address = ip_address(portal.address)
    return f"[{address}]:{portal.port}" if isinstance(address, IPv6Address) else f"{address}:{portal.port}"


def control_of(device: str, *, is_read_only: bool) -> str:
    """What `control` takes (target_core_iblock.c, iblock_set_configfs_dev_params)."""
    return f"udev_path={device},readonly={_flag(is_read_only)}"


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _backstore(spec: TargetSpec, unit: LogicalUnit, hba: str) -> list[Item]:
    path = f"{hba}/{backstore_name(spec.name, unit.name)}"
    return [
        Directory(hba),
        Directory(path),
        # First of all: from here on it is known whose it is.
        Attribute(f"{path}/alias", alias_of(spec.iqn, unit.lun)),
        Attribute(f"{path}/control", control_of(unit.device, is_read_only=unit.is_read_only)),
        Attribute(f"{path}/wwn/vpd_unit_serial", unit.serial),
        Attribute(f"{path}/wwn/vendor_id", unit.vendor),
        Attribute(f"{path}/wwn/product_id", unit.product),
        Attribute(f"{path}/wwn/revision", unit.revision),
    ]


def _tuning(unit: LogicalUnit, store: str) -> list[Item]:
    values = {
        "attrib/block_size": str(unit.block_size_bytes),
        "attrib/emulate_tpu": _flag(unit.may_unmap),
        "attrib/emulate_tpws": _flag(unit.may_unmap),
        "attrib/optimal_sectors": AS_MADE if unit.optimal_blocks is None else str(unit.optimal_blocks),
    }
    return [Attribute(f"{store}/{name}", values[name]) for name in TUNING]


def _group_attributes(spec: TargetSpec, tpg: str) -> list[Item]:
    match fabric_of(spec.iqn):
        case Fabric.LOOPBACK:
            return [Attribute(f"{tpg}/nexus", nexus_of(spec.iqn))]
        case Fabric.ISCSI:
            values = {
                # Of those without an ACL; each ACL says by itself what its initiator needs.
                "attrib/authentication": _flag(any(access.chap for access in spec.access) and not spec.is_open),
                # Nobody without an ACL logs in, and nobody without one is told that the target exists.
                "attrib/generate_node_acls": _flag(spec.is_open),
                "attrib/demo_mode_write_protect": _flag(not spec.is_open),
                "attrib/demo_mode_discovery": _flag(spec.is_open),
                # Else what is known of an initiator, its reservations too, goes with its session.
                "attrib/cache_dynamic_acls": _flag(spec.is_open),
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
        "attrib/authentication": _flag(access.chap is not None),
        "cmdsn_depth": str(access.cmdsn_depth),
    }
    return [Attribute(f"{acl}/{name}", values[name]) for name in ACL_ATTRIBUTES]
