"""Reads what is in the kernel, in the terms of `tree`: an attribute has the value that would have been written."""

from __future__ import annotations

import errno
import itertools
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from holdfast.errors import UnavailableError
from holdfast.hooks.target import Fabric, fabric_of
from holdfast.system.kernelfs import KernelFs
from holdfast.values import Secret
from holdfast_iscsi_lio.tree import (
    ACL_ATTRIBUTES,
    AS_MADE,
    CORE,
    FILEIO,
    IBLOCK,
    RESERVED,
    ROOTS,
    TPG_ATTRIBUTES,
    TUNING,
    UNSET,
    Attribute,
    Backstore,
    Directory,
    Item,
    Link,
    Tree,
    control_of,
    control_of_file,
    is_ours,
    kind_of,
    target_of,
)

T = TypeVar("T")

LOOKS = 5

_SERIAL_LABEL = "T10 VPD Unit Serial Number: "
_UDEV_PATH = re.compile(r"UDEV PATH: (\S+)")
_FILE = re.compile(r"File: (\S+)  Size: (\d+)  Mode: (\S+)")
"""target_core_file.c, fd_show_configfs_dev_params."""
_READ_ONLY = re.compile(r"readonly: (\d)")


@dataclass(frozen=True)
class BackingFile:
    """What a fileio backstore was configured with."""

    path: str
    size_bytes: int
    has_write_cache: bool


def file_of(info: str) -> BackingFile | None:
    """The file of a fileio backstore by its `info`; None while it has none."""
    found = _FILE.search(info)
    return None if found is None else BackingFile(found[1], int(found[2]), found[3] != "O_DSYNC")


def steadily(look: Callable[[], T]) -> T:
    """Return what `look` reads; it looks again if the tree changes meanwhile. Raises UnavailableError in the end."""
    for attempt in itertools.count(1):
        try:
            return look()
        except OSError as reason:
            # An object that was listed is gone, or half made: another process is at work.
            if attempt == LOOKS:
                raise UnavailableError(f"the kernel's targets cannot be read: {reason}") from reason
    raise AssertionError("the loop ends by itself")


def read_iqns(kernel: KernelFs) -> tuple[str, ...]:
    """Every target of the kernel, of every fabric."""
    return tuple(
        ("fcoe." if fabric is Fabric.FCOE else "") + name
        for fabric, root in ROOTS.items()
        for name in kernel.names(root)
        # What else is there, such as `lio_version`, has a plain word for a name.
        if "." in name or ":" in name
    )


def read_backstores(kernel: KernelFs) -> tuple[Backstore, ...]:
    """Every backstore of blocks or of files in the kernel, foreign ones included."""
    found = []
    for hba in kernel.names(CORE):
        if kind_of(hba) in (IBLOCK, FILEIO):
            for name in kernel.names(f"{CORE}/{hba}"):
                if name not in ("hba_info", "hba_mode"):
                    found.append(read_backstore(kernel, f"{CORE}/{hba}/{name}"))
    return tuple(found)


def read_backstore(kernel: KernelFs, path: str) -> Backstore:
    """One backstore."""
    info = kernel.read(f"{path}/info")
    hba, _, name = path.rpartition("/")
    is_configured = (_FILE if kind_of(hba) == FILEIO else _UDEV_PATH).search(info) is not None
    return Backstore(hba, name, kernel.read(f"{path}/alias"), is_configured, info)


def read_tree(
    kernel: KernelFs,
    iqn: str,
    name: str | None,
    stores: tuple[Backstore, ...],
    luns: Collection[str] | None = None,
) -> Tree:
    """All that belongs to a target, in the order of `wanted_tree`; empty if nothing does.

    `stores` as from `read_backstores`; `name` is the target's, as for `is_ours`. With `luns` no other LUNs are read.
    """
    ours = [store for store in stores if is_ours(store, name, iqn)]
    items: list[Item] = []
    for store in ours:
        items += _backstore(kernel, store)
    is_open = {store.path: kernel.read(f"{store.path}/enable") for store in ours}
    enabled = [store for store, value in is_open.items() if value == "1"]
    enables: list[Item] = [Attribute(f"{store}/enable", value) for store, value in is_open.items()]
    enables += [item for store in enabled for item in _tuning(kernel, store)]
    target = target_of(iqn)
    if not kernel.exists(target):
        return (*items, *enables, *(Attribute(f"{store}/{RESERVED}", "") for store in enabled))
    fabric = fabric_of(iqn)
    tpgs = [f"{target}/{tpg}" for tpg in kernel.names(target) if tpg.startswith("tpgt_")]
    items.append(Directory(target))
    for tpg in tpgs:
        items += _portal_group(kernel, tpg, fabric, luns)
    links = [item for tpg in tpgs for item in _links(kernel, tpg, luns)]
    linked = {item.target for item in links if isinstance(item, Link)}
    # What is linked has had its registrations loaded, or taken in from initiators.
    items += [*enables, *(Attribute(f"{store}/{RESERVED}", "") for store in enabled if store not in linked), *links]
    return (*items, *(Attribute(path, kernel.read(path)) for tpg in tpgs if kernel.exists(path := f"{tpg}/enable")))


def _backstore(kernel: KernelFs, store: Backstore) -> list[Item]:
    wwn = f"{store.path}/wwn"
    return [
        Directory(store.hba),
        Directory(store.path),
        Attribute(f"{store.path}/alias", store.alias),
        Attribute(f"{store.path}/control", _control(store)),
        Attribute(f"{wwn}/vpd_unit_serial", kernel.read(f"{wwn}/vpd_unit_serial").removeprefix(_SERIAL_LABEL)),
        *(Attribute(f"{wwn}/{part}", kernel.read(f"{wwn}/{part}")) for part in ("vendor_id", "product_id", "revision")),
    ]


def _control(store: Backstore) -> str:
    """What it was configured with; nothing if it was not yet."""
    if kind_of(store.path) == FILEIO:
        file = file_of(store.info)
        return "" if file is None else control_of_file(file.path, file.size_bytes, has_write_cache=file.has_write_cache)
    device, read_only = _UDEV_PATH.search(store.info), _READ_ONLY.search(store.info)
    return control_of(device[1], is_read_only=bool(read_only and read_only[1] == "1")) if device else ""


def _tuning(kernel: KernelFs, store: str) -> list[Item]:
    values = {name: kernel.read(f"{store}/{name}") for name in TUNING}
    if kind_of(store) == IBLOCK and values["attrib/optimal_sectors"] == kernel.read(f"{store}/attrib/hw_max_sectors"):
        values["attrib/optimal_sectors"] = AS_MADE
    return [Attribute(f"{store}/{name}", value) for name, value in values.items()]


def _portal_group(kernel: KernelFs, tpg: str, fabric: Fabric, luns: Collection[str] | None) -> list[Item]:
    items: list[Item] = [Directory(tpg)]
    if fabric is Fabric.ISCSI:
        items += [Attribute(f"{tpg}/{part}", kernel.read(f"{tpg}/{part}")) for part in TPG_ATTRIBUTES]
    if fabric is Fabric.LOOPBACK:
        items.append(Attribute(f"{tpg}/nexus", _nexus(kernel, tpg)))
    items += [Directory(f"{tpg}/np/{portal}") for portal in kernel.names(f"{tpg}/np")]
    initiators = kernel.names(f"{tpg}/acls")
    for initiator in initiators:
        items.append(Directory(f"{tpg}/acls/{initiator}"))
        if fabric is Fabric.ISCSI:
            items += _access(kernel, f"{tpg}/acls/{initiator}")
    items += [Directory(f"{tpg}/lun/{lun}") for lun in _luns(kernel, f"{tpg}/lun", luns)]
    for initiator in initiators:
        acl = f"{tpg}/acls/{initiator}"
        items += [Directory(f"{acl}/{lun}") for lun in _luns(kernel, acl, luns)]
    return items


def _nexus(kernel: KernelFs, tpg: str) -> str:
    try:
        return kernel.read(f"{tpg}/nexus")
    except OSError as reason:
        if reason.errno != errno.ENODEV:  # that there is none yet
            raise
        return ""


def _access(kernel: KernelFs, acl: str) -> list[Item]:
    items: list[Item] = []
    for part in ACL_ATTRIBUTES:
        text = kernel.read(f"{acl}/{part}")
        if part.startswith("auth/") and not text:
            text = UNSET
        # Never shown, not even when a plan is printed.
        items.append(Attribute(f"{acl}/{part}", Secret(text) if "password" in part else text))
    return items


def _links(kernel: KernelFs, tpg: str, luns: Collection[str] | None) -> list[Item]:
    items: list[Item] = []
    for lun in _luns(kernel, f"{tpg}/lun", luns):
        items += _links_in(kernel, f"{tpg}/lun/{lun}")
    for initiator in kernel.names(f"{tpg}/acls"):
        acl = f"{tpg}/acls/{initiator}"
        for lun in _luns(kernel, acl, luns):
            items += _links_in(kernel, f"{acl}/{lun}")
            # Reads empty while nothing is mapped.
            if protect := kernel.read(f"{acl}/{lun}/write_protect"):
                items.append(Attribute(f"{acl}/{lun}/write_protect", protect))
    return items


def _luns(kernel: KernelFs, directory: str, luns: Collection[str] | None) -> list[str]:
    names = kernel.names(directory)
    return [name for name in names if name.startswith("lun_") and (luns is None or name in luns)]


def _links_in(kernel: KernelFs, directory: str) -> list[Item]:
    return [Link(f"{directory}/{name}", kernel.link_target(f"{directory}/{name}")) for name in kernel.links(directory)]
