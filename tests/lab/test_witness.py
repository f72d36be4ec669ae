"""A witness on a third host: with it, without it, and with nodes that reach everybody but each other."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo import blocks
from demo.bed import ENVIRONMENT, PYTHON, STATE, Bed, wait_for
from lab.network import link_name
from lab.tools import call
from tests.lab.serving import (
    IN_SYNC_WITHIN_S,
    RESETS_WITHIN_S,
    WELL,
    Watch,
    boot_again,
    epochs,
    move_back,
    serves,
    state,
    states,
    written,
)

pytestmark = [
    pytest.mark.lab(seconds=150),
    pytest.mark.long,
    pytest.mark.timed,
    pytest.mark.in_order,
    pytest.mark.timeout(120, func_only=True),
]

ADDRESS = "10.77.3.1"  # the lab's own namespace, on the management network
CUT_AT_MOST_MS = 1500.0
FROZEN_AT_MOST_MS = 2500.0
WAITS_AT_MOST_MS = 90_000.0
NEVER_SERVES_S = 8.0
APART_S = 6.0


class ThirdHost:
    """`holdfast-witness` in the lab's own namespace."""

    def __init__(self, bed: Bed, directory: Path) -> None:
        self._bed = bed
        self._program = [PYTHON, "-s", "-m", "holdfast.witness", "--directory", str(directory)]
        self._log = directory / "log"
        self._running: subprocess.Popen[bytes] | None = None
        pair = directory / "pairs" / "pair"
        pair.mkdir(parents=True)
        for storage in (bed.a, bed.b):
            certificate = storage.node.read_file(f"{STATE}/tls/certificate.pem")
            (pair / f"{storage.name}.pem").write_bytes(certificate)
        self.certificate = subprocess.run(
            [*self._program, "--show-certificate"], check=True, capture_output=True, text=True
        ).stdout

    def start(self) -> None:
        with self._log.open("ab") as log:
            argv = self._bed.lab.in_namespace([*self._program, "--address", ADDRESS])
            self._running = subprocess.Popen(argv, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.wait(10)
            self._running = None

    @property
    def said(self) -> str:
        return self._log.read_text()


def set_witness(bed: Bed, witness: dict[str, Any] | None) -> None:
    shown = bed.a.api.get("/v1/failover")
    body = {"links": shown["links"], "ping_nodes": shown["ping_nodes"], "witness": witness}
    bed.a.api.change("PUT", "/v1/failover", body)


def answers(bed: Bed) -> list[bool]:
    """Whether the witness answers a, and b."""
    return [bool(one.api.get("/v1/failover")["monitor"]["witness"]["answers"]) for one in (bed.a, bed.b)]


@pytest.fixture(scope="module")
def third(served: tuple[Bed, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThirdHost]:
    bed, _ = served
    host = ThirdHost(bed, tmp_path_factory.mktemp("witness"))
    host.start()
    try:
        set_witness(bed, {"address": ADDRESS, "certificate": host.certificate})
        yield host
    finally:
        host.kill()


@pytest.fixture
def witness(third: ThirdHost, bed: Bed) -> Iterator[ThirdHost]:
    """It answers both nodes, which have told it that both are in sync."""
    ready(bed)
    yield third
    third.kill()
    third.start()


def ready(bed: Bed) -> None:
    wait_for(lambda: answers(bed) == [True, True], 15, "the witness answers both nodes")
    time.sleep(1.5)  # and each has asked it twice more
    for storage in (bed.a, bed.b):
        assert blocks.group_of(storage)["this_node"]["reasons"] == []


@contextmanager
def apart(bed: Bed) -> Iterator[None]:
    """Nothing passes between a and b, on no network; both reach everybody else."""

    def isolate(word: str) -> None:
        for name in ("a", "b"):
            for net in blocks.LINKS:
                tap = link_name(bed.lab.topology, name, net)
                call(["ip", "-n", bed.lab.namespace, "link", "set", tap, "type", "bridge_slave", "isolated", word])

    isolate("on")
    try:
        yield
    finally:
        isolate("off")


def test_a_power_cut_is_taken_over_from_with_the_witness_word(bed: Bed, device: str, witness: ThirdHost) -> None:
    with Watch(bed) as watch, written(bed, device, "cut", CUT_AT_MOST_MS) as writing:
        bed.a.node.cut()
        wait_for(lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves the group")
        writing.wait_acknowledged(200, 30)
        boot_again(bed.a)
        wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node a stands by")
    assert watch.seen <= {(), ("a",), ("b",)}
    assert "node b of the pair pair may go on" in witness.said
    move_back(bed)


def test_of_two_nodes_that_reach_everybody_but_each_other_one_serves(bed: Bed, device: str, witness: ThirdHost) -> None:
    with Watch(bed) as watch, written(bed, device, "apart", blocks.TAKES_OVER_WITHIN_S * 1000) as writing:
        with apart(bed):
            acknowledged = writing.acknowledged
            time.sleep(APART_S)
            assert writing.acknowledged > acknowledged + 200
            serving_now = [name for name in ("a", "b") if serves(bed.storage[name].node)]
            print(f"{serving_now} goes on")
            assert len(serving_now) == 1
        if serving_now == ["b"]:
            wait_for(lambda: not bed.a.node.is_running, RESETS_WITHIN_S, "node a, told so, resets itself")
            boot_again(bed.a)
        well = WELL if serving_now == ["a"] else WELL[::-1]
        wait_for(lambda: states(bed) == well, IN_SYNC_WITHIN_S, "both are in sync again")
    assert ("a", "b") not in watch.seen
    if serving_now == ["b"]:
        move_back(bed)


def test_the_loss_of_the_witness_moves_nothing_and_is_told(bed: Bed, device: str, witness: ThirdHost) -> None:
    before = epochs(bed)
    with Watch(bed) as watch, written(bed, device, "away", 1000.0):
        witness.kill()
        wait_for(lambda: answers(bed) == [False, False], 15, "both nodes miss the witness")
        assert states(bed) == WELL
        assert "witness" in [item["code"] for item in blocks.unmet_of(bed.a)]
        for storage in (bed.a, bed.b):
            [reason] = blocks.group_of(storage)["this_node"]["reasons"]
            assert "the witness does not answer" in reason
        witness.start()
        ready(bed)
    assert watch.seen == {("a",)}
    assert epochs(bed) == before


def test_without_the_witness_a_power_cut_waits_for_it_or_for_a_person(
    bed: Bed, device: str, witness: ThirdHost
) -> None:
    """The control: it is the witness's word that the takeover above rests on."""
    with Watch(bed) as watch, written(bed, device, "cut-away", WAITS_AT_MOST_MS) as writing:
        witness.kill()
        wait_for(lambda: answers(bed) == [False, False], 15, "both nodes miss the witness")
        bed.a.node.cut()
        time.sleep(NEVER_SERVES_S)
        assert state(bed.b) == "suspect"
        assert any("the witness does not answer" in each for each in blocks.group_of(bed.b)["this_node"]["reasons"])
        bed.b.api.call("POST", f"/v1/groups/{blocks.GROUP}/promote", {"confirm": blocks.GROUP})
        wait_for(
            lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves on a person's word"
        )
        writing.wait_acknowledged(200, 30)
        witness.start()
        boot_again(bed.a)
        wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node a stands by")
    assert watch.seen <= {(), ("a",), ("b",)}
    move_back(bed)


def test_without_a_witness_both_of_two_such_nodes_serve(bed: Bed, device: str, third: ThirdHost) -> None:
    """Must fail, and so comes last: what the witness is for. It ends in a split brain."""
    set_witness(bed, None)
    with Watch(bed) as watch, apart(bed):
        time.sleep(APART_S)
    assert ("a", "b") in watch.seen
