"""What tests of a served group share: the group, its states, stamped writes meanwhile, and who serves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from demo import blocks, files
from demo.bed import Bed, StorageNode, wait_for
from demo.initiator import Initiator, Writing, assert_clean
from demo.report import Report
from lab import Lab, LabError, Node
from tests.lab.product import begin_anew, end

STARTS_AGAIN_WITHIN_S = 30.0
IN_SYNC_WITHIN_S = 60.0
RESETS_WITHIN_S = 30.0
AGREE_WITHIN_S = 5.0
WATCH_EVERY_S = 0.2
LOOK_WITHIN_S = 2.0

WELL = ("active-sync", "standby-ok")

# Each run writes where no other has on this disk: what an earlier one left there would look corrupt.
_written: list[str] = []


@contextmanager
def serving(lab: Lab, *, file_bytes: int | None = None) -> Iterator[tuple[Bed, str]]:
    """A pair whose node a serves a group, and the disk at the initiator; `file_bytes` as for `blocks.build`."""
    bed = begin_anew(lab)
    _written.clear()
    report = Report()
    files.pair(bed, report)
    initiator = Initiator(bed.initiator, blocks.IQN, blocks.VIRTUAL_ADDRESS)
    blocks.build(bed, report, initiator, file_bytes=file_bytes)
    device = initiator.log_in(bed.a, blocks.TARGET)
    yield bed, device
    initiator.log_out()
    end(bed)


def states(bed: Bed) -> tuple[str, str]:
    """Of the group on a and on b, each as its own monitor says it."""
    return state(bed.a), state(bed.b)


def state(storage: StorageNode) -> str:
    """Of the group on one node."""
    here = blocks.group_of(storage)["this_node"]
    return str(here["state"]) if here else "unknown"


def epochs(bed: Bed) -> tuple[int, ...]:
    """The group's epoch on both nodes."""
    return tuple(blocks.group_of(storage)["this_node"]["epoch"] for storage in (bed.a, bed.b))


def takeovers(storage: StorageNode) -> list[str]:
    """The decisions by which a node came to serve."""
    told = [str(decision["sentence"]) for decision in storage.api.items("/v1/decisions?page_size=1000")]
    return [sentence for sentence in told if "takes over" in sentence or "starts to serve" in sentence]


def foreseen(storage: StorageNode, fault: str) -> str | None:
    """Who would serve after a fault, as both nodes foresee it; they must agree, once each knows what the other does."""
    said: list[dict[str, Any]] = []

    def agree() -> bool:
        told = storage.api.get(f"/v1/groups/{blocks.GROUP}/forecast")
        said[:] = [item for item in told["items"] if item["fault"] == fault]
        return not told["not_asked"] and len(said) == 1

    wait_for(agree, AGREE_WITHIN_S, "both nodes foresee the same")
    print(f"foreseen if {said[0]['text']}: {said[0]['sentence']}")
    return None if said[0]["serves"] is None else str(said[0]["serves"])


class Watch:
    """Asks both kernels again and again which of them serves."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.seen: set[tuple[str, ...]] = set()

    def _look(self) -> None:
        nodes = {storage.name: storage.node for storage in (self._bed.a, self._bed.b)}
        while not self._over.wait(WATCH_EVERY_S):
            self.seen |= look(lambda name: serves(nodes[name]))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)


def look(is_serving: Callable[[str], bool]) -> set[tuple[str, ...]]:
    """Ask both, one after the other: on busy processors a group moves from a to b between the two answers.

    Both served at once where a did so before b was asked and does so after that.
    """
    a_serves, b_serves = is_serving("a"), is_serving("b")
    if a_serves and b_serves and not is_serving("a"):
        return {("a",), ("b",)}
    return {(*(("a",) if a_serves else ()), *(("b",) if b_serves else ()))}


def serves(node: Node) -> bool:
    """Whether a kernel acknowledges writes to the mirror, being Primary and not frozen, or has the virtual address."""
    # Before the flags, of which the first is s in a frozen one, the protocol stands: of a StandAlone side it is blank.
    primary = "ro:Primary/[^ ]* ds:[^ ]* [ABC ] r"
    script = f"grep -q '{primary}' /proc/drbd || ip -o addr | grep -qF ' {blocks.VIRTUAL_ADDRESS}/'"
    try:
        return node.run(["sh", "-c", script], check=False, timeout_s=LOOK_WITHIN_S).returncode == 0
    except (LabError, OSError):  # it has no power
        return False


@contextmanager
def written(bed: Bed, device: str, run: str, gap_at_most_ms: float) -> Iterator[Writing]:
    """Stamped writes go on all the while; afterwards none is lost, none failed, none waited for long."""
    region = len(_written)
    _written.append(run)
    assert (region + 1) * blocks.REGION_BLOCKS * 4096 <= blocks.LUN_BYTES, "more runs than the disk has regions"
    writing = blocks.start_writing(bed, device, run, region * blocks.REGION_BLOCKS)
    try:
        writing.wait_acknowledged(200, 30)
        yield writing
        writing.wait_acknowledged(200, 30)
    finally:
        writing.stop()
    verdict = writing.judge()
    print(f"{verdict.acknowledged} writes acknowledged, longest gap {verdict.longest_gap_ms:.0f} ms")
    assert_clean(verdict)
    assert verdict.longest_gap_ms < gap_at_most_ms


def kill(storage: StorageNode, service: str) -> None:
    """Kill -9, and return when the supervisor has started it again."""

    def starts() -> int:
        return storage.node.services()[service]["starts"] or 0

    before = starts()
    storage.node.kill_service(service)
    wait_for(lambda: starts() > before, STARTS_AGAIN_WITHIN_S, f"{service} is started again")


def boot_again(storage: StorageNode) -> None:
    """Boot a node without power, and wait for its API."""
    storage.node.boot()
    storage.api.wait_until_it_answers(blocks.BOOTS_WITHIN_S)


def move_back(bed: Bed) -> None:
    """From b to a, once a has caught up; then the kernel compares both sides."""
    wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node b serves and node a is ready")
    bed.b.api.change("POST", f"/v1/groups/{blocks.GROUP}/switchover", {"to": "a"})
    wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "node a serves and node b is ready")
    blocks.verify(bed, Report())
