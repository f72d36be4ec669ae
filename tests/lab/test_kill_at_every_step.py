"""Kill -9 of the daemon at every persisted mark of a job: at its next start the job ends, and the reality matches."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from demo import blocks, files
from demo.bed import CONFIG, DAEMON, ENVIRONMENT, PYTHON, Bed, StorageNode, wait_for
from demo.client import Refused
from demo.initiator import Initiator, Writing, assert_clean
from demo.report import Report
from lab import Lab
from lab.layout import CHECKOUT
from tests.lab import file_io
from tests.lab.product import begin_anew, end
from tests.lab.serving import boot_again
from tests.lab.test_mirrors import DRBDSETUP, make_spare_pool

pytestmark = [pytest.mark.lab(seconds=175), pytest.mark.timeout(120, func_only=True)]

MIB = 1 << 20
ORDER = "/var/lib/holdfast/dies.json"  # as in dying_daemon.py, which the tests' own process does not import
# Two marks a step: it begins (odd), it is done (even). Between the end of one step and the beginning of the next
# nothing happens but the mark itself, so that of a mirror's steps the first beginning is tried and every end.
MIRROR_STEPS = 11
START_MARKS = range(1, 2 * 2 + 1)
# A job that fails goes back, one mark a step, from the last that had begun. The last beginning of a mirror fails, when
# all was made. Of the eleven marks of its way back these are tried: all is there yet, disconnected, only the partner's
# side is left.
MIRROR_FAILS_AT, MIRROR_UNDO_MARKS = 21, (22, 26, 30)
# A group fails when it is served; its one undo is yet to be done.
START_FAILS_AT, START_UNDO_MARKS = 4, (5,)
# Of what is changed under its users each daemon dies at so many marks after the one before, so that 2 tries every end.
# A growth: the partner's volume is larger, it is promoted. A replacement: the new disk is attached and nowhere on
# record; all but the old volume's removal is done. A mode: it is on record and the file system mounted yet; that is
# unmounted.
GROWTH_STEPS, REPLACEMENT_STEPS, MODE_STEPS = 9, 7, 4
ADD_STEPS, REMOVE_STEPS = 11, 5
GROWTH_DEATHS, REPLACEMENT_DEATHS = (4, 2), (6, 2)
MODE_DEATHS = {"destination": (4, 1), "none": (6, 1)}
# Make, mount, allocate, record; the last beginning fails.
FILE_STEPS, FILE_FAILS_AT = 4, 7
# Of the growth of one that is served: the file system is larger; the file is, on record, and the unit not yet.
FILE_GROWTH_STEPS, FILE_GROWTH_DEATHS = 5, (4, 2)
DIES_WITHIN_S = 60.0  # until the job has come to its mark, in a lab that shares the machine
STARTS_AGAIN_WITHIN_S = 30.0
ENDS_WITHIN_S = 45.0


@pytest.fixture(scope="module")
def pair(lab_session: Lab) -> Iterator[Bed]:
    bed = begin_dying(lab_session)
    yield bed
    end(bed)


def begin_dying(lab: Lab) -> Bed:
    """Two paired nodes; the daemon of node a dies on order."""
    bed = begin_anew(lab)
    files.pair(bed, Report())
    program = str(CHECKOUT / "tests/lab/dying_daemon.py")
    bed.a.node.start_service(DAEMON, [PYTHON, "-s", program, "--config", CONFIG], ENVIRONMENT, at_boot=True)
    bed.a.api.wait_until_it_answers(STARTS_AGAIN_WITHIN_S)
    return bed


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
    bed: Bed,
    kind: str,
    mark: int,
    path: str,
    body: Any,
    *,
    method: str = "POST",
    fails_at: int | None = None,
    lives: int = 1,
) -> dict[str, Any]:
    """Ask for a job whose daemon dies at a mark, perhaps after it failed, and follow it to its end under the next.

    With several `lives` the next ones die too, each at such a mark of its own.
    """

    def starts() -> int:
        return bed.a.node.services()[DAEMON]["starts"] or 0

    before = starts()
    key = {"Idempotency-Key": f"{kind}-{before}-{mark}-{fails_at}"}
    bed.a.node.write_file(
        ORDER, json.dumps({"kind": kind, "mark": mark, "fails_at": fails_at, "lives": lives}).encode()
    )
    with suppress(OSError):  # the daemon may be gone before it has answered
        bed.a.api.call(method, path, body, headers=key)
    deaths = f"{lives} daemons die at mark {mark} of {kind}"
    wait_for(lambda: starts() >= before + lives, lives * DIES_WITHIN_S, deaths)
    bed.a.api.wait_until_it_answers(STARTS_AGAIN_WITHIN_S)
    job: dict[str, Any] = bed.a.api.items("/v1/jobs")[0]
    assert job["kind"] == kind
    # Whoever got no answer asks again, and is told of that job: there is no second one.
    assert bed.a.api.call(method, path, body, headers=key)["id"] == job["id"]
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


def sh(storage: StorageNode, script: str) -> str:
    return str(storage.node.run(["sh", "-ec", script]).stdout.decode())


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


@pytest.mark.long
@pytest.mark.timeout(180, func_only=True)
def test_a_volume_with_file_io_is_made_by_the_next_daemons_and_outlives_a_power_cut(bed: Bed) -> None:
    """One that died at the end of each step; then what was acknowledged is compared, beside a unit with a cache."""
    job = die(bed, "volume.create", 2, "/v1/volumes", file_io.volume(file_io.SAFE), lives=FILE_STEPS)
    assert (job["state"], len(job["steps"])) == ("done", FILE_STEPS)
    bed.a.api.change("POST", "/v1/volumes", file_io.volume(file_io.CACHED))
    initiator = Initiator(bed.initiator, file_io.IQN, bed.a.node.address("client"))
    try:
        disks = file_io.export(bed, initiator)
        safe, cached = disks[file_io.SAFE], disks[file_io.CACHED]
        told = [
            bed.initiator.read_file(f"/sys/block/{d[5:]}/queue/write_cache").decode().strip() for d in (safe, cached)
        ]
        assert told == ["write through", "write back"]
        size_bytes = file_io.unit_bytes(bed, file_io.SAFE)
        assert int(bed.initiator.read_file(f"/sys/block/{safe[5:]}/size")) * 512 == size_bytes
        assert [file_io.written_bytes(bed, disk) for disk in (safe, cached)] == [0, 0]

        writing = Writing(
            bed.initiator, safe, "file", first=1024, blocks=2048, log=bed.lab.layout.root / "writes-file.log"
        )
        writing.wait_acknowledged(200, 30)
        grow_both(bed, disks)
        for disk in (cached, safe):
            file_io.write_unflushed(bed, disk)
        bed.a.node.cut()
        boot_again(bed.a)
        writing.wait_acknowledged(200, 60)
        writing.stop()
        verdict = writing.judge()
        print(f"{verdict.acknowledged} writes acknowledged, longest gap {verdict.longest_gap_ms:.0f} ms")
        assert_clean(verdict)
        # The control: that a write which is not on the disk does not survive.
        kept = [file_io.written_bytes(bed, disk) for disk in (safe, cached)]
        assert (kept[0], kept[1] < kept[0]) == (file_io.PATTERN_BLOCKS * 4096, True), kept
        assert bed.a.api.get(f"/v1/targets/{file_io.TARGET}/identity")["is_same"] is True
        assert file_io.size_after_rescan(bed, safe) == file_io.unit_bytes(bed, file_io.SAFE)
    finally:
        initiator.log_out()
    bed.a.api.change("DELETE", f"/v1/targets/{file_io.TARGET}?confirm={file_io.TARGET}")
    for name in file_io.LUNS:
        bed.a.api.change("DELETE", f"/v1/volumes/{name}?confirm={name}")
    assert file_io.mounts(bed) == []


def grow_both(bed: Bed, disks: dict[str, str]) -> None:
    """While one of them is written: the initiator goes on with both, and finds them larger when it looks again."""
    larger = {"size_bytes": file_io.BYTES + 64 * MIB}
    mark, lives = FILE_GROWTH_DEATHS
    job = die(bed, "volume.grow", mark, f"/v1/volumes/{file_io.SAFE}/grow", larger, lives=lives)
    assert (job["state"], len(job["steps"])) == ("done", FILE_GROWTH_STEPS), job
    bed.a.api.change("POST", f"/v1/volumes/{file_io.CACHED}/grow", larger)
    for name, disk in disks.items():
        volume = bed.a.api.get(f"/v1/volumes/{name}")
        assert (volume["size_bytes"], volume["drift"]) == (larger["size_bytes"], [])
        assert volume["unit_bytes"] > file_io.BYTES - 64 * MIB
        assert file_io.size_after_rescan(bed, disk) == volume["unit_bytes"]
        # To its very end.
        last_block = volume["unit_bytes"] // 4096 - 1
        bed.initiator.run(
            ["dd", "if=/dev/zero", f"of={disk}", "bs=4k", "count=1", f"seek={last_block}", "oflag=direct"]
        )


def test_a_volume_with_file_io_that_goes_back_leaves_no_mount(bed: Bed) -> None:
    body = file_io.volume(file_io.SAFE)
    job = die(bed, "volume.create", FILE_FAILS_AT + 1, "/v1/volumes", body, fails_at=FILE_FAILS_AT)
    assert_undone(job, FILE_FAILS_AT)
    assert file_io.mounts(bed) == []
    assert_reality_matches(bed)


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


# --- of what is there already ---


@pytest.fixture(scope="module")
def mirrored(pair: Bed) -> Bed:
    """The pair with a mirror m-g of the volume g."""
    wanted = {"pool": files.POOL, "name": "g", "size_bytes": 16 * MIB, "kind": "iscsi"}
    pair.a.api.change("POST", "/v1/volumes", wanted)
    pair.a.api.change("POST", "/v1/mirrors", {"name": "m-g", "volumes": ["g"], "first_sync": "zero"})
    return pair


def side(storage: StorageNode) -> dict[str, Any]:
    """The volume g of m-g as the kernel has it."""
    [volume] = storage.api.get("/v1/mirrors/m-g")["this_node"]["status"]["volumes"]
    return dict(volume)


@pytest.mark.long
def test_a_growth_and_then_a_replacement_go_on_in_the_next_daemon(mirrored: Bed, lab_bed: Lab) -> None:
    bed = mirrored
    body = {"volume": "g", "size_bytes": 32 * MIB}
    mark, lives = GROWTH_DEATHS
    job = die(bed, "mirror.grow", mark, "/v1/mirrors/m-g/grow", body, lives=lives)
    assert (job["state"], len(job["steps"])) == ("done", GROWTH_STEPS), job
    assert_reality_matches(bed)
    for storage in (bed.a, bed.b):
        volume = storage.api.get("/v1/volumes/g")
        assert (volume["size_bytes"], volume["actual"]["size_bytes"], volume["drift"]) == (32 * MIB, 32 * MIB, [])
        assert side(storage)["size_bytes"] == 32 * MIB
        assert storage.api.get("/v1/mirrors/m-g")["this_node"]["status"]["role"] == "Secondary"
    assert bed.a.api.change("POST", "/v1/mirrors/m-g/verify")["result"]["is_equal"]

    a, lower = bed.a, f"/dev/{files.POOL}/g"
    device = str(side(a)["device"])
    minor = device.removeprefix("/dev/drbd")
    sh(a, f"{DRBDSETUP} primary {minor}; dd if=/dev/urandom of={device} bs=1M count=32 oflag=direct status=none")
    broken = f"dmsetup load {lower} --table '0 {32 * MIB // 512} error'; dmsetup suspend --nolockfs {lower}"
    sh(a, f"{broken}; dmsetup resume {lower}; dd if=/dev/urandom of={device} bs=64k count=4 oflag=direct status=none")
    written = sh(a, f"sha256sum <{device}")
    sh(a, f"{DRBDSETUP} secondary {minor}")
    make_spare_pool(a)
    replacement = {"volume": "g", "pool": "spare", "remove_old": True}
    mark, lives = REPLACEMENT_DEATHS
    job = die(bed, "mirror.replace-disk", mark, "/v1/mirrors/m-g/replace-disk", replacement, lives=lives)
    assert (job["state"], len(job["steps"])) == ("done", REPLACEMENT_STEPS), job
    wait_for(lambda: bool(a.api.get("/v1/mirrors/m-g")["is_in_sync"]), ENDS_WITHIN_S, "all was sent to the new disk")
    assert_reality_matches(bed)
    for storage, pool in ((a, "spare"), (bed.b, files.POOL)):
        volume = storage.api.get("/v1/volumes/g")
        assert (volume["pool"], volume["drift"]) == (pool, [])
        assert sh(storage, f"dd if=/dev/{pool}/g bs=1M iflag=direct status=none | sha256sum") == written
    # What lies on the new disk, which is memory of this kernel, would not outlive another test's power cut.
    a.api.change("DELETE", "/v1/mirrors/m-g?confirm=m-g")
    for storage in (a, bed.b):
        storage.api.change("DELETE", "/v1/volumes/g?confirm=g")


@pytest.mark.long
@pytest.mark.timeout(240, func_only=True)
def test_a_volume_is_added_to_a_mirror_and_taken_out_by_the_next_daemons(bed: Bed) -> None:
    """Each has gone on with the job of the one before, and dies when one more step is done."""
    for volume in ("p", "q"):
        wanted = {"pool": files.POOL, "name": volume, "size_bytes": 16 * MIB, "kind": "iscsi"}
        bed.a.api.change("POST", "/v1/volumes", wanted)
    bed.a.api.change("POST", "/v1/mirrors", {"name": "m-p", "volumes": ["p"], "first_sync": "zero"})
    sh(bed.a, f"dd if=/dev/urandom of=/dev/{files.POOL}/q bs=1M count=16 oflag=direct status=none")
    data = sh(bed.a, f"sha256sum </dev/{files.POOL}/q")
    body = {"volume": "q", "first_sync": "full"}
    job = die(bed, "mirror.add-volume", 2, "/v1/mirrors/m-p/add-volume", body, lives=ADD_STEPS)
    assert (job["state"], len(job["steps"])) == ("done", ADD_STEPS), job
    for storage in (bed.a, bed.b):
        found = kernel_mirrors(storage)
        assert len(found) == 2, found
        assert all(line.startswith("cs:Connected ") and " ds:UpToDate/UpToDate " in line for line in found), found
        assert storage.api.get("/v1/mirrors/m-p")["volumes"] == ["p", "q"]
    assert bed.a.api.change("POST", "/v1/mirrors/m-p/verify")["result"]["is_equal"]
    path = "/v1/mirrors/m-p/remove-volume?confirm=q"
    job = die(bed, "mirror.remove-volume", 2, path, {"volume": "q"}, lives=REMOVE_STEPS)
    assert (job["state"], len(job["steps"])) == ("done", REMOVE_STEPS), job
    for storage in (bed.a, bed.b):
        assert sh(storage, f"dd if=/dev/{files.POOL}/q bs=1M iflag=direct status=none | sha256sum") == data
        storage.api.change("DELETE", "/v1/volumes/q?confirm=q")
    assert_reality_matches(bed)
    bed.a.api.change("DELETE", "/v1/mirrors/m-p?confirm=m-p")
    for storage in (bed.a, bed.b):
        storage.api.change("DELETE", "/v1/volumes/p?confirm=p")


@pytest.mark.long
def test_a_change_of_mode_goes_on_in_the_next_daemon(bed: Bed) -> None:
    a, path = bed.a, "/v1/volumes/n/replication?confirm=n"
    wanted = {"pool": files.POOL, "name": "n", "size_bytes": 304 * MIB, "kind": "nas"}
    directory = a.api.change("POST", "/v1/volumes", wanted)["result"]["mounted_at"]
    sh(a, f"echo kept >{directory}/file; sync")
    for mode, mounts in (("destination", 0), ("none", 1)):
        mark, lives = MODE_DEATHS[mode]
        job = die(bed, "volume.set-mode", mark, path, {"mode": mode}, method="PUT", lives=lives)
        assert (job["state"], len(job["steps"])) == ("done", MODE_STEPS), job
        volume = a.api.get("/v1/volumes/n")
        assert (volume["replication_mode"], volume["drift"]) == (mode, [])
        assert len([line for line in sh(a, "cat /proc/mounts").splitlines() if f" {directory} " in line]) == mounts
    assert sh(a, f"cat {directory}/file") == "kept\n"
    a.api.change("DELETE", "/v1/volumes/n?confirm=n")


# --- in the middle of zeroing ---

ZERO_BYTES, ZERO_LIMIT_BYTES_S = 64 * MIB, 10 * MIB
CANCELLED_BYTES, CANCELLED_LIMIT_BYTES_S = 16 * MIB, MIB
MARK_OFFSET = 100 * 1024  # where no sample is read: what is left there was not zeroed again


def begin_zeroing(bed: Bed, name: str, size_bytes: int, limit_bytes_s: int) -> dict[str, Any]:
    """A mirror that is being made of what is not zero on either node, slowly."""
    extents = f"-an -Zn -Wn -y -L {size_bytes}b -n before {files.POOL}"
    wanted = {"pool": files.POOL, "name": name, "size_bytes": size_bytes, "kind": "iscsi"}
    bed.a.api.change("POST", "/v1/volumes", wanted)
    sh(bed.b, f"lvcreate {extents} >/dev/null; lvchange -ay {files.POOL}/before")
    for storage, volume in ((bed.a, name), (bed.b, "before")):
        device = f"/dev/{files.POOL}/{volume}"
        sh(
            storage,
            f"tr '\\0' '\\245' </dev/zero | dd of={device} bs=1M iflag=fullblock oflag=direct status=none || true",
        )
    sh(bed.b, f"lvremove -y {files.POOL}/before >/dev/null")
    body = {"name": f"m-{name}", "volumes": [name], "first_sync": "zero", "zero_limit_bytes_s": limit_bytes_s}
    job: dict[str, Any] = bed.a.api.call("POST", "/v1/mirrors", body, headers={"Prefer": "respond-async"})
    return job


def zeroed(bed: Bed, job: dict[str, Any]) -> dict[str, int]:
    """How many bytes of each node the job says are zero."""
    text = bed.a.api.get(f"/v1/jobs/{job['id']}")["progress"]["text"] or ""
    return {node: int(done) for node, done in re.findall(r"(\w+): (\d+) of \d+ bytes are zeroed", text)}


def wait_zeroed(bed: Bed, job: dict[str, Any], least_bytes: int) -> dict[str, int]:
    wait_for(lambda: min(zeroed(bed, job).values(), default=0) >= least_bytes, 30, f"{least_bytes} bytes are zeroed")
    return zeroed(bed, job)


def leave_a_mark(storage: StorageNode, device: str) -> None:
    """Put 4 KiB into what was zeroed already."""
    sh(
        storage,
        f"tr '\\0' '\\132' </dev/zero | dd of={device} bs=4k count=1 seek={MARK_OFFSET // 4096} iflag=fullblock"
        " oflag=direct conv=notrunc status=none",
    )


def not_zero(storage: StorageNode, device: str) -> list[str]:
    """Each byte value but 0 that is there, and how often."""
    counted = sh(
        storage, f"dd if={device} bs=1M iflag=direct status=none | tr -d '\\0' | od -An -v -tx1 -w1 | sort | uniq -c"
    )
    return [" ".join(line.split()) for line in counted.splitlines()]


@pytest.mark.long
@pytest.mark.timeout(180, func_only=True)
def test_zeroing_goes_on_in_the_middle_after_a_kill_and_after_the_partners_power_cut(bed: Bed) -> None:
    job = begin_zeroing(bed, "z", ZERO_BYTES, ZERO_LIMIT_BYTES_S)
    device = f"/dev/{files.POOL}/z"
    before = wait_zeroed(bed, job, 8 * MIB)
    for storage in (bed.a, bed.b):
        leave_a_mark(storage, device)
    bed.a.node.run(["pkill", "-9", "-f", "dying_daemon.py"])
    bed.a.api.wait_until_it_answers(STARTS_AGAIN_WITHIN_S)
    wait_zeroed(bed, job, max(before.values()) + 8 * MIB)
    bed.b.node.cut()
    bed.b.node.boot()
    job = bed.a.api.follow(job, "mirror.create", within_s=90)
    print("\n".join(job["log"]))
    log = " ".join(job["log"])
    [went_on] = re.findall(r"zeroing goes on where it was: a: (\d+) of \d+ bytes are zeroed; b: (\d+) of", log)
    assert min(int(done) for done in went_on) >= min(before.values())
    assert "zeroing waits for b" in log
    # Other mirrors find their partner again.
    wait_for(lambda: all(line.startswith("cs:Connected ") for line in kernel_mirrors(bed.a)), ENDS_WITHIN_S, "they do")
    assert_reality_matches(bed)
    bed.a.api.change("DELETE", "/v1/mirrors/m-z?confirm=m-z")
    for storage in (bed.a, bed.b):
        assert not_zero(storage, device) == ["4096 5a"], "all is zeroed, and nothing twice"
        storage.api.change("DELETE", "/v1/volumes/z?confirm=z")


def test_zeroing_is_cancelled_at_once_and_leaves_nothing(bed: Bed) -> None:
    job = begin_zeroing(bed, "y", CANCELLED_BYTES, CANCELLED_LIMIT_BYTES_S)
    wait_zeroed(bed, job, MIB)
    began_s = time.monotonic()
    bed.a.api.call("POST", f"/v1/jobs/{job['id']}/cancel")
    with pytest.raises(Refused, match="cancelled"):
        bed.a.api.follow(job, "mirror.create", within_s=20)
    print(f"cancelled and undone within {time.monotonic() - began_s:.1f} s")
    assert_reality_matches(bed, frozenset({"y"}))
    bed.a.api.change("DELETE", "/v1/volumes/y?confirm=y")


# --- on its way back ---


def assert_undone(job: dict[str, Any], fails_at: int) -> None:
    """It ended because a step failed, and every step that had begun was taken back."""
    assert job["state"] == "failed"
    assert job["error"]["message"].endswith(f"was made to fail at mark {fails_at}")
    assert {step["state"] for step in job["steps"]} == {"undone"}


@pytest.mark.long
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
