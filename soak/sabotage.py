"""Known-bad settings of a pair: each is there to be caught by a soak, which would be blind otherwise."""

from __future__ import annotations

from demo import blocks
from demo.bed import StorageNode
from demo.files import POOL
from soak.faults import shell
from soak.run import Soak

DELAY_MS = 150
UNTOUCHED_MIB = 96
"""Where nobody writes."""
_DRBDSETUP = "/usr/lib/drbd/drbdsetup-84"


def acknowledge_before_the_partner_has_it(soak: Soak) -> None:
    """Asynchronous mirroring over a slow link: what was acknowledged of late is on one side only."""
    for storage in (soak.bed.a, soak.bed.b):
        # With the product's policy the kernel refuses protocol A (drbd_nl.c, ERR_STONITH_AND_PROT_A).
        shell(storage, f"{_DRBDSETUP} disk-options 0 --fencing=dont-care")
    for storage in (soak.bed.a, soak.bed.b):
        shell(storage, f"{_DRBDSETUP} net-options {' '.join(_ends(storage))} --protocol=A")
    for storage in (soak.bed.a, soak.bed.b):
        shell(storage, f"modprobe sch_netem; tc qdisc add dev replication root netem delay {DELAY_MS}ms limit 100000")


def _ends(storage: StorageNode) -> list[str]:
    """Own and other address of the mirror's connection, as its kernel has them (drbdsetup-8.4(8))."""
    shown = shell(storage, f"{_DRBDSETUP} show")
    found = [line.split()[-1].rstrip(";") for line in shown.splitlines() if line.split()[:2] == ["address", "ipv4"]]
    own = storage.node.address("replication")
    return sorted(found, key=lambda end: not end.startswith(f"{own}:"))


def give_both_nodes_the_address(soak: Soak) -> None:
    """Whatever takes it away again."""
    for storage in (soak.bed.a, soak.bed.b):
        add = f"while :; do ip addr add {blocks.VIRTUAL_ADDRESS}/32 dev client 2>/dev/null; sleep 0.02; done"
        storage.node.start_service("sabotage", ["sh", "-c", add])


def take_the_address_back(soak: Soak) -> None:
    """The end of `give_both_nodes_the_address`."""
    for storage in (soak.bed.a, soak.bed.b):
        storage.node.stop_service("sabotage")
    shell(_passive(soak), f"ip addr del {blocks.VIRTUAL_ADDRESS}/32 dev client")


def change_a_block_of_the_passive_side(soak: Soak) -> None:
    """Below the mirror, behind its back."""
    lower = f"/dev/{POOL}/{blocks.VOLUME}"
    shell(
        _passive(soak), f"head -c 4096 /dev/urandom | dd of={lower} bs=1M seek={UNTOUCHED_MIB} oflag=direct status=none"
    )


def _passive(soak: Soak) -> StorageNode:
    return soak.bed.b if soak.active() == "a" else soak.bed.a
