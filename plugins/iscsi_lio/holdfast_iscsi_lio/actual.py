"""Reads what is in the kernel, in the terms of `tree`: an attribute has the value that would have been written."""

from __future__ import annotations

import errno
import itertools
import re
from collections.abc import Callable
from typing import TypeVar

from holdfast.errors import UnavailableError
from holdfast.hooks.target import Fabric, fabric_of
from holdfast.system.kernelfs import KernelFs
from holdfast.values import Secret
from holdfast_iscsi_lio.tree import (
    ACL_ATTRIBUTES,
    AS_MADE,
    CORE,
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
    is_ours,
    target_of,
)

T = TypeVar("T")

LOOKS = 5

_SERIAL_LABEL = "T10 VPD Unit Serial Number: "
_UDEV_PATH = re.compile(r"UDEV PATH: (\S+)")
_READ_ONLY = re.compile(r"readonly: (\d)")


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
    """Every iblock backstore of the kernel, foreign ones included."""
    found = []
    for hba in kernel.names(CORE):
        if hba.startswith("iblock_"):
            for name in kernel.names(f"{CORE}/{hba}"):
                if name not in ("hba_info", "hba_mode"):
                    path = f"{CORE}/{hba}/{name}"
                    info = kernel.read(f"{path}/info")
                    alias = kernel.read(f"{path}/alias")
                    found.append(Backstore(f"{CORE}/{hba}", name, alias, bool(_UDEV_PATH.search(info)), info))
    return tuple(found)


def read_tree(kernel: KernelFs, iqn: str, name: str | None, stores: tuple[Backstore, ...]) -> Tree:
    """All that belongs to a target, in the order of `wanted_tree`; empty if nothing does.

    `stores` as from `read_backstores`; `name` is the target's, as for `is_ours`.
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
        items += _portal_group(kernel, tpg, fabric)
    links = [item for tpg in tpgs for item in _links(kernel, tpg)]
    linked = {item.target for item in links if isinstance(item, Link)}
    # What is linked has had its registrations loaded, or taken in from initiators.
    items += [*enables, *(Attribute(f"{store}/{RESERVED}", "") for store in enabled if store not in linked), *links]
    return (*items, *(Attribute(path, kernel.read(path)) for tpg in tpgs if kernel.exists(path := f"{tpg}/enable")))


def _backstore(kernel: KernelFs, store: Backstore) -> list[Item]:
    device = _UDEV_PATH.search(store.info)
    read_only = _READ_ONLY.search(store.info)
    control = control_of(device[1], is_read_only=bool(read_only and read_only[1] == "1")) if device else ""
    wwn = f"{store.path}/wwn"
    return [
        Directory(store.hba),
        Directory(store.path),
        Attribute(f"{store.path}/alias", store.alias),
        Attribute(f"{store.path}/control", control),
        Attribute(f"{wwn}/vpd_unit_serial", kernel.read(f"{wwn}/vpd_unit_serial").removeprefix(_SERIAL_LABEL)),
        *(Attribute(f"{wwn}/{part}", kernel.read(f"{wwn}/{part}")) for part in ("vendor_id", "product_id", "revision")),
    ]


def _tuning(kernel: KernelFs, store: str) -> list[Item]:
    values = {name: kernel.read(f"{store}/{name}") for name in TUNING}
    if values["attrib/optimal_sectors"] == kernel.read(f"{store}/attrib/hw_max_sectors"):
        values["attrib/optimal_sectors"] = AS_MADE
    return [Attribute(f"{store}/{name}", value) for name, value in values.items()]


def _portal_group(kernel: KernelFs, tpg: str, fabric: Fabric) -> list[Item]:
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
    items += [Directory(f"{tpg}/lun/{lun}") for lun in kernel.names(f"{tpg}/lun")]
    for initiator in initiators:
        acl = f"{tpg}/acls/{initiator}"
        items += [Directory(f"{acl}/{lun}") for lun in _mapped(kernel, acl)]
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


def _links(kernel: KernelFs, tpg: str) -> list[Item]:
    items: list[Item] = []
    for lun in kernel.names(f"{tpg}/lun"):
        items += _links_in(kernel, f"{tpg}/lun/{lun}")
    for initiator in kernel.names(f"{tpg}/acls"):
        acl = f"{tpg}/acls/{initiator}"
        for lun in _mapped(kernel, acl):
            items += _links_in(kernel, f"{acl}/{lun}")
            # Reads empty while nothing is mapped.
            if protect := kernel.read(f"{acl}/{lun}/write_protect"):
                items.append(Attribute(f"{acl}/{lun}/write_protect", protect))
    return items


def _mapped(kernel: KernelFs, acl: str) -> list[str]:
    return [name for name in kernel.names(acl) if name.startswith("lun_")]


def _links_in(kernel: KernelFs, directory: str) -> list[Item]:
    return [
        Link(f"{directory}/{name}", kernel.link_target(f"{directory}/{name}"))
        for name in kernel.names(directory)
        if kernel.is_link(f"{directory}/{name}")
    ]
