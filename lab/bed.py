"""The whole lab: start it, reach its parts, stop it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import disks, keeper, kernel, netns, network, preflight
from lab.errors import LabError
from lab.layout import Layout
from lab.node import Node
from lab.processes import Process
from lab.topology import DEFAULT_FILE, Topology, load


class Lab:
    """A running lab. Get one by `start` or `attach`."""

    def __init__(self, layout: Layout, topology: Topology, pipe: int | None = None) -> None:
        """Describe a lab; `pipe` is the end to hold of one that this process started."""
        self.layout = layout
        self.topology = topology
        self.nodes = {n: Node(layout, topology, spec) for n, spec in topology.nodes.items()}
        self.waited_s = 0.0
        """How long it stood in line behind another lab."""
        self._pipe = pipe

    @classmethod
    def start(
        cls,
        topology: Path | None = None,
        state_dir: Path | None = None,
        *,
        fresh: bool = True,
        lock: bool = True,
        lock_timeout_s: float | None = None,
    ) -> Self:
        """Boot all nodes and wait until each can run commands.

        With `fresh` every disk starts empty. With `lock` it waits, saying so on the standard error,
        until no other lab runs on the machine. When this process ends, however it ends, the lab is
        taken down. Raises LabError.
        """
        layout = Layout.at(state_dir)
        parsed = load(topology)
        preflight.check_machine()
        began_s = time.monotonic()
        handle = keeper.acquire_lock(_say, lock_timeout_s) if lock else None
        waited_s = time.monotonic() - began_s
        try:
            if is_up(layout):
                raise LabError(f"the lab in {layout.root} is already up; take it down first")
            # Not before: while it waited, the other lab had the memory.
            preflight.check_memory(parsed)
            keeper.take_down(layout)
            if fresh:
                disks.forget(layout)
                shutil.rmtree(layout.root, ignore_errors=True)
            layout.make_root()
            layout.topology_copy.write_bytes((topology or DEFAULT_FILE).read_bytes())
            # Before there is anything that it would have to clear away.
            lab = cls(layout, parsed, keeper.spawn(layout, handle))
        finally:
            if handle is not None:
                os.close(handle)
        try:
            lab.waited_s = waited_s
            disks.place(layout, parsed)
            lab._bring_up()
        except BaseException:
            lab.stop()
            raise
        return lab

    @classmethod
    def attach(cls, state_dir: Path | None = None) -> Self:
        """The lab that runs already in a state directory. Raises LabError if none does."""
        layout = Layout.at(state_dir)
        if not is_up(layout):
            raise LabError(f"no lab is up in {layout.root}: run `python -m lab up` first")
        return cls(layout, load(layout.topology_copy))

    def stop(self) -> None:
        """Take the lab down: no process, namespace or tap is left. The state directory stays.

        Disks in memory go too, unless the lab was detached: nobody is to lose memory to a lab that is over.
        """
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            os.close(pipe)
        keeper.dismiss(self.layout)
        if pipe is not None:
            # A keeper that was only just started is ended before it knows what to clear away.
            disks.forget(self.layout)

    def detach(self) -> None:
        """Let the lab outlive this process; `stop` of an attached one ends it."""
        if self._pipe is not None:
            os.write(self._pipe, keeper.STAY)
            os.close(self._pipe)
            self._pipe = None

    def restore(self) -> None:
        """Every cable in, every node thawed and on. Disks and what runs in the nodes stay."""
        for host in self.topology.hosts.values():
            self.link(host.name, host.network, up=True)
        waiting = []
        for node in self.nodes.values():
            for net in node.spec.networks:
                node.link(net, up=True)
            if node.is_running:
                node.thaw()
            else:
                node.power_on()
                waiting.append(node)
        for node in waiting:
            node.wait_booted()

    def __enter__(self) -> Self:
        """Nothing more to do: `start` did it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the lab."""
        self.stop()

    def node(self, name: str) -> Node:
        """A node by name. Raises LabError for an unknown one."""
        if name not in self.nodes:
            raise LabError(f"no node {name} in this lab, there are {', '.join(self.nodes)}")
        return self.nodes[name]

    def link(self, member: str, net: str, *, up: bool) -> None:
        """Plug or pull a cable of a node, or of a host such as `ping`."""
        host = self.topology.hosts.get(member)
        if host is None:
            self.node(member).link(net, up=up)
        elif net != host.network:
            raise LabError(f"host {member} has no network {net}")
        else:
            network.set_link(self.layout, self.topology, member, net, up=up)

    def address(self, member: str, net: str) -> str:
        """The address of a node or host on a network."""
        host = self.topology.hosts.get(member)
        number = host.number if host else self.node(member).spec.number
        return self.topology.networks[net].address(number)

    @property
    def namespace(self) -> str:
        """The network namespace on the host that is connected to every network of the lab."""
        return self.layout.namespace

    def in_namespace(self, argv: list[str]) -> list[str]:
        """The command line that runs `argv` on the host, inside the lab's networks."""
        return ["ip", "netns", "exec", self.namespace, *argv]

    def connect(self, address: str, port: int, timeout_s: float = 10.0) -> socket.socket:
        """A blocking TCP connection into the lab, for use by this process. Raises OSError."""
        return netns.connect(self.namespace, address, port, timeout_s)

    def collect(self, dest: Path) -> Path:
        """Copy what explains a failure: consoles, service logs, databases of nodes that answer."""
        dest.mkdir(parents=True, exist_ok=True)
        for node in self.nodes.values():
            target = dest / node.name
            target.mkdir(exist_ok=True)
            if (console := self.layout.console(node.name)).exists():
                shutil.copy(console, target)
            if (services := node.host_dir / "services").exists():
                shutil.copytree(services, target / "services", dirs_exist_ok=True)
            if node.is_running and node.remote.answers():
                self._collect_inside(node, target)
        return dest

    def _collect_inside(self, node: Node, target: Path) -> None:
        """Ask the node itself; what it cannot give is left out, the test's failure matters more."""
        asked = {
            "dmesg.txt": ["dmesg"],
            "processes.txt": ["ps", "axfww"],
            "network.txt": ["ip", "address"],
            "drbd.txt": ["cat", "/proc/drbd"],
            "holdfast.tar": ["tar", "-C", "/var/lib", "-cf", "-", "holdfast"],
        }
        for name, argv in asked.items():
            try:
                (target / name).write_bytes(node.run(argv, check=False, timeout_s=10).stdout)
            except (OSError, LabError) as reason:
                (target / name).write_text(f"not to be had: {reason}\n")

    def _bring_up(self) -> None:
        kernel.prepare_modules()
        for node in self.nodes.values():
            node.host_dir.mkdir(parents=True, exist_ok=True)
            disks.create(self.layout, node.spec)
        network.create(self.layout, self.topology)
        for node in self.nodes.values():
            node.power_on()
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            for waiting in [pool.submit(node.wait_booted) for node in self.nodes.values()]:
                waiting.result()


def is_up(layout: Layout) -> bool:
    """Whether a lab is kept in this state directory."""
    found = Process.load(layout.keeper_record)
    return found is not None and found.is_alive


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
