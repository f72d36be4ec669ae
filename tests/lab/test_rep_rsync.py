"""Copies between two real kernels, from XFS to XFS: every attribute, and every way that a copy may be cut short."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from holdfast.testing.trees import Entry, differences
from lab import Lab, Node
from tests.lab.product import blank
from tests.lab.rsync_node import IO_TIMEOUT_S
from tests.lab.worker import worker

# The wait for another lab on the machine is not the test's.
pytestmark = [pytest.mark.lab(seconds=100, is_patient=True), pytest.mark.timeout(180, func_only=True)]

MIB = 1 << 20
LARGE_MIB = 64
MOUNT = "/srv/rsync-test"
PASSWORD = "right: pass word"  # of a test
# A cut wire is noticed when nothing was heard for the time limit; the program itself starts within the rest.
CUT_NOTICED_WITHIN_S = IO_TIMEOUT_S * 2 + 4.0
COPY_WITHIN_S = 30.0


@dataclass
class Bed:
    """Node a has the source, node b the replica; each on an XFS of its own data disk."""

    lab: Lab
    tls: dict[str, Any] | None = None

    @property
    def spec(self) -> dict[str, Any]:
        return {"address": self.lab.address("b", "replication"), "port": 8730, "tls": self.tls}

    @property
    def run(self) -> dict[str, Any]:
        run = {"agent": self.spec, "replica": "docs", "user": "copier", "password": PASSWORD}
        return {"source": f"{MOUNT}/docs", **run}

    def node(self, name: str) -> Node:
        return self.lab.node(name)

    def sh(self, name: str, script: str, *, timeout_s: float = 60) -> str:
        return self.node(name).run(["sh", "-ec", script], timeout_s=timeout_s).stdout.decode()

    def call(self, name: str, call: str, **given: Any) -> Any:
        [answer] = worker(self.node(name), "tests.lab.rsync_node", "plugins/rep_rsync").ask(
            {"call": call, "given": given}
        )
        return answer

    def make_file_systems(self) -> None:
        for name in ("a", "b"):
            device = self.node(name).device("data")
            script = f"umount -q {MOUNT} || true; vgchange -qan >/dev/null 2>&1 || true; wipefs -qa {device}"
            self.sh(name, f"{script}; mkfs.xfs -qf {device}; mkdir -p {MOUNT}")
            self.mount(name)
            self.sh(name, f"mkdir {MOUNT}/docs")

    def mount(self, name: str) -> None:
        self.sh(name, f"mkdir -p {MOUNT}; mount {self.node(name).device('data')} {MOUNT}")

    def encrypt(self) -> None:
        """Start the agent anew, encrypted; copies show the certificate that it trusts."""
        tls = {name: self.call(name, "make_identity", identity=name)["answer"] for name in ("a", "b")}
        both = [*tls["a"]["trusted"], *tls["b"]["trusted"]]
        for name in tls:
            tls[name] = {**tls[name], "trusted": both}
        self.tls = tls["b"]
        self.start_agent()
        self.tls = tls["a"]

    def start_agent(self) -> None:
        share = {"name": "docs", "path": f"{MOUNT}/docs", "user": "copier", "password": PASSWORD}
        sources = [self.lab.address("a", "replication")]
        answer = self.call("b", "start_agent", spec=self.spec, replicas=[{**share, "allowed_sources": sources}])
        assert "error" not in answer, answer

    def copy(self, **changes: Any) -> Any:
        return self.call("a", "copy", run={**self.run, **changes})

    def verify(self, *sample: str) -> Any:
        return self.call("a", "verify", run=self.run, sample=sample)

    def tree(self, name: str) -> dict[bytes, Entry]:
        plain = ast.literal_eval(self.call(name, "read_tree", directory=f"{MOUNT}/docs")["answer"])
        return {path: Entry(*values) for path, values in plain.items()}

    def assert_equal(self) -> None:
        assert differences(self.tree("a"), self.tree("b")) == ()


@pytest.fixture(scope="module")
def blank_nodes(lab_session: Lab) -> None:
    blank(lab_session)


@pytest.fixture
def bed(blank_nodes: None, lab_bed: Lab) -> Iterator[Bed]:
    bed = Bed(lab_bed)
    bed.call("b", "stop_agent")
    bed.make_file_systems()
    bed.start_agent()
    yield bed
    lab_bed.restore()
    bed.call("b", "stop_agent")
    for name in ("a", "b"):
        bed.sh(
            name,
            f"umount -q /srv/rsync-snapshot || true; umount -q {MOUNT} || true; vgchange -qan >/dev/null 2>&1 || true",
        )
        bed.sh(name, f"wipefs -qa {bed.node(name).device('data')}")


def test_a_tree_arrives_equal_and_the_second_run_moves_only_the_change(bed: Bed) -> None:
    assert bed.call("a", "browse", spec=bed.spec)["answer"] == [
        {"name": "docs", "comment": "Holdfast replica share", "bandwidth_bytes_s": None}
    ]
    bed.call("a", "make_tree", directory=f"{MOUNT}/docs")
    bed.sh(
        "a",
        f"cp -a /usr/share/doc/python3* /usr/share/doc/lib[a-l]* {MOUNT}/docs/ && setfacl -m u:4711:rwX {MOUNT}/docs",
    )
    first = bed.copy()
    assert first["took_s"] < COPY_WITHIN_S
    bed.assert_equal()
    assert bed.verify("docs/big", "sparse")["answer"] == []

    bed.sh("a", f"cd {MOUNT}/docs && printf changed | dd of=docs/big bs=1 seek=5000 conv=notrunc status=none")
    bed.sh("a", f"cd {MOUNT}/docs && rm -r python3 && setfattr -n user.colour -v red sparse && ln docs/empty linked")
    second = bed.copy()
    bed.assert_equal()
    print(f"first run {first}\nsecond run {second}")
    assert first["answer"]["files_sent"] > 500
    assert second["answer"]["files_sent"] == 1
    assert second["answer"]["literal_bytes"] < 10_000
    assert second["answer"]["files_deleted"] > 0


def test_a_refusal_says_why(bed: Bed) -> None:
    bed.sh("a", f"touch {MOUNT}/docs/file")
    assert bed.copy(password="wrong")["error"] == "DeniedError"
    assert bed.copy(replica="other")["error"] == "NotFoundError"
    # The other network leads to the same agent's node, but nothing listens there.
    elsewhere = {**bed.spec, "address": bed.lab.address("b", "management")}
    assert bed.copy(agent=elsewhere)["error"] == "UnavailableError"
    bed.sh("b", f"umount {MOUNT}")
    assert bed.copy()["error"] == "UnavailableError"


def test_a_full_destination_is_said_and_leaves_nothing_partial(bed: Bed) -> None:
    bed.sh("a", f"dd if=/dev/urandom of={MOUNT}/docs/large bs=1M count=64 status=none")
    bed.sh("b", f"fallocate -l $(( $(stat -f -c '%a * %S' {MOUNT}) - 32 * {MIB} )) {MOUNT}/filler")
    full = bed.copy()
    assert full["error"] == "NoSpaceError", full
    assert bed.sh("b", f"ls -A {MOUNT}/docs") == ""
    bed.sh("b", f"rm {MOUNT}/filler")
    assert "error" not in bed.copy()
    bed.assert_equal()


def test_a_cut_wire_fails_the_copy_in_time_and_the_next_one_is_whole(bed: Bed) -> None:
    bed.sh("a", f"dd if=/dev/urandom of={MOUNT}/docs/large bs=1M count=400 status=none", timeout_s=90)
    with ThreadPoolExecutor() as pool:
        copying = pool.submit(bed.copy)
        wait_for_content(bed)
        bed.node("b").link("replication", up=False)
        cut_s = time.monotonic()
        failed = copying.result(timeout=60)
    noticed_s = time.monotonic() - cut_s
    assert failed["error"] == "UnavailableError", failed
    assert noticed_s < CUT_NOTICED_WITHIN_S
    bed.node("b").link("replication", up=True)
    started_s = time.monotonic()
    # The agent's side of the cut copy holds the replica share until it gives up as well.
    assert "error" not in bed.copy()
    print(
        f"cut noticed after {noticed_s:.1f} s; next copy took {time.monotonic() - started_s:.1f} s, the wait included"
    )
    bed.assert_equal()


def test_an_encrypted_copy_that_a_cut_wire_ended_goes_on_in_the_middle_of_its_large_file(bed: Bed) -> None:
    bed.encrypt()
    bed.sh("a", f"mkdir {MOUNT}/docs/deep; dd if=/dev/urandom of={MOUNT}/docs/deep/large bs=1M count={LARGE_MIB}")
    limited = {"bandwidth_bytes_s": 20 * MIB}
    with ThreadPoolExecutor() as pool:
        copying = pool.submit(bed.copy, options=limited)
        wait_for_content(bed, "deep", least_bytes=LARGE_MIB * MIB // 2)
        bed.node("b").link("replication", up=False)
        failed = copying.result(timeout=60)
    assert failed["error"] == "UnavailableError", failed
    assert bed.sh("b", f"ls {MOUNT}/docs/deep") == ""
    bed.node("b").link("replication", up=True)
    done = bed.copy()
    print(f"after the cut: {done}")
    assert done["answer"]["literal_bytes"] < LARGE_MIB * MIB * 6 // 10
    bed.assert_equal()
    assert ".holdfast-partial" not in bed.sh("b", f"ls -A {MOUNT}/docs")


def test_a_power_cut_of_the_destination_during_a_copy_leaves_no_half_file(bed: Bed) -> None:
    bed.sh("a", f"dd if=/dev/urandom of={MOUNT}/docs/large bs=1M count=400 status=none", timeout_s=90)
    with ThreadPoolExecutor() as pool:
        copying = pool.submit(bed.copy)
        wait_for_content(bed)
        bed.node("b").cut()
        cut_s = time.monotonic()
        failed = copying.result(timeout=60)
    assert failed["error"] == "UnavailableError", failed
    assert time.monotonic() - cut_s < CUT_NOTICED_WITHIN_S
    bed.node("b").boot()
    bed.mount("b")
    assert "large" not in bed.sh("b", f"ls {MOUNT}/docs").split()
    bed.start_agent()
    assert "error" not in bed.copy()
    bed.assert_equal()


def test_what_was_verified_survives_a_power_cut_of_the_destination(bed: Bed) -> None:
    bed.sh(
        "a", f"cp -a /usr/share/doc/lib[a-c]* {MOUNT}/docs/; dd if=/dev/urandom of={MOUNT}/docs/large bs=1M count=20"
    )
    bed.copy()
    assert bed.verify()["answer"] == []
    bed.node("b").cut()
    bed.node("b").boot()
    bed.mount("b")
    bed.assert_equal()


def test_an_overflown_snapshot_fails_the_copy_and_deletes_nothing(bed: Bed) -> None:
    device = bed.node("a").device("data")
    bed.sh("a", f"umount {MOUNT}; wipefs -qa {device}; pvcreate -qy {device}; vgcreate -qy test {device}")
    bed.sh("a", "lvcreate -qy -L 600M -n nas test; mkfs.xfs -qf /dev/test/nas", timeout_s=60)
    bed.sh("a", f"mount /dev/test/nas {MOUNT}; mkdir {MOUNT}/docs; cp -a /usr/share/doc/lib[a-l]* {MOUNT}/docs/; sync")
    bed.copy()
    bed.assert_equal()
    before = bed.tree("b")
    bed.sh("a", "lvcreate -qy -s -L 16M -n frozen test/nas; mkdir -p /srv/rsync-snapshot")
    bed.sh("a", "mount -o ro,nouuid /dev/test/frozen /srv/rsync-snapshot")
    bed.sh("a", f"dd if=/dev/zero of={MOUNT}/flood bs=1M count=300 oflag=direct status=none; sync", timeout_s=90)
    bed.sh("a", "echo 3 >/proc/sys/vm/drop_caches")
    print(bed.sh("a", "lvs test; ls /srv/rsync-snapshot/docs 2>&1 | head -3 || true"))
    # dmeventd has unmounted it: the directory of the share is gone, that of the mount is empty.
    assert bed.copy(source="/srv/rsync-snapshot/docs").get("error") == "VerificationError"
    assert bed.copy(source="/srv/rsync-snapshot").get("error") == "RefusedError"
    assert differences(before, bed.tree("b")) == ()


def wait_for_content(bed: Bed, directory: str = ".", *, least_bytes: int = 0) -> None:
    """Return when content of the large file arrives, so much of it."""
    deadline_s = time.monotonic() + 30
    script = f"stat -c %s {MOUNT}/docs/{directory}/.large.* 2>/dev/null || true"
    while not (size := bed.sh("b", script).split()) or int(size[0]) < least_bytes:
        assert time.monotonic() < deadline_s, "the copy did not begin"
