"""A power cut of either node at the end of every step that makes, grows or takes apart a mirror."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from demo import files
from demo.bed import Bed, StorageNode, wait_for
from lab import Lab, LabError
from tests.lab.product import end
from tests.lab.serving import boot_again
from tests.lab.test_kill_at_every_step import ENDS_WITHIN_S, MIB, ORDER, assert_reality_matches, begin_dying, sh, side
from tests.lab.test_mirrors import DRBDSETUP

pytestmark = [pytest.mark.lab(seconds=700), pytest.mark.long, pytest.mark.timeout(900, func_only=True)]

STANDING = "/run/holdfast-stands"  # as in dying_daemon.py
# The mark after that of a step's beginning: it is done.
END_OF_A_STEP = 2
STEPS = {"mirror.create": 11, "mirror.grow": 9, "mirror.delete": 7}
ANSWERS_WITHIN_S = 3.0
OVER_WITHIN_S = 300.0

Cut = Callable[[Bed, str, str, str, Any], None]


@pytest.fixture(scope="module")
def pair(lab_session: Lab) -> Iterator[Bed]:
    """Two paired nodes; the daemon of node a ends or stands still on order."""
    bed = begin_dying(lab_session)
    yield bed
    end(bed)


@pytest.fixture
def bed(pair: Bed, lab_bed: Lab) -> Bed:
    return pair


def order(bed: Bed, kind: str, ends: str, most: int) -> None:
    wanted = {"kind": kind, "mark": END_OF_A_STEP, "fails_at": None, "lives": most, "ends": ends}
    bed.a.node.write_file(ORDER, json.dumps(wanted).encode())
    sh(bed.a, "sync")


def newest_job(bed: Bed) -> dict[str, Any]:
    job: dict[str, Any] = bed.a.api.items("/v1/jobs")[0]
    return job


def ask(bed: Bed, method: str, path: str, body: Any) -> None:
    # Before it has answered its node may be gone, or it may stand still.
    with suppress(OSError):
        data = None if body is None else json.dumps(body).encode()
        bed.a.api.send(method, path, data, headers={"Prefer": "respond-async"}, timeout_s=ANSWERS_WITHIN_S)


def through_own_power_cuts(bed: Bed, kind: str, method: str, path: str, body: Any) -> None:
    """Node a loses its power at the end of each step, and of every other one that is taken back."""

    def cut_meanwhile() -> bool:
        if bed.a.node.is_running:
            return False
        boot_again(bed.a)
        return True

    through(bed, kind, "the node", cut_meanwhile, method, path, body)


def through_its_partners_power_cuts(bed: Bed, kind: str, method: str, path: str, body: Any) -> None:
    """Node b loses its power at each of these, while node a stands still."""

    def cut_meanwhile() -> bool:
        if bed.a.node.run(["test", "-e", STANDING], check=False).returncode != 0:
            return False
        bed.b.node.cut()
        boot_again(bed.b)
        sh(bed.a, f"rm {STANDING}")
        return True

    through(bed, kind, "nothing", cut_meanwhile, method, path, body)


def through(
    bed: Bed, kind: str, ends: str, cut_meanwhile: Callable[[], bool], method: str, path: str, body: Any
) -> None:
    """Have a job done through power cuts."""
    order(bed, kind, ends, 2 * STEPS[kind])
    ask(bed, method, path, body)
    cuts = 0

    def is_over() -> bool:
        nonlocal cuts
        if cut_meanwhile():
            cuts += 1
            return False
        with suppress(OSError, LabError):
            answer = bed.a.api.send("GET", "/v1/jobs", timeout_s=ANSWERS_WITHIN_S)
            job = answer.document["items"][0]
            return job["kind"] == kind and job["ended_at"] is not None
        return False

    wait_for(is_over, OVER_WITHIN_S, f"{kind} is over")
    sh(bed.a, f"rm -f {ORDER}")
    job = newest_job(bed)
    print(f"{kind}, {cuts} power cuts: {job['state']} {job['error'] or ''}")
    assert job["state"] == "done"
    assert len(job["steps"]) == STEPS[kind]
    assert cuts >= STEPS[kind] // 2


def primary(storage: StorageNode, script: str) -> str:
    """Do something with the mirrored device, in its minor's role of a Primary."""
    device = str(side(storage)["device"])
    minor = device.removeprefix("/dev/drbd")
    return sh(storage, f"{DRBDSETUP} primary {minor}; dev={device}; {script}; {DRBDSETUP} secondary {minor}")


def content(storage: StorageNode, size_bytes: int) -> str:
    device = f"/dev/{files.POOL}/g"
    return sh(storage, f"dd if={device} bs=1M count={size_bytes // MIB} iflag=direct status=none | sha256sum").split()[
        0
    ]


@pytest.mark.parametrize(
    "cut", [through_own_power_cuts, through_its_partners_power_cuts], ids=["its own", "its partner's"]
)
def test_a_mirror_is_made_grown_and_taken_apart_through_power_cuts(bed: Bed, cut: Cut) -> None:
    a, size_bytes, more_bytes = bed.a, 16 * MIB, 32 * MIB
    a.api.change("POST", "/v1/volumes", {"pool": files.POOL, "name": "g", "size_bytes": size_bytes, "kind": "iscsi"})
    body = {"name": "m-g", "volumes": ["g"], "first_sync": "zero"}
    cut(bed, "mirror.create", "POST", "/v1/mirrors", body)
    in_sync(bed)
    assert_reality_matches(bed)
    primary(a, f"dd if=/dev/urandom of=$dev bs=1M count={size_bytes // MIB} oflag=direct status=none")
    written = content(a, size_bytes)
    assert content(bed.b, size_bytes) == written

    grown = {"volume": "g", "size_bytes": more_bytes}
    cut(bed, "mirror.grow", "POST", "/v1/mirrors/m-g/grow", grown)
    in_sync(bed)
    assert_reality_matches(bed)
    for storage in (a, bed.b):
        assert (storage.api.get("/v1/volumes/g")["drift"], side(storage)["size_bytes"]) == ([], more_bytes)
    assert a.api.change("POST", "/v1/mirrors/m-g/verify")["result"]["is_equal"]

    cut(bed, "mirror.delete", "DELETE", "/v1/mirrors/m-g?confirm=m-g", None)
    for storage in (a, bed.b):
        assert storage.api.items("/v1/mirrors") == []
        assert content(storage, size_bytes) == written
        assert storage.api.get("/v1/volumes/g")["drift"] == []
        storage.api.change("DELETE", "/v1/volumes/g?confirm=g")
    assert_reality_matches(bed)


def in_sync(bed: Bed) -> None:
    wait_for(lambda: bool(bed.a.api.get("/v1/mirrors/m-g")["is_in_sync"]), ENDS_WITHIN_S, "both sides are equal")
