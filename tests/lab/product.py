"""The product on the session's nodes, begun anew: empty disks, nothing known of any partner."""

from __future__ import annotations

from pathlib import Path

from demo.bed import DAEMON, MONITOR, Bed
from lab import Lab, disks

NODES = ("a", "b")


def begin_anew(lab: Lab) -> Bed:
    """Give a and b empty disks and start the product there."""
    lab.restore()
    for name in NODES:
        for service in (MONITOR, DAEMON):
            lab.node(name).stop_service(service)
    blank(lab)
    bed = Bed(lab)
    bed.start_product()
    return bed


def end(bed: Bed) -> None:
    """Leave the nodes as other tests expect them: without the product, with empty disks."""
    bed.lab.restore()
    bed.stop_product()
    leave_blank(bed.lab)


_untouched: set[Path] = set()
"""Labs whose nodes a and b were booted with empty disks, and where nobody has been since."""


def note_untouched(lab: Lab) -> None:
    """The nodes a and b were booted with empty disks just now."""
    _untouched.add(lab.layout.root)


def note_used(lab: Lab) -> None:
    """Whatever is on the disks or in the kernels of a and b from now on."""
    _untouched.discard(lab.layout.root)


def blank(lab: Lab) -> None:
    """Have a and b with empty disks, whatever a test before left on them or in their kernels."""
    if lab.layout.root not in _untouched:
        leave_blank(lab)
    note_used(lab)


def empty_disks(lab: Lab, name: str) -> None:
    """Give a node that has no power empty disks, as another machine has."""
    node = lab.node(name)
    for disk in node.spec.disks:
        lab.layout.disk(name, disk.name).unlink()
    disks.create(lab.layout, node.spec)


def leave_blank(lab: Lab) -> None:
    """Boot a and b with empty disks, for whoever comes next."""
    for name in NODES:
        lab.node(name).cut()
        empty_disks(lab, name)
    lab.restore()
    note_untouched(lab)
