"""One soak: the pair is brought up as in the demo, and goes through fault after fault, each of them audited."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from demo import blocks, files
from demo.bed import Bed, StorageNode, wait_for
from demo.client import Refused
from demo.initiator import Initiator, Writing
from demo.report import Report
from lab import Lab, LabError
from lab.node import MOST_OF_THE_PROCESSORS
from soak import outcome as outcomes
from soak.acks import reigns
from soak.faults import Stage, do
from soak.ledger import Ledger
from soak.outcome import Outcome, Violation
from soak.plan import Fault
from soak.taps import Taps
from tests.lab.serving import WELL, Watch

REGION_BLOCKS = 1024  # of 4 KiB: gone round in 5 s
WRITES_BEFORE, WRITES_AFTER = 40, 40
ACKNOWLEDGED_WITHIN_S = 30.0
HEALS_WITHIN_S = blocks.BOOTS_WITHIN_S + blocks.RESYNCS_WITHIN_S
LOOKS_EVERY_S = 0.2
ANSWERS_WITHIN_S = 3.0
AGENT_PORT = 8873


class Soak:
    """A served pair with an initiator."""

    def __init__(self, lab: Lab) -> None:
        """Take a running lab with empty disks; start nothing."""
        self.bed = Bed(lab)
        self.log = lab.layout.root / "writes-soak.log"
        self.ledger = Ledger()
        self._taps = Taps(lab, ("a", "b"), "client", blocks.VIRTUAL_ADDRESS)
        self._initiator = Initiator(self.bed.initiator, blocks.IQN, blocks.VIRTUAL_ADDRESS)
        self._device = ""
        self._active = ""

    def begin(self) -> None:
        """Have a pair, a group that node a serves, and an initiator that is logged in."""
        for node in self.bed.lab.nodes.values():
            node.set_niceness(MOST_OF_THE_PROCESSORS)
        self._taps.start()  # before there is any connection that it would not know from its beginning
        self.bed.start_product()
        report = Report()
        files.pair(self.bed, report)
        for storage in (self.bed.a, self.bed.b):
            agent = {"is_enabled": True, "address": storage.node.address("replication"), "port": AGENT_PORT}
            storage.api.change("PUT", "/v1/agent", agent)
        blocks.build(self.bed, report, self._initiator)
        self._device = self._initiator.log_in(self.bed.a, blocks.TARGET)
        self.wait_well()

    def go_through(self, fault: Fault, *, compare: bool) -> Outcome:
        """Do one fault under load, undo it, and audit; `compare` has the kernels compare both sides, too.

        Raises Violation.
        """
        with _seen_as_violation():
            return self._go_through(fault, compare=compare)

    def _go_through(self, fault: Fault, *, compare: bool) -> Outcome:
        before, after = self.active(), ""
        epoch = self.epoch()
        self._taps.take()
        by_name = self.bed.storage
        stage = Stage(self.bed, by_name[before], by_name["b" if before == "a" else "a"])
        with Watch(self.bed) as watch:
            try:
                with self._written() as writing:
                    restarted: set[str] = set()
                    stage.writing = writing
                    stage.wait_well = lambda: restarted.update(self.wait_well(stage.cut))
                    do(stage, fault)
                    undone_s = time.monotonic()
                    stage.wait_well()
                    healed_s = time.monotonic() - undone_s
                    after = self.active()
            finally:
                # Before whatever else went wrong: that may well come of it.
                if ("a", "b") in watch.seen:
                    raise Violation("both nodes served at once: Primary and not frozen, or with the virtual address")
        late = self._judge_wire(writing.acknowledged, self.epoch() - epoch)
        verdict = self.ledger.judge(writing.lines, writing.read_back())
        if not verdict.is_clean:
            raise Violation(
                f"{len(verdict.lost)} acknowledged writes lost {verdict.lost[:3]}, {len(verdict.failed)} failed,"
                f" {len(verdict.corrupt)} blocks corrupt {verdict.corrupt[:3]}, {len(verdict.unchecked)} not read"
            )
        found = Outcome(
            fault,
            before,
            after,
            verdict.longest_gap_ms,
            healed_s,
            writing.acknowledged,
            self.ledger.blocks,
            tuple(sorted(restarted)),
            self.compare() if compare else None,
            late,
        )
        outcomes.judge(found)
        return found

    def _judge_wire(self, acknowledged: int, epochs: int) -> int:
        """Raise Violation if two nodes acknowledged writes at once; how many answers of a replaced one came late.

        `acknowledged` is what the initiator says, `epochs` how often the service was taken over.
        """
        acks = self._taps.take()
        if len(acks) < acknowledged:
            raise Violation(f"{len(acks)} acknowledged writes were on the wire, {acknowledged} at the initiator")
        seen = reigns(acks)
        if len(seen.nodes) - 1 > epochs:
            turns = ", ".join(seen.nodes)
            raise Violation(f"both nodes acknowledged writes: in turns {turns}, with {epochs} takeovers")
        return seen.late

    def epoch(self) -> int:
        """How often the group was taken over so far."""
        seen: dict[str, int] = {}

        def all_answer() -> bool:
            seen.update({each.name: int(_group(each).get("epoch", -1)) for each in (self.bed.a, self.bed.b)})
            return min(seen.values()) >= 0

        wait_for(all_answer, ACKNOWLEDGED_WITHIN_S, "both nodes say their epoch")
        return max(seen.values())

    @contextmanager
    def _written(self) -> Iterator[Writing]:
        writing = Writing(
            self.bed.initiator,
            self._device,
            "soak",
            first=0,
            blocks=REGION_BLOCKS,
            log=self.log,
            after=self.ledger.last_sequence,
        )
        try:
            writing.wait_acknowledged(WRITES_BEFORE, ACKNOWLEDGED_WITHIN_S)
            yield writing
            writing.wait_acknowledged(WRITES_AFTER, ACKNOWLEDGED_WITHIN_S)
            writing.stop()
        except BaseException:
            writing.kill()
            raise

    def compare(self) -> int:
        """Have the kernels compare both sides; how many bytes differ."""
        job = self.bed.storage[self.active()].api.change("POST", f"/v1/mirrors/{blocks.MIRROR}/verify")
        return int(job["result"]["out_of_sync_bytes"])

    def active(self) -> str:
        """Who serves while all is well. Raises Violation if all is not."""
        if restarted := self.wait_well():
            raise Violation(f"node {' and node '.join(sorted(restarted))} restarted itself while all was well")
        return self._active

    def wait_well(self, cut: set[str] | None = None) -> set[str]:
        """Boot whoever has no power; return when one serves in sync and the other one stands by.

        Of those without power, the ones that are not in `cut`, which restarted themselves; `cut` is empty afterwards.
        Raises Violation with what the nodes say of themselves.
        """
        deadline = time.monotonic() + HEALS_WITHIN_S
        restarted: set[str] = set()
        cut = set() if cut is None else cut
        while True:
            for storage in (self.bed.a, self.bed.b):
                if not storage.node.is_running:
                    restarted |= {storage.name} - cut
                    cut.discard(storage.name)
                    storage.node.power_on()
            states = _state(self.bed.a), _state(self.bed.b)
            if states in (WELL, WELL[::-1]):
                self._active = "a" if states == WELL else "b"
                return restarted
            if time.monotonic() > deadline:
                raise Violation(f"not healed within {HEALS_WITHIN_S:.0f} s: {self._told()}")
            time.sleep(LOOKS_EVERY_S)

    def _told(self) -> str:
        told = []
        for storage in (self.bed.a, self.bed.b):
            here = _group(storage)
            said = f"is {here['state']}: {'; '.join(here['reasons'])}" if here else "does not answer"
            told.append(f"node {storage.name} {said}")
        return "; ".join(told)

    def end(self) -> None:
        """Listen to the wires no more. What runs in the nodes ends with them."""
        self._taps.stop()

    def log_out(self) -> None:
        """Leave the initiator as it was, for nodes that are to be used further."""
        self._initiator.log_out()

    def collect(self, place: Path) -> None:
        """Copy what explains a violation."""
        self.bed.lab.collect(place)
        if self.log.exists():
            (place / self.log.name).write_bytes(self.log.read_bytes())
        for storage in self.bed.storage.values():
            with suppress(OSError, LabError, Refused):
                path = f"/v1/groups/{blocks.GROUP}/decisions?page_size=1000"
                told: Any = [storage.api.items(path), blocks.group_of(storage)]
                (place / f"decisions-{storage.name}.json").write_text(json.dumps(told, indent=1))


def _group(storage: StorageNode) -> dict[str, Any]:
    """The group as a node shows it; nothing if it does not answer soon: it may lose its power meanwhile."""
    try:
        answer = storage.api.send("GET", f"/v1/groups/{blocks.GROUP}", timeout_s=ANSWERS_WITHIN_S)
    except (OSError, LabError):
        return {}
    return answer.document["this_node"] or {} if answer.status == 200 else {}


def _state(storage: StorageNode) -> str | None:
    """What a node says of the group; None if it does not answer."""
    return _group(storage).get("state")


@contextmanager
def _seen_as_violation() -> Iterator[None]:
    """What does not come in time, or is refused, must not be either."""
    try:
        yield
    except (AssertionError, LabError, OSError, Refused) as reason:  # TimeoutError is an OSError
        raise Violation(str(reason) or repr(reason)) from reason
