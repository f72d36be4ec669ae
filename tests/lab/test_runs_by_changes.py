"""Runs by a list of changes on real kernels: exact, refused where the replica is in doubt, and right after any kill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from demo import files
from demo.bed import ENVIRONMENT, PYTHON, Bed, StorageNode
from lab import Lab
from lab.layout import CHECKOUT
from tests.lab.product import end
from tests.lab.test_kill_at_every_step import begin_dying, die
from tests.lab.test_replication_tasks import ONE, PORT, TWO, assert_copied, copy_of, docs, listing, make_task, run, sh

pytestmark = [
    pytest.mark.lab(seconds=170, is_patient=True),
    pytest.mark.in_order,
    pytest.mark.long,
    pytest.mark.timeout(240, func_only=True),
]

TASK = "a-to-b"
RUN = f"/v1/replication-tasks/{TASK}/run"
# The begin and the end of each step are marks; the last end is that of the job.
STEPS = 8

MAKE = """
import os, sys
os.chdir(sys.argv[1])
for directory in range(40):
    os.makedirs(f"d{directory}/deep")
    for number in range(20):
        with open(f"d{directory}/deep/f{number}", "w") as stream:
            stream.write(f"{directory} {number} " * 100)
os.link("d0/deep/f0", "d1/deep/another name")
"""
ALTER = r"""
import os, shutil, sys
os.chdir(sys.argv[1].encode())
mark = sys.argv[2]
with open("d0/deep/f0", "a") as stream:
    stream.write(mark)
os.chmod("d2/deep/f1", 0o600 + len(mark) % 8)
os.chown("d2/deep/f2", 7, len(mark))
os.setxattr("d2/deep/f3", "user.colour", mark.encode())
os.setxattr("d2/deep", "user.colour", mark.encode())
before = os.stat("d2/deep/f4")
with open("d2/deep/f4", "r+b") as stream:
    stream.write(b"same size")
os.utime("d2/deep/f4", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
hostile = (b"-rf", b"--delete", b"new\nline " + mark.encode(), b"\xff\xfe no text", b" blank ", b"#hash", b";x", b"*?[")
for name in hostile:
    with open(b"d3/" + name, "wb") as stream:
        stream.write(name)
target = "d5/" + mark
os.rename("d4/deep/f5", "d4/deep/moved " + mark) if os.path.exists("d4/deep/f5") else os.remove("d4/deep/f6")
os.makedirs(target)
os.link("d0/deep/f1", target + "/link")
os.symlink("/etc/passwd", target + "/out")
os.mkfifo(target + "/pipe")
if os.path.exists("d8"):
    shutil.rmtree("d6/deep")
    os.symlink("../d7", "d6/deep")
    shutil.rmtree("d8")
    os.rename("d9", "renamed")
    os.remove("d1/deep/another name")
    os.remove("d10/deep/f0")
    os.mkdir("d10/deep/f0")
    open("top", "w").close()
os.utime(".", ns=(1, len(mark)))
"""


@pytest.fixture(scope="module")
def pair(lab_session: Lab) -> Iterator[Bed]:
    """Two paired nodes and a task that goes by changes wherever that is safe; the source's daemon dies on order."""
    bed = begin_dying(lab_session)
    for storage, volume in ((bed.a, ONE), (bed.b, TWO)):
        body = {"pool": files.POOL, "name": volume, "size_bytes": files.NAS_BYTES, "kind": "nas"}
        storage.api.change("POST", "/v1/volumes", body)
    bed.a.api.change("POST", "/v1/shares", {"name": "docs", "volume": ONE, "path": "docs"})
    agent = {"is_enabled": True, "address": bed.b.node.address("replication"), "port": PORT}
    bed.b.api.change("PUT", "/v1/agent", agent)
    make_task(bed.a, bed.b)
    bed.a.api.change("PATCH", f"/v1/replication-tasks/{TASK}", {"way": "changes"})
    program(bed.a, MAKE, docs(bed.a))
    yield bed
    end(bed)


@pytest.fixture
def bed(pair: Bed, lab_bed: Lab) -> Bed:
    """The pair after a good run of which a listing is kept."""
    run(pair.a, TASK, confirm_deletions=True)
    # What changes in the moment of freezing is looked at again by the run after.
    sh(pair.a, "sleep 1.2")
    run(pair.a, TASK, confirm_deletions=True)
    return pair


def program(storage: StorageNode, text: str, *arguments: str) -> None:
    storage.node.run([PYTHON, "-s", "-c", text, *arguments], timeout_s=60, cwd=str(CHECKOUT), env=ENVIRONMENT)


def last(bed: Bed) -> dict[str, Any]:
    found: dict[str, Any] = bed.a.api.items(f"/v1/replication-runs?task={TASK}")[0]
    print(found["way_reason"], found["counts"])
    return found


def walk(bed: Bed) -> None:
    """Have everything walked, once."""
    for way in ("walk", "changes"):
        bed.a.api.change("PATCH", f"/v1/replication-tasks/{TASK}", {"way": way})
        if way == "walk":
            run(bed.a, TASK)


def assert_nothing_is_left(bed: Bed) -> None:
    assert bed.a.api.items("/v1/snapshots") == []
    assert "run-" not in sh(bed.a, "lvs --noheadings -o lv_name")
    assert "/run/holdfast/runs" not in sh(bed.a, "cat /proc/mounts")
    assert sh(bed.a, "pgrep -ax 'rsync|stunnel' || true") == ""
    kept = sh(bed.a, "ls /var/lib/holdfast/listings").split()
    assert len(kept) <= 1, kept
    assert all(name.endswith(".listing") for name in kept), kept


def test_a_list_is_exact_and_what_it_does_not_see_is_found_by_the_next_walk(bed: Bed) -> None:
    counts = run(bed.a, TASK)
    assert (last(bed)["way"], counts["files_changed"], counts["files_sent"]) == ("changes", 0, 0)
    for mark in ("one", "three"):
        program(bed.a, ALTER, docs(bed.a), mark)
        counts = run(bed.a, TASK)
        assert last(bed)["way"] == "changes"
        assert 0 < counts["files_changed"] < counts["files_considered"] // 4
        assert_copied(bed.a, bed.b)
        assert_nothing_is_left(bed)
    # The control: what nobody told the agent of is not seen by a list, and is by a walk.
    # Its folder's time is set back: the folders on the way to files of the sample are looked at.
    folder = f"{copy_of(TASK)}/d21/deep"
    sh(bed.b, f"touch -r {folder} /run/time; touch {folder}/surplus; touch -r /run/time {folder}")
    sh(bed.a, f"echo more >>{docs(bed.a)}/d22/deep/f1")
    run(bed.a, TASK)
    assert last(bed)["way"] == "changes"
    assert listing(bed.a, docs(bed.a)) != listing(bed.b, copy_of(TASK))
    assert "more" in sh(bed.b, f"tail -1 {copy_of(TASK)}/d22/deep/f1")
    walk(bed)
    assert_copied(bed.a, bed.b)


def test_a_replica_that_may_have_been_written_to_is_walked(bed: Bed) -> None:
    seen = bed.a.api.change("POST", f"/v1/replication-tasks/{TASK}/dry-run", {"most": 0}, within_s=60)["result"]
    assert (seen["way"], "nobody wrote to the replica" in seen["way_reason"]) == ("changes", True)
    assert run(bed.a, TASK)["files_changed"] == 0, "a look ahead is no writing"
    where = {"agent_address": bed.b.node.address("replication"), "agent_port": PORT, "replica_share": TASK}
    other = {"name": "other", "share": "other", **where, "user": "copier", "password": "only for tests"}
    bed.a.api.change("POST", "/v1/shares", {"name": "other", "volume": ONE, "path": "other"})
    sh(bed.a, f"cp -a {docs(bed.a)}/. {docs(bed.a)}/../other/; echo x >{docs(bed.a)}/../other/planted")
    bed.a.api.change("POST", "/v1/replication-tasks", other)
    try:
        run(bed.a, "other")
        assert "planted" in sh(bed.b, f"ls {copy_of(TASK)}")
        run(bed.a, TASK)
        found = last(bed)
        assert (found["way"], "may have been written to" in found["way_reason"]) == ("walk", True)
        assert_copied(bed.a, bed.b)
    finally:
        bed.a.api.change("DELETE", "/v1/replication-tasks/other")
        bed.a.api.change("DELETE", "/v1/shares/other")


def test_other_rules_a_full_verification_and_a_damaged_listing_are_walked(bed: Bed) -> None:
    path = f"/v1/replication-tasks/{TASK}"
    for filters in ([{"pattern": "/d30/", "is_included": False}], []):
        bed.a.api.change("PATCH", path, {"filters": filters})
        run(bed.a, TASK)
        found = last(bed)
        assert (found["way"], "the task was changed" in found["way_reason"]) == ("walk", True)
        sh(bed.a, f"echo more >>{docs(bed.a)}/d30/deep/f1; echo more >>{docs(bed.a)}/d31/deep/f1")
        run(bed.a, TASK)
        assert last(bed)["way"] == "changes"
        is_copied = "more" in sh(bed.b, f"tail -1 {copy_of(TASK)}/d30/deep/f1")
        assert is_copied is not bool(filters)
    assert_copied(bed.a, bed.b)
    bed.a.api.change("POST", f"{path}/verify", within_s=60)
    assert "compares every file" in last(bed)["way_reason"]
    sh(bed.a, "for f in /var/lib/holdfast/listings/*; do truncate -s -20 $f; done")
    sh(bed.a, f"rm {docs(bed.a)}/d32/deep/f1")
    run(bed.a, TASK)
    found = last(bed)
    assert (found["way"], "the listing cannot be read" in found["way_reason"]) == ("walk", True)
    assert_copied(bed.a, bed.b)


@pytest.mark.timeout(600, func_only=True)
def test_a_daemon_killed_at_any_step_leaves_nothing_and_the_next_run_is_right(bed: Bed) -> None:
    for mark in range(1, 2 * STEPS):
        sh(bed.a, f"echo {mark} >>{docs(bed.a)}/d11/deep/f1; rm -f {docs(bed.a)}/d12/deep/f{mark}")
        job = die(bed, "replication-task.run", mark, RUN, {})
        found = last(bed)
        assert job["state"] == "done", job
        print(f"killed at mark {mark}: {found['way']}")
        assert_copied(bed.a, bed.b)
        assert_nothing_is_left(bed)
        sh(bed.a, f"echo {mark} >>{docs(bed.a)}/d13/deep/f1")
        run(bed.a, TASK)
        print(f"and after it: {last(bed)['way']}")
        assert_copied(bed.a, bed.b)
        assert_nothing_is_left(bed)


def test_a_daemon_killed_while_a_list_is_copied_leaves_nothing_and_ends_with_a_walk(bed: Bed) -> None:
    sh(bed.a, f"head -c 24000000 /dev/urandom >{docs(bed.a)}/large; rm -r {docs(bed.a)}/d33")
    bed.a.api.change("PATCH", f"/v1/replication-tasks/{TASK}", {"bandwidth_bytes_s": 4 << 20})
    job = bed.a.api.call("POST", RUN, {})
    sh(bed.b, f"until ls -A {copy_of(TASK)} | grep -q '^.large'; do sleep 0.1; done")
    assert not sh(bed.b, f"ls {copy_of(TASK)} | grep -x d33 || true"), "what is gone goes first"
    sh(bed.a, "kill -9 $(pgrep -f tests/lab/[d]ying_daemon.py)")
    bed.a.api.wait_until_it_answers(30)
    bed.a.api.change("PATCH", f"/v1/replication-tasks/{TASK}", {"bandwidth_bytes_s": None})
    bed.a.api.follow(job, "run", within_s=90)
    found = last(bed)
    assert (found["way"], "may have been written to" in found["way_reason"]) == ("walk", True)
    assert_copied(bed.a, bed.b)
    assert_nothing_is_left(bed)
