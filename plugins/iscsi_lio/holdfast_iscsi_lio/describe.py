"""A tree that was read, as the specification it stands for. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address

from holdfast.hooks.target import InitiatorAccess, LogicalUnit, Portal, TargetSpec
from holdfast_iscsi_lio.tree import MAX_FILE_IO_BYTES, Attribute, Directory, Link, Tree, tpg_of

DEFAULT_DEPTH = 64
"""Where the kernel tells none (target_core_base.h, TPG default of cmdsn_depth)."""

_CONTROL = re.compile(r"udev_path=(.*),readonly=(\d)")
_FILE_CONTROL = re.compile(r"fd_dev_name=(.*),fd_dev_size=(\d+)(,fd_buffered_io=1)?")
_MARK = re.compile(r"holdfast \S+ lun_(\d+)")


def describe(iqn: str, tree: Tree) -> TargetSpec:
    """The specification of a target. Secrets are left out, and with them who needs them: `chap` is None.

    Of a foreign target it tells name, portals and access; its units are not ours to describe.
    """
    tpg = tpg_of(iqn)
    directories = [item.path for item in tree if isinstance(item, Directory)]
    values = {item.path: item.value for item in tree if isinstance(item, Attribute)}
    linked = {item.target: int(item.path.split("/lun_")[1].split("/")[0]) for item in tree if isinstance(item, Link)}
    units = []
    for store in (path for path in directories if f"{path}/wwn/vpd_unit_serial" in values):
        text = values[f"{store}/control"]
        control = _CONTROL.fullmatch(text) or _FILE_CONTROL.fullmatch(text)
        mark = _MARK.fullmatch(values[f"{store}/alias"])
        number = linked.get(store, int(mark[1]) if mark else None)
        # Anything less is a backstore in the making, of which nothing is known yet.
        if control is not None and number is not None:
            units.append(_unit(store, values, number, control))
    acls = [path for path in directories if path.startswith(f"{tpg}/acls/") and path.count("/") == tpg.count("/") + 2]
    return TargetSpec(
        name=values.get(f"{tpg}/param/TargetAlias", iqn),
        iqn=iqn,
        portals=tuple(portal_of(_name(path)) for path in directories if path.startswith(f"{tpg}/np/")),
        units=tuple(sorted(units, key=lambda unit: unit.lun)),
        access=tuple(
            InitiatorAccess(_name(acl), cmdsn_depth=int(values.get(f"{acl}/cmdsn_depth", DEFAULT_DEPTH)))
            for acl in acls
        ),
        is_open=values.get(f"{tpg}/attrib/generate_node_acls") == "1",
    )


def portal_of(name: str) -> Portal:
    """The portal that the kernel calls `name`, such as `[fd00::1]:3260`."""
    address, _, port = name.rpartition(":")
    return Portal(str(ip_address(address.strip("[]"))), int(port))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _unit(store: str, values: dict[str, str], number: int, control: re.Match[str]) -> LogicalUnit:
    is_file = control.re is _FILE_CONTROL
    # Known of an open device only; until then it is not told to anybody.
    block_size_bytes = int(values.get(f"{store}/attrib/block_size", 512))
    optimal = int(values.get(f"{store}/attrib/optimal_sectors") or 0) or None
    return LogicalUnit(
        lun=number,
        name=_name(store).partition(".")[2],
        device=control[1],
        serial=values[f"{store}/wwn/vpd_unit_serial"],
        vendor=values[f"{store}/wwn/vendor_id"],
        product=values[f"{store}/wwn/product_id"],
        revision=values[f"{store}/wwn/revision"],
        is_read_only=not is_file and control[2] == "1",
        block_size_bytes=block_size_bytes,
        may_unmap=values.get(f"{store}/attrib/emulate_tpu") == "1",
        optimal_blocks=None if is_file and optimal == MAX_FILE_IO_BYTES // block_size_bytes else optimal,
        file_bytes=int(control[2]) if is_file else None,
        has_write_cache=is_file and control[3] is not None,
    )
