"""What can be judged of the failover benchmarks without nodes: the bed, what ARP says, the cluster's resources."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.arp_watch import parse
from benchmarks.failover_gap import STACKS, each_gap, promises
from benchmarks.pacemaker import CONSTRAINTS, primitive
from benchmarks.pairs import Pause
from benchmarks.stacks import TOPOLOGY, with_nodes
from lab.topology import load

ETHERNET = bytes.fromhex("ffffffffffff0200000000aa0806")
ANNOUNCEMENT = bytes.fromhex("00010800060400010200000000aa0a4d01c80000000000000a4d01c8")


def test_the_sender_of_an_arp_packet_is_told() -> None:
    assert parse(ETHERNET + ANNOUNCEMENT + bytes(18)) == ("10.77.1.200", "02:00:00:00:00:aa")


@pytest.mark.parametrize(
    "frame",
    [b"", ETHERNET, (ETHERNET + ANNOUNCEMENT)[:-1], ETHERNET[:12] + b"\x08\x00" + ANNOUNCEMENT, bytes(64)],
    ids=["nothing", "no packet", "cut short", "another protocol", "zeros"],
)
def test_anything_else_is_no_announcement(frame: bytes) -> None:
    assert parse(frame) is None


def test_a_bed_has_the_nodes_that_are_named_and_all_networks(tmp_path: Path) -> None:
    path = tmp_path / "bed.toml"
    path.write_text(with_nodes(TOPOLOGY.read_text(), ["a", "b", "c"]))
    made = load(path)
    assert set(made.nodes) == {"a", "b", "c"}
    assert [disk.name for disk in made.nodes["b"].disks] == ["state", "data"]
    assert set(made.hosts) == {"ping"}


def test_the_bed_has_a_pair_of_its_own_for_each_stack() -> None:
    names = [name for kind in STACKS.values() for name in kind.names]
    assert len(names) == len(set(names))
    assert {*names, "c"} == set(load(TOPOLOGY).nodes)
    assert len({kind.address for kind in STACKS.values()}) == len(STACKS)


def test_a_pause_is_parted_at_the_announcement() -> None:
    assert Pause(700.0, 650.0).figures() == {"gap_ms": 700.0, "address_ms": 650.0, "wake_ms": 50.0}
    assert Pause(700.0, None).figures() == {"gap_ms": 700.0}


def test_every_gap_is_kept_in_its_order() -> None:
    figures = {"ours_gap_ms": [650.2, 1699.9], "ours_wake_ms": [1.0, 2.0]}
    assert each_gap(figures) == {"ours_gap_ms": "650 1700"}


def test_what_is_promised_depends_on_how_many_units_there_are() -> None:
    many = {promise.text: promise.least for promise in promises(["ours", "keepalived", "pacemaker"], 100)}
    assert many == {
        "100 units: keepalived's gap over ours": 3.0,
        "100 units: pacemaker's gap over ours": None,
    }
    assert [promise.least for promise in promises(["ours"], 1)] == [1.0, None, 1.0]


def test_resources_are_xml_whatever_their_values() -> None:
    made = ElementTree.fromstring(primitive("x", "heartbeat:IPaddr2", {"ip": '<"&'}))  # noqa: S314 - our own
    assert (made.get("provider"), made.get("type")) == ("heartbeat", "IPaddr2")
    assert [pair.get("value") for pair in made.iter("nvpair")] == ['<"&']
    assert {element.tag for element in ElementTree.fromstring(CONSTRAINTS)} == {"rsc_colocation", "rsc_order"}  # noqa: S314
