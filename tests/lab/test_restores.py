"""Restoring and failing back between two real nodes: rsync, LVM and XFS, through the API."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from demo import files
from demo.bed import Bed, wait_for
from demo.client import Refused
from demo.report import Report
from lab import Lab
from lab.layout import CHECKOUT
from tests.lab.product import begin_anew, end

pytestmark = [pytest.mark.lab(seconds=60, is_patient=True), pytest.mark.timeout(120, func_only=True)]

REPLICA = f"/v1/replica-shares/{files.REPLICA}"
TASK = f"/v1/replication-tasks/{files.TASK}"
TO_SOURCE = {"share": files.SHARE, "is_on_partner": True}
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def pair(lab_session: Lab) -> Iterator[Bed]:
    """Two paired nodes with a share, its replica and a task, and an agent on both."""
    bed = begin_anew(lab_session)
    report = Report()
    files.pair(bed, report)
    files.make_share(bed, report)
    files.open_replica(bed, report)
    agent = {"is_enabled": True, "address": bed.a.node.address("replication"), "port": files.AGENT_PORT}
    bed.a.api.change("PUT", "/v1/agent", agent)
    yield bed
    end(bed)


@pytest.fixture
def bed(pair: Bed, lab_bed: Lab) -> Bed:
    """The pair with a small tree that was copied, and b knows whose it is."""
    shell(pair, "a", f"rm -rf {here(pair)}/*; cp -a {CHECKOUT}/lab {here(pair)}/")
    files.run_task(pair)
    newest = pair.a.api.get(TASK)["newest_copy_at"]
    wait_for(lambda: pair.b.api.get(REPLICA)["newest_copy_at"] == newest, WITHIN_S, "b knows of the copy")
    return pair


def shell(bed: Bed, node: str, script: str) -> str:
    return bed.lab.node(node).run(["sh", "-ec", script], timeout_s=60).stdout.decode()


def here(bed: Bed) -> str:
    return files.share_path(bed.a)


def restore(bed: Bed, verb: str = "restore", query: str = "", **body: Any) -> Any:
    return bed.b.api.change("POST", f"{REPLICA}/{verb}{query}", body, within_s=WITHIN_S)["result"]


def assert_nothing_is_left(bed: Bed) -> None:
    for storage in (bed.a, bed.b):
        assert [s["name"] for s in storage.api.items("/v1/snapshots") if s["name"].startswith("restore-")] == []
        assert storage.api.items("/v1/restore-openings") == []
        assert "/run/holdfast/restores" not in shell(bed, storage.name, "cat /proc/mounts")
        assert "restore-" not in shell(bed, storage.name, "cat /run/holdfast/plugins/*/agent/rsyncd.conf")


def test_what_was_lost_comes_back_from_the_copy(bed: Bed) -> None:
    names = [item["name"] for item in bed.b.api.items(f"{REPLICA}/files?path=lab")]
    assert {"README.md", "bed.py"} <= set(names)
    shell(bed, "a", f"cd {here(bed)}/lab; rm -r README.md bed.py; echo of today >of-today")
    told = restore(bed, "preview-restore", paths=["lab/README.md", "lab/bed.py"], to=TO_SOURCE)
    assert (told["written"], told["overwritten"], told["removed"]) == (2, 0, 0), told
    assert told["verified_copy_of"] is not None
    result = restore(bed, paths=["lab/README.md", "lab/bed.py"], to=TO_SOURCE)
    print(result)
    assert (result["counts"]["files_sent"], result["files_verified"]) == (2, 2)
    shell(bed, "a", f"cd {here(bed)}/lab; cmp README.md {CHECKOUT}/lab/README.md; cat of-today; rm of-today")
    assert_nothing_is_left(bed)


@pytest.mark.long
def test_no_link_leads_a_restore_out_of_the_share(bed: Bed) -> None:
    shell(bed, "a", f"cd {here(bed)}; rm -rf lab; mkdir -p /var/tmp/outside; ln -s /var/tmp/outside lab")
    with contextlib.suppress(Refused):
        restore(bed, paths=["lab/README.md"], to=TO_SOURCE)
    assert shell(bed, "a", "ls -A /var/tmp/outside") == ""
    restore(bed, paths=["lab"], to=TO_SOURCE)
    assert shell(bed, "a", "ls -A /var/tmp/outside") == ""
    restore(bed, is_all=True, to=TO_SOURCE)
    files.compare(bed)
    shell(bed, "b", f"ln -s /etc {files.share_path(bed.b)}/etc")
    for path in ("etc/passwd", "../../../etc/passwd", "/etc/passwd"):
        with pytest.raises(Refused) as refused:
            restore(bed, paths=[path], to=TO_SOURCE)
        print(refused.value)
        assert not shell(bed, "a", f"find {here(bed)} -name passwd")
    assert_nothing_is_left(bed)


@pytest.mark.long
def test_a_restore_goes_on_after_a_kill_of_either_daemon(bed: Bed) -> None:
    shell(bed, "a", f"head -c 96M /dev/urandom >{here(bed)}/large; sync -f {here(bed)}")
    files.run_task(bed)
    shell(bed, "a", f"rm -r {here(bed)}/*")
    job = bed.b.api.call("POST", f"{REPLICA}/restore", {"is_all": True, "to": TO_SOURCE})
    mounted = 'until grep -q " /run/holdfast/restores/" /proc/mounts; do sleep 0.05; done; sleep 0.5; '
    # By the number of its process, as the lab's own supervisor has it: it is started again at once.
    shell(bed, "b", mounted + "kill -9 $(pgrep -of -- '-m holdfast --config')")
    shell(bed, "a", "kill -9 $(pgrep -of -- '-m holdfast --config')")
    wait_for(lambda: state_of(bed, job) not in ("", "running"), WITHIN_S, "the restore is over")
    done = bed.b.api.get(f"/v1/jobs/{job['id']}")
    print(*done["log"], sep="\n")
    assert done["state"] == "done", done
    files.compare(bed)
    assert_nothing_is_left(bed)


def state_of(bed: Bed, job: Any) -> str:
    with contextlib.suppress(OSError, Refused):
        return str(bed.b.api.get(f"/v1/jobs/{job['id']}")["state"])
    return ""


def test_b_takes_over_and_a_gets_back_only_what_changed(bed: Bed) -> None:
    there = files.share_path(bed.b)
    bed.b.api.change("POST", f"{REPLICA}/take-over")
    shell(bed, "b", f"cd {there}; echo of b >>lab/README.md; rm lab/bed.py; echo new >of-b")
    with pytest.raises(Refused, match="reversed"):
        files.run_task(bed)
    back = f"{REPLICA}/fail-back?confirm={files.SHARE}"
    result = bed.b.api.change("POST", back, {}, within_s=WITHIN_S)["result"]
    print(result)
    assert (result["counts"]["files_sent"], result["counts"]["files_deleted"]) == (2, 1)
    files.compare(bed)
    shell(bed, "b", f"echo more >>{there}/of-b")
    result = bed.b.api.change("POST", back, {"returns": True}, within_s=WITHIN_S)["result"]
    assert (result["counts"]["files_sent"], result["generation"], result["is_reversed"]) == (1, 2, False)
    files.compare(bed)
    shell(bed, "a", f"echo of a >>{here(bed)}/of-b")
    assert files.run_task(bed)["files_sent"] == 1
    files.compare(bed)
    with pytest.raises(Refused, match="not reversed"):
        bed.b.api.change("POST", back, {})
    assert_nothing_is_left(bed)


def test_after_each_good_run_a_copy_is_kept_and_brings_back_what_was_spoilt(bed: Bed) -> None:
    retention = f"{REPLICA}/retention"
    bed.b.api.change("PUT", retention, {"last": 2, "reserve_percent": 20})
    try:
        wait_for(lambda: is_kept(bed, bed.a.api.get(TASK)["newest_copy_at"]), WITHIN_S, "the copy is kept")
        (good,) = kept(bed)
        assert good["frozen_at"] == bed.a.api.get(TASK)["newest_copy_at"]
        for number in range(2):
            shell(bed, "a", f"echo spoilt {number} >{here(bed)}/lab/README.md")
            files.run_task(bed)
            newest = bed.a.api.get(TASK)["newest_copy_at"]
            wait_for(partial(is_kept, bed, newest), WITHIN_S, "the copy is kept")
            if number == 0:
                query = f"snapshot={good['snapshot']}"
                assert "README.md" in [i["name"] for i in bed.b.api.items(f"{REPLICA}/files?path=lab&{query}")]
                restore(bed, paths=["lab/README.md"], snapshot=good["snapshot"], to=TO_SOURCE)
                shell(bed, "a", f"cmp {here(bed)}/lab/README.md {CHECKOUT}/lab/README.md")
        print(*kept(bed), sep="\n")
        assert len(kept(bed)) == 2
        assert good["snapshot"] not in shell(bed, "b", "lvs --noheadings -o lv_name")
    finally:
        bed.b.api.change("PUT", retention, {})
        for copy in kept(bed):
            name = copy["snapshot"]
            bed.b.api.change("DELETE", f"/v1/snapshots/{files.VOLUME}/{name}?confirm={name}")
    assert_nothing_is_left(bed)


def test_every_file_is_compared_when_it_is_asked_for_and_what_differs_is_mended(bed: Bed) -> None:
    there = f"{files.share_path(bed.b)}/lab/README.md"
    # As a failing disk does: other content, and the size and the time of before.
    shell(bed, "b", f"touch -r {there} /tmp/time; printf X | dd of={there} conv=notrunc; touch -r /tmp/time {there}")
    with pytest.raises(Refused, match=r"lab/README\.md differs in content"):
        bed.a.api.change("POST", f"{TASK}/verify", within_s=WITHIN_S)
    print(*bed.a.api.get(TASK)["alerts"], sep="\n")
    assert "copy-differs" in [alert["code"] for alert in bed.a.api.get(TASK)["alerts"]]
    counts = files.run_task(bed)
    shell(bed, "b", f"cmp {there} {CHECKOUT}/lab/README.md")
    shown = bed.a.api.get(f"{TASK}/verification")
    print(shown)
    assert (shown["last"]["is_ok"], shown["last"]["files"]) == (True, counts["files_verified"])
    assert shown["ends"]["source_bytes"] == shown["ends"]["destination_bytes"]
    assert abs(shown["ends"]["clock_difference_s"]) < 1
    assert bed.a.api.get(TASK)["alerts"] == []


def is_kept(bed: Bed, at: str) -> bool:
    """Whether the copy of that time is, and its job is over."""
    newest = next((job for job in bed.b.api.items("/v1/jobs") if job["kind"] == "replica-share.keep-copy"), None)
    return newest is not None and newest["state"] == "done" and [copy["frozen_at"] for copy in kept(bed)][:1] == [at]


def kept(bed: Bed) -> list[Any]:
    return bed.b.api.items(f"{REPLICA}/copies")
