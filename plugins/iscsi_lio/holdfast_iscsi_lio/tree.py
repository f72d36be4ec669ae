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

With file I/O the HBA is a `fileio_N`, and `control` takes "fd_dev_name=/srv/…/unit,fd_dev_size=BYTES". Relied upon of
target_core_file.c: fd_configure_device opens the file with O_DSYNC, so that a write is answered when it is durable,
and `emulate_write_cache` stays 0; fd_buffered_io=1 leaves O_DSYNC out and sets it to 1; a write with FUA is synced
either way (fd_execute_rw). O_CREAT is among its flags, so that it would make an empty file where none is: `apply`
looks first. Each command is held to the size that `control` was given last (fd_get_blocks), and it is taken of an open
file, too (fd_set_configfs_dev_params): a unit becomes larger while it is served, once its file is.

Not set: the write cache flag of an iblock, for it reports the device's own (target_core_iblock.c,
iblock_get_write_cache). The relative target port number cannot be set in Linux 6.1, and need not: it is counted for
each device from 1 (target_core_device.c, core_alloc_rtpi), so a backstore made afresh and linked once has 1 on both
nodes.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address

from holdfast.errors import ConflictError, Reason
from holdfast.hooks.target import Fabric, LogicalUnit, Portal, TargetSpec, fabric_of

CORE = "/sys/kernel/config/target/core"
ISCSI = "/sys/kernel/config/target/iscsi"
ROOTS = {
    Fabric.ISCSI: ISCSI,
    Fabric.LOOPBACK: "/sys/kernel/config/target/loopback",
    Fabric.FC: "/sys/kernel/config/target/qla2xxx",
    Fabric.FCOE: "/sys/kernel/config/target/fc",
}
"""Where the targets of a fabric are. The last two: the cards of one maker, and Fibre Channel over Ethernet."""
IBLOCK, FILEIO = "iblock", "fileio"
"""The kinds of backstores, as their HBAs are named."""
BUFFERED = ",fd_buffered_io=1"
"""Of `control`; the kernel takes no 0 to unset it (target_core_file.c, fd_set_configfs_dev_params)."""
_FILE_SIZE = re.compile(r",fd_dev_size=(\d+)")
MAX_FILE_IO_BYTES = 8 << 20
"""The longest transfer of a fileio backstore (target_core_file.h, FD_MAX_BYTES); without advice it advises that."""
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
    info: str = ""
    """What the kernel tells of its device."""

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

    `stores` are all backstores of the kernel, of blocks and of files.
    Raises ConflictError if somebody else's has the name.
    """
    found = tuple(stores)
    filled = {store.hba for store in found}
    homes: dict[str, str] = {}
    for unit in spec.units:
        kind = kind_for(unit)
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
        fitting = [store.hba for store in ours if kind_of(store.hba) == kind]
        homes[unit.name] = fitting[0] if fitting else free_hba(kind, name, filled)
        filled.add(homes[unit.name])
    return homes


def free_hba(kind: str, name: str, filled: set[str]) -> str:
    """An HBA directory for a backstore of this kind and name; `filled` are those that have one.

    It may be there, empty.
    """
    # Other tools take the lowest free number; we begin elsewhere and never meet them, nor a change of
    # another target that runs at the same time. One without a backstore was left by an interruption.
    start = 1_000_000 + zlib.crc32(name.encode()) % 1_000_000
    return next(hba for i in itertools.count(start) if (hba := f"{CORE}/{kind}_{i}") not in filled)


def serves(iqn: str, actual: Tree) -> bool:
    """Whether a target that was read accepts logins; one that has no switch for that does while it has a unit."""
    if fabric_of(iqn) in WITH_ENABLE:
        return Attribute(f"{tpg_of(iqn)}/enable", "1") in actual
    return any(isinstance(item, Link) for item in actual)


def store_paths(spec: TargetSpec, homes: Mapping[str, str]) -> dict[str, str]:
    """Each unit's backstore, by the unit's name."""
    return {unit.name: f"{homes[unit.name]}/{backstore_name(spec.name, unit.name)}" for unit in spec.units}


def portal_name(portal: Portal) -> str:
    """The kernel's directory name of a portal; one spelling for each address."""
    address = ip_address(portal.address)
    return f"[{address}]:{portal.port}" if isinstance(address, IPv6Address) else f"{address}:{portal.port}"


def parent(path: str) -> str:
    """The directory that something is in."""
    return path.rpartition("/")[0]


def directories(tree: Tree) -> set[str]:
    """Every directory whose change would change a tree such as this one, those above the target left out."""
    found = {item.path if isinstance(item, Directory) else parent(item.path) for item in tree}
    below = [f"{path}/{group}" for path in found if path.endswith("/tpgt_1") for group in ("acls", "lun", "np")]
    # Nothing is written there before the device is opened.
    below += [f"{parent(item.path)}/attrib" for item in tree if item.path.endswith("/alias")]
    return found.union(below)


def kind_for(unit: LogicalUnit) -> str:
    """IBLOCK or FILEIO, as the unit asks for."""
    return IBLOCK if unit.file_bytes is None else FILEIO


def kind_of(path: str) -> str:
    """IBLOCK, FILEIO or another kind, by the path of an HBA or of what is below it."""
    return path.removeprefix(f"{CORE}/").partition("_")[0]


def control_of(device: str, *, is_read_only: bool) -> str:
    """What `control` takes (target_core_iblock.c, iblock_set_configfs_dev_params)."""
    return f"udev_path={device},readonly={flag(is_read_only)}"


def control_of_file(path: str, size_bytes: int, *, has_write_cache: bool) -> str:
    """The same of a file (target_core_file.c, fd_set_configfs_dev_params)."""
    return f"fd_dev_name={path},fd_dev_size={size_bytes}" + (BUFFERED if has_write_cache else "")


def size_in(control: str) -> int | None:
    """The size that `control` gives a file; None of a device."""
    found = _FILE_SIZE.search(control)
    return None if found is None else int(found[1])


def flag(value: bool) -> str:
    """A truth as configfs writes it."""
    return "1" if value else "0"
