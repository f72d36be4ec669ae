"""Small decisions of the services that need no machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.errors import ConflictError
from holdfast.hooks.links import Link, WitnessHost
from holdfast.hooks.replication import (
    ConnectionState,
    DiskState,
    MirrorStatus,
    MirrorVolumeStatus,
    ReplicationState,
    Role,
    Suspension,
)
from holdfast.hooks.target import Portal
from holdfast.services.documents import AccessDocument, FailoverDocument, MirrorDocument, TargetDocument, UnitDocument
from holdfast.services.groups.links import seen_from_partner
from holdfast.services.groups.plans import mirror_link
from holdfast.services.groups.preflight import judge_mirror
from holdfast.services.mirrors.numbers import FIRST_PORT, LAST_PORT, choose_numbers
from holdfast.services.targets.targets import shared

TARGET = TargetDocument(
    name="t",
    iqn="iqn.2026-01.com.example:t",
    mirror="m",
    units=(UnitDocument(1, "v", "ab"),),
    access=(AccessDocument("iqn.2026-01.com.example:i", "u", "secret:1"), AccessDocument("iqn.2026-01.com.example:j")),
    portals=(Portal("192.0.2.1", 3260),),
)


def test_a_target_is_the_same_on_both_nodes_whatever_its_secrets_are_called() -> None:
    there = replace(TARGET, access=(replace(TARGET.access[0], chap_password="secret:2"), TARGET.access[1]))
    assert shared(TARGET) == shared(there)
    assert "secret:" not in repr(shared(TARGET))


@pytest.mark.parametrize(
    "other",
    [
        replace(TARGET, iqn="iqn.2026-01.com.example:x"),
        replace(TARGET, mirror="n"),
        replace(TARGET, units=(UnitDocument(1, "v", "cd"),)),
        replace(TARGET, units=(UnitDocument(2, "v", "ab"),)),
        replace(TARGET, portals=()),
        replace(TARGET, access=TARGET.access[:1]),
        replace(TARGET, access=(replace(TARGET.access[0], chap_password=None), TARGET.access[1])),
        replace(TARGET, access=(replace(TARGET.access[0], chap_user="w"), TARGET.access[1])),
    ],
)
def test_a_target_that_differs_in_anything_else_is_not_the_same(other: TargetDocument) -> None:
    assert shared(other) != shared(TARGET)


MIRROR = MirrorDocument(
    name="m",
    source="a",
    destination="b",
    members=(),
    port=FIRST_PORT,
    addresses={"a": "192.0.2.1", "b": "192.0.2.2"},
    is_started=True,
)


@pytest.mark.parametrize(
    ("mirror", "ends", "expected"),
    [
        (MIRROR, ("192.0.2.1", "192.0.2.2"), "two"),
        (MIRROR, ("192.0.2.2", "192.0.2.1"), "two"),
        (MIRROR, ("192.0.2.1", "192.0.2.3"), None),
        (None, ("192.0.2.1", "192.0.2.2"), None),
    ],
)
def test_the_link_of_a_mirror_is_the_one_with_both_its_addresses(
    mirror: MirrorDocument | None, ends: tuple[str, str], expected: str | None
) -> None:
    links = (Link("one", "eth0", "198.51.100.1", "198.51.100.2"), Link("two", "eth1", *ends))
    assert mirror_link(mirror, links) == expected


@pytest.mark.parametrize(
    ("minors", "ports", "count", "expected"),
    [
        (([], []), ([], []), 1, ((0,), FIRST_PORT)),
        (([], []), ([], []), 3, ((0, 1, 2), FIRST_PORT)),
        (([0], [1]), ([FIRST_PORT], []), 2, ((2, 3), FIRST_PORT + 1)),
        (([0, 2], [2, 5]), ([], [FIRST_PORT, FIRST_PORT + 2]), 3, ((1, 3, 4), FIRST_PORT + 1)),
        (([7], [900]), ([LAST_PORT], [1]), 2, ((0, 1), FIRST_PORT)),
        (([], []), (list(range(FIRST_PORT, LAST_PORT)), []), 0, ((), LAST_PORT)),
    ],
)
def test_the_numbers_of_a_mirror_are_the_lowest_that_are_free_on_both_nodes(
    minors: tuple[list[int], list[int]],
    ports: tuple[list[int], list[int]],
    count: int,
    expected: tuple[tuple[int, ...], int],
) -> None:
    used = tuple({"minors": m, "ports": p} for m, p in zip(minors, ports, strict=True))
    assert choose_numbers(used, count=count) == expected


def test_without_a_free_port_there_is_no_mirror() -> None:
    middle = (FIRST_PORT + LAST_PORT) // 2
    here = {"minors": [], "ports": list(range(FIRST_PORT, middle))}
    there = {"minors": [], "ports": list(range(middle, LAST_PORT + 1))}
    with pytest.raises(ConflictError, match="all ports"):
        choose_numbers((here, there), count=1)


LINKS = FailoverDocument(
    (Link("one", "eth1", "192.0.2.1", "192.0.2.2", 7790), Link("two", "eth2", "fe80::1", "fe80::2", 7791)),
    ("192.0.2.9",),
    WitnessHost("192.0.2.70", 8446, "certificate"),
)


def test_links_seen_twice_from_the_other_side_are_as_they_were() -> None:
    assert seen_from_partner(seen_from_partner(LINKS)) == LINKS


def test_links_seen_from_the_partner_have_their_ends_exchanged_and_nothing_else() -> None:
    for here, there in zip(LINKS.links, seen_from_partner(LINKS).links, strict=True):
        assert (there.local_address, there.peer_address) == (here.peer_address, here.local_address)
        assert replace(there, local_address=here.local_address, peer_address=here.peer_address) == here
    assert seen_from_partner(LINKS).ping_nodes == LINKS.ping_nodes
    assert seen_from_partner(LINKS).witness == LINKS.witness
    assert seen_from_partner(FailoverDocument(())) == FailoverDocument(())


GOOD_VOLUME = MirrorVolumeStatus(
    number=0,
    device="/dev/m0",
    disk=DiskState.UP_TO_DATE,
    peer_disk=DiskState.UP_TO_DATE,
    replication=ReplicationState.ESTABLISHED,
    out_of_sync_bytes=0,
    sent_bytes=1,
    received_bytes=1,
    done_percent=None,
)
GOOD = MirrorStatus(
    "m", True, Role.SECONDARY, Role.SECONDARY, ConnectionState.CONNECTED, Suspension.NO, (GOOD_VOLUME, GOOD_VOLUME)
)


def with_volume(**changes: object) -> MirrorStatus:
    return replace(GOOD, volumes=(GOOD_VOLUME, replace(GOOD_VOLUME, **changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (replace(GOOD, is_up=False), "mirror-down", "not running"),
        (replace(GOOD, connection=ConnectionState.CONNECTING), "mirror-not-in-sync", "Connecting, out of sync"),
        (replace(GOOD, connection=ConnectionState.STANDALONE), "mirror-not-in-sync", "StandAlone"),
        (replace(GOOD, volumes=()), "mirror-not-in-sync", "out of sync"),
        (with_volume(disk=DiskState.INCONSISTENT), "mirror-not-in-sync", "Connected, Inconsistent"),
        (with_volume(peer_disk=DiskState.OUTDATED), "mirror-not-in-sync", "Connected, Outdated"),
        (with_volume(peer_disk=DiskState.UNKNOWN), "mirror-not-in-sync", "DUnknown"),
        (with_volume(out_of_sync_bytes=4096), "mirror-not-in-sync", "out of sync"),
    ],
)
def test_a_mirror_that_no_group_may_rest_on_says_why_and_what_to_do(status: MirrorStatus, code: str, text: str) -> None:
    (unmet,) = judge_mirror(status)
    assert unmet.code == code
    assert text in unmet.text
    assert unmet.remedy


@pytest.mark.parametrize("status", [GOOD, replace(GOOD, role=Role.PRIMARY), with_volume(done_percent=50.0)])
def test_a_mirror_in_sync_is_fit_for_a_group(status: MirrorStatus) -> None:
    assert judge_mirror(status) == ()
