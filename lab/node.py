"""One node of a lab, as tests see it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

from lab import kernel, machine, network
from lab.errors import CommandFailed, LabError, NodeOff
from lab.layout import Layout
from lab.processes import Process, wait_until
from lab.remote import Remote, RemoteProcess, Result
from lab.topology import NodeSpec, Topology

BOOT_WITHIN_S = 60.0

MOST_OF_THE_PROCESSORS = -10
"""A niceness: nine times the weight of what else runs on the machine."""


class Node:
    """A node of a running lab. All calls block; all may be made from any thread."""

    def __init__(self, layout: Layout, topology: Topology, spec: NodeSpec) -> None:
        """Describe the node; touch nothing."""
        self.name = spec.name
        self.spec = spec
        self._layout = layout
        self._topology = topology
        self._niceness = 0
        self.remote = Remote(spec.name, layout.namespace, network.control_address(spec), lambda: self.is_running)

    # Power

    @property
    def is_running(self) -> bool:
        """Whether the node has power: a frozen node has, one that reset itself has not."""
        return self.machine is not None and self.machine.is_alive

    @property
    def machine(self) -> Process | None:
        """The process that the node runs as since it was booted last, with power or without."""
        return Process.load(self._layout.process_record(self.name))

    def cut(self) -> None:
        """Power cut: the whole machine is gone when this returns. Off already is no error."""
        if process := self.machine:
            process.kill()

    def boot(self, timeout_s: float = BOOT_WITHIN_S) -> None:
        """Power on, and wait until the node can run commands. Raises LabError."""
        self.power_on()
        self.wait_booted(timeout_s)

    def power_on(self) -> None:
        """Power on without waiting."""
        if self.is_running:
            raise LabError(f"node {self.name} is running already")
        # What a reset left of the process group would hold the taps.
        self.cut()
        machine.start(self._layout, self._topology, self.spec, kernel.prepare_modules())

    def set_niceness(self, niceness: int) -> None:
        """Weigh the node against other labs on the processors, from -20 (has most) to 19; holds across boots."""
        self._niceness = niceness
        process = self.machine
        if process is not None and process.is_alive:
            machine.set_niceness(process, niceness)

    def wait_booted(self, timeout_s: float = BOOT_WITHIN_S) -> None:
        """Wait until the node can run commands. Raises LabError with the console's end."""
        deadline = time.monotonic() + timeout_s
        while not self.remote.answers():
            if not self.is_running or time.monotonic() > deadline:
                tail = self._layout.console(self.name).read_text(errors="replace")[-1500:]
                raise LabError(f"node {self.name} did not boot; its console ends with:\n{tail}")
            time.sleep(0.02)
        if self._niceness:
            self.set_niceness(self._niceness)

    def wait_off(self, timeout_s: float) -> bool:
        """Wait until the node has no power (it reset itself); False if it still has."""
        return wait_until(lambda: not self.is_running, timeout_s)

    def freeze(self) -> None:
        """Stop the machine in its tracks, as a hung hypervisor does."""
        self._running().signal_machine(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen machine go on."""
        self._running().signal_machine(signal.SIGCONT)

    def _running(self) -> Process:
        process = self.machine
        if process is None or not process.is_alive:
            raise NodeOff(f"node {self.name} is off; boot it first")
        return process

    # Wires and disks

    def link(self, net: str, *, up: bool) -> None:
        """Plug (`up`) or pull the cable of a network; holds across boots. See network.set_link."""
        if net not in self.spec.networks:
            raise LabError(f"node {self.name} has no network {net}")
        network.set_link(self._layout, self._topology, self.name, net, up=up)

    def address(self, net: str) -> str:
        """The node's own address on a network."""
        return self._topology.networks[net].address(self.spec.number)

    def device(self, disk: str) -> str:
        """The path of a disk of the topology inside the node."""
        return self.spec.device(disk)

    @property
    def host_dir(self) -> Path:
        """The directory of the host that the node sees as /host."""
        return self._layout.host_dir(self.name)

    # Commands

    def run(
        self,
        argv: list[str],
        *,
        timeout_s: float = 30.0,
        stdin: bytes = b"",
        check: bool = True,
        env: dict[str, str] | None = None,
        cwd: str = "/",
    ) -> Result:
        """Run a command in the node as root.

        Raises CommandFailed (with `check`, for a code other than 0), TimeoutError, NodeOff, and
        FileNotFoundError for a program that is not there.
        """
        result = self.remote.run(argv, timeout_s=timeout_s, stdin=stdin, env=env, cwd=cwd)
        if check and result.returncode != 0:
            raise CommandFailed(self.name, argv, result.returncode, result.stderr)
        return result

    def popen(self, argv: list[str], *, env: dict[str, str] | None = None, cwd: str = "/") -> RemoteProcess:
        """Start a long-running command in the node and read its output as it comes."""
        return self.remote.popen(argv, env=env, cwd=cwd)

    def write_file(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Write a file in the node, its directories as needed."""
        self.remote.request({"op": "write_file", "path": str(path), "mode": mode}, content=content)

    def read_file(self, path: str) -> bytes:
        """Read a file in the node. Raises OSError as a local read would."""
        return self.remote.request({"op": "read_file", "path": str(path)})

    # Services

    def start_service(
        self,
        name: str,
        argv: list[str],
        env: dict[str, str] | None = None,
        *,
        restart: bool = True,
        at_boot: bool = False,
    ) -> None:
        """Run a program under the node's supervisor, replacing a service of that name.

        With `restart` it is started again 0.2 s after it ended, however it ended; with `at_boot`
        also at every later boot of this lab. Output goes to `service_log`.
        """
        self._ask(
            "start_service",
            name=name,
            argv=argv,
            env=env or {},
            restart=restart,
            at_boot=at_boot,
        )

    def stop_service(self, name: str) -> None:
        """End a service: SIGTERM to its group, SIGKILL 10 s later. Unknown names are no error."""
        self._ask("stop_service", name=name)

    def kill_service(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal the main process of a service, and only that."""
        self._ask("kill_service", name=name, signal=int(number))

    def services(self) -> dict[str, dict[str, int | None]]:
        """For each service: `pid` (None while it is down), `starts`, `exit_code` (the last)."""
        found: dict[str, dict[str, int | None]] = self._ask("services")
        return found

    def service_pid(self, name: str) -> int | None:
        """The main process of a service, None while it has none."""
        return self.services().get(name, {}).get("pid")

    def service_log(self, name: str) -> Path:
        """The file on the host that has the output of a service, all starts of it."""
        return self.host_dir / "services" / f"{name}.log"

    def _ask(self, op: str, **fields: object) -> Any:
        return json.loads(self.remote.request({"op": op, **fields}))
