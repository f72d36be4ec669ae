"""All pairs of one run, the initiator that writes to them, and how long it had to wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from benchmarks.stacks import MIB, Stack
from demo.bed import wait_for
from demo.initiator import Writing, assert_clean
from holdfast.planning.initiator_profile import SETTINGS
from lab import Lab, Node
from lab.layout import CHECKOUT
from lab.node import MOST_OF_THE_PROCESSORS

INTERVAL_MS = 20.0
REGION_BLOCKS = 256  # of 4 KiB: each measurement has a region of its own, and the smallest unit room for a few
SETTLES_S = 1.5
SERVED_WITHIN_S = 110.0  # less than the initiator queues


@dataclass(frozen=True)
class Pause:
    """How long a writer waited, and the part of it before the address was announced anew; None if it was not."""

    gap_ms: float
    address_ms: float | None

    def figures(self) -> dict[str, float]:
        """By name; `wake_ms` is from the announcement to the first write that is acknowledged."""
        if self.address_ms is None:
            return {"gap_ms": self.gap_ms}
        return {"gap_ms": self.gap_ms, "address_ms": self.address_ms, "wake_ms": self.gap_ms - self.address_ms}


class Announcements:
    """What the initiator hears of who has which address, as `arp_watch` tells it."""

    def __init__(self, node: Node, interface: str) -> None:
        self._heard: list[tuple[str, float]] = []
        self._watch = node.popen(["python3", "-u", "-m", "benchmarks.arp_watch", interface], cwd=str(CHECKOUT))
        lines = self._watch.lines()
        assert next(lines) == "ready", self._watch.stderr.decode()
        threading.Thread(target=self._listen, args=(lines,), daemon=True).start()

    def _listen(self, lines: Iterator[str]) -> None:
        for line in lines:
            address, _, time_s = line.split()
            self._heard.append((address, float(time_s)))

    def first(self, address: str, after_s: float, before_s: float) -> float | None:
        """When an address was announced within a time, by the initiator's clock; None if it was not."""
        return next((at for said, at in list(self._heard) if said == address and after_s < at < before_s), None)


class Client:
    """The initiator that writes to all of them."""

    def __init__(self, lab: Lab, *, is_tuned: bool = True) -> None:
        self.lab = lab
        self.is_tuned = is_tuned
        self._runs = 0

    @property
    def node(self) -> Node:
        """Where open-iscsi runs."""
        return self.lab.node("c")

    def start(self) -> None:
        """Start open-iscsi."""
        self.node.run(["modprobe", "--all", "iscsi_tcp", "sd_mod"])
        self.node.run(["mkdir", "-p", "/run/lock/iscsi"])
        self.node.start_service("iscsid", ["iscsid", "--foreground", "--no-pid-file"])
        self.announcements = Announcements(self.node, "client")

    def log_in(self, stack: Stack) -> None:
        """To a stack's target, set to our profile unless it is to be as Debian has it."""
        record = ["iscsiadm", "-m", "node", "-T", stack.iqn, "-p", f"{stack.address}:3260"]
        self.node.run([*record, "-o", "new"])
        for setting in SETTINGS if self.is_tuned else ():
            self.node.run([*record, "-o", "update", "-n", setting.name, "-v", setting.value])
        self.node.run([*record, "--login"], timeout_s=60)
        what = f"the initiator sees {stack.units} disks of {stack.name}"
        wait_for(lambda: len(self.disks(stack)) == stack.units, 60, what)

    def log_out(self, stack: Stack) -> None:
        """From a stack's target, and forget it."""
        for what in (["-u"], ["-o", "delete"]):
            self.node.run(["iscsiadm", "-m", "node", "-T", stack.iqn, *what], timeout_s=60)

    def disks(self, stack: Stack) -> list[str]:
        """The devices of a stack's units, by number of the unit."""
        script = (
            'cd /sys/class/iscsi_session; for s in *; do [ "$(cat $s/targetname)" = '
            f"{stack.iqn} ] && ls -d $s/device/target*/*/block/*; done; true"
        )
        paths = self.node.run(["sh", "-c", script]).stdout.decode().split()
        found = [(int(path.split("/")[-3].rpartition(":")[2]), path.rpartition("/")[2]) for path in paths]
        return [f"/dev/{name}" for _, name in sorted(found)]

    def writing(self, stack: Stack) -> Writing:
        """Begin to write to its first unit, 50 blocks a second; returns when it is in swing."""
        self._runs += 1
        run, first = f"{stack.name[:10]}{self._runs}", self._runs * REGION_BLOCKS
        room = stack.unit_mib * MIB // 4096
        assert first + REGION_BLOCKS <= room, "more runs than the unit has regions"
        log = self.lab.layout.root / f"writes-{run}.log"
        writing = Writing(
            self.node, self.disks(stack)[0], run, first=first, blocks=REGION_BLOCKS, log=log, interval_ms=INTERVAL_MS
        )
        writing.wait_acknowledged(50, 30)
        return writing

    def end(self, stack: Stack, writing: Writing) -> Pause:
        """Stop it once writes are acknowledged again; all that was acknowledged must be there."""
        # On a busy machine acknowledgements from before the fault are still on their way.
        time.sleep(SETTLES_S)
        writing.wait_acknowledged(50, SERVED_WITHIN_S)
        writing.stop()
        verdict = writing.judge()
        assert_clean(verdict)
        began_s = verdict.gap_started_s or 0.0
        at_s = self.announcements.first(stack.address, began_s, began_s + verdict.longest_gap_ms / 1000)
        return Pause(verdict.longest_gap_ms, None if at_s is None else (at_s - began_s) * 1000)


class Pairs:
    """All stacks of one run, built and logged in to."""

    def __init__(self, lab: Lab, stacks: list[Stack], client: Client) -> None:
        self.lab = lab
        self.stacks = stacks
        self.client = client

    def build(self) -> None:
        """One after the other, and the initiator logs in to each."""
        for node in self.lab.nodes.values():
            node.set_niceness(MOST_OF_THE_PROCESSORS)
        self.client.start()
        with ThreadPoolExecutor() as pool:
            for done in [pool.submit(stack.build) for stack in self.stacks]:
                done.result()
        for stack in self.stacks:
            stack.wait_well()
            self.client.log_in(stack)

    def make_whole(self, wanted: Stack) -> None:
        """If a stack is not whole, make all of them whole at once: then none boots while another is measured."""
        if wanted.is_whole:
            return
        with ThreadPoolExecutor() as pool:
            broken = [stack for stack in self.stacks if not stack.is_whole]
            for done in [pool.submit(partial(Stack.make_whole, stack)) for stack in broken]:
                done.result()
