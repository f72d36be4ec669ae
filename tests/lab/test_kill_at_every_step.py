"""Kill -9 of the daemon at every persisted mark of a job: at its next start the job ends, and the reality matches."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from demo import blocks, files
from demo.bed import CONFIG, DAEMON, ENVIRONMENT, PYTHON, Bed, StorageNode, wait_for
from demo.client import Refused
from demo.initiator import Initiator
from demo.report import Report
from lab import Lab
from lab.layout import CHECKOUT
from tests.lab.product import begin_anew, end

pytestmark = [pytest.mark.lab(seconds=175), pytest.mark.timeout(120, func_only=True)]

MIB = 1 << 20
ORDER = "/run/holdfast-dies.json"  # as in dying_daemon.py, which the tests' own process does not import
# Two marks a step: it begins (odd), it is done (even). Between the end of one step and the beginning of the next
# nothing happens but the mark itself, so that of a mirror's steps the first beginning is tried and every end.
MIRROR_STEPS = 10
START_MARKS = range(1, 2 * 2 + 1)
# A job that fails goes back, one mark a step, from the last that had begun. The last beginning of a mirror fails, when
# all was made. Of the ten marks of its way back these are tried: all is there yet, disconnected, only the partner's
# side is left.
MIRROR_FAILS_AT, MIRROR_UNDO_MARKS = 19, (20, 24, 27)
# A group fails when it is served; its one undo is yet to be done.
START_FAILS_AT, START_UNDO_MARKS = 4, (5,)
DIES_WITHIN_S = 60.0  # until the job has come to its mark, in a lab that shares the machine
STARTS_AGAIN_WITHIN_S = 30.0
ENDS_WITHIN_S = 45.0


@pytest.fixture(scope="module")
def pair(lab_session: Lab) -> Iterator[Bed]:
    """Two paired nodes; the daemon of node a dies on order."""
    bed = begin_anew(lab_session)
    files.pair(bed, Report())
    program = str(CHECKOUT / "tests/lab/dying_daemon.py")
    bed.a.node.start_service(DAEMON, [PYTHON, "-s", program, "--config", CONFIG], ENVIRONMENT, at_boot=True)
    bed.a.api.wait_until_it_answers(STARTS_AGAIN_WITHIN_S)
    yield bed
    end(bed)


@pytest.fixture
def bed(pair: Bed, lab_bed: Lab) -> Bed:
    return pair


@pytest.fixture(scope="module")
def startable(pair: Bed) -> Bed:
    """The pair with a group that may start."""
    blocks.build(pair, Report(), Initiator(pair.initiator, blocks.IQN, blocks.VIRTUAL_ADDRESS))
    pair.a.api.change("POST", f"/v1/groups/{blocks.GROUP}/stop")
    return pair


def die(
    bed: Bed, kind: str, mark: int, path: str, body: Any, *, fails_at: int | None = None, lives: int = 1
) -> dict[str, Any]:
    """Ask for a job whose daemon dies at a mark, perhaps after it failed, and follow it to its end under the next.

    With several `lives` the next ones die too, each at such a mark of its own.
    """

    def starts() -> int:
        return bed.a.node.services()[DAEMON]["starts"] or 0

    before = starts()
    key = {"Idempotency-Key": f"{kind}-{mark}-{fails_at}"}
    bed.a.node.write_file(
        ORDER, json.dumps({"kind": kind, "mark": mark, "fails_at": fails_at, "lives": lives}).encode()
    )
    with suppress(OSError):  # the daemon may be gone before it has answered
        bed.a.api.call("POST", path, body, headers=key)
    deaths = f"{lives} daemons die at mark {mark} of {kind}"
    wait_for(lambda: starts() >= before + lives, lives * DIES_WITHIN_S, deaths)
    bed.a.api.wait_until_it_answers(STARTS_AGAIN_WITHIN_S)
    job: dict[str, Any] = bed.a.api.items("/v1/jobs")[0]
    assert job["kind"] == kind
    # Whoever got no answer asks again, and is told of that job: there is no second one.
    assert bed.a.api.call("POST", path, body, headers=key)["id"] == job["id"]
    assert bed.a.api.items("/v1/jobs")[0]["id"] == job["id"]
    with suppress(Refused):
        bed.a.api.follow(job, kind, within_s=ENDS_WITHIN_S)
    job = bed.a.api.get(f"/v1/jobs/{job['id']}")
    print(f"{kind}, killed at mark {mark}: {job['state']} {job['error'] or ''}")
    return job


def kernel_mirrors(storage: StorageNode) -> list[str]:
    """What the kernel says of each mirror it has."""
    text = storage.node.run(["sh", "-c", "cat /proc/drbd 2>/dev/null || true"]).stdout.decode()
    return [line for line in re.findall(r"^ *\d+: (cs:.*)$", text, re.M) if "cs:Unconfigured" not in line]


def logical_volumes(storage: StorageNode) -> set[str]:
    return set(storage.node.run(["lvs", "--noheadings", "-o", "lv_name"]).stdout.decode().split())


def assert_reality_matches(bed: Bed, lone: frozenset[str] = frozenset()) -> None:
    """Both nodes have just the mirrors on record: in sync, with their volumes and metadata, and nothing beside them."""
    for storage in (bed.a, bed.b):
        mirrors = storage.api.items("/v1/mirrors")
        names = {volume for mirror in mirrors for volume in mirror["volumes"]}
        mine = names | (lone if storage is bed.a else set())
        assert {volume["name"] for volume in storage.api.items("/v1/volumes")} == mine
        assert logical_volumes(storage) == mine | {f"{name}.meta" for name in names}
        found = kernel_mirrors(storage)
        assert len(found) == len(mirrors), found
        assert all(" ds:UpToDate/UpToDate " in line and line.startswith("cs:Connected ") for line in found), found
    assert {m["name"] for m in bed.a.api.items("/v1/mirrors")} == {m["name"] for m in bed.b.api.items("/v1/mirrors")}


@pytest.mark.timeout(240, func_only=True)
@pytest.mark.parametrize(("mark", "lives"), [(1, 1), (2, MIRROR_STEPS)], ids=["first beginning", "every end"])
def test_a_mirror_is_made_or_unmade_by_the_next_daemon(bed: Bed, mark: int, lives: int) -> None:
    """At mark 2 each daemon has gone on with the job of the one before, and dies when one more step is done."""
    volume, mirror = f"k{mark}", f"m{mark}"
    wanted = {"pool": files.POOL, "name": volume, "size_bytes": 16 * MIB, "kind": "iscsi"}
    bed.a.api.change("POST", "/v1/volumes", wanted)
    body = {"name": mirror, "volumes": [volume], "first_sync": "zero"}
    job = die(bed, "mirror.create", mark, "/v1/mirrors", body, lives=lives)
    assert job["state"] in ("done", "failed")
    assert len(job["steps"]) == MIRROR_STEPS
    is_made = job["state"] == "done"
    assert (mirror in {item["name"] for item in bed.a.api.items("/v1/mirrors")}) is is_made
    assert_reality_matches(bed, frozenset() if is_made else frozenset({volume}))
    if not is_made:
        bed.a.api.change("DELETE", f"/v1/volumes/{volume}?confirm={volume}")


def assert_undone(job: dict[str, Any], fails_at: int) -> None:
    """It ended because a step failed, and every step that had begun was taken back."""
    assert job["state"] == "failed"
    assert job["error"]["message"].endswith(f"was made to fail at mark {fails_at}")
    assert {step["state"] for step in job["steps"]} == {"undone"}


@pytest.mark.parametrize("mark", MIRROR_UNDO_MARKS)
def test_a_mirror_that_goes_back_is_unmade_by_the_next_daemon(bed: Bed, mark: int) -> None:
    volume, mirror = f"u{mark}", f"n{mark}"
    wanted = {"pool": files.POOL, "name": volume, "size_bytes": 16 * MIB, "kind": "iscsi"}
    bed.a.api.change("POST", "/v1/volumes", wanted)
    body = {"name": mirror, "volumes": [volume], "first_sync": "zero"}
    job = die(bed, "mirror.create", mark, "/v1/mirrors", body, fails_at=MIRROR_FAILS_AT)
    assert_undone(job, MIRROR_FAILS_AT)
    for storage in (bed.a, bed.b):
        assert mirror not in {item["name"] for item in storage.api.items("/v1/mirrors")}
    assert_reality_matches(bed, frozenset({volume}))
    # Nothing holds it any more: no mirror, and no lock of the job's.
    bed.a.api.change("DELETE", f"/v1/volumes/{volume}?confirm={volume}")


@pytest.mark.parametrize("mark", START_UNDO_MARKS)
def test_a_group_that_goes_back_is_stopped_by_the_next_daemon(startable: Bed, lab_bed: Lab, mark: int) -> None:
    path = f"/v1/groups/{blocks.GROUP}"
    job = die(startable, "group.start", mark, f"{path}/start", {}, fails_at=START_FAILS_AT)
    assert_undone(job, START_FAILS_AT)
    for storage in (startable.a, startable.b):
        group = blocks.group_of(storage)
        assert (group["this_node"]["state"], group["document"]["is_started"]) == ("stopped", False)
        assert "ro:Primary/" not in " ".join(kernel_mirrors(storage))
    assert startable.initiator.run(["ping", "-c1", "-W2", blocks.VIRTUAL_ADDRESS], check=False).returncode != 0
    # Nothing holds it any more: it starts and stops as ever.
    for word in ("start", "stop"):
        startable.a.api.change("POST", f"{path}/{word}")


@pytest.mark.parametrize("mark", START_MARKS)
def test_a_group_is_started_or_stopped_by_the_next_daemon(startable: Bed, lab_bed: Lab, mark: int) -> None:
    a, b = startable.a, startable.b
    path = f"/v1/groups/{blocks.GROUP}"
    job = die(startable, "group.start", mark, f"{path}/start", {})
    assert job["state"] in ("done", "failed")
    is_served = job["state"] == "done"
    states = [blocks.group_of(storage)["this_node"]["state"] for storage in (a, b)]
    assert states == (["active-sync", "standby-ok"] if is_served else ["stopped", "stopped"])
    assert [blocks.group_of(storage)["document"]["is_started"] for storage in (a, b)] == [is_served, is_served]
    assert ["ro:Primary/" in " ".join(kernel_mirrors(storage)) for storage in (a, b)] == [is_served, False]
    answers = startable.initiator.run(["ping", "-c1", "-W2", blocks.VIRTUAL_ADDRESS], check=False).returncode == 0
    assert answers is is_served
    a.api.change("POST", f"{path}/stop")
