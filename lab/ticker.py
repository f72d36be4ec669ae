"""Keeps the nodes awake to their devices: without it a frame waits up to 0.2 s to be noticed.

linux.uml learns of a frame by SIGIO and then asks epoll which device it was. Two races lose it:

- The tap driver sends SIGIO before it marks the device readable (drivers/net/tun.c, tun_net_xmit:
  kill_fasync, then sk_data_ready). A node on another processor asks in between, finds nothing,
  and is not told again.
- A node about to idle has its signals off; SIGIO is then only noted, and the node goes to sleep
  until its next timer (arch/um/os-Linux/time.c, os_idle_sleep).

Either way the frame lies there until the next one comes, most often TCP's retransmission. One more
SIGIO makes the node look again, and costs it a few microseconds when there is nothing to see.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from lab.layout import Layout
from lab.processes import Process

INTERVAL_S = 0.002
_LOOK_FOR_NODES_EVERY_S = 0.1


class Ticker:
    """Sends the signals. It finds by itself which nodes run."""

    def __init__(self, layout: Layout) -> None:
        """Know no node yet."""
        self._layout = layout
        # By machine, a pidfd of its kernel: unlike a process id it never means another process.
        self._handles: dict[Process, int] = {}

    def run(self) -> None:
        """Tick until an exception ends it."""
        while True:
            self._find()
            deadline = time.monotonic() + _LOOK_FOR_NODES_EVERY_S
            while time.monotonic() < deadline:
                self._tick()
                time.sleep(INTERVAL_S)

    def _tick(self) -> None:
        for machine, handle in list(self._handles.items()):
            try:
                signal.pidfd_send_signal(handle, signal.SIGIO)
            except ProcessLookupError:
                os.close(self._handles.pop(machine))

    def _find(self) -> None:
        for record in self._layout.root.glob("nodes/*/process.json"):
            machine = Process.load(record)
            if machine is None or machine in self._handles or not machine.is_alive:
                continue
            kernel = next(filter(_is_kernel, machine.descendants()), None)
            # Before it handles SIGIO it would die of one.
            if kernel and _handles_sigio(kernel):
                with contextlib.suppress(ProcessLookupError):
                    self._handles[machine] = os.pidfd_open(kernel.pid)


def _is_kernel(process: Process) -> bool:
    return process.status().get("Name", "").startswith("linux")


def _handles_sigio(process: Process) -> bool:
    return bool(int(process.status().get("SigCgt", "0"), 16) >> (signal.SIGIO - 1) & 1)
