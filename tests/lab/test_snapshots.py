"""Snapshots through the API on real LVM and XFS: rolled back to, cloned, restored from, filled, and thinned out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
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


# --- of a thin volume ---

THIN_HOME = "/srv/holdfast/main/thin/x"
THIN_ONES = "/v1/snapshots/thin"


@pytest.fixture
def thin_bed(made: Bed, lab_bed: Lab) -> Iterator[Bed]:
    """The pool with a thin pool that does not grow, and in it a volume that is a share, with 8 MiB and a folder."""
    api = made.a.api
    api.change(
        "PUT", "/v1/pools/main/thin", {"size_bytes": 256 * MIB, "most_promised_percent": 1000, "grows_itself": False}
    )
    volume = {"pool": "main", "name": "thin", "size_bytes": 320 * MIB, "kind": "nas", "is_thin": True}
    api.change("POST", "/v1/volumes", volume)
    api.change("POST", "/v1/shares", {"name": "thin", "volume": "thin", "path": "x"})
    shell(made, f"mkdir {THIN_HOME}/folder && echo then >{THIN_HOME}/folder/file")
    shell(made, f"head -c {8 * MIB} /dev/urandom >{THIN_HOME}/large; sync -f {THIN_HOME}")
    yield made
    for schedule in api.items("/v1/volumes/thin/snapshot-schedules"):
        api.change("DELETE", f"/v1/volumes/thin/snapshot-schedules/{schedule['name']}")
    for snapshot in api.items("/v1/snapshots"):
        api.change("DELETE", f"{THIN_ONES}/{snapshot['name']}?confirm={snapshot['name']}")
    api.change("DELETE", "/v1/shares/thin")
    api.change("DELETE", "/v1/volumes/thin?confirm=thin")
    api.change("DELETE", "/v1/pools/main/thin")


def has_snapshots(bed: Bed, number: int) -> bool:
    return len(bed.a.api.items("/v1/snapshots")) == number


def thin_used_percent(bed: Bed) -> float:
    return float(bed.a.api.get("/v1/pools/main")["thin"]["used_percent"])


def test_a_thin_snapshot_is_mounted_restored_from_rolled_back_to_and_cloned(thin_bed: Bed) -> None:
    bed, api = thin_bed, thin_bed.a.api
    free_bytes = api.get("/v1/pools/main")["free_bytes"]
    with pytest.raises(Refused, match="they have no reserve"):
        api.change("POST", "/v1/snapshots", {"volume": "thin", "name": "s", "reserve_bytes": 16 * MIB})
    then = tree(bed, THIN_HOME)
    api.change("POST", "/v1/snapshots", {"volume": "thin", "name": "s"})
    shown = api.get(f"{THIN_ONES}/s")
    print(shown, api.get("/v1/pools/main/report"))
    assert (shown["is_thin"], shown["reserve_bytes"], shown["used_percent"]) == (True, 0, None)
    assert shown["used_bytes"] >= 8 * MIB
    assert api.get("/v1/pools/main")["free_bytes"] == free_bytes
    # Of what is shared nothing is taken twice; of what is overwritten all is.
    before = thin_used_percent(bed)
    shell(bed, f"head -c {8 * MIB} /dev/urandom >{THIN_HOME}/large; echo now >{THIN_HOME}/folder/file")
    shell(bed, f"sync -f {THIN_HOME}")
    assert 8 * MIB <= (thin_used_percent(bed) - before) * 256 * MIB / 100 <= 16 * MIB
    now = tree(bed, THIN_HOME)

    api.change("POST", f"{THIN_ONES}/s/mount")
    place = api.get(f"{THIN_ONES}/s")["mounted_at"]
    assert tree(bed, f"{place}/x") == then
    assert shell(bed, f"! touch {place}/x/mine 2>/dev/null; grep ' {place} ' /proc/mounts").count("nouuid") == 1
    with pytest.raises(Refused, match="unmount"):
        api.change("POST", f"{THIN_ONES}/s/roll-back?confirm=thin")
    api.change("POST", f"{THIN_ONES}/s/unmount")

    kept = api.change("POST", f"{THIN_ONES}/s/roll-back?confirm=thin")["result"]["kept_as"]
    assert (tree(bed, THIN_HOME), api.get("/v1/volumes/thin")["drift"]) == (then, [])
    assert [(one["name"], one["is_thin"]) for one in api.items("/v1/snapshots")] == [(kept, True), ("s", True)]
    wanted = {"share": "thin", "path": "folder", "may_replace": True}
    api.change("POST", f"{THIN_ONES}/{kept}/restore", wanted)
    assert shell(bed, f"cat {THIN_HOME}/folder/file") == "now\n"

    clone = api.change("POST", f"{THIN_ONES}/{kept}/clone", {"name": "clone"})["result"]
    assert (clone["is_thin"], tree(bed, f"{clone['mounted_at']}/x")) == (True, now)
    for name in (kept, "s"):
        api.change("DELETE", f"{THIN_ONES}/{name}?confirm={name}")
    shell(bed, f"echo mine >>{clone['mounted_at']}/x/folder/file; sync -f {clone['mounted_at']}")
    # All of it comes back after a power cut.
    api.change("POST", "/v1/snapshots", {"volume": "clone", "name": "last"})
    bed.a.node.cut()
    bed.a.node.boot()
    api.wait_until_it_answers(ANSWERS_WITHIN_S)
    wait_for(lambda: api.get("/v1/volumes/clone")["mounted_at"], ANSWERS_WITHIN_S, "the clone is mounted again")
    assert shell(bed, f"cat {clone['mounted_at']}/x/folder/file") == "now\nmine\n"
    assert api.get("/v1/snapshots/clone/last")["used_bytes"] >= 8 * MIB
    api.change("DELETE", "/v1/snapshots/clone/last?confirm=last")
    api.change("DELETE", "/v1/volumes/clone?confirm=clone")


def test_a_thin_pool_that_fills_drops_the_oldest_of_a_schedule_where_a_policy_says_so(thin_bed: Bed) -> None:
    bed, api = thin_bed, thin_bed.a.api
    then = tree(bed, THIN_HOME)
    api.change("POST", "/v1/snapshots", {"volume": "thin", "name": "mine"})
    for number, name in enumerate(("one", "two")):
        starts_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        hours = {"every_hours": 1, "retention": {"last": 5}, "starts_at": starts_at.isoformat()}
        api.change("PUT", f"/v1/volumes/thin/snapshot-schedules/{name}", hours)
        wait_for(partial(has_snapshots, bed, number + 2), LOOKS_WITHIN_S, "it is taken")
        shell(bed, f"head -c {40 * MIB} /dev/urandom >{THIN_HOME}/much; sync -f {THIN_HOME}")
    taken = [one["name"] for one in api.items("/v1/snapshots")]
    assert len(taken) == 3
    used = thin_used_percent(bed)
    print(f"the thin pool is used to {used} %")
    # Nobody asked for it yet: nothing goes, however full.
    told = api.change("PUT", "/v1/volumes/thin/snapshot-policy", {"action": "stop", "alert_percent": 40})["result"]
    assert "does nothing for them" in told["notice"]
    shell(bed, "sleep 17")
    assert [one["name"] for one in api.items("/v1/snapshots")] == taken
    policy = {"action": "drop_oldest", "alert_percent": int(used) - 1}
    api.change("PUT", "/v1/volumes/thin/snapshot-policy", policy)
    # The first one holds nothing alone but what was overwritten before the second.
    wait_for(lambda: thin_used_percent(bed) < int(used) - 1, LOOKS_WITHIN_S, "the thin pool has room again")
    left = [one["name"] for one in api.items("/v1/snapshots")]
    assert "mine" in left
    assert len(left) < 3
    assert tree(bed, THIN_HOME).splitlines()[-2:] == then.splitlines()[-2:]
    shell(bed, f"head -c {10 * MIB} /dev/urandom >{THIN_HOME}/more; sync -f {THIN_HOME}")
    assert api.get("/v1/volumes/thin")["drift"] == []
