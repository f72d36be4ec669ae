"""Under a served group a disk hangs without an error, on either side, and the active node hears nothing any more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from demo import blocks
from demo.bed import Bed, StorageNode, wait_for
from demo.files import POOL
from demo.report import Report
from tests.lab.serving import (
    IN_SYNC_WITHIN_S,
    RESETS_WITHIN_S,
    WELL,
    Watch,
    boot_again,
    epochs,
    state,
    states,
    takeovers,
    written,
)
from tests.lab.test_failure_matrix import is_frozen
from tests.lab.test_mirrors import sh

pytestmark = [
    pytest.mark.lab(seconds=60),
    pytest.mark.long,
    pytest.mark.timed,
    pytest.mark.timeout(150, func_only=True),
]

LOWER = f"/dev/{POOL}/{blocks.VOLUME}"
LASTS_S = 6.0
RESUMES_WITHIN_S = 15.0
MAKES_WAY_AT_MOST_MS = 12_000.0  # ko-count, `outdate_ms`, T_dead, and what a busy machine adds
OUTAGE_AT_MOST_MS = (LASTS_S + RESUMES_WITHIN_S) * 1000
STANDS_STILL_AFTER_S = 1.0


def suspend(storage: StorageNode) -> None:
    """What is asked of the disk below the mirror from now on is neither done nor refused."""
    sh(storage, f"dmsetup suspend --nolockfs --noflush {LOWER}")


@contextmanager
def hung(storage: StorageNode) -> Iterator[None]:
    """The same for a while."""
    suspend(storage)
    try:
        yield
    finally:
        sh(storage, f"dmsetup resume {LOWER}")


def test_a_disk_of_the_active_node_that_hangs_is_an_outage_that_ends_with_it(bed: Bed, device: str) -> None:
    """Not claimed to be more: its kernel answers, and nobody can know that it will do nothing."""
    before = epochs(bed), takeovers(bed.a), takeovers(bed.b)
    with Watch(bed) as watch, written(bed, device, "hangs-a", OUTAGE_AT_MOST_MS) as writing:
        with hung(bed.a):
            time.sleep(STANDS_STILL_AFTER_S)
            acknowledged = writing.acknowledged
            time.sleep(LASTS_S - STANDS_STILL_AFTER_S)
            assert writing.acknowledged == acknowledged
        began_s = time.monotonic()
        writing.wait_acknowledged(200, RESUMES_WITHIN_S)
        print(f"200 writes were acknowledged {time.monotonic() - began_s:.1f} s after the disk went on")
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "node a serves and node b is ready")
    assert ("b",) not in watch.seen
    assert (epochs(bed), takeovers(bed.a), takeovers(bed.b)) == before
    blocks.verify(bed, Report())


def test_a_disk_of_the_standby_that_hangs_costs_the_standby_and_not_the_service(bed: Bed, device: str) -> None:
    """It cannot even become stale, for which its partner waits, frozen: it restarts itself."""
    before = epochs(bed), takeovers(bed.a), takeovers(bed.b)
    with Watch(bed) as watch, written(bed, device, "hangs-b", MAKES_WAY_AT_MOST_MS) as writing:
        suspend(bed.b)
        wait_for(lambda: not bed.b.node.is_running, RESETS_WITHIN_S, "node b restarts itself")
        wait_for(lambda: state(bed.a) == "active-alone", 30, "node a goes on alone")
        writing.wait_acknowledged(200, 30)
        boot_again(bed.b)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "node b is in sync and stands by")
    told = [str(decision["sentence"]) for decision in bed.b.api.items("/v1/decisions?page_size=1000")]
    print([sentence for sentence in told if "restarts itself" in sentence])
    assert watch.seen <= {(), ("a",)}
    assert (epochs(bed), takeovers(bed.a), takeovers(bed.b)) == before
    blocks.verify(bed, Report())


@contextmanager
def deaf(storage: StorageNode) -> Iterator[None]:
    """Whatever comes in on any link is dropped; what it sends, all others hear."""
    sh(storage, "modprobe --all sch_ingress cls_matchall act_gact")
    for link in blocks.LINKS:
        sh(storage, f"tc qdisc add dev {link} ingress; tc filter add dev {link} parent ffff: matchall action drop")
    try:
        yield
    finally:
        for link in blocks.LINKS:
            sh(storage, f"tc qdisc del dev {link} ingress")


def test_an_active_node_that_hears_nothing_and_is_heard_stands_still_and_is_not_replaced(bed: Bed, device: str) -> None:
    before = epochs(bed), takeovers(bed.a), takeovers(bed.b)
    with Watch(bed) as watch, written(bed, device, "deaf", OUTAGE_AT_MOST_MS) as writing:
        with deaf(bed.a):
            wait_for(lambda: is_frozen(bed.a), LASTS_S, "the kernel of node a is frozen")
            acknowledged = writing.acknowledged
            time.sleep(LASTS_S)
            assert (is_frozen(bed.a), writing.acknowledged) == (True, acknowledged)
        began_s = time.monotonic()
        writing.wait_acknowledged(200, RESUMES_WITHIN_S)
        print(f"200 writes were acknowledged {time.monotonic() - began_s:.1f} s after it heard again")
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "node a serves and node b is ready")
    assert watch.seen <= {(), ("a",)}
    assert (epochs(bed), takeovers(bed.a), takeovers(bed.b)) == before
    blocks.verify(bed, Report())
