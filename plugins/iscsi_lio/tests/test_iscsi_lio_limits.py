"""What a specification may hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import InvalidError
from holdfast.hooks.target import Chap, InitiatorAccess, Portal, TargetSpec
from holdfast.testing.target import make_spec, with_chap
from holdfast.values import Secret
from holdfast_iscsi_lio.limits import check

SPEC = make_spec(("/dev/drbd1", "/dev/drbd2"))


def with_unit(**changes: Any) -> TargetSpec:
    return replace(SPEC, units=(replace(SPEC.units[0], **changes),))


def with_file(**changes: Any) -> TargetSpec:
    return with_unit(**{"device": "/srv/holdfast/p/v/unit", "file_bytes": 1 << 20, **changes})


def with_credentials(*credentials: Any) -> TargetSpec:
    return replace(SPEC, access=(InitiatorAccess("iqn.2026-01.com.example:c", Chap(*credentials)),))


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        with_chap(SPEC),
        replace(SPEC, units=(), access=(), portals=()),
        with_unit(lun=255, serial="01234567-89ab-cdef", product="a b", device="/dev/vg0/v_0+x.y"),
        replace(SPEC, access=(InitiatorAccess("iqn.1991-05.com.microsoft:host_1.example"),)),
        replace(SPEC, access=(InitiatorAccess("eui.0123456789abcdef"),)),
        replace(SPEC, iqn="iqn.2026-01.com.example"),
        replace(with_unit(name=f"{'t' * 31}-255"), name="t" * 31),
        with_credentials("joe", Secret("p" * 255), "target", Secret("q")),
        with_file(),
        with_file(has_write_cache=True, block_size_bytes=4096, optimal_blocks=8),
    ],
)
def test_what_the_kernel_takes_is_taken(spec: TargetSpec) -> None:
    check(spec)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (replace(SPEC, name="with.dot"), "name"),
        (replace(SPEC, name="new\n"), "name"),
        (replace(SPEC, name="-rf"), "name"),
        (replace(SPEC, iqn="target"), "iqn"),
        (replace(SPEC, iqn="iqn.2026-01.com.example:a/b"), "iqn"),
        (replace(SPEC, iqn="iqn.2026-01.com.example:tpgt_1"), "iqn"),
        (replace(SPEC, iqn="iqn.2026-01.com.example:" + "x" * 300), "iqn"),
        (replace(SPEC, iqn="iqn.2026-01.com.example:a\n"), "iqn"),
        (with_unit(lun=-1), "units[0].lun"),
        (with_unit(lun=256), "units[0].lun"),
        (with_unit(name="a/b"), "units[0].name"),
        (with_unit(name="v" * 64), "units[0].name"),
        (with_unit(device="/dev/a,readonly=0"), "units[0].device"),
        (with_unit(device="/srv/unit"), "units[0].device"),
        (with_unit(has_write_cache=True), "units[0].has_write_cache"),
        (with_file(device="srv/unit"), "units[0].device"),
        (with_file(device="/srv/../unit"), "units[0].device"),
        (with_file(device="/srv/unit,fd_buffered_io=1"), "units[0].device"),
        (with_file(device="/" + "x" * 255), "units[0].device"),
        (with_file(file_bytes=0), "units[0].file_bytes"),
        (with_file(file_bytes=4097), "units[0].file_bytes"),
        (with_file(is_read_only=True), "units[0].is_read_only"),
        (with_file(may_unmap=True), "units[0].may_unmap"),
        (with_unit(device="/dev/../etc/passwd"), "units[0].device"),
        (with_unit(device="/etc/passwd"), "units[0].device"),
        (with_unit(serial="volume-one"), "units[0].serial"),
        (with_unit(block_size_bytes=520), "units[0].block_size_bytes"),
        (with_unit(optimal_blocks=0), "units[0].optimal_blocks"),
        (replace(SPEC, access=(InitiatorAccess("iqn.2026-01.com.example:c", cmdsn_depth=0),)), "access[0].cmdsn_depth"),
        (
            replace(SPEC, access=(InitiatorAccess("iqn.2026-01.com.example:c", cmdsn_depth=513),)),
            "access[0].cmdsn_depth",
        ),
        (replace(SPEC, iqn="naa.5001405000000001"), "portals"),
        (replace(SPEC, iqn="naa.50"), "iqn"),
        (replace(SPEC, iqn="21:00:00:00:00:00:00:0g"), "iqn"),
        (replace(SPEC, iqn="fcoe.21:00:00:00"), "iqn"),
        (replace(SPEC, iqn="naa.5001405000000001", portals=(), is_open=True), "is_open"),
        (with_unit(serial="0123"), "units[0].serial"),
        (with_unit(serial="ab-" * 30), "units[0].serial"),
        (with_unit(vendor="NINECHARS"), "units[0].vendor"),
        (with_unit(product=" x"), "units[0].product"),
        (with_unit(revision="日本"), "units[0].revision"),
        (replace(SPEC, portals=(Portal("example.com"),)), "portals[0].address"),
        (replace(SPEC, portals=(Portal("fe80::1"),)), "portals[0].address"),
        (replace(SPEC, portals=(Portal("10.0.0.1", 0),)), "portals[0].port"),
        (replace(SPEC, access=(InitiatorAccess("*"),)), "access[0].initiator"),
        (with_credentials("NULL", Secret("x")), "access[0].chap.user"),
        (with_credentials("joe", Secret("")), "access[0].chap.password"),
        (with_credentials("joe", Secret("line\nline")), "access[0].chap.password"),
        (with_credentials("joe", Secret("p" * 256)), "access[0].chap.password"),
        (with_credentials("joe", Secret("p"), "target", None), "access[0].chap.mutual_user"),
        (replace(SPEC, units=(SPEC.units[0], replace(SPEC.units[1], lun=1))), "units.lun"),
        (replace(SPEC, units=(SPEC.units[0], replace(SPEC.units[1], serial=SPEC.units[0].serial))), "units.serial"),
        (replace(SPEC, units=(SPEC.units[0], replace(SPEC.units[1], device="/dev/drbd1"))), "units.device"),
        (replace(SPEC, portals=SPEC.portals * 2), "portals"),
        (replace(SPEC, access=SPEC.access * 2), "access.initiator"),
    ],
)
def test_what_it_would_refuse_or_misread_is_refused_by_field(spec: TargetSpec, field: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check(spec)
    assert field in {reason.field for reason in caught.value.reasons}


def test_a_refusal_names_every_fault_and_no_secret() -> None:
    spec = replace(with_credentials("joe", Secret("NULL-hidden")), name="X")
    with pytest.raises(InvalidError) as caught:
        check(spec)
    assert len(caught.value.reasons) == 2
    assert "hidden" not in str(caught.value)
