"""Steps 1 and 2 of the main job: two nodes become a pair, and a share is copied from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from demo.bed import ENVIRONMENT, PYTHON, Bed, StorageNode, wait_for
from demo.report import Report, in_bytes
from lab.layout import CHECKOUT

MIB = 1 << 20
POOL, VOLUME, SHARE = "main", "documents", "docs"
REPLICA, TASK, AGENT_PORT = "docs-copy", "docs-to-b", 8873
USER, PASSWORD = "copier", "only for the demo"
NAS_BYTES = 512 * MIB
TREES = ("/usr/share/doc", "/usr/lib/python3")
ANSWERS_WITHIN_S = 10.0


def pair(bed: Bed, report: Report) -> None:
    """Step 1: pair the nodes, show the plugins, make the pools."""
    with report.step("the nodes are paired by a one-time code"):
        pair_with(bed.a, bed.b)
    for plugin in bed.a.api.items("/v1/plugins"):
        reasons = "; ".join(reason["text"] for reason in plugin["reasons"])
        report.say(f"plugin {plugin['name']}: {plugin['state']}" + (f" ({reasons})" if reasons else ""))
    with report.step("a pool on the blank disk of each node"):
        for storage in (bed.a, bed.b):
            disks = [storage.node.device("data")]
            storage.api.change("POST", "/v1/pools", {"name": POOL, "disks": disks})


def pair_with(one: StorageNode, other: StorageNode) -> None:
    """Carry a code from one node to the other, as a person does."""
    offer = one.api.call("POST", "/v1/pairing/offer", {})
    where = {"address": one.node.address("management"), "port": offer["port"], "code": offer["code"]}
    other.api.call("POST", "/v1/pairing/join", where)
    for storage in (one, other):
        wait_for(partial(partner_answers, storage), ANSWERS_WITHIN_S, f"node {storage.name} reaches its partner")


def partner_answers(storage: StorageNode) -> bool:
    """Whether a node's partner answers it now."""
    return bool(storage.api.get("/v1/node")["partner"]["answers"])


def replicate(bed: Bed, report: Report, trees: Sequence[str] = TREES) -> None:
    """Step 2: a share full of real files, its replica, a run, a change, another run."""
    make_share(bed, report)
    with report.step(f"a tree of real files ({' and '.join(trees)})"):
        home = share_path(bed.a)
        bed.a.node.run(["cp", "-a", *trees, home], timeout_s=180)
        bed.a.node.run(["sync", "-f", home], timeout_s=120)
    open_replica(bed, report)
    with report.step("the first run copies all of it"):
        counts = run_task(bed)
    report.measured("first run", f"{counts['files_sent']} files, {in_bytes(counts['sent_bytes'])} sent")
    with report.step("the copy is compared file by file, attributes included"):
        names = compare(bed)
    report.measured("names compared after the first run", f"{names}, 0 differ")
    with report.step("some files change: one grows, one goes, one is new, one gets another owner"):
        change_some(bed)
    with report.step("the second run moves only the change"):
        counts = run_task(bed)
    report.measured(
        "second run",
        f"{counts['files_sent']} files sent, {counts['files_deleted']} deleted,"
        f" {in_bytes(counts['literal_bytes'])} of content, {in_bytes(counts['sent_bytes'])} sent",
    )
    with report.step("the copy is compared again"):
        names = compare(bed)
    report.measured("names compared after the second run", f"{names}, 0 differ")
    assert counts["literal_bytes"] < MIB, counts
    assert counts["files_sent"] < 10, counts


def make_share(bed: Bed, report: Report) -> None:
    """The same NAS volume and share on both nodes."""
    with report.step("a NAS volume and a share on each node"):
        for storage in (bed.a, bed.b):
            volume = {"pool": POOL, "name": VOLUME, "size_bytes": NAS_BYTES, "kind": "nas"}
            storage.api.change("POST", "/v1/volumes", volume)
            storage.api.change("POST", "/v1/shares", {"name": SHARE, "volume": VOLUME, "path": SHARE})


def open_replica(bed: Bed, report: Report) -> None:
    """The partner opens its share to the source, which makes a task for it."""
    address = bed.b.node.address("replication")
    with report.step("the partner runs an agent and opens its share with ID and password"):
        agent = {"is_enabled": True, "address": address, "port": AGENT_PORT}
        bed.b.api.change("PUT", "/v1/agent", agent)
        sources = [bed.a.node.address("replication")]
        replica = {"name": REPLICA, "share": SHARE, "user": USER, "password": PASSWORD, "allowed_sources": sources}
        bed.b.api.change("POST", "/v1/replica-shares", replica)
    with report.step("the source finds the share by browsing, and makes a task"):
        found = bed.a.api.call("POST", "/v1/agent/browse", {"address": address, "port": AGENT_PORT})
        assert [item["name"] for item in found["items"]] == [REPLICA], found
        bed.a.api.change("POST", "/v1/replication-tasks", task_of(bed))


def task_of(bed: Bed) -> dict[str, object]:
    """The task, as the source is told it."""
    return {
        "name": TASK,
        "share": SHARE,
        "agent_address": bed.b.node.address("replication"),
        "agent_port": AGENT_PORT,
        "replica_share": REPLICA,
        "user": USER,
        "password": PASSWORD,
    }


def run_task(bed: Bed) -> dict[str, int]:
    """Run the task to its end; what it counted. Raises Refused."""
    counts: dict[str, int] = bed.a.api.change("POST", f"/v1/replication-tasks/{TASK}/run")["result"]
    left = bed.a.api.items("/v1/snapshots")
    assert not left, f"the run left a snapshot: {left}"
    return counts


def share_path(storage: StorageNode) -> str:
    """Where a node has the share's directory."""
    return f"/srv/holdfast/{POOL}/{VOLUME}/{SHARE}"


def change_some(bed: Bed) -> None:
    """Change a few files of the source in different ways."""
    script = (
        "set -- $(find python3 -name '*.py' -size +20k | sort | head -n 4); "
        'echo "# changed" >>"$1"; rm "$2"; chown 4711:4712 "$3"; chmod 0640 "$3"; ln "$4" second-name; '
        "head -c 100000 /dev/urandom >new; setfattr -n user.colour -v blue new"
    )
    bed.a.node.run(["sh", "-ec", script], cwd=share_path(bed.a))


def compare(bed: Bed) -> int:
    """Compare both trees, every attribute of every name; how many names there are. Raises AssertionError."""
    with ThreadPoolExecutor(2) as both:
        one, other = both.map(listing, (bed.a, bed.b))
    differ = sorted(set(one) ^ set(other))
    assert not differ, f"{len(differ)} lines differ, such as {differ[:4]}"
    return len(one)


def listing(storage: StorageNode) -> list[str]:
    """Every name of the share's tree with all that belongs to it."""
    argv = [PYTHON, "-s", "-m", "demo.listing", share_path(storage)]
    done = storage.node.run(argv, timeout_s=180, cwd=str(CHECKOUT), env=ENVIRONMENT)
    return done.stdout.decode().splitlines()
