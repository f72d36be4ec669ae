"""How each fault is done to the pair and undone: cables are in again, kernels run on; nodes without power stay so."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from demo import blocks
from demo.bed import DAEMON, MONITOR, Bed, StorageNode, wait_for
from demo.initiator import Writing
from lab import LabError
from soak.plan import LINKS, Fault, Kind, Role

ACKNOWLEDGED_ALONE = 60
GOES_ON_WITHIN_S = 30.0
ASKS_WITHIN_S = 10.0
AGENT_PATTERN = "stunnel .*/agent/tunnel@"


@dataclass
class Stage:
    """The pair, and who was active when the fault began."""

    bed: Bed
    active: StorageNode
    passive: StorageNode
    writing: Writing = field(init=False)
    """The load, which goes on all the while."""
    wait_well: Callable[[], None] = field(init=False)
    """Boots whoever has no power, and returns when one serves and the other one stands by."""
    cut: set[str] = field(default_factory=set)
    """Whose power was cut, or who was switched off: nobody wonders that they are off."""

    def of(self, role: Role) -> list[StorageNode]:
        """Whom it befalls."""
        return {Role.ACTIVE: [self.active], Role.PASSIVE: [self.passive]}.get(role, [self.active, self.passive])

    def cut_power(self, nodes: Iterable[StorageNode]) -> None:
        """At the same moment, as near as can be."""
        for storage in nodes:
            self.cut.add(storage.name)
            storage.node.cut()

    @contextmanager
    def unplugged(self, nodes: Iterable[StorageNode], links: Iterable[str]) -> Iterator[None]:
        """Pull the cables; put them in afterwards, those of the nodes that reset themselves too."""
        pulled = [(storage.name, link) for storage in nodes for link in links]
        for name, link in pulled:
            self.bed.lab.link(name, link, up=False)
        try:
            yield
        finally:
            for name, link in pulled:
                self.bed.lab.link(name, link, up=True)

    @contextmanager
    def disturbed(self, nodes: Iterable[StorageNode], link: str, how: str) -> Iterator[None]:
        """What nodes send on a link, netem(8) disturbs."""
        nodes = list(nodes)
        for storage in nodes:
            shell(storage, f"modprobe sch_netem; tc qdisc add dev {link} root netem {how}")
        try:
            yield
        finally:
            for storage in nodes:
                if storage.node.is_running:
                    shell(storage, f"tc qdisc del dev {link} root")


def shell(storage: StorageNode, script: str) -> str:
    """Run a script in a node; what it printed."""
    return storage.node.run(["sh", "-ec", script]).stdout.decode()


def do(stage: Stage, fault: Fault) -> None:
    """Do it and undo it. Raises what a fault that cannot be done raises."""
    _ACTS[fault.kind](stage, fault)


def _power_cut(stage: Stage, fault: Fault) -> None:
    stage.cut_power(stage.of(fault.role))
    time.sleep(fault.durations_s[0])


def _power_cut_twice(stage: Stage, fault: Fault) -> None:
    """The other one too, as soon as it is the active one and the first is back in sync."""
    for storage in (stage.active, stage.passive):
        stage.cut_power([storage])
        time.sleep(fault.durations_s[0])
        stage.wait_well()


def _restart_in_resync(stage: Stage, fault: Fault) -> None:
    """Once more while it catches up, if it is still at that."""
    stage.cut_power([stage.passive])
    stage.writing.wait_acknowledged(ACKNOWLEDGED_ALONE, GOES_ON_WITHIN_S)
    time.sleep(fault.durations_s[0])
    stage.passive.node.boot()
    wait_for(lambda: _is_connected(stage.active), GOES_ON_WITHIN_S, "the mirror is connected again")
    stage.cut_power([stage.passive])


def _is_connected(storage: StorageNode) -> bool:
    return storage.node.run(["grep", "-Eq", "cs:(Sync|Connected)", "/proc/drbd"], check=False).returncode == 0


def _reboot(stage: Stage, fault: Fault) -> None:
    """In order: as the unit for a shutdown does it."""
    for storage in stage.of(fault.role):
        storage.api.change("POST", "/v1/node/drain", {})
        stage.cut.add(storage.name)
        with suppress(LabError, OSError):  # it answers no more
            shell(storage, "sync; echo o >/proc/sysrq-trigger; sleep 5")
        if not storage.node.wait_off(10):
            raise TimeoutError(f"node {storage.name} does not go down")


def _switchover(stage: Stage, fault: Fault) -> None:
    stage.passive.api.change("POST", f"/v1/groups/{blocks.GROUP}/switchover", {"to": stage.passive.name})


def _freeze(stage: Stage, fault: Fault) -> None:
    for storage in stage.of(fault.role):
        storage.node.freeze()
        time.sleep(fault.durations_s[0])
        storage.node.thaw()


def _kill(service: str) -> Callable[[Stage, Fault], None]:
    def act(stage: Stage, fault: Fault) -> None:
        before = {storage.name: _starts(storage, service) for storage in stage.of(fault.role)}
        for storage in stage.of(fault.role):
            storage.node.kill_service(service)
        wait_for(
            lambda: all(_starts(storage, service) > before[storage.name] for storage in stage.of(fault.role)),
            GOES_ON_WITHIN_S,
            f"{service} is started again",
        )

    return act


def _starts(storage: StorageNode, service: str) -> int:
    return storage.node.services()[service]["starts"] or 0


def _hang(stage: Stage, fault: Fault) -> None:
    for storage in stage.of(fault.role):
        storage.node.kill_service(MONITOR, signal.SIGSTOP)
        time.sleep(fault.durations_s[0])
        storage.node.kill_service(MONITOR, signal.SIGCONT)


def _kill_agent(stage: Stage, fault: Fault) -> None:
    before = {storage.name: set(_pids(storage, AGENT_PATTERN)) for storage in stage.of(fault.role)}
    for storage in stage.of(fault.role):
        shell(storage, f"kill -9 {' '.join(before[storage.name])}")
    wait_for(
        lambda: all(set(_pids(storage, AGENT_PATTERN)) - before[storage.name] for storage in stage.of(fault.role)),
        GOES_ON_WITHIN_S,
        "the agent is started again",
    )


def _pids(storage: StorageNode, pattern: str) -> list[str]:
    return storage.node.run(["pgrep", "-f", pattern], check=False).stdout.decode().split()


def _kill_fence_helper(stage: Stage, fault: Fault) -> None:
    """Its kernel has asked, and the monitor, which hangs, has not answered yet."""
    active = stage.active
    active.node.kill_service(MONITOR, signal.SIGSTOP)
    try:
        with stage.unplugged([active], ["replication"]):
            wait_for(lambda: bool(_pids(active, "fence-peer fence-peer")), ASKS_WITHIN_S, "the kernel asks")
            shell(active, f"kill -9 {' '.join(_pids(active, 'fence-peer fence-peer'))}")
            active.node.kill_service(MONITOR, signal.SIGCONT)
            stage.writing.wait_acknowledged(ACKNOWLEDGED_ALONE, GOES_ON_WITHIN_S)
    finally:
        active.node.kill_service(MONITOR, signal.SIGCONT)


def _cut(*links: str) -> Callable[[Stage, Fault], None]:
    def act(stage: Stage, fault: Fault) -> None:
        with stage.unplugged(stage.of(fault.role), links):
            time.sleep(fault.durations_s[0])

    return act


def _flap(stage: Stage, fault: Fault) -> None:
    for down_s, up_s in zip(fault.durations_s[::2], fault.durations_s[1::2], strict=True):
        with stage.unplugged(stage.of(fault.role), [fault.link]):
            time.sleep(down_s)
        time.sleep(up_s)


def _mute(stage: Stage, fault: Fault) -> None:
    with stage.disturbed(stage.of(fault.role), fault.link, "loss 100%"):
        time.sleep(fault.durations_s[0])


def _lose_packets(stage: Stage, fault: Fault) -> None:
    with stage.disturbed(stage.of(fault.role), fault.link, f"loss {fault.percent}%"):
        time.sleep(fault.durations_s[0])


def _lose_ping_node(stage: Stage, fault: Fault) -> None:
    stage.bed.lab.link("ping", "client", up=False)
    try:
        time.sleep(fault.durations_s[0])
    finally:
        stage.bed.lab.link("ping", "client", up=True)


def _step_clock(stage: Stage, fault: Fault) -> None:
    for storage in stage.of(fault.role):
        shell(storage, f"date -s '{fault.step_s:+d} seconds'")


_ACTS: dict[Kind, Callable[[Stage, Fault], None]] = {
    Kind.POWER_CUT: _power_cut,
    Kind.POWER_CUT_TWICE: _power_cut_twice,
    Kind.BOTH_OFF: _power_cut,
    Kind.RESTART_IN_RESYNC: _restart_in_resync,
    Kind.REBOOT: _reboot,
    Kind.SWITCHOVER: _switchover,
    Kind.KERNEL_FROZEN: _freeze,
    Kind.DAEMON_KILLED: _kill(DAEMON),
    Kind.MONITOR_KILLED: _kill(MONITOR),
    Kind.MONITOR_HUNG: _hang,
    Kind.AGENT_KILLED: _kill_agent,
    Kind.FENCE_HELPER_KILLED: _kill_fence_helper,
    Kind.REPLICATION_LINK_CUT: _cut("replication"),
    Kind.ALL_LINKS_CUT: _cut(*LINKS),
    Kind.CLIENT_LINK_CUT: _cut("client"),
    Kind.LINK_FLAPS: _flap,
    Kind.ONE_WAY_LOSS: _mute,
    Kind.PACKETS_LOST: _lose_packets,
    Kind.PING_NODE_LOST: _lose_ping_node,
    Kind.CLOCK_STEPPED: _step_clock,
}
