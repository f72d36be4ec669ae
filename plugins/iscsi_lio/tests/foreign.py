"""What somebody else may do to a target of ours, on the fake and on the real kernel."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.hooks.target import TargetSpec
from holdfast.system.kernelfs import KernelFs
from plugins.iscsi_lio.tests.fake_configfs import CORE, ISCSI


def _tpg(spec: TargetSpec) -> str:
    return f"{ISCSI}/{spec.iqn}/tpgt_1"


def _acl(spec: TargetSpec) -> str:
    return f"{_tpg(spec)}/acls/{spec.access[0].initiator}"


def store_of(kernel: KernelFs, spec: TargetSpec) -> str:
    """The backstore of the first unit."""
    name = f"{spec.name}.{spec.units[0].name}"
    return next(f"{CORE}/{hba}/{name}" for hba in kernel.names(CORE) if name in kernel.names(f"{CORE}/{hba}"))


FOREIGN_CHANGES: dict[str, Callable[[KernelFs, TargetSpec], object]] = {
    "a credential": lambda kernel, spec: kernel.write(f"{_acl(spec)}/auth/userid", "eve"),
    "an attribute of the group": lambda kernel, spec: kernel.write(f"{_tpg(spec)}/attrib/generate_node_acls", "1"),
    "another initiator": lambda kernel, spec: kernel.make_directory(f"{_tpg(spec)}/acls/iqn.2003-01.org.example:eve"),
    "another portal": lambda kernel, spec: kernel.make_directory(f"{_tpg(spec)}/np/10.9.9.9:3260"),
    "another LUN": lambda kernel, spec: kernel.make_directory(f"{_tpg(spec)}/lun/lun_77"),
    "a link gone": lambda kernel, spec: kernel.unlink(f"{_acl(spec)}/lun_1/mapped"),
    "a mapping read only": lambda kernel, spec: kernel.write(f"{_acl(spec)}/lun_1/write_protect", "1"),
    "a unit's attribute": lambda kernel, spec: kernel.write(f"{store_of(kernel, spec)}/attrib/emulate_tpu", "1"),
    "no logins": lambda kernel, spec: kernel.write(f"{_tpg(spec)}/enable", "0"),
}
