"""What differs between a target as it was asked for and both kernels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.hooks.target import InitiatorAccess, Portal, TargetSpec
from holdfast.planning.differences import Difference, Found, differences
from holdfast.testing.target import make_spec

WANTED = make_spec(("/dev/one", "/dev/two"))
SAME = Found(WANTED, serves=True, is_as_wanted=True)
STAGED = Found(WANTED, serves=False, is_as_wanted=True)
NOTHING = Found(None, serves=False, is_as_wanted=False)


def found(**changes: object) -> Found:
    return Found(replace(WANTED, **changes), serves=True, is_as_wanted=False)  # type: ignore[arg-type]


def with_unit(**changes: object) -> TargetSpec:
    return replace(WANTED, units=(replace(WANTED.units[0], **changes), WANTED.units[1]))  # type: ignore[arg-type]


def test_equal_is_equal() -> None:
    assert differences(WANTED, SAME, SAME) == ()
    assert differences(WANTED, SAME, STAGED) == ()
    assert differences(WANTED, SAME, None) == ()


@pytest.mark.parametrize(
    ("changes", "field", "wanted", "has"),
    [
        ({"name": "other"}, "name", "kit-one", "other"),
        ({"is_open": True}, "is_open", "false", "true"),
        ({"portals": ()}, "portals[192.0.2.10:3260]", "listens", "absent"),
        ({"portals": (*WANTED.portals, Portal("192.0.2.11"))}, "portals[192.0.2.11:3260]", "absent", "listens"),
        ({"access": ()}, f"access[{WANTED.access[0].initiator}].cmdsn_depth", "64", "absent"),
        (
            {"access": (InitiatorAccess(WANTED.access[0].initiator, cmdsn_depth=7),)},
            f"access[{WANTED.access[0].initiator}].cmdsn_depth",
            "64",
            "7",
        ),
        ({"units": with_unit(serial="f" * 32).units}, "units[1].serial", WANTED.units[0].serial, "f" * 32),
        ({"units": with_unit(is_read_only=True).units}, "units[1].is_read_only", "false", "true"),
        ({"units": with_unit(block_size_bytes=4096).units}, "units[1].block_size_bytes", "512", "4096"),
        ({"units": with_unit(file_bytes=4096).units}, "units[1].file_bytes", "default", "4096"),
        ({"units": with_unit(has_write_cache=True).units}, "units[1].has_write_cache", "false", "true"),
        ({"units": with_unit(optimal_blocks=8).units}, "units[1].optimal_blocks", "default", "8"),
    ],
)
def test_each_field_is_told_for_the_node_that_differs(
    changes: dict[str, object], field: str, wanted: str, has: str
) -> None:
    assert differences(WANTED, SAME, found(**changes)) == (Difference(field, wanted, wanted, has),)
    assert differences(WANTED, found(**changes), SAME) == (Difference(field, wanted, has, wanted),)
    assert differences(WANTED, found(**changes), None) == (Difference(field, wanted, has, None),)


def test_a_missing_unit_is_told_by_each_of_its_fields() -> None:
    told = differences(WANTED, SAME, found(units=WANTED.units[:1]))
    assert {item.field.split(".")[0] for item in told} == {"units[2]"}
    assert {item.other_node for item in told} == {"absent"}


def test_what_only_an_open_device_tells_is_not_held_against_a_node_that_does_not_serve() -> None:
    wanted = with_unit(block_size_bytes=4096, may_unmap=True, optimal_blocks=8)
    serving = Found(wanted, serves=True, is_as_wanted=True)
    assert differences(wanted, serving, STAGED) == ()
    told = differences(wanted, serving, Found(WANTED, serves=True, is_as_wanted=False))
    assert [item.field.rpartition(".")[2] for item in told] == ["block_size_bytes", "may_unmap", "optimal_blocks"]


def test_a_node_that_has_nothing_differs_only_where_it_should_have_it() -> None:
    assert differences(WANTED, SAME, NOTHING, is_to_be_here=False) == ()
    assert {item.other_node for item in differences(WANTED, SAME, NOTHING)} == {"absent"}


def test_what_cannot_be_read_is_told_as_passwords() -> None:
    other = Found(WANTED, serves=True, is_as_wanted=False)
    assert differences(WANTED, SAME, other) == (Difference("passwords", "same", "same", "other"),)
    assert differences(WANTED, other, None) == (Difference("passwords", "same", "other", None),)
