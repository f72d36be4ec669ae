"""What `lab status` tells."""

from __future__ import annotations

from typing import Any

from lab import network
from lab.bed import Lab, is_up
from lab.layout import Layout


def report(layout: Layout) -> dict[str, Any]:
    """The state of a lab as plain data: `is_up`, and if so `nodes`, `hosts` and `namespace`."""
    found: dict[str, Any] = {"state_dir": str(layout.root), "is_up": is_up(layout)}
    if not found["is_up"]:
        return found
    lab = Lab.attach(layout.root)
    found["namespace"] = lab.namespace
    found["nodes"] = {}
    for name, node in lab.nodes.items():
        found["nodes"][name] = {
            "is_running": node.is_running,
            "console": str(layout.console(name)),
            "host_dir": str(node.host_dir),
            "links": {
                net: {
                    "address": node.address(net),
                    "is_up": network.link_is_up(layout, lab.topology, name, net),
                }
                for net in node.spec.networks
            },
            "disks": {
                disk.name: {
                    "device": node.device(disk.name),
                    "file": str(layout.disk(name, disk.name)),
                    "size_mib": disk.size_mib,
                    "mount": disk.mount,
                }
                for disk in node.spec.disks
            },
        }
    found["hosts"] = {
        name: {
            "network": host.network,
            "address": lab.address(name, host.network),
            "is_up": network.link_is_up(layout, lab.topology, name, host.network),
        }
        for name, host in lab.topology.hosts.items()
    }
    return found


def text(found: dict[str, Any]) -> str:
    """The report for a person."""
    if not found["is_up"]:
        return f"no lab is up in {found['state_dir']}"
    lines = [f"namespace {found['namespace']}, state in {found['state_dir']}"]
    for name, node in found["nodes"].items():
        parts = [f"{name:6} {'on' if node['is_running'] else 'off':3}"]
        parts += [_link(net, link) for net, link in node["links"].items()]
        parts += [f"{disk} {fields['device']}" for disk, fields in node["disks"].items()]
        lines.append("  ".join(parts))
    for name, host in found["hosts"].items():
        lines.append(f"{name:6}      {_link(host['network'], host)}")
    return "\n".join(lines)


def _link(net: str, link: dict[str, Any]) -> str:
    return f"{net} {link['address']}{'' if link['is_up'] else ' (cable pulled)'}"
