"""Command lines, one for each thing the API can do, and what each of them asks of it.

Checked twice: against a fake node, that this is what is sent, and against the API's own schemas, that it is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

INITIATOR = "iqn.2026-01.com.example:c"


@dataclass(frozen=True)
class Example:
    """A command line and its request. `PASSWORD` and `PASSWORD2` in the line are paths of files with passwords."""

    line: str
    method: str
    path: str
    body: dict[str, Any] | None = None
    query: dict[str, str] = field(default_factory=dict)


def _get(line: str, path: str, /, **query: str) -> Example:
    return Example(line, "GET", path, query=query)


def _delete(line: str, path: str, /, **query: str) -> Example:
    return Example(line, "DELETE", path, query=query)


def _post(line: str, path: str, /, **body: Any) -> Example:
    return Example(line, "POST", path, body or None)


def _put(line: str, path: str, /, **body: Any) -> Example:
    return Example(line, "PUT", path, body)


_MUTUAL = {
    "user": "user",
    "password": "s3cret-s3cret",
    "mutual_user": "target",
    "mutual_password": "other-s3cret-s3cret",
}
_GROUP = {
    "mirror": "m1",
    "targets": ["t1"],
    "addresses": [{"address": "10.0.0.9", "prefix_length": 24, "interface": "eth0"}],
}

READS = [
    _get("node show", "/v1/node"),
    _get("plugin list", "/v1/plugins"),
    _get("disk list", "/v1/disks"),
    _get("pool list", "/v1/pools"),
    _get("pool show tank", "/v1/pools/tank"),
    _get("volume list", "/v1/volumes"),
    _get("volume show v1", "/v1/volumes/v1"),
    _get("volume destinations v1", "/v1/volumes/v1/destinations"),
    _get("snapshot list", "/v1/snapshots"),
    _get("snapshot show v1 s1", "/v1/snapshots/v1/s1"),
    _get("share list", "/v1/shares"),
    _get("share show docs", "/v1/shares/docs"),
    _get("agent show", "/v1/agent"),
    _get("replica-share list", "/v1/replica-shares"),
    _get("replica-share show r1", "/v1/replica-shares/r1"),
    _get("replication-task list", "/v1/replication-tasks"),
    _get("replication-task show t1", "/v1/replication-tasks/t1"),
    _get("replication-run list --task t1", "/v1/replication-runs", task="t1"),
    _get("mirror list", "/v1/mirrors"),
    _get("mirror show m1", "/v1/mirrors/m1"),
    _get("mirror verifications m1", "/v1/mirrors/m1/verifications"),
    _get("mirror repair-plan m1", "/v1/mirrors/m1/repair"),
    _get("mirror split-brain m1", "/v1/mirrors/m1/split-brain"),
    _get("target list", "/v1/targets"),
    _get("target show t1", "/v1/targets/t1"),
    _get("target foreign", "/v1/foreign-targets"),
    _get("target identity t1", "/v1/targets/t1/identity"),
    _get("target initiator-profile t1", "/v1/targets/t1/initiator-profile"),
    _get("initiator-group list", "/v1/initiator-groups"),
    _get("initiator-group show g1", "/v1/initiator-groups/g1"),
    _get("discovery-auth show", "/v1/discovery-auth"),
    _get("failover show", "/v1/failover"),
    _get("group list", "/v1/groups"),
    _get("group show g1", "/v1/groups/g1"),
    _get("group preflight g1", "/v1/groups/g1/preflight"),
    _get("decision list", "/v1/decisions"),
    _get("job list", "/v1/jobs"),
    _get("job show j1", "/v1/jobs/j1"),
    _post("agent browse 10.0.0.2 --port 8873", "/v1/agent/browse", address="10.0.0.2", port=8873),
]

CHANGES = [
    _post("pairing offer", "/v1/pairing/offer"),
    _post(
        "pairing join 10.0.0.2 --code-file PASSWORD",
        "/v1/pairing/join",
        address="10.0.0.2",
        port=8445,
        code="s3cret-s3cret",
    ),
    _post(
        "pool create tank --disk /dev/b --disk /dev/c --overwrite /dev/b=ext4 --overwrite /dev/b=gpt",
        "/v1/pools",
        name="tank",
        disks=["/dev/b", "/dev/c"],
        overwrite={"/dev/b": ["ext4", "gpt"]},
    ),
    _delete("pool delete tank --confirm tank", "/v1/pools/tank", confirm="tank"),
    _post(
        "volume create v1 --pool tank --size 1GiB --kind iscsi --label Büro",
        "/v1/volumes",
        name="v1",
        pool="tank",
        size_bytes=2**30,
        kind="iscsi",
        label="Büro",
    ),
    _post(
        "volume create v2 --pool tank --size 1GiB --kind iscsi --io-type file",
        "/v1/volumes",
        name="v2",
        pool="tank",
        size_bytes=2**30,
        kind="iscsi",
        io_type="file",
    ),
    _delete("volume delete v1 --confirm v1", "/v1/volumes/v1", confirm="v1"),
    Example(
        "volume set-mode v1 destination --clear-metadata --confirm v1",
        "PUT",
        "/v1/volumes/v1/replication",
        {"mode": "destination", "clear_metadata": True},
        {"confirm": "v1"},
    ),
    _put("volume set-mode v1 none", "/v1/volumes/v1/replication", mode="none", clear_metadata=False),
    _post("snapshot create v1 s1 --reserve 64MiB", "/v1/snapshots", volume="v1", name="s1", reserve_bytes=64 * 2**20),
    _delete("snapshot delete v1 s1 --confirm s1", "/v1/snapshots/v1/s1", confirm="s1"),
    _post("share create docs --volume v1 --path a/b", "/v1/shares", name="docs", volume="v1", path="a/b"),
    _delete("share delete docs", "/v1/shares/docs"),
    _post(
        "replica-share create r1 --share docs --user u --password-file PASSWORD --allow 10.0.0.1 --allow 10.0.0.2",
        "/v1/replica-shares",
        name="r1",
        share="docs",
        user="u",
        password="s3cret-s3cret",
        allowed_sources=["10.0.0.1", "10.0.0.2"],
    ),
    _delete("replica-share delete r1", "/v1/replica-shares/r1"),
    _post(
        "replication-task create t1 --share docs --agent 10.0.0.2 --replica-share r1 --user u --password-file PASSWORD",
        "/v1/replication-tasks",
        name="t1",
        share="docs",
        agent_address="10.0.0.2",
        replica_share="r1",
        user="u",
        password="s3cret-s3cret",
    ),
    _post("replication-task run t1", "/v1/replication-tasks/t1/run"),
    _delete("replication-task delete t1", "/v1/replication-tasks/t1"),
    _post(
        "mirror create m1 --volume v1 --volume v2 --first-sync zero",
        "/v1/mirrors",
        name="m1",
        volumes=["v1", "v2"],
        first_sync="zero",
    ),
    _post(
        "mirror create m1 --volume v1 --first-sync full --destination v1=w1",
        "/v1/mirrors",
        name="m1",
        volumes=["v1"],
        first_sync="full",
        destination_volumes={"v1": "w1"},
    ),
    _post(
        "mirror create m1 --volume v1 --first-sync zero --zero-limit 200MiB",
        "/v1/mirrors",
        name="m1",
        volumes=["v1"],
        first_sync="zero",
        zero_limit_bytes_s=200 * 2**20,
    ),
    _post("mirror start m1", "/v1/mirrors/m1/start"),
    _post("mirror stop m1", "/v1/mirrors/m1/stop"),
    _post("mirror measure-link m1", "/v1/mirrors/m1/measure-link"),
    _post("mirror verify m1", "/v1/mirrors/m1/verify"),
    _post("mirror grow m1 --volume v1 --size 2GiB", "/v1/mirrors/m1/grow", volume="v1", size_bytes=2**31),
    _post(
        "mirror replace-disk m1 --volume v1 --pool spare --remove-old",
        "/v1/mirrors/m1/replace-disk",
        volume="v1",
        pool="spare",
        remove_old=True,
    ),
    _post("mirror pause-sync m1", "/v1/mirrors/m1/pause-sync"),
    _post("mirror resume-sync m1", "/v1/mirrors/m1/resume-sync"),
    Example("mirror repair m1 --confirm m1", "POST", "/v1/mirrors/m1/repair", None, {"confirm": "m1"}),
    Example(
        "mirror resolve-split-brain m1 --survivor b --confirm m1",
        "POST",
        "/v1/mirrors/m1/resolve-split-brain",
        {"survivor": "b"},
        {"confirm": "m1"},
    ),
    Example(
        "mirror change m1 --most 100MiB --verify-on mon --verify-on fri --at 18:00",
        "PATCH",
        "/v1/mirrors/m1",
        {
            "limits": {"max_bytes_s": 100 * 2**20, "min_bytes_s": None},
            "schedule": {"every_hours": None, "weekdays": [0, 4], "time_of_day": "18:00"},
        },
    ),
    Example("mirror change m1 --no-verify", "PATCH", "/v1/mirrors/m1", {"schedule": None}),
    _delete("mirror delete m1 --confirm m1", "/v1/mirrors/m1", confirm="m1"),
    _post(
        "target create t1 --mirror m1 --iqn iqn.2026-01.com.example:t1 --portal 10.0.0.9 --portal [fd00::9]:3261 "
        f"--unit 1=v1 --allow {INITIATOR} --allow-chap {INITIATOR}2 user PASSWORD",
        "/v1/targets",
        name="t1",
        mirror="m1",
        iqn="iqn.2026-01.com.example:t1",
        portals=[{"address": "10.0.0.9", "port": 3260}, {"address": "fd00::9", "port": 3261}],
        units=[{"lun": 1, "volume": "v1"}],
        access=[
            {"initiator": INITIATOR, "chap": None},
            {"initiator": f"{INITIATOR}2", "chap": {"user": "user", "password": "s3cret-s3cret"}},
        ],
    ),
    _post(
        "target create t2 --mirror m1 --unit 0=v1",
        "/v1/targets",
        name="t2",
        mirror="m1",
        portals=[],
        units=[{"lun": 0, "volume": "v1"}],
        access=[],
    ),
    _post(
        "target create t3 --portal 10.0.0.1 --unit 1=v1,ro,unmap,serial=0123456789abcdef,vendor=ACME,product=x,"
        f"block-size=4096,optimal-blocks=64 --allow-mutual {INITIATOR} user PASSWORD target PASSWORD2 --allow-group g1 "
        "--depth 16 --open-to-everybody",
        "/v1/targets",
        name="t3",
        portals=[{"address": "10.0.0.1", "port": 3260}],
        units=[
            {
                "lun": 1,
                "volume": "v1",
                "is_read_only": True,
                "may_unmap": True,
                "serial": "0123456789abcdef",
                "vendor": "ACME",
                "product": "x",
                "block_size_bytes": 4096,
                "optimal_blocks": 64,
            }
        ],
        access=[{"initiator": INITIATOR, "chap": _MUTUAL, "cmdsn_depth": 16}],
        initiator_groups=["g1"],
        is_open=True,
    ),
    _post(
        "target create t4 --portal 10.0.0.1 --unit 1=v2,write-cache",
        "/v1/targets",
        name="t4",
        portals=[{"address": "10.0.0.1", "port": 3260}],
        units=[{"lun": 1, "volume": "v2", "has_write_cache": True}],
        access=[],
    ),
    _put(
        f"target change t1 --mirror m1 --unit 1=v1 --unit 2=v2 --allow {INITIATOR}",
        "/v1/targets/t1",
        mirror="m1",
        portals=[],
        units=[{"lun": 1, "volume": "v1"}, {"lun": 2, "volume": "v2"}],
        access=[{"initiator": INITIATOR, "chap": None}],
    ),
    _post(f"target close-session t1 {INITIATOR}", "/v1/targets/t1/close-session", initiator=INITIATOR),
    _post(
        f"initiator-group create g1 --allow {INITIATOR}",
        "/v1/initiator-groups",
        name="g1",
        members=[{"initiator": INITIATOR, "chap": None}],
    ),
    _put(
        f"initiator-group change g1 --allow-chap {INITIATOR} user PASSWORD",
        "/v1/initiator-groups/g1",
        members=[{"initiator": INITIATOR, "chap": {"user": "user", "password": "s3cret-s3cret"}}],
    ),
    _delete("initiator-group delete g1", "/v1/initiator-groups/g1"),
    _put("discovery-auth set --chap user PASSWORD --mutual target PASSWORD2", "/v1/discovery-auth", chap=_MUTUAL),
    _put("discovery-auth clear", "/v1/discovery-auth", chap=None),
    _delete("target delete t1 --confirm t1", "/v1/targets/t1", confirm="t1"),
    _put(
        "failover set --ping-node 10.0.0.5 --link client eth0 10.0.0.1 10.0.0.2 --link rep eth1 10.1.0.1 10.1.0.2",
        "/v1/failover",
        links=[
            {"name": "client", "interface": "eth0", "local_address": "10.0.0.1", "peer_address": "10.0.0.2"},
            {"name": "rep", "interface": "eth1", "local_address": "10.1.0.1", "peer_address": "10.1.0.2"},
        ],
        ping_node="10.0.0.5",
    ),
    _put(
        "failover set --no-ping-node --link client eth0 10.0.0.1 10.0.0.2",
        "/v1/failover",
        links=[{"name": "client", "interface": "eth0", "local_address": "10.0.0.1", "peer_address": "10.0.0.2"}],
        ping_node=None,
    ),
    _post("group create g1 --mirror m1 --target t1 --address 10.0.0.9/24@eth0", "/v1/groups", name="g1", **_GROUP),
    _put("group change g1 --mirror m1 --target t1 --address 10.0.0.9/24@eth0", "/v1/groups/g1", **_GROUP),
    _post("group start g1", "/v1/groups/g1/start"),
    _post("group stop g1", "/v1/groups/g1/stop"),
    _post("group switchover g1 --to b", "/v1/groups/g1/switchover", to="b"),
    _post("group failback g1", "/v1/groups/g1/failback"),
    _post("group resync g1", "/v1/groups/g1/resync"),
    _post("group promote g1 --confirm g1", "/v1/groups/g1/promote", confirm="g1"),
    _delete("group delete g1", "/v1/groups/g1"),
    _post("job cancel j1", "/v1/jobs/j1/cancel"),
]

# What these ask depends on what they read first, or they follow a stream: tested on their own.
ELSEWHERE = {("PUT", "/v1/agent"), ("GET", "/v1/events")}
