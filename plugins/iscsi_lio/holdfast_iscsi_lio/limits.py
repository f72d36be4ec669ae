"""What LIO, SCSI and iSCSI allow in a specification. Pure.

Refused here, before anything is touched, instead of half-way by an errno.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from holdfast.errors import InvalidError, Reason
from holdfast.hooks.target import Chap, Fabric, LogicalUnit, Portal, TargetSpec, fabric_of

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
_UNIT_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}\Z")
"""Longer, for core makes it of the target's name and the LUN."""
_TARGET_IQN = re.compile(r"iqn\.\d{4}-\d{2}\.[a-z0-9][a-z0-9.-]*(:[a-z0-9.:-]+)?\Z")
"""RFC 3720, 3.2.6.3.1. No underscore: the kernel looks for `tpgt_` in the name."""
_INITIATOR = re.compile(
    r"(iqn\.\d{4}-\d{2}\.[a-z0-9][a-z0-9.-]*(:[a-z0-9._:-]+)?|eui\.[0-9a-f]{16}|naa\.[0-9a-f]{16,32})\Z"
)
_DEVICE = re.compile(r"/dev/[A-Za-z0-9_+./-]+\Z")
"""`control` splits its options at commas and newlines (target_core_iblock.c)."""
_FILE = re.compile(r"/[A-Za-z0-9_+./-]+\Z")
_SERIAL = re.compile(r"[0-9a-f-]+\Z")
_INQUIRY = re.compile(r"[!-~]([ -~]*[!-~])?\Z")
"""Printable ASCII; the kernel strips blanks at the ends (target_core_configfs.c, target_check_inquiry_data)."""

_NAA = re.compile(r"naa\.[0-9a-f]{16}\Z")
_WWN = re.compile(r"([0-9a-f]{2}:){7}[0-9a-f]{2}\Z")

MAX_IQN_CHARS = 223
MIN_SERIAL_DIGITS = 16
"""The NAA identifier holds the first 25 hexadecimal digits of the serial and nothing else of it
(target_core_spc.c, spc_parse_naa_6h_vendor_specific): with few, two units could look like one."""
MAX_SERIAL_CHARS = 64
MAX_LUN = 255
"""Higher numbers need another addressing, which not every initiator scans."""
MAX_CREDENTIAL_BYTES = 255
"""iscsi_target_core.h, MAX_USER_LEN and MAX_PASS_LEN are 256 with the closing zero."""

BLOCK_SIZES = (512, 1024, 2048, 4096)
"""target_core_configfs.c, block_size_store takes no other."""
MAX_DEPTH = 512
"""target_core_base.h, TA_DEFAULT_CMDSN_DEPTH_MAX."""
MAX_FILE_CHARS = 255
"""target_core_file.h, FD_MAX_DEV_NAME is 256 with the closing zero."""
MAX_BLOCKS = 2**31 - 1

Fault = tuple[str, str]


def check(spec: TargetSpec) -> None:
    """Raise InvalidError with every fault of `spec`."""
    faults = [*_target(spec), *_fabric(spec), *_access(spec)]
    for number, unit in enumerate(spec.units):
        faults += [(f"units[{number}].{field}", text) for field, text in _unit(unit)]
    for number, portal in enumerate(spec.portals):
        faults += [(f"portals[{number}].{field}", text) for field, text in _portal(portal)]
    for field, values in (
        ("units.lun", [unit.lun for unit in spec.units]),
        ("units.name", [unit.name for unit in spec.units]),
        ("units.serial", [unit.serial for unit in spec.units]),
        ("units.device", [unit.device for unit in spec.units]),
        ("access.initiator", [access.initiator for access in spec.access]),
        ("portals", list(spec.portals)),
    ):
        faults += [(field, f"{value} is given twice") for value in _twice(values)]
    if faults:
        raise InvalidError(
            f"the target {spec.name!r} cannot be made: " + "; ".join(f"{field}: {text}" for field, text in faults),
            reasons=[Reason("bad-target", text, "change this value", field) for field, text in faults],
        )


def check_discovery(chap: Chap | None) -> None:
    """The same for the credentials of discovery."""
    faults = [] if chap is None else list(_chap(chap))
    if faults:
        raise InvalidError(
            "these credentials cannot be set: " + "; ".join(f"{field}: {text}" for field, text in faults),
            reasons=[Reason("bad-credentials", text, "change this value", f"chap.{field}") for field, text in faults],
        )


def _target(spec: TargetSpec) -> Iterator[Fault]:
    if not _NAME.match(spec.name):
        yield "name", "a name is up to 31 of a-z, 0-9 and -, and begins with a letter"
    match fabric_of(spec.iqn):
        case Fabric.LOOPBACK:
            if not _NAA.match(spec.iqn):
                yield "iqn", "a loopback target is named naa. and 16 hexadecimal digits in small letters"
        case Fabric.FC | Fabric.FCOE if ":" in spec.iqn and "." not in spec.iqn.removeprefix("fcoe."):
            if not _WWN.match(spec.iqn.removeprefix("fcoe.")):
                yield "iqn", "a port's name is eight bytes in small hexadecimal digits, with colons between them"
        case _:
            if not _TARGET_IQN.match(spec.iqn) or len(spec.iqn) > MAX_IQN_CHARS:
                yield "iqn", f"an IQN is iqn.YYYY-MM.DOMAIN:NAME in small letters, up to {MAX_IQN_CHARS} characters"


def _fabric(spec: TargetSpec) -> Iterator[Fault]:
    """What only iSCSI has."""
    fabric = fabric_of(spec.iqn)
    if fabric is Fabric.ISCSI:
        return
    if spec.portals:
        yield "portals", f"a target of {fabric.value} has no IP address"
    if spec.is_open:
        yield "is_open", "only a target of iscsi can be open to everybody"
    if fabric is Fabric.LOOPBACK and spec.access:
        yield "access", "a loopback target has one initiator, this machine"
    if any(access.chap for access in spec.access):
        yield "access.chap", f"there are no passwords with {fabric.value}"


def _unit(unit: LogicalUnit) -> Iterator[Fault]:
    if not _UNIT_NAME.match(unit.name):
        yield "name", "a unit's name is up to 63 of a-z, 0-9 and -, and begins with a letter"
    if not 0 <= unit.lun <= MAX_LUN:
        yield "lun", f"a LUN is a number from 0 to {MAX_LUN}"
    if unit.file_bytes is None:
        if not _DEVICE.match(unit.device) or ".." in unit.device:
            yield "device", "a device is a path below /dev without blanks and commas"
        if unit.has_write_cache:
            yield "has_write_cache", "a unit that is a block device tells of its device's own cache"
    else:
        yield from _file(unit, unit.file_bytes)
    digits = sum(character != "-" for character in unit.serial)
    if not _SERIAL.match(unit.serial) or digits < MIN_SERIAL_DIGITS or len(unit.serial) > MAX_SERIAL_CHARS:
        yield "serial", f"a serial has {MIN_SERIAL_DIGITS} to {MAX_SERIAL_CHARS} hexadecimal digits in small letters"
    if unit.block_size_bytes not in BLOCK_SIZES:
        yield "block_size_bytes", f"a block has {', '.join(map(str, BLOCK_SIZES))} bytes"
    if unit.optimal_blocks is not None and not 0 < unit.optimal_blocks <= MAX_BLOCKS:
        yield "optimal_blocks", f"this is a number of blocks from 1 to {MAX_BLOCKS}"
    for field, text, longest in (
        ("vendor", unit.vendor, 8),
        ("product", unit.product, 16),
        ("revision", unit.revision, 4),
    ):
        if not _INQUIRY.match(text) or len(text) > longest:
            yield field, f"this is 1 to {longest} characters of printable ASCII, with no blank at the ends"


def _file(unit: LogicalUnit, file_bytes: int) -> Iterator[Fault]:
    if not _FILE.match(unit.device) or ".." in unit.device or len(unit.device) > MAX_FILE_CHARS:
        yield "device", f"a file is an absolute path of up to {MAX_FILE_CHARS} characters without blanks and commas"
    if file_bytes <= 0 or file_bytes % max(BLOCK_SIZES):
        yield "file_bytes", f"the size of a file is a multiple of {max(BLOCK_SIZES)} bytes"
    if unit.is_read_only:
        yield "is_read_only", "the kernel opens a file for writing in any case"
    if unit.may_unmap:
        yield "may_unmap", "a file keeps the room that was allocated for it"


def _portal(portal: Portal) -> Iterator[Fault]:
    try:
        address = ip_address(portal.address)
    except ValueError:
        yield "address", "this is no IP address"
    else:
        if address.version == 6 and address.is_link_local:
            yield "address", "a link-local address is not unique on the node"
    if not 0 < portal.port < 65536:
        yield "port", "a port is a number from 1 to 65535"


def _access(spec: TargetSpec) -> Iterator[Fault]:
    form, text = (_INITIATOR, "an initiator is named by IQN, EUI or NAA, in small letters")
    if fabric_of(spec.iqn) in (Fabric.FC, Fabric.FCOE):
        form, text = (_WWN, "an initiator is named by its port, eight bytes with colons between them")
    for number, access in enumerate(spec.access):
        if not form.match(access.initiator) or len(access.initiator) > MAX_IQN_CHARS:
            yield f"access[{number}].initiator", text
        if not 0 < access.cmdsn_depth <= MAX_DEPTH:
            yield f"access[{number}].cmdsn_depth", f"a depth is a number from 1 to {MAX_DEPTH}"
        if access.chap is not None:
            for field, text in _chap(access.chap):
                yield f"access[{number}].chap.{field}", text


def _chap(chap: Chap) -> Iterator[Fault]:
    if (chap.mutual_user is None) != (chap.mutual_password is None):
        yield "mutual_user", "mutual CHAP needs both a user and a password"
    for field, text in (
        ("user", chap.user),
        ("password", chap.password.reveal()),
        ("mutual_user", chap.mutual_user),
        ("mutual_password", None if chap.mutual_password is None else chap.mutual_password.reveal()),
    ):
        if text is None:
            continue
        if not text.isprintable() or not 0 < len(text.encode()) <= MAX_CREDENTIAL_BYTES:
            yield field, f"a credential is 1 to {MAX_CREDENTIAL_BYTES} printable characters"
        elif text.startswith("NULL"):
            yield field, "the kernel takes a credential that begins with NULL for none"


def _twice(values: Iterable[object]) -> list[object]:
    seen: set[object] = set()
    return [value for value in values if value in seen or seen.add(value)]  # type: ignore[func-returns-value]
