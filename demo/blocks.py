"""Steps 3 to 6 of the main job: a mirrored LUN that outlives the node that serves it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from demo.bed import DAEMON, Bed, StorageNode, wait_for
from demo.client import Refused
from demo.files import POOL
from demo.initiator import Initiator, Writing, assert_clean
from demo.report import Report, in_bytes

MIB = 1 << 20
VOLUME, MIRROR, TARGET, GROUP = "disk1", "disk1-mirror", "disk1-target", "disk1-group"
IQN = "iqn.2026-01.org.holdfast.demo:disk1"
LUN_BYTES = 128 * MIB
VIRTUAL_ADDRESS, PREFIX_LENGTH = "10.77.1.200", 24
LINKS = ("client", "replication", "management")
REGION_BLOCKS = 2048  # of 4 KiB: 8 MiB

LONGEST_GAP_MS = 1500.0
TAKES_OVER_WITHIN_S = 15.0
BOOTS_WITHIN_S = 60.0
RESYNCS_WITHIN_S = 60.0


def run(bed: Bed, report: Report, *, longest_gap_ms: float = LONGEST_GAP_MS) -> None:
    """Steps 3 to 6. A power cut may keep the initiator waiting for `longest_gap_ms`, and no longer."""
    report.chapter("3. A mirrored LUN, and a group that serves it")
    initiator = Initiator(bed.initiator, IQN, VIRTUAL_ADDRESS)
    build(bed, report, initiator)
    report.chapter("4. The initiator logs in and writes")
    device = log_in(bed, report, initiator)
    report.chapter("5. Power cut of the active node")
    lose_power(bed, report, device, longest_gap_ms)
    report.chapter("6. The dead node comes back")
    come_back(bed, report)
    move_back(bed, report, device)
    verify(bed, report)
    initiator.log_out()


def build(bed: Bed, report: Report, initiator: Initiator, *, file_bytes: int | None = None) -> None:
    """Step 3: volume, mirror, target, links, group; the preflight fails, then passes; start.

    With `file_bytes` the volume is of that size, and its logical unit is a file on it.
    """
    api = bed.a.api
    volume = {"pool": POOL, "name": VOLUME, "size_bytes": file_bytes or LUN_BYTES, "kind": "iscsi"}
    with report.step("a volume for iSCSI"):
        api.change("POST", "/v1/volumes", {**volume, "io_type": "file"} if file_bytes else volume)
    with report.step("links and ping node, set on both nodes by one call"):
        links = [
            {
                "name": net,
                "interface": net,
                "local_address": bed.a.node.address(net),
                "peer_address": bed.b.node.address(net),
            }
            for net in LINKS
        ]
        api.change("PUT", "/v1/failover", {"links": links, "ping_nodes": [bed.lab.address("ping", "client")]})
    how = "a full first sync" if file_bytes else "both sides zeroed, no first sync"
    with report.step(f"a mirror, made on both nodes by one call; {how}"):
        first_sync = "full" if file_bytes else "zero"
        api.change("POST", "/v1/mirrors", {"name": MIRROR, "volumes": [VOLUME], "first_sync": first_sync})
    with report.step("a target with LUN 1, open to the initiator"):
        units = [{"lun": 1, "volume": VOLUME}]
        access = [{"initiator": initiator.name}]
        api.change(
            "POST", "/v1/targets", {"name": TARGET, "mirror": MIRROR, "iqn": IQN, "units": units, "access": access}
        )
    with report.step("a failover group, as yet without a virtual address"):
        api.change("POST", "/v1/groups", {"name": GROUP, "mirror": MIRROR, "targets": [TARGET]})
        unmet = unmet_of(bed.a)
    assert any(item["code"] == "no-virtual-address" for item in unmet), unmet
    tell_unmet(report, unmet)
    with report.step("its start is refused"), suppress(Refused):
        api.change("POST", f"/v1/groups/{GROUP}/start")
        raise AssertionError("the group started without a virtual address")
    with report.step(f"the group gets {VIRTUAL_ADDRESS}; the preflight passes"):
        address = {"address": VIRTUAL_ADDRESS, "prefix_length": PREFIX_LENGTH, "interface": "client"}
        api.change("PUT", f"/v1/groups/{GROUP}", {"mirror": MIRROR, "targets": [TARGET], "addresses": [address]})
        wait_for(lambda: not unmet_of(bed.a), 10, "the preflight passes")
    with report.step("start"):
        api.change("POST", f"/v1/groups/{GROUP}/start")
        wait_for(lambda: active_node(bed.a) == "a", 10, "node a serves the group")


def unmet_of(storage: StorageNode) -> list[dict[str, Any]]:
    """What stands between the group and its start, as a node sees it."""
    unmet: list[dict[str, Any]] = storage.api.get(f"/v1/groups/{GROUP}/preflight")["unmet"]
    return unmet


def tell_unmet(report: Report, unmet: list[dict[str, Any]]) -> None:
    """Print each requirement with its remedy."""
    for item in unmet:
        report.say(f"unmet on {item['node']}: {item['text']}: {item['remedy']}")


def group_of(storage: StorageNode) -> dict[str, Any]:
    """The group as a node shows it."""
    group: dict[str, Any] = storage.api.get(f"/v1/groups/{GROUP}")
    return group


def active_node(storage: StorageNode) -> str | None:
    """Who serves the group, as a node sees it."""
    name: str | None = group_of(storage)["active_node"]
    return name


def log_in(bed: Bed, report: Report, initiator: Initiator) -> str:
    """Step 4: through the virtual address."""
    with report.step(f"open-iscsi logs in through {VIRTUAL_ADDRESS}"):
        return initiator.log_in(bed.a, TARGET)


def start_writing(bed: Bed, device: str, run: str, first: int) -> Writing:
    """Stamped blocks with O_DIRECT; what is acknowledged is recorded on the host."""
    log = bed.lab.layout.root / f"writes-{run}.log"
    return Writing(bed.initiator, device, run, first=first, blocks=REGION_BLOCKS, log=log)


def lose_power(bed: Bed, report: Report, device: str, longest_gap_ms: float) -> None:
    """Step 5: cut the active node under load, and compare every acknowledged block."""
    with report.step("stamped blocks are written; each acknowledgement is recorded outside the nodes"):
        writing = start_writing(bed, device, "cut", 0)
        writing.wait_acknowledged(400, 30)
    with report.step("node a loses its power; node b takes over"):
        bed.a.node.cut()
        # What is measured is not to wait for questions of ours: node b has one processor, and each is a handshake.
        writing.wait_acknowledged(400, TAKES_OVER_WITHIN_S)
        wait_for(lambda: active_node(bed.b) == "b", TAKES_OVER_WITHIN_S, "node b serves the group")
    decision = bed.b.api.items("/v1/decisions")[-1]
    report.say(f"decision: {decision['sentence']} {decision['timeline_ms'] or ''}")
    with report.step("every acknowledged block is read back and compared"):
        writing.stop()
        verdict = writing.judge()
    report.measured("I/O gap of the power cut", f"{verdict.longest_gap_ms:.0f} ms")
    report.measured(
        "writes acknowledged across the power cut",
        f"{verdict.acknowledged}, lost {len(verdict.lost)}, errors at the initiator {len(verdict.failed)}",
    )
    assert_clean(verdict)
    assert verdict.longest_gap_ms <= longest_gap_ms, f"the initiator waited {verdict.longest_gap_ms:.0f} ms"


def come_back(bed: Bed, report: Report) -> None:
    """Step 6, first part: the dead node boots and is brought up to date by the bitmap."""
    stale = mirror_side(bed.b)["out_of_sync_bytes"]
    with report.step(f"node a boots, and {DAEMON} answers"):
        bed.a.node.boot()
        bed.a.api.wait_until_it_answers(BOOTS_WITHIN_S)
    with report.step("it is brought up to date by the bitmap only"):
        wait_for(lambda: in_sync(bed.b) and in_sync(bed.a), RESYNCS_WITHIN_S, "both sides of the mirror are equal")
    sent = mirror_side(bed.b)["sent_bytes"]
    report.measured("resync by bitmap", f"{in_bytes(sent)} of {in_bytes(LUN_BYTES)}; marked were {in_bytes(stale)}")
    assert sent < LUN_BYTES // 2, sent


def mirror_side(storage: StorageNode) -> dict[str, Any]:
    """The mirror's one volume as a node's kernel has it."""
    side: dict[str, Any] = storage.api.get(f"/v1/mirrors/{MIRROR}")["this_node"]["status"]["volumes"][0]
    return side


def in_sync(storage: StorageNode) -> bool:
    """Whether a node has both sides equal."""
    return bool(storage.api.get(f"/v1/mirrors/{MIRROR}")["is_in_sync"])


def move_back(bed: Bed, report: Report, device: str) -> None:
    """Step 6, second part: switchover under load."""
    writing = start_writing(bed, device, "back", REGION_BLOCKS)
    writing.wait_acknowledged(200, 30)
    with report.step("the service moves back to node a under load"):
        started_s = time.monotonic()
        bed.b.api.change("POST", f"/v1/groups/{GROUP}/switchover", {"to": "a"})
        took_s = time.monotonic() - started_s
        wait_for(lambda: active_node(bed.a) == "a", 10, "node a serves the group")
        writing.wait_acknowledged(200, 30)
    with report.step("every acknowledged block is read back and compared"):
        writing.stop()
        verdict = writing.judge()
    report.measured("switchover", f"{took_s:.1f} s, I/O gap {verdict.longest_gap_ms:.0f} ms")
    report.measured(
        "writes acknowledged across the switchover",
        f"{verdict.acknowledged}, lost {len(verdict.lost)}, errors at the initiator {len(verdict.failed)}",
    )
    assert_clean(verdict)


def verify(bed: Bed, report: Report) -> None:
    """Step 6, last part: the kernel compares both sides."""
    with report.step("DRBD compares both sides"):
        differ = bed.a.api.change("POST", f"/v1/mirrors/{MIRROR}/verify")["result"]["out_of_sync_bytes"]
    report.measured("DRBD verify", f"{differ} bytes out of sync")
    assert differ == 0
