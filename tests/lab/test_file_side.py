"""Data replication through the API when something is wrong: the run fails with the reason, and leaves nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from demo import files
from demo.bed import Bed, wait_for
from demo.client import Answer, Refused
from demo.report import Report
from lab import Lab
from lab.layout import CHECKOUT
from tests.lab.product import begin_anew, end

pytestmark = [pytest.mark.lab(seconds=145, is_patient=True), pytest.mark.timeout(120, func_only=True)]

MIB = 1 << 20
FAILS_WITHIN_S = 60.0
RUNS_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def pair(lab_session: Lab) -> Iterator[Bed]:
    """Two paired nodes with a share, its replica and a task."""
    bed = begin_anew(lab_session)
    report = Report()
    files.pair(bed, report)
    files.make_share(bed, report)
    files.open_replica(bed, report)
    # What fails is to be seen failing, and not tried again.
    bed.a.api.change("PATCH", f"/v1/replication-tasks/{files.TASK}", {"retries": 0})
    yield bed
    end(bed)


@pytest.fixture
def uncopied(pair: Bed, lab_bed: Lab) -> Bed:
    """The pair, whatever it has copied."""
    return pair


@pytest.fixture
def bed(pair: Bed, lab_bed: Lab) -> Bed:
    """The pair with a small tree that was copied once."""
    shell(pair, "a", f"rm -rf {here(pair)}/*; cp -a {CHECKOUT}/lab {here(pair)}/")
    files.run_task(pair)
    return pair


def shell(bed: Bed, node: str, script: str) -> str:
    return bed.lab.node(node).run(["sh", "-ec", script], timeout_s=60).stdout.decode()


def here(bed: Bed) -> str:
    return files.share_path(bed.a)


def run(bed: Bed, task: str = files.TASK) -> Any:
    return bed.a.api.change("POST", f"/v1/replication-tasks/{task}/run", within_s=FAILS_WITHIN_S)


def assert_failed_cleanly(bed: Bed, refused: Refused, *words: str, task: str = files.TASK) -> None:
    """The reason stands in the job and in the log of runs; no snapshot and no mount is left."""
    last = bed.a.api.items(f"/v1/replication-runs?task={task}")[0]
    print(last["reason"])
    assert (last["action"], last["result"]) == ("finished", "failed")
    for word in words:
        assert word in str(refused)
        assert word in last["reason"]
    assert bed.a.api.items("/v1/snapshots") == []
    assert "run-" not in shell(bed, "a", "lvs --noheadings -o lv_name")
    assert "/run/holdfast/runs" not in shell(bed, "a", "cat /proc/mounts")
    assert shell(bed, "a", "ls /run/holdfast/runs 2>/dev/null || true") == ""
    assert shell(bed, "a", "pgrep -ax rsync || true") == ""


def assert_the_next_run_works(bed: Bed) -> None:
    shell(bed, "a", f"echo more >>{here(bed)}/lab/README.md")
    assert files.run_task(bed)["files_sent"] == 1
    files.compare(bed)


def test_a_wrong_replica_password_fails_the_run(bed: Bed) -> None:
    wrong = {**files.task_of(bed), "name": "wrong", "password": "not the right one", "retries": 0}
    bed.a.api.change("POST", "/v1/replication-tasks", wrong)
    try:
        with pytest.raises(Refused) as refused:
            run(bed, "wrong")
        assert_failed_cleanly(bed, refused.value, "ID and password", task="wrong")
    finally:
        bed.a.api.change("DELETE", "/v1/replication-tasks/wrong")
    assert_the_next_run_works(bed)


def test_an_agent_that_cannot_be_reached_fails_the_run(bed: Bed) -> None:
    bed.lab.link("b", "replication", up=False)
    with pytest.raises(Refused) as refused:
        run(bed)
    assert_failed_cleanly(bed, refused.value, "agent")
    bed.lab.link("b", "replication", up=True)
    assert_the_next_run_works(bed)


def test_a_disabled_agent_fails_the_run(bed: Bed) -> None:
    agent = bed.b.api.get("/v1/agent")
    bed.b.api.change("PUT", "/v1/agent", {"is_enabled": False})
    with pytest.raises(Refused) as refused:
        run(bed)
    assert_failed_cleanly(bed, refused.value, "agent")
    again = {"is_enabled": True, "address": agent["address"], "port": agent["port"]}
    bed.b.api.change("PUT", "/v1/agent", again)
    assert_the_next_run_works(bed)


def test_a_full_destination_fails_the_run(bed: Bed) -> None:
    there = files.share_path(bed.b)
    free = int(shell(bed, "b", f"echo $(($(stat -f -c '%a * %S' {there})))"))
    # Beside the share: a run removes what its source does not have.
    shell(bed, "b", f"fallocate -l {free - 24 * MIB} {there}/../filler")
    shell(bed, "a", f"head -c {64 * MIB} /dev/urandom >{here(bed)}/large; sync -f {here(bed)}")
    with pytest.raises(Refused) as refused:
        run(bed)
    assert_failed_cleanly(bed, refused.value, "full")
    shell(bed, "b", f"rm {there}/../filler")
    shell(bed, "a", f"rm {here(bed)}/large")
    assert_the_next_run_works(bed)


COPY_IS_UNDER_WAY = 'until grep -q "^/dev/[^ ]* /run/holdfast/runs/" /proc/mounts; do sleep 0.05; done; sleep 0.5; '


def run_while(bed: Bed, script: str) -> Refused:
    """Run the task with enough to copy, and a script on its source as soon as the copy is under way; why it failed."""
    shell(bed, "a", f"head -c {96 * MIB} /dev/urandom >{here(bed)}/large; sync -f {here(bed)}")
    job = bed.a.api.call("POST", f"/v1/replication-tasks/{files.TASK}/run", {})
    shell(bed, "a", COPY_IS_UNDER_WAY + script)
    with pytest.raises(Refused) as refused:
        bed.a.api.follow(job, "run", within_s=FAILS_WITHIN_S)
    return refused.value


def test_a_snapshot_removed_behind_our_back_fails_the_run(bed: Bed) -> None:
    # Whoever is root on the node takes the frozen source away. An open device cannot go: its reads fail first
    # (dmsetup(8), remove --force), and it goes once the copy, which fails, has let it go.
    script = (
        "umount -l /run/holdfast/runs/*; "
        f"dmsetup wipe_table $(dmsetup ls | awk '/^{files.POOL}-{files.VOLUME}[.].*run--[^-]*\t/ {{ print $1 }}'); "
        "for i in $(seq 150); do lv=$(lvs --noheadings -o lv_path -S 'lv_name=~run-' | tr -d ' '); "
        '[ -n "$lv" ] || exit 0; lvremove -fy $lv || sleep 0.2; done; exit 1'
    )
    refused = run_while(bed, script)
    assert_failed_cleanly(bed, refused)
    shell(bed, "a", f"rm {here(bed)}/large")
    assert_the_next_run_works(bed)


def test_a_volume_removed_behind_our_back_fails_the_run(bed: Bed) -> None:
    device = f"{files.POOL}-{files.VOLUME}"
    mounted = shell(bed, "a", f"grep /{files.VOLUME} /proc/mounts").split()
    # What is mounted cannot go, but from now on every read and write of it fails, and so do those of its snapshot.
    refused = run_while(bed, f"for d in {device}-real {device}; do dmsetup remove --force $d || true; done")
    assert_failed_cleanly(bed, refused)
    # Whoever did that gives it back; the file system has seen the errors, and must be mounted anew.
    lv = f"{files.POOL}/{files.VOLUME}"
    shell(bed, "a", f"umount {mounted[1]}; lvchange -an {lv}; lvchange -ay {lv}; mount {mounted[0]} {mounted[1]}")
    shell(bed, "a", f"rm -f {here(bed)}/large")
    assert_the_next_run_works(bed)


@pytest.mark.parametrize("node", ["a", "b"])
def test_a_volume_that_is_used_is_not_deleted(bed: Bed, node: str) -> None:
    user = {"a": files.TASK, "b": files.REPLICA}[node]
    api = bed.storage[node].api
    with pytest.raises(Refused) as refused:
        api.change("DELETE", f"/v1/volumes/{files.VOLUME}?confirm={files.VOLUME}")
    assert refused.value.status == 409
    print(refused.value)
    assert user in str(refused.value)
    assert api.get(f"/v1/volumes/{files.VOLUME}")["drift"] == []
    assert_the_next_run_works(bed)


# --- by itself ---


def test_a_task_runs_by_its_schedule_and_both_sides_tell_how_old_the_copy_is(bed: Bed) -> None:
    shell(bed, "a", f"echo more >>{here(bed)}/lab/README.md")
    starts_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    schedule = f"/v1/replication-tasks/{files.TASK}/schedules/soon"
    bed.a.api.change("PUT", schedule, {"every_hours": 1, "starts_at": starts_at.isoformat()})
    log = f"/v1/replication-runs?task={files.TASK}&since={starts_at:%Y-%m-%dT%H:%M:%SZ}"
    try:
        wait_for(lambda: bed.a.api.items(f"{log}&result=ok") != [], RUNS_WITHIN_S, "the run that is due is over")
        shown = bed.a.api.get(schedule)
    finally:
        bed.a.api.change("DELETE", schedule)
    (run,) = bed.a.api.items(log)
    print(run)
    assert (run["schedule"], run["counts"]["files_sent"]) == ("soon", 1)
    assert datetime.fromisoformat(run["due_at"]) == starts_at
    next_runs = [datetime.fromisoformat(at) for at in shown["next_runs"]]
    assert next_runs == [starts_at + timedelta(hours=hours) for hours in range(1, 6)]
    files.compare(bed)

    task = bed.a.api.get(f"/v1/replication-tasks/{files.TASK}")
    replica = f"/v1/replica-shares/{files.REPLICA}"
    wait_for(lambda: bed.b.api.get(replica)["newest_copy_at"] == run["frozen_at"], RUNS_WITHIN_S, "b knows of the copy")
    print(there := bed.b.api.get(replica))
    assert task["newest_copy_at"] == run["frozen_at"]
    assert (there["task"], there["source"], there["is_objective_missed"]) == (files.TASK, "a", False)
    assert 0 < there["copy_age_s"] < 60


# --- the same, twice at once ---


def at_once(bed: Bed, body: Any, *keys: dict[str, str]) -> list[Answer]:
    """Ask for a volume once for each of `keys`, at the same time; the answers once their jobs are over."""
    meet = threading.Barrier(len(keys))
    sent = json.dumps(body).encode()

    def ask(headers: dict[str, str]) -> Answer:
        meet.wait(10)
        return bed.a.api.send("POST", "/v1/volumes", sent, headers={"Prefer": "wait=60", **headers})

    with ThreadPoolExecutor(len(keys)) as threads:
        return list(threads.map(ask, keys))


def test_of_two_equal_calls_at_once_one_is_made_and_the_other_is_told_by_what(uncopied: Bed) -> None:
    body = {"pool": files.POOL, "name": "twice", "size_bytes": 16 * MIB, "kind": "iscsi"}
    made, refused = sorted(at_once(uncopied, body, {}, {}), key=lambda answer: answer.status)
    assert made.document["state"] == "done"
    assert refused.status == 409
    assert "twice" in refused.document["detail"]
    assert refused.document["reasons"][0]["remedy"]
    assert [volume["name"] for volume in uncopied.a.api.items("/v1/volumes")].count("twice") == 1
    assert shell(uncopied, "a", "lvs --noheadings -o lv_name").split().count("twice") == 1
    uncopied.a.api.change("DELETE", "/v1/volumes/twice?confirm=twice")


def test_with_the_same_key_both_calls_are_one(uncopied: Bed) -> None:
    body = {"pool": files.POOL, "name": "keyed", "size_bytes": 16 * MIB, "kind": "iscsi"}
    key = {"Idempotency-Key": "lab-1"}
    answers = at_once(uncopied, body, key, key, key)
    [again] = at_once(uncopied, body, key)
    assert (again.status, again.document["state"]) == (200, "done")
    for answer in answers:
        if answer.status == 409:  # while the first one is looked at there is no job yet
            assert answer.document["reasons"][0]["code"] == "key-in-flight"
        else:
            assert answer.document["id"] == again.document["id"]
    assert 200 in {answer.status for answer in answers}
    assert shell(uncopied, "a", "lvs --noheadings -o lv_name").split().count("keyed") == 1
    uncopied.a.api.change("DELETE", "/v1/volumes/keyed?confirm=keyed")
