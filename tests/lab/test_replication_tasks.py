"""Tasks through the API on real kernels: every kind of replication, encrypted, with rules, and a changing password."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from demo import files
from demo.bed import ENVIRONMENT, PYTHON, Bed, StorageNode, wait_for
from demo.client import Refused
from demo.report import Report
from lab import Lab
from lab.layout import CHECKOUT
from tests.lab.product import begin_anew, end

pytestmark = [pytest.mark.lab(seconds=75, is_patient=True), pytest.mark.timeout(150, func_only=True)]

MIB = 1 << 20
ONE, TWO = "one", "two"
PORT = 8873
WITHIN_S = 60.0
PASSWORD = "only for tests"
WORDS = b"what nobody on the line is to read "


@pytest.fixture(scope="module")
def pair(lab_session: Lab) -> Iterator[Bed]:
    """Two paired nodes, each with sources on one volume and copies on another, and an encrypted agent."""
    bed = begin_anew(lab_session)
    files.pair(bed, Report())
    for storage in (bed.a, bed.b):
        for volume in (ONE, TWO):
            body = {"pool": files.POOL, "name": volume, "size_bytes": files.NAS_BYTES, "kind": "nas"}
            storage.api.change("POST", "/v1/volumes", body)
        storage.api.change("POST", "/v1/shares", {"name": "docs", "volume": ONE, "path": "docs"})
        agent = {"is_enabled": True, "address": storage.node.address("replication"), "port": PORT}
        storage.api.change("PUT", "/v1/agent", agent)
    for source, destination in ((bed.a, bed.b), (bed.b, bed.a), (bed.a, bed.a)):
        make_task(source, destination)
    yield bed
    end(bed)


def make_task(source: StorageNode, destination: StorageNode) -> None:
    """A replica share of its own on the destination, and the task that copies into it."""
    name = f"{source.name}-to-{destination.name}"
    destination.api.change("POST", "/v1/shares", {"name": name, "volume": TWO, "path": name})
    login = {"user": "copier", "password": PASSWORD}
    sources = [source.node.address("replication")]
    replica = {"name": name, "share": name, "allowed_sources": sources, **login}
    destination.api.change("POST", "/v1/replica-shares", replica)
    address = destination.node.address("replication")
    found = source.api.call("POST", "/v1/agent/browse", {"address": address, "port": PORT})
    assert name in [item["name"] for item in found["items"]]
    where = {"agent_address": address, "agent_port": PORT, "replica_share": name}
    task = {"name": name, "share": "docs", "retry_delay_s": 1, **where, **login}
    source.api.change("POST", "/v1/replication-tasks", task)


@pytest.fixture
def bed(pair: Bed, lab_bed: Lab) -> Bed:
    """The pair with a small tree at each source."""
    for storage in (pair.a, pair.b):
        sh(storage, f"rm -rf {docs(storage)}/*; cp -a {CHECKOUT}/lab {CHECKOUT}/demo {docs(storage)}/")
        sh(storage, f"echo {storage.name} >{docs(storage)}/whose")
    return pair


def sh(storage: StorageNode, script: str) -> str:
    return storage.node.run(["sh", "-ec", script], timeout_s=90).stdout.decode()


def docs(storage: StorageNode) -> str:
    return f"/srv/holdfast/{files.POOL}/{ONE}/docs"


def copy_of(name: str) -> str:
    return f"/srv/holdfast/{files.POOL}/{TWO}/{name}"


def run(storage: StorageNode, name: str, **body: Any) -> dict[str, int]:
    path = f"/v1/replication-tasks/{name}/run"
    counts: dict[str, int] = storage.api.change("POST", path, body, within_s=WITHIN_S)["result"]
    return counts


def listing(storage: StorageNode, directory: str) -> list[str]:
    argv = [PYTHON, "-s", "-m", "demo.listing", directory]
    done = storage.node.run(argv, timeout_s=90, cwd=str(CHECKOUT), env=ENVIRONMENT)
    return done.stdout.decode().splitlines()


def assert_copied(source: StorageNode, destination: StorageNode) -> None:
    name = f"{source.name}-to-{destination.name}"
    assert listing(source, docs(source)) == listing(destination, copy_of(name))


def nic(storage: StorageNode) -> str:
    address = re.escape(storage.node.address("replication"))
    found = re.search(rf"^\d+: (\S+) +inet {address}/", sh(storage, "ip -o -4 addr"), re.MULTILINE)
    assert found is not None
    return found[1]


def test_both_nodes_copy_to_each_other_at_once_and_within_one_system(bed: Bed) -> None:
    """Cross replication; two sources into one destination's agent, a; one source, a's docs, to two destinations."""
    with ThreadPoolExecutor(2) as both:
        crossing = [both.submit(run, bed.a, "a-to-b"), both.submit(run, bed.b, "b-to-a")]
        print([one.result() for one in crossing])
    run(bed.a, "a-to-a")
    for source, destination in ((bed.a, bed.b), (bed.b, bed.a), (bed.a, bed.a)):
        assert_copied(source, destination)


LISTENER = """
import pathlib, socket, sys
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
raw.bind((sys.argv[1], 0))
raw.settimeout(0.2)
print("ready", flush=True)
count, heard, enough = 0, 0, pathlib.Path(sys.argv[3])
while not enough.exists():
    try:
        frame = raw.recv(65535)
    except TimeoutError:
        continue
    count += len(frame)
    heard += sys.argv[2].encode() in frame
print(count, heard, flush=True)
"""


def listen_while_copying(bed: Bed) -> tuple[int, int]:
    """How many bytes crossed while the task ran, and how many frames held the words."""
    sh(bed.b, "rm -f /run/heard-enough")
    argv = [PYTHON, "-c", LISTENER, nic(bed.b), WORDS.decode(), "/run/heard-enough"]
    line = bed.b.node.popen(argv)
    told = line.lines()
    assert next(told) == "ready"
    sh(bed.a, f"yes {shlex.quote(WORDS.decode())} | head -c 300000 >{docs(bed.a)}/letter.$(date +%N)")
    run(bed.a, "a-to-b")
    sh(bed.b, "touch /run/heard-enough")
    count, heard = (int(word) for word in next(told).split())
    return count, heard


@pytest.mark.long
def test_what_crosses_is_read_by_nobody_unless_it_is_sent_in_clear(bed: Bed) -> None:
    run(bed.a, "a-to-b")
    count, heard = listen_while_copying(bed)
    print(f"encrypted: {count} bytes, the words in {heard} frames")
    assert count > 300_000
    assert heard == 0
    agent = {"is_enabled": True, "address": bed.b.node.address("replication"), "port": PORT}
    try:
        bed.b.api.change("PUT", "/v1/agent", {**agent, "transport": "plain"})
        change(bed.a, "a-to-b", retries=0)
        with pytest.raises(Refused, match="TLS"):
            run(bed.a, "a-to-b")
        change(bed.a, "a-to-b", transport="plain")
        count, heard = listen_while_copying(bed)
        print(f"in clear: {count} bytes, the words in {heard} frames")
        assert heard > 0
    finally:
        bed.b.api.change("PUT", "/v1/agent", agent)
        change(bed.a, "a-to-b", transport="tls", retries=3)
    assert_copied(bed.a, bed.b)


def change(storage: StorageNode, name: str, **fields: Any) -> None:
    storage.api.change("PATCH", f"/v1/replication-tasks/{name}", fields)


def test_over_a_long_and_lossy_line_a_compressed_and_limited_copy_is_equal(bed: Bed) -> None:
    change(bed.a, "a-to-b", is_compressed=True, bandwidth_bytes_s=4 * MIB)
    link = nic(bed.a)
    sh(bed.a, f"modprobe sch_netem; tc qdisc add dev {link} root netem delay 25ms loss 0.5% rate 50mbit")
    try:
        sh(bed.a, f"seq 500000 >{docs(bed.a)}/numbers")
        counts = run(bed.a, "a-to-b")
        print(f"25 ms, 0.5 % lost: {counts}")
        assert counts["sent_bytes"] < counts["literal_bytes"]
    finally:
        sh(bed.a, f"tc qdisc del dev {link} root")
        change(bed.a, "a-to-b", is_compressed=False, bandwidth_bytes_s=None)
    assert_copied(bed.a, bed.b)


def test_a_run_whose_connection_was_cut_goes_on_by_itself_and_begins_nothing_anew(bed: Bed) -> None:
    change(bed.a, "a-to-b", bandwidth_bytes_s=12 * MIB)
    size = 48 * MIB
    try:
        sh(bed.a, f"head -c {size} /dev/urandom >{docs(bed.a)}/large")
        job = bed.a.api.call("POST", "/v1/replication-tasks/a-to-b/run", {})
        held = f"stat -c %s {copy_of('a-to-b')}/.large.* 2>/dev/null || true"
        wait_for(lambda: int((sh(bed.b, held).split() or ["0"])[0]) > size // 2, WITHIN_S, "half of the file arrived")
        # What carries the connection, and nothing else, ends; the agent is started again.
        sh(bed.b, "kill -9 $(pgrep -x stunnel)")
        counts = bed.a.api.follow(job, "run", within_s=WITHIN_S)["result"]
    finally:
        change(bed.a, "a-to-b", bandwidth_bytes_s=None)
    print(f"after the cut: {counts}")
    log = str(bed.a.api.get(f"/v1/jobs/{job['id']}")["log"])
    assert "attempt 1 failed" in log
    assert counts["literal_bytes"] < size * 7 // 10
    assert_copied(bed.a, bed.b)
    sh(bed.a, f"rm {docs(bed.a)}/large")


def test_a_password_changes_while_the_task_runs_and_no_run_fails(bed: Bed) -> None:
    sh(bed.a, f"head -c {8 * MIB} /dev/urandom >{docs(bed.a)}/large")
    change(bed.a, "a-to-b", bandwidth_bytes_s=4 * MIB, retries=0)
    try:
        job = bed.a.api.call("POST", "/v1/replication-tasks/a-to-b/run", {})
        wait_for(lambda: "large" in sh(bed.b, f"ls -A {copy_of('a-to-b')}"), WITHIN_S, "content arrives")
        path = "/v1/replica-shares/a-to-b/rotate"
        result = bed.b.api.change("POST", path, {"password": "a new one for tests"})["result"]
        assert result["tasks_told"] == 1
        bed.a.api.follow(job, "run", within_s=WITHIN_S)
    finally:
        change(bed.a, "a-to-b", bandwidth_bytes_s=None, retries=3)
    run(bed.a, "a-to-b")
    assert_copied(bed.a, bed.b)


def test_rules_a_look_ahead_and_the_guard_of_deletions(bed: Bed) -> None:
    run(bed.a, "a-to-b", confirm_deletions=True)
    change(bed.a, "a-to-b", filters=[{"pattern": "/demo/", "is_included": False}])
    try:
        sh(bed.a, f"cd {docs(bed.a)}; rm -r lab demo; mkdir demo; echo new >kept; echo x >demo/left-out")
        before = listing(bed.b, copy_of("a-to-b"))
        path = "/v1/replication-tasks/a-to-b/dry-run"
        seen = bed.a.api.change("POST", path, {"most": 1000}, within_s=WITHIN_S)["result"]
        told = {(item["action"], item["path"]) for item in seen["changes"]}
        assert {("send", "kept"), ("delete", "lab/README.md")} <= told
        assert not [name for _, name in told if name.startswith("demo")]
        with pytest.raises(Refused, match=f"{seen['files_deleted']} of the") as refused:
            run(bed.a, "a-to-b")
        print(refused.value)
        assert listing(bed.b, copy_of("a-to-b")) == before
        assert bed.a.api.items("/v1/snapshots") == []
        counts = run(bed.a, "a-to-b", confirm_deletions=True)
        assert (counts["files_sent"], counts["files_deleted"]) == (1, seen["files_deleted"])
        assert sh(bed.b, f"ls {copy_of('a-to-b')}").split() == ["demo", "kept", "whose"]
        assert "left-out" not in sh(bed.b, f"ls {copy_of('a-to-b')}/demo")
    finally:
        change(bed.a, "a-to-b", filters=[])
