"""The product in the lab: holdfastd and its monitor in the nodes a and b, and the way to their APIs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from demo.client import Api
from lab import Lab, LabError, Node
from lab.layout import CHECKOUT

PYTHON = str(CHECKOUT / ".venv/bin/python")
STATE = "/var/lib/holdfast"
# On the disk that survives a power cut: all else in a node lies in its memory.
CONFIG = f"{STATE}/holdfast.toml"
ENVIRONMENT = {
    "XDG_CACHE_HOME": "/run/holdfast-cache",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
}
DAEMON, MONITOR = "holdfastd", "holdfast-monitor"
PORT = 8443
STARTS_WITHIN_S = 30.0

_SETTINGS = """\
node = "{node}"
state_dir = "{state}"

[peer]
address = "{management}"
replication_address = "{replication}"
"""


@dataclass(frozen=True)
class StorageNode:
    """A lab node that runs the product."""

    node: Node
    api: Api

    @property
    def name(self) -> str:
        """Its name."""
        return self.node.name


class Bed:
    """Two storage nodes, an initiator and a ping node."""

    def __init__(self, lab: Lab) -> None:
        """Take a running lab; start nothing."""
        self.lab = lab
        self.storage: dict[str, StorageNode] = {}

    @property
    def a(self) -> StorageNode:
        """The source."""
        return self.storage["a"]

    @property
    def b(self) -> StorageNode:
        """The destination."""
        return self.storage["b"]

    @property
    def initiator(self) -> Node:
        """The host that uses the storage."""
        return self.lab.node("c")

    def start_product(self) -> None:
        """Start the daemons on both nodes, now and at every boot, and wait until both APIs answer."""
        for name in "ab":
            self._start(self.lab.node(name))
        for name in "ab":
            self.storage[name] = self._reach(self.lab.node(name))

    def start_blank(self, name: str) -> None:
        """Start the daemons on one node, which was booted with empty disks, and wait until its API answers."""
        self._stop(name)
        self._start(self.lab.node(name))
        self.storage[name] = self._reach(self.lab.node(name))

    def stop_product(self) -> None:
        """Stop the daemons for good. What they serve stays served."""
        for name in "ab":
            self._stop(name)

    def _stop(self, name: str) -> None:
        for service in (MONITOR, DAEMON):
            self.lab.node(name).stop_service(service)

    def _start(self, node: Node) -> None:
        settings = _SETTINGS.format(
            node=node.name, state=STATE, management=node.address("management"), replication=node.address("replication")
        )
        node.write_file(CONFIG, settings.encode(), mode=0o644)
        node.run(["sync", "-f", CONFIG])  # the node may lose its power at any moment from now on
        for service, module in ((DAEMON, "holdfast"), (MONITOR, "holdfast.monitor")):
            node.start_service(service, [PYTHON, "-s", "-m", module, "--config", CONFIG], ENVIRONMENT, at_boot=True)

    def _reach(self, node: Node) -> StorageNode:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while True:
            try:
                certificate = node.read_file(f"{STATE}/tls/certificate.pem").decode()
                token = node.read_file(f"{STATE}/token").decode().strip()
                break
            except OSError as reason:
                if time.monotonic() > deadline:
                    tail = node.service_log(DAEMON).read_text(errors="replace")[-1500:]
                    raise LabError(
                        f"{DAEMON} does not start on node {node.name}; its log ends with:\n{tail}"
                    ) from reason
                time.sleep(0.1)
        address = node.address("management")
        api = Api(lambda: self.lab.connect(address, PORT, 3.0), certificate, token)
        api.wait_until_it_answers(STARTS_WITHIN_S)
        return StorageNode(node, api)


def wait_for(holds: Callable[[], bool], within_s: float, what: str) -> None:
    """Return as soon as something holds. Raises TimeoutError saying what did not."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {within_s:.0f} s")
        # Seldom enough not to be the load that is measured: each question is a TLS handshake on the node.
        time.sleep(0.25)
