"""Snapshots through the API on real LVM and XFS: rolled back to, cloned, restored from, filled, and thinned out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from demo.bed import DAEMON, Bed, wait_for
from demo.client import Refused
from lab import Lab
from tests.lab.product import begin_anew, end

pytestmark = [pytest.mark.lab(seconds=40, is_patient=True), pytest.mark.timeout(180, func_only=True)]

MIB = 1 << 20
VOLUME, HOME = "/v1/volumes/docs", "/srv/holdfast/main/docs/x"
SNAPSHOTS = "/v1/snapshots/docs"
ANSWERS_WITHIN_S = 30.0
ENDS_WITHIN_S = 60.0
LOOKS_WITHIN_S = 25.0


@pytest.fixture(scope="module")
def made(lab_session: Lab) -> Iterator[Bed]:
    """Node a with a volume that is a share."""
    bed = begin_anew(lab_session)
    bed.a.api.change("POST", "/v1/pools", {"name": "main", "disks": [bed.a.node.device("data")]})
    bed.a.api.change("POST", "/v1/volumes", {"pool": "main", "name": "docs", "size_bytes": 320 * MIB, "kind": "nas"})
    bed.a.api.change("POST", "/v1/shares", {"name": "docs", "volume": "docs", "path": "x"})
    yield bed
    end(bed)


@pytest.fixture
def bed(made: Bed, lab_bed: Lab) -> Iterator[Bed]:
    """The same without snapshots; its share holds a file of 8 MiB and a folder."""
    shell(made, f"rm -rf {HOME}/* && mkdir {HOME}/folder && echo then >{HOME}/folder/file")
    shell(made, f"head -c {8 * MIB} /dev/urandom >{HOME}/large; sync -f {HOME}")
    yield made
    made.a.api.change("PUT", f"{VOLUME}/snapshot-policy", {})
    for snapshot in made.a.api.items("/v1/snapshots"):
        one = f"/v1/snapshots/{snapshot['volume']}/{snapshot['name']}"
        if snapshot["mounted_at"]:
            once_free(made, "POST", f"{one}/unmount")
        once_free(made, "DELETE", f"{one}?confirm={snapshot['name']}")


def once_free(bed: Bed, method: str, path: str) -> None:
    """Change something that a policy may be giving room just now: it is told to wait for that job."""

    def is_done() -> bool:
        try:
            bed.a.api.change(method, path)
        except Refused as refused:
            if "is held by the job snapshot.extend" not in str(refused):
                raise
            return False
        return True

    wait_for(is_done, ENDS_WITHIN_S, "the snapshot has its room")


def shell(bed: Bed, script: str) -> str:
    return bed.a.node.run(["sh", "-ec", script], timeout_s=60).stdout.decode()


def tree(bed: Bed, root: str) -> str:
    """Names, modes, times and contents."""
    return shell(bed, f"cd {root} && find . -printf '%p %y %m %U:%G %T@ %l\\n' | sort && sha256sum large folder/file")


def take(bed: Bed, name: str, **more: Any) -> None:
    bed.a.api.change("POST", "/v1/snapshots", {"volume": "docs", "name": name, **more})


def change(bed: Bed) -> None:
    shell(bed, f"head -c {8 * MIB} /dev/urandom >{HOME}/large; echo now >{HOME}/folder/file; rm -rf {HOME}/new")
    shell(bed, f"echo new >{HOME}/new; sync -f {HOME}")


def test_a_rollback_gives_back_what_was_keeps_what_is_lost_and_is_refused_in_use(bed: Bed) -> None:
    then = tree(bed, HOME)
    take(bed, "s")
    change(bed)
    now = tree(bed, HOME)
    reader = bed.a.node.popen(["sleep", "60"], cwd=HOME)
    with pytest.raises(Refused) as refused:
        bed.a.api.change("POST", f"{SNAPSHOTS}/s/roll-back?confirm=docs")
    print(refused.value)
    assert "sleep" in str(refused.value)
    reader.kill()
    reader.wait(10)
    assert (tree(bed, HOME), len(bed.a.api.items("/v1/snapshots"))) == (now, 1)
    kept = bed.a.api.change("POST", f"{SNAPSHOTS}/s/roll-back?confirm=docs")["result"]["kept_as"]
    assert tree(bed, HOME) == then
    assert bed.a.api.get(VOLUME)["drift"] == []
    # The snapshot is there as before, and what was lost is readable beside it.
    for name, expected in (("s", then), (kept, now)):
        bed.a.api.change("POST", f"{SNAPSHOTS}/{name}/mount")
        assert tree(bed, bed.a.api.get(f"{SNAPSHOTS}/{name}")["mounted_at"] + "/x") == expected
        bed.a.api.change("POST", f"{SNAPSHOTS}/{name}/unmount")
    bed.a.api.change("POST", f"{SNAPSHOTS}/{kept}/roll-back?confirm=docs")
    assert tree(bed, HOME) == now


MERGES = "until dmsetup table 2>/dev/null | grep -q snapshot-merge; do sleep 0.05; done"


@pytest.mark.long
def test_a_rollback_that_lost_its_daemon_goes_on(bed: Bed) -> None:
    then = tree(bed, HOME)
    take(bed, "s")
    change(bed)
    job = bed.a.api.call("POST", f"{SNAPSHOTS}/s/roll-back?confirm=docs", {})
    shell(bed, MERGES)
    bed.a.node.kill_service(DAEMON)
    bed.a.api.wait_until_it_answers(ANSWERS_WITHIN_S)
    bed.a.api.follow(job, "roll back", within_s=ENDS_WITHIN_S)
    assert tree(bed, HOME) == then
    assert len(bed.a.api.items("/v1/snapshots")) == 2
    assert "rolling-back" not in shell(bed, "lvs --noheadings -o lv_tags main")


@pytest.mark.long
def test_a_rollback_that_lost_the_power_goes_on(bed: Bed) -> None:
    then = tree(bed, HOME)
    take(bed, "s")
    change(bed)
    job = bed.a.api.call("POST", f"{SNAPSHOTS}/s/roll-back?confirm=docs", {})
    shell(bed, MERGES)
    bed.a.node.cut()
    bed.a.node.boot()
    bed.a.api.wait_until_it_answers(ANSWERS_WITHIN_S)
    bed.a.api.follow(job, "roll back", within_s=ENDS_WITHIN_S)
    assert tree(bed, HOME) == then
    assert bed.a.api.get(VOLUME)["drift"] == []
    assert [s["name"] for s in bed.a.api.items("/v1/snapshots")][-1] == "s"
    assert "rolling-back" not in shell(bed, "lvs --noheadings -o lv_tags main")


def test_files_come_back_from_a_snapshot_and_a_clone_is_its_equal(bed: Bed) -> None:
    shell(bed, f"setfacl -m u:7:r {HOME}/folder/file 2>/dev/null || true; setfattr -n user.note -v kept {HOME}/large")
    then = tree(bed, HOME)
    take(bed, "s")
    change(bed)
    shell(bed, f"rm {HOME}/large; mkdir /tmp/outside; echo kept >/tmp/outside/file")
    wanted = {"share": "docs"}
    told = bed.a.api.change("POST", f"{SNAPSHOTS}/s/preview-restore", wanted)["result"]
    assert {e["path"]: e["action"] for e in told["entries"]} == {"folder/file": "replace", "large": "create"}
    with pytest.raises(Refused, match="would be replaced"):
        bed.a.api.change("POST", f"{SNAPSHOTS}/s/restore", wanted)
    bed.a.api.change("POST", f"{SNAPSHOTS}/s/restore", {**wanted, "may_replace": True})
    shell(bed, f"rm {HOME}/new")
    # The time of a folder that people have now is theirs.
    assert without_folders(tree(bed, HOME)) == without_folders(then)
    assert shell(bed, f"getfattr --only-values -n user.note {HOME}/large") == "kept"
    # A link that somebody planted leads nowhere.
    shell(bed, f"rm -r {HOME}/folder; ln -s /tmp/outside {HOME}/folder")
    with pytest.raises(Refused, match="not a folder"):
        bed.a.api.change("POST", f"{SNAPSHOTS}/s/restore", {**wanted, "path": "folder/file", "may_replace": True})
    assert shell(bed, "cat /tmp/outside/file; rm -r /tmp/outside") == "kept\n"

    bed.a.api.change("POST", f"{SNAPSHOTS}/s/clone", {"name": "clone"})
    place = bed.a.api.get("/v1/volumes/clone")["mounted_at"]
    assert tree(bed, f"{place}/x") == then
    shell(bed, f"echo more >>{place}/x/folder/file")
    bed.a.api.change("DELETE", "/v1/volumes/clone?confirm=clone")
    assert "/run/holdfast/restores" not in shell(bed, "cat /proc/mounts")


def without_folders(text: str) -> list[str]:
    return [line for line in text.splitlines() if " d " not in line]


def test_a_policy_gives_room_before_it_is_too_late_and_without_one_the_volume_goes_on(bed: Bed) -> None:
    bed.a.api.change("PUT", f"{VOLUME}/snapshot-policy", {"action": "extend"})
    take(bed, "grows", reserve_bytes=16 * MIB)
    take(bed, "ends", reserve_bytes=16 * MIB, policy={"action": "stop"})
    shell(bed, f"head -c {14 * MIB} /dev/urandom >{HOME}/more; sync -f {HOME}")

    def has_grown() -> bool:
        return bool(bed.a.api.get(f"{SNAPSHOTS}/grows")["reserve_bytes"] > 16 * MIB)

    wait_for(has_grown, LOOKS_WITHIN_S, "the reserve is larger")
    told = bed.a.api.get(f"{SNAPSHOTS}/ends")
    assert [alert["code"] for alert in told["alerts"]] == ["snapshot-filling"]
    shell(bed, f"head -c {6 * MIB} /dev/urandom >{HOME}/last; sync -f {HOME}; sha256sum {HOME}/last >{HOME}/sum")
    grown, ended = (bed.a.api.get(f"{SNAPSHOTS}/{name}") for name in ("grows", "ends"))
    print(grown, ended)
    assert (grown["is_overflown"], ended["is_overflown"]) == (False, True)
    assert [alert["code"] for alert in ended["alerts"]] == ["snapshot-overflown"]
    # The volume never noticed.
    shell(bed, f"sha256sum -c {HOME}/sum; echo more >{HOME}/after; sync -f {HOME}")
    assert bed.a.api.get(VOLUME)["drift"] == []
    with pytest.raises(Refused, match="overflowed"):
        bed.a.api.change("POST", f"{SNAPSHOTS}/ends/mount")
    bed.a.api.change("POST", f"{SNAPSHOTS}/grows/mount")
    place = bed.a.api.get(f"{SNAPSHOTS}/grows")["mounted_at"]
    assert shell(bed, f"cat {place}/x/folder/file; ! touch {place}/x/mine 2>/dev/null") == "then\n"
    with pytest.raises(Refused, match="unmount"):
        bed.a.api.change("DELETE", f"{SNAPSHOTS}/grows?confirm=grows")


@pytest.mark.long
def test_after_one_that_overflowed_the_schedule_takes_the_next_and_clears_it_away(bed: Bed) -> None:
    schedule = f"{VOLUME}/snapshot-schedules/soon"
    hours = {"every_hours": 1, "retention": {"last": 1}, "reserve_bytes": 16 * MIB}
    starts_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    bed.a.api.change("PUT", schedule, {**hours, "starts_at": starts_at.isoformat()})

    def taken() -> list[Any]:
        return [s for s in bed.a.api.items("/v1/snapshots") if s["schedule"] == "soon" and not s["is_overflown"]]

    wait_for(lambda: len(taken()) == 1, LOOKS_WITHIN_S, "the first one is taken")
    [first] = taken()
    shell(bed, f"head -c {20 * MIB} /dev/urandom >{HOME}/much; sync -f {HOME}")
    assert taken() == []
    starts_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    bed.a.api.change("PUT", schedule, {**hours, "starts_at": starts_at.isoformat()})
    wait_for(lambda: len(taken()) == 1, LOOKS_WITHIN_S, "the next one is taken")
    wait_for(lambda: len(bed.a.api.items("/v1/snapshots")) == 1, LOOKS_WITHIN_S, "what overflowed is cleared away")
    assert taken()[0]["name"] != first["name"]
    [verdict] = bed.a.api.items(f"{schedule}/preview")
    assert verdict["reasons"] == ["last: number 1 of the newest 1"]
    bed.a.api.change("DELETE", schedule)
