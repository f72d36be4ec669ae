"""One linux.uml process group: how it is started, and what it is told."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from lab.errors import LabError
from lab.kernel import prepare_library
from lab.layout import CHECKOUT, Layout
from lab.network import control_address, hardware_address, link_name
from lab.preflight import find
from lab.processes import Process
from lab.tools import ENVIRONMENT
from lab.topology import CONTROL, CONTROL_SUBNET, NodeSpec, Topology


def start(layout: Layout, topology: Topology, node: NodeSpec, modules: Path) -> Process:
    """Start a node's kernel, and record it. Its disks and links must exist."""
    settings = layout.node_dir(node.name) / "settings.sh"
    host_dir = layout.host_dir(node.name)
    host_dir.mkdir(parents=True, exist_ok=True)
    settings.write_text(_settings(layout, topology, node, modules))
    kernel = find("linux.uml")
    if kernel is None:
        raise LabError("linux.uml is missing: install the package user-mode-linux")
    argv = ["ip", "netns", "exec", layout.namespace]
    # On one processor: the kernel and the processes it traces take turns, never run side by side,
    # and each turn costs an interrupt between processors if they are apart (boots of 3 to 9 s).
    # Labs side by side begin at different ones.
    processors = sorted(os.sched_getaffinity(0))
    index = list(topology.nodes).index(node.name) + int(os.environ.get("HOLDFAST_LAB_FIRST_PROCESSOR") or 0)
    argv += ["taskset", "--cpu-list", str(processors[index % len(processors)])]
    # A process namespace: whatever the kernel process started dies with it, whatever its group.
    # A shell is its first process, since the kernel ends a panic with abort(), which the first
    # process of a namespace survives.
    argv += ["unshare", "--pid", "--fork", "--kill-child"]
    argv += ["sh", "-c", 'ulimit -c 0; "$@"; exit $?', "machine"]
    argv += ["env", f"LD_PRELOAD={prepare_library()}", kernel]
    argv += _command_line(layout, topology, node, settings)
    with layout.console(node.name).open("ab") as console:
        console.write(f"\n--- boot at {time.strftime('%H:%M:%S')}\n".encode())
        console.flush()
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            env=ENVIRONMENT,
            start_new_session=True,
        )
    process = Process.of(child.pid)
    process.save(layout.process_record(node.name))
    # Its end is read from /proc by whoever asks, often another process; the handle would only
    # complain about a child that still runs.
    child.returncode = 0
    return process


def set_niceness(machine: Process, niceness: int) -> None:
    """Weigh a machine against whatever else runs here, as nice(1) weighs processes of one session (sched(7)).

    linux.uml begins a session of its own some moments after its start: a node that boots is weighed when it has booted.
    Where the kernel does not group processes by session, or keeps that to itself, it changes nothing.
    """
    for process in (machine, *machine.descendants()):
        with suppress(OSError):
            Path(f"/proc/{process.pid}/autogroup").write_text(f"{niceness}")


def _command_line(layout: Layout, topology: Topology, node: NodeSpec, settings: Path) -> list[str]:
    words = [
        f"mem={node.memory_mib}M",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",
        f"init={CHECKOUT / 'lab' / 'init.sh'}",
        "con=null",
        "con0=null,fd:1",
        # A reset (watchdog, sysrq, panic) would restart the process without its links; the lab
        # wants a node that resets itself to be off until somebody boots it.
        "noreboot",
        "panic=-1",
        f"lab_settings={settings}",
        # Else linux.uml leaves a directory in the home of whoever started it.
        f"uml_dir={layout.node_dir(node.name)}/",
        "umid=uml",
    ]
    for index, disk in enumerate(node.disks):
        words.append(f"ubd{index}={layout.disk(node.name, disk.name)}")
    for index, network in enumerate((*node.networks, CONTROL)):
        tap = link_name(topology, node.name, network)
        mac = hardware_address(layout, node.name, network)
        # gro=1: without it a mirror's resync crawls at 200 KB/s.
        words.append(f"vec{index}:transport=tap,ifname={tap},mac={mac},gro=1")
    return words


def _settings(layout: Layout, topology: Topology, node: NodeSpec, modules: Path) -> str:
    nics = []
    for index, name in enumerate(node.networks):
        net = topology.networks[name]
        nics.append(f"vec{index}:{name}:{net.address(node.number)}/{net.subnet.prefixlen}")
    names = [
        f"{topology.networks[network].address(member.number)}={member.name}-{network}"
        for member in topology.nodes.values()
        for network in member.networks
    ]
    mounts = [
        f"{node.device(disk.name)}:{disk.filesystem}:{disk.mount}"
        for disk in node.disks
        if disk.filesystem and disk.mount
    ]
    values = {
        "NODE": node.name,
        "PYTHON": os.path.realpath(sys.executable),
        "VENV_PYTHON": os.path.realpath(CHECKOUT / ".venv" / "bin" / "python"),
        "CHECKOUT": str(CHECKOUT),
        "MODULES": str(modules),
        "HOST_DIR": str(layout.host_dir(node.name)),
        "MACHINE_ID": hashlib.sha256(f"{layout.id}/{node.name}".encode()).hexdigest()[:32],
        "NICS": " ".join(nics),
        "CONTROL": f"vec{len(nics)}:{control_address(node)}/{CONTROL_SUBNET.prefixlen}",
        "MOUNTS": " ".join(mounts),
        "HOSTS": " ".join(names),
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())
