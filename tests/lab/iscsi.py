"""Targets of the real driver on the lab's nodes, and an initiator that logs in to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from holdfast.hooks.target import Chap, InitiatorAccess, LogicalUnit, Portal, TargetSpec
from holdfast.values import Secret, to_plain
from lab import Lab, Node, RemoteProcess
from lab.processes import wait_until
from tests.lab.worker import PYTHON, worker

LIO = "plugins/iscsi_lio"
VIRTUAL_ADDRESS = "10.77.1.200"
INITIATOR = "iqn.2026-01.org.holdfast.lab:c"
PASSWORD = "correct-horse-1"
SERIAL = "5eed0123456789abcdef0123456789ab"
SPEC = TargetSpec(
    name="lab-one",
    iqn="iqn.2026-01.org.holdfast.lab:one",
    portals=(Portal(VIRTUAL_ADDRESS),),
    units=(LogicalUnit(1, "vol", "/dev/ram0", SERIAL, product="labvol"),),
    access=(InitiatorAccess(INITIATOR, Chap("joe", Secret(PASSWORD))),),
)
TPG = f"/sys/kernel/config/target/iscsi/{SPEC.iqn}/tpgt_1"


STRANGER = "iqn.2026-01.org.holdfast.lab:stranger"
REFUSED = 24
"""ISCSI_ERR_LOGIN_AUTH_FAILED of iscsiadm(8)."""


def drive(node: Node, *operations: str, spec: TargetSpec = SPEC, deadline_s: float = 5.0) -> list[dict[str, Any]]:
    """Run operations of the real driver in a node; the answers in their order."""
    order = {"spec": to_plain(spec, reveal=True), "deadline_s": deadline_s, "operations": operations}
    return worker(node, "plugins.iscsi_lio.tests.in_node", LIO).ask(order, len(operations))


def succeed(node: Node, *operations: str, spec: TargetSpec = SPEC) -> list[dict[str, Any]]:
    answers = drive(node, *operations, spec=spec)
    assert [answer for answer in answers if "error" in answer] == []
    return answers


def text_of(node: Node, *argv: str) -> str:
    return node.run(list(argv)).stdout.decode()


def shell(node: Node, script: str) -> str:
    return text_of(node, "sh", "-ec", script)


@contextmanager
def cleared(lab: Lab) -> Iterator[tuple[Node, Node, Node]]:
    """Nodes a and b with four empty memory disks, c with an iSCSI initiator; cleared afterwards."""
    a, b, c = (lab.node(name) for name in "abc")
    for node in (a, b):
        node.run(["modprobe", "brd", "rd_nr=4", f"rd_size={16 * 1024}"])
    c.run(["modprobe", "--all", "iscsi_tcp", "sd_mod"])
    c.run(["mkdir", "-p", "/run/lock/iscsi"])
    c.start_service("iscsid", ["iscsid", "--foreground", "--no-pid-file"])
    yield a, b, c
    forget(c)
    c.stop_service("iscsid")
    for node in (a, b):
        drive(node, "remove")
        shell(node, f"ip address del {VIRTUAL_ADDRESS}/32 dev client || true; modprobe -r brd || true")


def give_address(node: Node, c: Node) -> None:
    """Have a node answer at the virtual address from now on; c asks anew who does.

    Announcing an address is the failover plugin's work, not a target's.
    """
    shell(node, f"ip address replace {VIRTUAL_ADDRESS}/32 dev client")
    shell(c, f"ip neighbour flush to {VIRTUAL_ADDRESS}")


def take_address(node: Node) -> None:
    shell(node, f"ip address del {VIRTUAL_ADDRESS}/32 dev client")


def record(
    c: Node,
    password: str | None = PASSWORD,
    *,
    mutual_password: str | None = None,
    interface: str = "default",
    address: str = VIRTUAL_ADDRESS,
) -> list[str]:
    """Make the initiator's record of the target; returns the command that addresses it."""
    base = ["iscsiadm", "-m", "node", "-T", SPEC.iqn, "-p", f"{address}:3260"]
    settings = {
        "node.session.iscsi.DefaultTime2Wait": "0",
        "node.session.initial_login_retry_max": "1",
        "node.conn[0].timeo.login_timeout": "3",
    }
    if password is not None:
        settings |= {
            "node.session.auth.authmethod": "CHAP",
            "node.session.auth.username": "joe",
            "node.session.auth.password": password,
        }
    if mutual_password is not None:
        settings |= {
            "node.session.auth.username_in": "target",
            "node.session.auth.password_in": mutual_password,
        }
    c.run([*base, "-I", interface, "-o", "new"])
    for name, value in settings.items():
        c.run([*base, "-I", interface, "-o", "update", "-n", name, "-v", value])
    return base


def name_interface(c: Node, initiator: str) -> None:
    """Have logins through the interface `other` use another initiator name."""
    shell(c, "iscsiadm -m iface -I other -o new")
    shell(c, f"iscsiadm -m iface -I other -o update -n iface.initiatorname -v {initiator}")


def forget(c: Node) -> None:
    """Log out and forget every record, and the interface `other`."""
    c.run(["iscsiadm", "-m", "node", "-u"], check=False)
    c.run(["iscsiadm", "-m", "node", "-o", "delete"], check=False)
    c.run(["iscsiadm", "-m", "iface", "-I", "other", "-o", "delete"], check=False)


def disk(c: Node) -> str:
    """The initiator's device of the only unit."""

    def names() -> list[str]:
        return [name for name in text_of(c, "ls", "/sys/block").split() if name.startswith("sd")]

    assert wait_until(lambda: bool(names()), 10)
    return f"/dev/{names()[0]}"


def identity(c: Node, device: str) -> dict[str, str]:
    """All that a client may know a unit by."""
    pages = {
        "inquiry": ["sg_inq", device],
        "serial": ["sg_vpd", "-p", "sn", device],
        "di": ["sg_vpd", "-p", "di", device],
    }
    return {name: text_of(c, *argv) for name, argv in pages.items()}


def write_load(c: Node, device: str) -> RemoteProcess:
    """Write to the device without pause until killed; it prints `failed` on the first error."""
    script = f"while :; do dd if=/dev/urandom of={device} bs=4k count=512 oflag=direct 2>/dev/null || echo failed; done"
    return c.popen(["sh", "-c", script])


def take_exclusively(node: Node, device: str) -> None:
    """Fail if something holds a block device."""
    node.run([PYTHON, "-c", f"import os; os.open({device!r}, os.O_RDWR | os.O_EXCL)"])


def copy(source: Node, destination: Node) -> None:
    """What replication would have done."""
    source.run(["dd", "if=/dev/ram0", "of=/host/ram0", "bs=1M"])
    (destination.host_dir / "ram0").write_bytes((source.host_dir / "ram0").read_bytes())
    destination.run(["dd", "if=/host/ram0", "of=/dev/ram0", "bs=1M"])
    for node in (source, destination):
        (node.host_dir / "ram0").unlink()
