"""Disks lie in memory where there is plenty, keep their content, and leave nothing once forgotten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab import disks
from lab.layout import Layout
from lab.topology import DEFAULT_FILE, Topology, load


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout.at(tmp_path / "lab")
    made.make_root()
    return made


@pytest.fixture
def topology() -> Topology:
    return load(DEFAULT_FILE)


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    directory = tmp_path / "memory"
    directory.mkdir()
    return directory


def make(layout: Layout, topology: Topology) -> Path:
    disks.create(layout, topology.nodes["a"])
    return layout.disk("a", "data")


def test_with_plenty_of_memory_disks_lie_there_and_keep_their_content(
    layout: Layout, topology: Topology, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "available_mib", lambda: 1 << 20)
    disks.place(layout, topology, memory)
    disk = make(layout, topology)
    disk.write_bytes(b"kept")
    disks.place(layout, topology, memory)
    assert make(layout, topology).read_bytes() == b"kept"
    assert disk.resolve().is_relative_to(memory)

    disks.forget(layout)
    assert list(memory.iterdir()) == []
    assert not layout.disks.exists()


def test_with_little_memory_they_lie_in_the_state_directory_and_are_not_forgotten(
    layout: Layout, topology: Topology, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "available_mib", lambda: topology.memory_mib)
    disks.place(layout, topology, memory)
    disk = make(layout, topology)
    disks.forget(layout)
    assert disk.resolve().is_relative_to(layout.root)
    assert list(memory.iterdir()) == []


def test_disks_whose_memory_is_gone_are_made_anew(
    layout: Layout, topology: Topology, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "available_mib", lambda: 1 << 20)
    disks.place(layout, topology, memory)
    layout.disks.readlink().rmdir()
    disks.place(layout, topology, memory)
    assert make(layout, topology).exists()


def test_of_a_disk_that_is_written_in_part_only_that_part_counts(topology: Topology) -> None:
    whole = disks.total_mib(topology)
    [state, data] = topology.nodes["a"].disks
    part = replace(topology.nodes["a"], disks=(state, replace(data, size_mib=1 << 20, written_mib=100)))
    less = replace(topology, nodes={**topology.nodes, "a": part})
    assert disks.total_mib(less) == whole - data.size_mib + 100
