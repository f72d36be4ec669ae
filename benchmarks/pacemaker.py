"""A stock pair: Pacemaker with corosync and Debian's resource agents, over DRBD and LIO."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from xml.sax.saxutils import quoteattr

from benchmarks.stacks import PREFIX_LENGTH
from benchmarks.stock import RESOURCE, TARGET_OFFERS, StockPair, sh
from demo.bed import wait_for
from lab import CommandFailed, Node

COROSYNC = """\
totem {{
  version: 2
  cluster_name: bench
  transport: knet
  crypto_cipher: none
  crypto_hash: none
}}
nodelist {{
{nodes}}}
quorum {{
  provider: corosync_votequorum
  two_node: 1
}}
logging {{
  to_stderr: yes
  to_syslog: no
}}
"""


class Pacemaker(StockPair):
    """Pacemaker over corosync with two rings, and the agents for DRBD, LIO, the address, and a port that is shut."""

    name, names, address = "pacemaker", ("p1", "p2"), "10.77.1.203"
    SERVICES = ("dbus", "corosync", "pacemaker")

    def specify(self, node: Node) -> None:
        """See StockPair."""
        super().specify(node)
        nodes = "".join(
            f"  node {{\n    name: {each.name}\n    nodeid: {number}\n    ring0_addr: {each.address('management')}\n"
            f"    ring1_addr: {each.address('replication')}\n  }}\n"
            for number, each in enumerate(self.nodes, 1)
        )
        node.write_file("/etc/corosync/corosync.conf", COROSYNC.format(nodes=nodes).encode(), 0o644)

    def start_manager(self, node: Node) -> None:
        """See StockPair. The cluster's own files are kept on the disk that survives, as on a real node."""
        node.run(["modprobe", "--all", "iscsi_target_mod", "target_core_iblock"])
        kept = "/var/lib/holdfast/pacemaker"
        sh(
            node,
            "mkdir -p /run/dbus /run/crm /run/resource-agents /var/lib/corosync /var/log/cluster /root/.targetcli"
            f"; [ -d {kept} ] || cp -a /var/lib/pacemaker {kept}; mount --bind {kept} /var/lib/pacemaker"
            "; chown hacluster:haclient /run/crm",
        )
        node.start_service("dbus", ["dbus-daemon", "--system", "--nofork", "--nopidfile"])
        node.start_service("corosync", ["corosync", "-f"], restart=False)
        wait_for(lambda: self._says(node, "corosync-cfgtool", "-s") is not None, 30, "corosync answers")
        node.start_service("pacemaker", ["pacemakerd", "-f"], {"PCMK_logfile": "/run/pacemaker.log"}, restart=False)

    @staticmethod
    def _says(node: Node, *argv: str) -> str | None:
        with suppress(CommandFailed):
            return node.run(list(argv), timeout_s=60).stdout.decode()
        return None

    def manage(self) -> None:
        """See StockPair."""
        first = self.nodes[0]
        wait_for(lambda: (self._says(first, "crm_mon", "-1") or "").count("Online") == 1, 60, "Pacemaker answers")
        wait_for(lambda: "p1 p2" in (self._says(first, "crm_mon", "-1") or ""), 60, "both nodes are online")
        for option, value in (("stonith-enabled", "false"), ("no-quorum-policy", "ignore")):
            first.run(["crm_attribute", "--type", "crm_config", "--name", option, "--update", value], timeout_s=60)
        # Its default, 20 s, is short for targetcli on a slow node.
        timeout = ["--type", "op_defaults", "--name", "timeout", "--update", "120s"]
        first.run(["crm_attribute", *timeout], timeout_s=60)
        # As much as a move back by itself costs: never.
        stickiness = ["--type", "rsc_defaults", "--name", "resource-stickiness", "--update", "200"]
        first.run(["crm_attribute", *stickiness], timeout_s=60)
        for scope, xml in (("resources", self.resources()), ("constraints", CONSTRAINTS)):
            first.run(["cibadmin", "--replace", "--scope", scope, "--xml-text", xml], timeout_s=60)

    def resources(self) -> str:
        """The stack: the port shut, the address, target, units, the port open."""
        port: dict[str, object] = {"protocol": "tcp", "portno": 3260, "ip": self.address}
        offers = " ".join(f"{name}={value}" for name, value in TARGET_OFFERS.items())
        target: dict[str, object] = {"implementation": "lio-t", "iqn": self.iqn, "additional_parameters": offers}
        members = [
            primitive("shut", "heartbeat:portblock", {"action": "block", **port}),
            primitive(
                "address", "heartbeat:IPaddr2", {"ip": self.address, "cidr_netmask": PREFIX_LENGTH, "nic": "client"}
            ),
            primitive("target", "heartbeat:iSCSITarget", target),
        ]
        for n in range(self.units):
            where: dict[str, object] = {"target_iqn": self.iqn, "lun": n, "path": f"/dev/drbd{n}"}
            # Its default is made of the resource's name, and the same on both nodes.
            members.append(primitive(f"unit{n}", "heartbeat:iSCSILogicalUnit", {"implementation": "lio-t", **where}))
        members.append(primitive("open", "heartbeat:portblock", {"action": "unblock", **port}))
        drbd = primitive("drbd", "linbit:drbd", {"drbd_resource": RESOURCE}, DRBD_MONITORS)
        meta = "".join(
            f'<nvpair id="drbd-clone-{name}" name="{name}" value="{value}"/>'
            for name, value in {"promotable": "true", "promoted-max": 1, "clone-max": 2, "notify": "true"}.items()
        )
        clone = f'<clone id="drbd-clone"><meta_attributes id="drbd-clone-meta">{meta}</meta_attributes>{drbd}</clone>'
        return f'<resources>{clone}<group id="iscsi">{"".join(members)}</group></resources>'

    def move(self) -> None:
        """See Stack."""
        active = self.active()
        other = self.other(active)
        active.run(["crm_resource", "--resource", "iscsi", "--move", "--node", other.name], timeout_s=60)
        wait_for(lambda: self.serves(other), 110, f"{other.name} serves")
        active.run(["crm_resource", "--resource", "iscsi", "--clear"], timeout_s=60)


DRBD_MONITORS = (
    '<op id="drbd-promoted" name="monitor" interval="10s" role="Promoted"/>'
    '<op id="drbd-unpromoted" name="monitor" interval="11s" role="Unpromoted"/>'
)
CONSTRAINTS = (
    '<constraints><rsc_colocation id="with" rsc="iscsi" with-rsc="drbd-clone" with-rsc-role="Promoted"'
    ' score="INFINITY"/>'
    '<rsc_order id="after" first="drbd-clone" first-action="promote" then="iscsi" then-action="start"/></constraints>'
)


def primitive(name: str, agent: str, attributes: Mapping[str, object], operations: str = "") -> str:
    """One resource as XML; `agent` is provider and type."""
    provider, _, kind = agent.partition(":")
    pairs = "".join(
        f"<nvpair id={quoteattr(f'{name}-{key}')} name={quoteattr(key)} value={quoteattr(str(value))}/>"
        for key, value in attributes.items()
    )
    attributes_xml = f'<instance_attributes id="{name}-attributes">{pairs}</instance_attributes>'
    operations_xml = f"<operations>{operations}</operations>" if operations else ""
    head = f'<primitive id="{name}" class="ocf" provider="{provider}" type="{kind}">'
    return f"{head}{attributes_xml}{operations_xml}</primitive>"
