"""What this plugin needs of the machine: raw sockets, that is root. It only looks."""

from __future__ import annotations

import os

from holdfast.hooks.base import Host, Missing
from holdfast_failover_vip.settings import Settings


async def probe(settings: Settings, host: Host) -> tuple[Missing, ...]:
    """See Offer.probe."""
    if os.geteuid() != 0:
        return (Missing("the right to move addresses and to send ARP and ICMP", "run Holdfast as root"),)
    return ()
