"""Topology files: the default one, and those that are refused with a reason."""

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.layout import Layout
from lab.network import link_name
from lab.topology import CONTROL, DEFAULT_FILE, load


def test_the_default_bed_has_two_storage_nodes_an_initiator_and_a_ping_node() -> None:
    topology = load()
    assert sorted(topology.nodes) == ["a", "b", "c"]
    assert topology.networks["replication"].address(topology.nodes["b"].number) == "10.77.2.12"
    assert topology.nodes["a"].device("data") == "/dev/ubdb"
    assert topology.hosts["ping"].network == "client"


def test_every_link_has_a_name_the_kernel_takes() -> None:
    topology = load()
    names = [link_name(topology, node, net) for node in topology.nodes for net in (*topology.networks, CONTROL)]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 15 for name in names)


@pytest.mark.parametrize(
    ("wrong", "right", "reason"),
    [
        ('networks = ["client", "nowhere"]', 'networks = ["client", "management"]', "unknown network nowhere"),
        ("memory = 384", "memory_mib = 384", "memory_mib"),
        ("[nodes.two-words]", "[nodes.c]", "two-words"),
    ],
)
def test_a_topology_that_is_no_lab_is_refused(tmp_path: Path, wrong: str, right: str, reason: str) -> None:
    text = DEFAULT_FILE.read_text()
    assert right in text
    broken = tmp_path / "broken.toml"
    broken.write_text(text.replace(right, wrong))
    with pytest.raises(LabError, match=reason):
        load(broken)


def test_a_topology_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"nowhere\.toml"):
        load(tmp_path / "nowhere.toml")


def test_two_state_directories_never_share_a_namespace(tmp_path: Path) -> None:
    assert Layout(tmp_path / "x").namespace != Layout(tmp_path / "y").namespace
