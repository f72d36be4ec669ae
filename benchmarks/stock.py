"""Stock pairs: DRBD with its defaults, LIO, and keepalived with notify scripts; Pacemaker is in `pacemaker.py`.

Each is set as its own manuals have it, and as one who wants a short pause would: the target offers DefaultTime2Wait 0
as ours does, keepalived says that it lives ten times a second. Neither fences: DRBD's default is `dont-care`, and
Pacemaker's STONITH is off, as there is no power switch in the bed. That neither loses a write is not compared here.
"""

from __future__ import annotations

import json
from abc import abstractmethod

from benchmarks.stacks import PREFIX_LENGTH, Stack
from demo.bed import wait_for
from lab import Node

RESOURCE, DRBD_PORT = "r0", 7788
SAVED = "/etc/rtslib-fb-target/saveconfig.json"
TARGET_OFFERS = {"DefaultTime2Wait": "0"}
# As the agent for LIO sets it where it is given no initiators.
TPG = {"authentication": 0, "demo_mode_write_protect": 0, "generate_node_acls": 1, "cache_dynamic_acls": 1}


class StockPair(Stack):
    """DRBD by drbdadm over logical volumes; who is to be Primary is the business of the heirs."""

    def build(self) -> None:
        """See Stack."""
        for node in self.nodes:
            disk = node.device("data")
            make = f"for n in $(seq 0 {self.units - 1}); do lvcreate --yes -q -L {self.unit_mib}M -n unit$n peer; done"
            sh(node, f"vgcreate --yes -q peer {disk}; {make} >/dev/null 2>&1")
            self.specify(node)
            sh(node, f"modprobe drbd; drbdadm create-md --force {RESOURCE} >/dev/null 2>&1; drbdadm up {RESOURCE}")
        first = self.nodes[0]
        sh(first, f"drbdadm wait-connect {RESOURCE}")
        for unit in range(self.units):
            sh(first, f"drbdadm new-current-uuid --clear-bitmap {RESOURCE}/{unit}")
        for node in self.nodes:
            self.start_manager(node)
        self.manage()

    def specify(self, node: Node) -> None:
        """Write what DRBD and LIO are told; of a node that was booted nothing of it is left."""
        volumes = "".join(
            f" volume {unit} {{ device /dev/drbd{unit}; disk /dev/peer/unit{unit}; meta-disk internal; }}"
            for unit in range(self.units)
        )
        ends = "".join(
            f" on {each.name} {{ address {each.address('replication')}:{DRBD_PORT}; }}" for each in self.nodes
        )
        node.write_file("/etc/drbd.d/global_common.conf", b"global { usage-count no; }\n", 0o644)
        node.write_file(f"/etc/drbd.d/{RESOURCE}.res", f"resource {RESOURCE} {{{volumes}{ends} }}\n".encode(), 0o644)
        node.write_file(SAVED, json.dumps(self.saved()).encode())
        # The nodes' kernel has no tables of nft for IP.
        sh(node, "ln -sf /usr/sbin/iptables-legacy /etc/alternatives/iptables; modprobe iptable_filter")

    def saved(self) -> dict[str, object]:
        """The target as `targetctl save` has it."""
        stores = [
            {"plugin": "block", "name": f"unit{n}", "dev": f"/dev/drbd{n}", "wwn": f"{self.names[0]}{n:030x}"}
            for n in range(self.units)
        ]
        luns = [{"index": n, "storage_object": f"/backstores/block/unit{n}"} for n in range(self.units)]
        tpg = {
            "tag": 1,
            "enable": True,
            "attributes": TPG,
            "parameters": TARGET_OFFERS,
            "luns": luns,
            "portals": [{"ip_address": "0.0.0.0", "port": 3260}],  # noqa: S104
            "node_acls": [],
        }
        return {"storage_objects": stores, "targets": [{"fabric": "iscsi", "wwn": self.iqn, "tpgs": [tpg]}]}

    @abstractmethod
    def start_manager(self, node: Node) -> None:
        """Start what decides on a node."""

    def manage(self) -> None:
        """Tell it, once both run, what there is to manage; nothing where its files say it."""

    def begin_again(self, node: Node) -> None:
        """See Stack."""
        sh(node, "modprobe drbd; vgchange -q -ay peer >/dev/null")
        self.specify(node)
        sh(node, f"drbdadm up {RESOURCE}")
        self.start_manager(node)

    def serves(self, node: Node) -> bool:
        """See Stack: it is Primary, its target takes logins, it has the address, and the port is open."""
        enabled = f"/sys/kernel/config/target/iscsi/{self.iqn}/tpgt_1/enable"
        script = f"drbdadm role {RESOURCE} | grep -q ^Primary && grep -q 1 {enabled}"
        script += f" && ip -o addr | grep -qF ' {self.address}/' && ! iptables -S INPUT | grep -q 3260"
        return node.run(["sh", "-c", script], check=False).returncode == 0

    def is_well(self) -> bool:
        """See Stack."""
        equal = "grep -c 'cs:Connected.*ds:UpToDate/UpToDate' /proc/drbd"
        counts = [node.run(["sh", "-c", equal], check=False).stdout.decode().strip() for node in self.nodes]
        return counts == [str(self.units)] * 2 and sum(self.serves(node) for node in self.nodes) == 1


def sh(node: Node, script: str, timeout_s: float = 120.0) -> str:
    """Run a script in a node; what it printed."""
    return node.run(["sh", "-ec", script], timeout_s=timeout_s).stdout.decode()


class Keepalived(StockPair):
    """keepalived raises and drops the address, and runs a script that does the rest.

    The address is up before the target: that is its way, and an initiator that comes in between is refused.
    """

    name, names, address = "keepalived", ("k1", "k2"), "10.77.1.201"
    ROUTER = 51
    ADVERT_S = 0.1
    SHUT = OPEN = ""

    def specify(self, node: Node) -> None:
        """See StockPair."""
        super().specify(node)
        # nopreempt: as ours, it does not move back by itself.
        settings = f"""\
global_defs {{
  script_user root
}}
vrrp_instance bench {{
  version 3
  state BACKUP
  nopreempt
  interface client
  virtual_router_id {self.ROUTER}
  priority 100
  advert_int {self.ADVERT_S}
  virtual_ipaddress {{
    {self.address}/{PREFIX_LENGTH} dev client
  }}
  notify_master /etc/keepalived/serve
  notify_backup /etc/keepalived/leave
  notify_stop /etc/keepalived/leave
}}
"""
        # Promoting is refused while the dead partner is not yet known to be dead: tried again, as the agent does.
        serve = f"""\
for try in $(seq 50); do drbdadm primary {RESOURCE} && break; sleep 0.1; done
targetctl restore {SAVED}
{self.OPEN}
"""
        leave = f"""\
{self.SHUT}
[ -d /sys/kernel/config/target/iscsi/{self.iqn} ] || exit 0
targetctl clear
drbdadm secondary {RESOURCE}
"""
        node.write_file("/etc/keepalived/keepalived.conf", settings.encode(), 0o644)
        for name, script in (("serve", serve), ("leave", leave)):
            log = f"exec >>/run/{name}.log 2>&1; date +%s.%N"
            node.write_file(f"/etc/keepalived/{name}", f"#!/bin/sh\n{log}\n{script}\ndate +%s.%N\n".encode(), 0o755)

    def start_manager(self, node: Node) -> None:
        """See StockPair."""
        if self.SHUT:
            sh(node, self.SHUT)
        node.run(["modprobe", "--all", "iscsi_target_mod", "target_core_iblock"])
        argv = ["keepalived", "--dont-fork", "--log-console", "--dont-respawn"]
        node.start_service("keepalived", argv, restart=False)

    def move(self) -> None:
        """See Stack: it is stopped where it serves, which tells the other at once, and started again afterwards."""
        active = self.active()
        active.stop_service("keepalived")
        other = self.other(active)
        wait_for(lambda: self.serves(other), 110, f"{other.name} serves")
        self.start_manager(active)


class ShutPort(Keepalived):
    """The same with more care: the port is shut until the target is there, so that nobody is refused."""

    name, names, address = "keepalived_shut", ("s1", "s2"), "10.77.1.202"
    ROUTER = 52
    OPEN = "iptables -D INPUT -p tcp --dport 3260 -j DROP"
    SHUT = "iptables -C INPUT -p tcp --dport 3260 -j DROP || iptables -I INPUT -p tcp --dport 3260 -j DROP"
