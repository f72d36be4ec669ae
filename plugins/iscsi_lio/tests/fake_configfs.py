"""A directory that behaves as the kernel's target tree does, as far as the plugin relies on it.

`RULES` are operations with their outcomes, as seen on Linux 6.1. The unit tests play them on this fake, a lab test
plays them on the real kernel.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path

from holdfast.system.kernelfs import KernelFs
from holdfast.system.watching import Change, How, Watch

TARGET = "/sys/kernel/config/target"
CORE = f"{TARGET}/core"
ISCSI = f"{TARGET}/iscsi"

_STORE_FILES = {
    "alias": "",
    "control": "",
    "enable": "0",
    "wwn/vpd_unit_serial": "T10 VPD Unit Serial Number: ",
    "wwn/vendor_id": "LIO-ORG",
    "wwn/product_id": "IBLOCK",
    "wwn/revision": "4.0",
    "attrib/block_size": "0",
    "attrib/emulate_tpu": "0",
    "attrib/emulate_tpws": "0",
    "attrib/optimal_sectors": "0",
    "attrib/hw_max_sectors": "0",
    "pr/res_aptpl_metadata": "Ready to process PR APTPL metadata..",
}
_OF_AN_OPEN_STORE = {"block_size": "512", "optimal_sectors": "2048", "hw_max_sectors": "2048"}
_OF_AN_OPEN_FILE = {"block_size": "512", "optimal_sectors": "16384", "hw_max_sectors": "16384"}
_TPG_FILES = {
    "attrib/authentication": "1",
    "attrib/generate_node_acls": "0",
    "attrib/demo_mode_write_protect": "1",
    "attrib/demo_mode_discovery": "1",
    "attrib/cache_dynamic_acls": "0",
    "param/DefaultTime2Wait": "2",
    "param/TargetAlias": "LIO Target",
    "dynamic_sessions": "",
    "enable": "0",
}
_ACL_FILES = {
    "auth/userid": "",
    "auth/password": "",
    "auth/userid_mutual": "",
    "auth/password_mutual": "",
    "attrib/authentication": "-1",
    "cmdsn_depth": "64",
    "info": "No active iSCSI Session for Initiator Endpoint: X",
}
_INFO = "Status: DEACTIVATED  Max Queue Depth: 0  SectorSize: 0  HwMaxSectors: 0\n          {udev}readonly: {readonly}"


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class FakeWatch(Watch):
    """Tells of changes in a `FakeConfigfs`."""

    def __init__(self, kernel: FakeConfigfs) -> None:
        self._kernel = kernel
        self._covered: set[str] = set()
        self._changes: set[Change] = set()
        self.is_whole = True
        self.is_overflowing = False

    def cover(self, directories: Iterable[str]) -> None:
        """See Watch."""
        self._covered.update(path for path in directories if self._kernel.exists(path))
        self.is_whole = len(self._covered) <= self._kernel.most_watched

    def changes(self) -> frozenset[Change] | None:
        """See Watch."""
        found, self._changes = frozenset(self._changes), set()
        return None if self.is_overflowing else found

    def note(self, change: str) -> None:
        """Something is about to be changed."""
        what, path = change.split(" ")
        how = {"mkdir": How.MADE, "link": How.MADE, "write": How.WRITTEN}.get(what, How.REMOVED)
        if _parent(path) in self._covered or (what == "rmdir" and path in self._covered):
            self._changes.add(Change(path, how))
        if what == "rmdir":
            self._covered = {each for each in self._covered if each != path and not each.startswith(f"{path}/")}

    def close(self) -> None:
        """See Watch."""


class FakeConfigfs(KernelFs):
    """See the module. It lies in memory, because tests take it apart and build it up thousands of times.

    `devices` are the block devices that exist; `changes` records what was asked of it.
    """

    def __init__(self, devices: Iterable[str] = ()) -> None:
        super().__init__(Path("/nowhere"))
        self.devices = set(devices)
        self.changes: list[str] = []
        self.can_unmap = False
        self.before_change: Callable[[str], None] = lambda change: None
        self._children: dict[str, set[str]] = {}
        self._files: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._made: set[str] = set()
        self._options: dict[str, dict[str, str]] = {}
        self._add_directory(CORE)
        for name in ("userid", "password", "userid_mutual", "password_mutual"):
            self.put(f"{ISCSI}/discovery_auth/{name}", "")
        self.put(f"{ISCSI}/discovery_auth/enforce_discovery_auth", "0")
        self.loaded: list[str] = []
        self.reads = 0
        self.watches: list[FakeWatch] = []
        self.most_watched = 10_000

    @property
    def held(self) -> set[str]:
        """The devices that enabled backstores hold."""
        return {_device_of(options) or "" for store, options in self._options.items() if self._is_enabled(store)}

    @property
    def paths(self) -> set[str]:
        """Everything there is."""
        return {*self._children, *self._files, *self._links}

    def put(self, path: str, text: str) -> None:
        """Have a file show something, as the kernel would by itself."""
        self._add_directory(_parent(path))
        self._children[_parent(path)].add(_name(path))
        self._files[path] = text

    # The operations of KernelFs, with the kernel's rules

    def exists(self, path: str) -> bool:
        """See KernelFs."""
        return path in self._children or path in self._files or path in self._links

    def read(self, path: str) -> str:
        """See KernelFs."""
        self.reads += 1
        if path not in self._files:
            raise _error(errno.ENOENT)
        return self._files[path]

    def size_bytes(self, path: str) -> int:
        """See KernelFs. Files are real."""
        return Path(path).stat().st_size

    def names(self, path: str) -> tuple[str, ...]:
        """See KernelFs."""
        return tuple(sorted(self._children.get(path, ())))

    def links(self, path: str) -> tuple[str, ...]:
        """See KernelFs."""
        return tuple(sorted(name for name in self._children.get(path, ()) if f"{path}/{name}" in self._links))

    def link_target(self, path: str) -> str:
        """See KernelFs."""
        return self._links[path]

    def watch(self) -> Watch:
        """See KernelFs."""
        self.watches.append(FakeWatch(self))
        return self.watches[-1]

    def make_directory(self, path: str) -> bool:
        """See KernelFs: the kernel makes at once what belongs into the object."""
        self._note(f"mkdir {path}")
        if path in self._children:
            return False
        if _parent(path) not in self._children:
            raise _error(errno.ENOENT)
        for name, text in self._default_files(_parts(path)).items():
            self.put(f"{path}/{name}", text)
        self._made.add(path)
        if _name(path).startswith("tpgt_"):
            for group in ("np", "acls", "lun"):
                self._add_directory(f"{path}/{group}")
        if len(_parts(path)) == 3 and path.startswith(CORE):
            self._options[path] = {}
            self._show_info(path)
        return True

    def remove_directory(self, path: str) -> bool:
        """See KernelFs: refused while there are objects in it, or a link to it."""
        self._note(f"rmdir {path}")
        if path not in self._children:
            return False
        if path in self._links.values():
            raise _error(errno.EBUSY)
        if any(each.startswith(f"{path}/") for each in (*self._made, *self._links)):
            raise _error(errno.ENOTEMPTY)
        self._options.pop(path, None)
        self._made.discard(path)
        self._children[_parent(path)].discard(_name(path))
        for table in (self._children, self._files):
            for each in [each for each in table if each == path or each.startswith(f"{path}/")]:
                del table[each]
        return True

    def link(self, path: str, target: str) -> bool:
        """See KernelFs: a LUN needs an enabled backstore, a mapped LUN a linked one."""
        self._note(f"link {path}")
        if path in self._links:
            return False
        if target.startswith(CORE):
            if not self._is_enabled(target):
                raise _error(errno.ENODEV)
            if self._links_in(_parent(path)):
                raise _error(errno.EEXIST)
        elif not self._links_in(target):
            raise _error(errno.EINVAL)
        else:
            self.put(f"{_parent(path)}/write_protect", "0")
        self._links[path] = target
        self._children[_parent(path)].add(_name(path))
        return True

    def unlink(self, path: str) -> bool:
        """See KernelFs: what is mapped to a LUN is lost with the LUN's own link."""
        self._note(f"unlink {path}")
        if self._links.pop(path, None) is None:
            return False
        self._children[_parent(path)].discard(_name(path))
        if "/acls/" in path:
            self.put(f"{_parent(path)}/write_protect", "")
        for mapped, target in self._links.items():
            if target == _parent(path):
                self.put(f"{_parent(mapped)}/write_protect", "")
        return True

    def write(self, path: str, text: str) -> None:
        """See KernelFs."""
        self._note(f"write {path}")
        if path not in self._files:
            raise _error(errno.ENOENT)
        if path.startswith(CORE):
            self._write_store(_parent(path), _name(path), text)
        elif "/auth/" in path and not 0 < len(text) <= 255:
            raise _error(errno.EFAULT if not text else errno.EINVAL)
        elif _name(path) != "write_protect" or self._links_in(_parent(path)):
            self.put(path, text)

    # What is behind them

    def _write_store(self, parent: str, name: str, text: str) -> None:
        if name == "control":
            options = dict(part.split("=", 1) for part in text.split(","))
            if self._is_enabled(parent) and "udev_path" in options:  # of a file it is taken, and its size counts
                raise _error(errno.EEXIST)
            self._options[parent].update(options)
            self._show_info(parent)
        elif name == "enable":
            self._enable(parent, text)
        elif parent.endswith("/attrib"):
            self._write_attribute(parent.removesuffix("/attrib"), name, text)
        elif parent.endswith("/pr"):
            if parent.removesuffix("/pr") in self._links.values():
                raise _error(errno.EINVAL)
            self.loaded.append(text)
        elif parent.endswith("/wwn"):
            if parent.removesuffix("/wwn") in self._links.values():
                raise _error(errno.EINVAL)
            prefix = _STORE_FILES["wwn/vpd_unit_serial"] if name == "vpd_unit_serial" else ""
            self.put(f"{parent}/{name}", prefix + text)
        else:
            self.put(f"{parent}/{name}", text)

    def _enable(self, store: str, text: str) -> None:
        options = self._options[store]
        device = _device_of(options)
        if text != "1" or device is None:
            raise _error(errno.EINVAL)
        if self._is_enabled(store):
            raise _error(errno.EEXIST)
        if "fd_dev_name" in options:
            if not Path(device).exists():
                Path(device).touch()  # O_CREAT
        elif device not in self.devices:
            raise _error(errno.ENOENT)
        elif device in self.held:
            raise _error(errno.EBUSY)
        self.put(f"{store}/enable", "1")
        for name, value in (_OF_AN_OPEN_FILE if "fd_dev_name" in options else _OF_AN_OPEN_STORE).items():
            self.put(f"{store}/attrib/{name}", value)

    def _write_attribute(self, store: str, name: str, text: str) -> None:
        most = int(self._files[f"{store}/attrib/hw_max_sectors"])
        if name in ("block_size", "optimal_sectors") and store in self._links.values():
            raise _error(errno.EINVAL)
        if name == "block_size" and text not in ("512", "1024", "2048", "4096"):
            raise _error(errno.EINVAL)
        if name == "optimal_sectors" and not 0 < int(text) <= most:
            raise _error(errno.EINVAL)
        if name in ("emulate_tpu", "emulate_tpws") and text == "1" and not self.can_unmap:
            raise _error(errno.ENOSYS)
        self.put(f"{store}/attrib/{name}", text)

    def _note(self, change: str) -> None:
        self.before_change(change)
        self.changes.append(change)
        for watch in self.watches:
            watch.note(change)

    def _is_enabled(self, store: str) -> bool:
        return self._files[f"{store}/enable"] == "1"

    def _show_info(self, store: str) -> None:
        options = self._options[store]
        if "/fileio_" in store:
            mode = "Buffered-WCE" if options.get("fd_buffered_io") == "1" else "O_DSYNC"
            file, size = options.get("fd_dev_name", ""), options.get("fd_dev_size", "0")
            self.put(f"{store}/info", f"TCM FILEIO ID: 0        File: {file}  Size: {size}  Mode: {mode} Async: 0")
            return
        udev = f"UDEV PATH: {options['udev_path']}  " if "udev_path" in options else ""
        self.put(f"{store}/info", _INFO.format(udev=udev, readonly=options.get("readonly", "0")))

    def _links_in(self, directory: str) -> list[str]:
        return [link for link in self._links if _parent(link) == directory]

    def _add_directory(self, path: str) -> None:
        if path and path not in self._children:
            self._children[path] = set()
            self._add_directory(_parent(path))
            self._children.setdefault(_parent(path), set()).add(_name(path))

    def _default_files(self, parts: list[str]) -> dict[str, str]:
        match parts:
            case ["core", _]:
                return {"hba_info": "", "hba_mode": "0"}
            case ["core", _, _]:
                return _STORE_FILES
            case ["iscsi", _]:
                return {"fabric_statistics/x": "", "param/x": ""}
            case ["iscsi", _, group]:
                if not re.fullmatch(r"tpgt_\d+", group):
                    raise _error(errno.EINVAL)
                return _TPG_FILES
            case ["iscsi", _, _, "np", portal]:
                _check_portal(portal)
                return {"iser": "0"}
            case ["iscsi", _, _, "acls", _]:
                return _ACL_FILES
            case ["iscsi", _, _, "lun", _]:
                return {"statistics/x": "", "alua_tg_pt_gp": ""}
            case ["iscsi", _, _, "acls", _, _]:
                return {"statistics/x": "", "write_protect": ""}
        raise _error(errno.EPERM)


def _device_of(options: dict[str, str]) -> str | None:
    return options.get("udev_path") or options.get("fd_dev_name")


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _parts(path: str) -> list[str]:
    return path.removeprefix(TARGET + "/").split("/")


def _check_portal(name: str) -> None:
    address, colon, port = name.rpartition(":")
    try:
        ip_address(address.strip("[]"))
        int(port)
    except ValueError:
        raise _error(errno.EINVAL) from None
    assert colon


# --- what the fake and the kernel must agree upon ---------------------------------------------------

_IQN = f"{ISCSI}/iqn.2026-01.org.holdfast.rules:t"
_TPG = f"{_IQN}/tpgt_1"
_ACL = f"{_TPG}/acls/iqn.2026-01.org.holdfast.rules:client"
_HBA = f"{CORE}/iblock_4711"
_STORE = f"{_HBA}/rules.v"
_MADE_BY_RULES = Path(tempfile.gettempdir()) / f"holdfast-rules-{os.getpid()}"
_FILE_HBA = f"{CORE}/fileio_4711"
_FILE_STORE = f"{_FILE_HBA}/rules.f"

Rule = tuple[str, tuple[str, ...], str]

RULES: tuple[Rule, ...] = (
    ("make_directory", (_HBA,), "True"),
    ("make_directory", (_HBA,), "False"),
    ("make_directory", (_STORE,), "True"),
    ("read", (f"{_STORE}/alias",), ""),
    ("write", (f"{_STORE}/alias", "holdfast x lun_1"), "None"),
    ("read", (f"{_STORE}/alias",), "holdfast x lun_1"),
    ("read", (f"{_STORE}/enable",), "0"),
    ("write", (f"{_STORE}/enable", "1"), "EINVAL"),
    ("write", (f"{_STORE}/control", "udev_path=/dev/holdfast-absent,readonly=0"), "None"),
    ("write", (f"{_STORE}/enable", "1"), "ENOENT"),
    ("write", (f"{_STORE}/control", "udev_path=/dev/ram2,readonly=0"), "None"),
    ("write", (f"{_STORE}/wwn/vpd_unit_serial", "0123456789abcdef"), "None"),
    ("read", (f"{_STORE}/wwn/vpd_unit_serial",), "T10 VPD Unit Serial Number: 0123456789abcdef"),
    ("read", (f"{_STORE}/wwn/vendor_id",), "LIO-ORG"),
    ("write", (f"{_STORE}/wwn/vendor_id", "HOLDFAST"), "None"),
    ("read", (f"{_STORE}/wwn/vendor_id",), "HOLDFAST"),
    ("make_directory", (_IQN,), "True"),
    ("make_directory", (f"{_IQN}/other",), "EINVAL"),
    ("make_directory", (_TPG,), "True"),
    ("read", (f"{_TPG}/param/DefaultTime2Wait",), "2"),
    ("read", (f"{_TPG}/attrib/authentication",), "1"),
    ("read", (f"{_TPG}/enable",), "0"),
    ("write", (f"{_TPG}/enable", "0"), "None"),
    ("make_directory", (f"{_TPG}/np/192.0.2.77:3260",), "True"),
    ("make_directory", (f"{_TPG}/np/[2001:db8::77]:3260",), "True"),
    ("make_directory", (f"{_TPG}/np/nonsense",), "EINVAL"),
    ("make_directory", (_ACL,), "True"),
    ("read", (f"{_ACL}/auth/password",), ""),
    ("write", (f"{_ACL}/auth/password", ""), "EFAULT"),
    ("write", (f"{_ACL}/auth/password", "p" * 256), "EINVAL"),
    ("write", (f"{_ACL}/auth/password", "kept\n"), "None"),
    ("read", (f"{_ACL}/auth/password",), "kept\n"),
    ("write", (f"{_ACL}/auth/password", "NULL"), "None"),
    ("read", (f"{_ACL}/auth/password",), "NULL"),
    ("read", (f"{_ACL}/attrib/authentication",), "-1"),
    ("read", (f"{_ACL}/cmdsn_depth",), "64"),
    ("write", (f"{_ACL}/cmdsn_depth", "16"), "None"),
    ("read", (f"{_ACL}/cmdsn_depth",), "16"),
    ("make_directory", (f"{_TPG}/lun/lun_1",), "True"),
    ("make_directory", (f"{_ACL}/lun_1",), "True"),
    ("read", (f"{_ACL}/lun_1/write_protect",), ""),
    ("write", (f"{_ACL}/lun_1/write_protect", "1"), "None"),
    ("read", (f"{_ACL}/lun_1/write_protect",), ""),
    ("link", (f"{_ACL}/lun_1/mapped", f"{_TPG}/lun/lun_1"), "EINVAL"),
    ("link", (f"{_TPG}/lun/lun_1/backstore", _STORE), "ENODEV"),
    ("write", (f"{_STORE}/enable", "1"), "None"),
    ("write", (f"{_STORE}/enable", "1"), "EEXIST"),
    ("write", (f"{_STORE}/enable", "0"), "EINVAL"),
    ("write", (f"{_STORE}/control", "udev_path=/dev/ram3,readonly=0"), "EEXIST"),
    ("make_directory", (f"{_HBA}/second",), "True"),
    ("write", (f"{_HBA}/second/control", "udev_path=/dev/ram2,readonly=0"), "None"),
    ("write", (f"{_HBA}/second/enable", "1"), "EBUSY"),
    ("remove_directory", (f"{_HBA}/second",), "True"),
    ("read", (f"{_STORE}/attrib/block_size",), "512"),
    ("read", (f"{_STORE}/attrib/emulate_tpu",), "0"),
    ("read", (f"{_STORE}/attrib/emulate_tpws",), "0"),
    ("write", (f"{_STORE}/attrib/emulate_tpu", "1"), "ENOSYS"),
    ("write", (f"{_STORE}/attrib/block_size", "513"), "EINVAL"),
    ("write", (f"{_STORE}/attrib/block_size", "4096"), "None"),
    ("read", (f"{_STORE}/attrib/block_size",), "4096"),
    ("write", (f"{_STORE}/attrib/block_size", "512"), "None"),
    ("write", (f"{_STORE}/attrib/optimal_sectors", "9999999"), "EINVAL"),
    ("write", (f"{_STORE}/attrib/optimal_sectors", "64"), "None"),
    ("link", (f"{_TPG}/lun/lun_1/backstore", _STORE), "True"),
    ("link", (f"{_TPG}/lun/lun_1/backstore", _STORE), "False"),
    ("write", (f"{_STORE}/attrib/block_size", "4096"), "EINVAL"),
    ("write", (f"{_STORE}/attrib/optimal_sectors", "32"), "EINVAL"),
    ("write", (f"{_STORE}/pr/res_aptpl_metadata", "sa_res_key=0x1"), "EINVAL"),
    ("link_target", (f"{_TPG}/lun/lun_1/backstore",), _STORE),
    ("write", (f"{_STORE}/wwn/vendor_id", "OTHER"), "EINVAL"),
    ("link", (f"{_ACL}/lun_1/mapped", f"{_TPG}/lun/lun_1"), "True"),
    ("write", (f"{_ACL}/lun_1/write_protect", "1"), "None"),
    ("read", (f"{_ACL}/lun_1/write_protect",), "1"),
    ("write", (f"{_TPG}/enable", "1"), "None"),
    ("read", (f"{_TPG}/enable",), "1"),
    ("remove_directory", (_STORE,), "EBUSY"),
    ("remove_directory", (_HBA,), "ENOTEMPTY"),
    ("remove_directory", (f"{_ACL}/lun_1",), "ENOTEMPTY"),
    ("remove_directory", (_ACL,), "ENOTEMPTY"),
    ("remove_directory", (f"{_TPG}/lun/lun_1",), "EBUSY"),
    ("remove_directory", (_TPG,), "ENOTEMPTY"),
    ("remove_directory", (_IQN,), "ENOTEMPTY"),
    ("unlink", (f"{_TPG}/lun/lun_1/backstore",), "True"),
    ("read", (f"{_ACL}/lun_1/write_protect",), ""),
    ("remove_directory", (f"{_TPG}/lun/lun_1",), "EBUSY"),
    ("remove_directory", (_STORE,), "True"),
    ("remove_directory", (_STORE,), "False"),
    ("remove_directory", (_HBA,), "True"),
    ("unlink", (f"{_ACL}/lun_1/mapped",), "True"),
    ("unlink", (f"{_ACL}/lun_1/mapped",), "False"),
    ("write", (f"{_TPG}/enable", "0"), "None"),
    ("remove_directory", (f"{_ACL}/lun_1",), "True"),
    ("remove_directory", (f"{_TPG}/lun/lun_1",), "True"),
    ("remove_directory", (_ACL,), "True"),
    ("remove_directory", (f"{_TPG}/np/192.0.2.77:3260",), "True"),
    ("remove_directory", (f"{_TPG}/np/[2001:db8::77]:3260",), "True"),
    ("remove_directory", (_TPG,), "True"),
    ("remove_directory", (_IQN,), "True"),
    ("make_directory", (_FILE_HBA,), "True"),
    ("make_directory", (_FILE_STORE,), "True"),
    ("write", (f"{_FILE_STORE}/enable", "1"), "EINVAL"),
    ("write", (f"{_FILE_STORE}/control", f"fd_dev_name={_MADE_BY_RULES},fd_dev_size=4194304"), "None"),
    ("write", (f"{_FILE_STORE}/enable", "1"), "None"),
    ("read", (f"{_FILE_STORE}/attrib/block_size",), "512"),
    ("read", (f"{_FILE_STORE}/attrib/emulate_tpu",), "0"),
    ("read", (f"{_FILE_STORE}/attrib/emulate_tpws",), "0"),
    ("read", (f"{_FILE_STORE}/attrib/optimal_sectors",), "16384"),
    ("size_bytes", (str(_MADE_BY_RULES),), "0"),  # an absent file is made
    ("write", (f"{_FILE_STORE}/attrib/block_size", "4096"), "None"),
    ("write", (f"{_FILE_STORE}/attrib/optimal_sectors", "2048"), "None"),
    ("write", (f"{_FILE_STORE}/control", f"fd_dev_name={_MADE_BY_RULES},fd_dev_size=8388608"), "None"),  # it is open
    ("read", (f"{_FILE_STORE}/attrib/block_size",), "4096"),
    ("remove_directory", (_FILE_STORE,), "True"),
    ("remove_directory", (_FILE_HBA,), "True"),
)


def play(kernel: KernelFs) -> list[str]:
    """Play the rules; return each that `kernel` keeps otherwise."""
    broken = []
    _MADE_BY_RULES.unlink(missing_ok=True)
    for operation, arguments, expected in RULES:
        if operation == "write" and "emulate_tp" in arguments[0] and kernel.read(f"{_STORE}/enable") != "1":
            # On a backstore that is not open it ends a real kernel.
            broken.append(f"{operation} {' '.join(arguments)!r} was not tried: the backstore is not open")
            continue
        try:
            outcome = str(getattr(kernel, operation)(*arguments))
        except OSError as reason:
            outcome = errno.errorcode[reason.errno or 0]
        if outcome != expected:
            broken.append(f"{operation} {' '.join(arguments)!r}: {outcome!r}, not {expected!r}")
    _MADE_BY_RULES.unlink(missing_ok=True)
    return broken
